//! What an image lacks to run its program.

use kdev_core::kube::container::Container;
use kdev_core::kube::object::{list, text};
use serde_json::{Value, json};

use crate::facts::Facts;
use crate::fixes;

/// Where a program looks for what it is linked with, in the loader's words.
pub(crate) const GLIBC_LIBRARY_NOT_FOUND: &str = "error while loading shared libraries: ";

/// The same in musl's words.
pub(crate) const MUSL_LIBRARY_NOT_FOUND: &str = "Error loading shared library ";

/// What the program is linked with is not there, or is older.
pub(crate) fn library_not_found(
    facts: &Facts,
    image: &str,
    program: &str,
    said: &str,
) -> (String, String) {
    let target = musl_target(facts);
    let link = format!(
        "link it statically: `rustup target add {target} && cargo build --release --target {target}`, which puts it into `target/{target}/release`"
    );
    let after = |sign: &str| said.split(sign).nth(1).and_then(|rest| rest.split(':').next());
    let library = after(GLIBC_LIBRARY_NOT_FOUND).or_else(|| after(MUSL_LIBRARY_NOT_FOUND));
    if let Some((_, version)) = said.split_once(": version `") {
        let version = version.split('\'').next().unwrap_or_default();
        return (
            format!("`{image}` is older than where its program was built: it lacks `{version}`"),
            format!("let both stages of the Dockerfile begin from the same release, or {link}"),
        );
    }
    match library {
        Some(library) => (
            format!(
                "`{image}` has no shared library `{library}`, which its program is linked with"
            ),
            format!(
                "install the package that has `{library}` in the Dockerfile's last stage, or {link}"
            ),
        ),
        None => (
            format!(
                "`{image}` has `{program}`, but not what runs it: the loader of a dynamically linked program, or the interpreter of a script"
            ),
            format!(
                "{link}, or use a base image that has what it needs, such as `debian:stable-slim`"
            ),
        ),
    }
}

/// What cargo builds static programs for, to run on the pod's node.
fn musl_target(facts: &Facts) -> &'static str {
    if facts.platform().ends_with("/arm64") {
        "aarch64-unknown-linux-musl"
    } else {
        "x86_64-unknown-linux-musl"
    }
}

/// The program itself is not where it is looked for.
pub(crate) fn entrypoint_not_found(
    facts: &Facts,
    container: Container,
    program: &str,
    said: &str,
) -> (String, String) {
    let (name, image, keeper) = (container.name(), container.image(), facts.keeper_id());
    if said.contains("no command specified") {
        return (
            format!("`{image}` names no program to start, nor does container `{name}`"),
            "write `ENTRYPOINT [\"/PROGRAM\"]` into the Dockerfile".to_owned(),
        );
    }
    if said.contains("is a directory") {
        return (
            format!("`{program}` in `{image}` is a folder, and no program"),
            "correct the target of `COPY` in the Dockerfile: it puts the program into that folder"
                .to_owned(),
        );
    }
    let mounts = container.spec("/volumeMounts").into_iter().flat_map(list);
    let hides = |mount: &&Value| {
        let path = text(mount, "/mountPath").trim_end_matches('/');
        program.strip_prefix(path).is_some_and(|rest| !path.is_empty() && rest.starts_with('/'))
    };
    if let Some(mount) = mounts.into_iter().find(hides) {
        let (volume, path) = (text(mount, "/name"), text(mount, "/mountPath"));
        return (
            format!(
                "volume `{volume}` at `{path}` has no `{program}`, and hides what `{image}` has there"
            ),
            fixes::by_hand(facts, &format!("mount volume `{volume}` at another folder in")),
        );
    }
    let first = |list: &str| container.spec(list).and_then(|words| words[0].as_str());
    let manifest = format!("of container `{name}` in the manifest of {keeper}");
    let place = match (first("/command"), first("/args")) {
        (Some(word), _) if word == program && word.contains(' ') => {
            return (
                format!("`{image}` has no program that is called `{program}`, with blanks"),
                format!(
                    "write `command` {manifest} as a list, a word each: `{}`",
                    split_command(program)
                ),
            );
        }
        (Some(_), _) => format!("`command` {manifest}"),
        (None, Some(word)) if word == program => {
            format!("`args` {manifest}, which takes the place of `CMD`, not of `ENTRYPOINT`,")
        }
        _ => "`ENTRYPOINT` or `CMD` in the Dockerfile".to_owned(),
    };
    (
        format!("`{image}` has no program `{program}`"),
        format!("correct {place}, or copy the program to where it is looked for"),
    )
}

/// The words of a command as a manifest lists them.
fn split_command(command: &str) -> String {
    json!(command.split_whitespace().collect::<Vec<_>>()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(container: &Value) -> Facts {
        let mut one = json!({"name": "c", "image": "a:1"});
        one.as_object_mut().unwrap().extend(container.as_object().unwrap().clone());
        Facts {
            pod: json!({"metadata": {"name": "p"}, "spec": {"containers": [one]}}),
            owners: vec![json!({"kind": "Deployment", "metadata": {"name": "d"}})],
            ..Facts::default()
        }
    }

    #[test]
    fn why_a_program_is_not_there_is_told_by_what_the_container_says() {
        let mount = json!({"volumeMounts": [{"name": "data", "mountPath": "/app/"}]});
        let beside = json!({"volumeMounts": [{"name": "data", "mountPath": "/ap"}]});
        let table = [
            (json!({}), "/app/server", "correct `ENTRYPOINT` or `CMD` in the Dockerfile"),
            (
                json!({"command": ["/app/server"]}),
                "/app/server",
                "correct `command` of container `c`",
            ),
            (json!({"args": ["serve", "-x"]}), "serve", "correct `args` of container `c`"),
            (json!({"args": ["-x"]}), "/app", "correct `ENTRYPOINT` or `CMD`"),
            (
                json!({"command": ["/app --port 80"]}),
                "/app --port 80",
                "write `command` of container `c` in the manifest of deployment/d as a list, a word each: `[\"/app\",\"--port\",\"80\"]`",
            ),
            (mount.clone(), "/app/server", "mount volume `data` at another folder in"),
            (mount, "/apple", "correct `ENTRYPOINT` or `CMD`"),
            (beside, "/app/server", "correct `ENTRYPOINT` or `CMD`"),
        ];
        for (container, program, expected) in table {
            let facts = facts(&container);
            let (_, help) =
                entrypoint_not_found(&facts, facts.containers()[0], program, "no such file");
            assert!(help.starts_with(expected), "{container}: {help}");
        }
        let facts = facts(&json!({}));
        let said = "exec: \"/app\": is a directory: unknown";
        let (words, _) = entrypoint_not_found(&facts, facts.containers()[0], "/app", said);
        assert_eq!(words, "`/app` in `a:1` is a folder, and no program");
    }

    #[test]
    fn a_library_is_named_in_each_loaders_words() {
        let mut facts = facts(&json!({}));
        let (gnu, musl_) = ("error while loading shared libraries", "Error loading shared library");
        let table = [
            (format!("/app: {gnu}: libpq.so.5: cannot open"), "no shared library `libpq.so.5`"),
            (format!("{musl_} libpq.so.5: No such file"), "no shared library `libpq.so.5`"),
            (
                "/app: /lib/libc.so.6: version `GLIBC_2.38' not found (required by /app)"
                    .to_owned(),
                "it lacks `GLIBC_2.38`",
            ),
            ("exec /app: no such file or directory".to_owned(), "`a:1` has `/app`, but not"),
        ];
        for (said, expected) in table {
            let (words, help) = library_not_found(&facts, "a:1", "/app", &said);
            assert!(words.contains(expected), "{said}: {words}");
            assert!(help.contains("--target x86_64-unknown-linux-musl"), "{help}");
        }
        let node = json!({"metadata": {"name": "n"}, "status": {"nodeInfo":
            {"operatingSystem": "linux", "architecture": "arm64"}}});
        facts.nodes = vec![node];
        facts.pod["spec"]["nodeName"] = "n".into();
        assert_eq!(musl_target(&facts), "aarch64-unknown-linux-musl");
    }
}
