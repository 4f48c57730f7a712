//! Explanations for an entrypoint that is missing, or whose libraries are missing.

use kdev_core::kube::container::Container;
use kdev_core::kube::object::{list, text};
use serde_json::{Value, json};

use crate::facts::Facts;
use crate::fixes;

/// Message of glibc's loader if a shared library is missing.
pub(crate) const GLIBC_LIBRARY_NOT_FOUND: &str = "error while loading shared libraries: ";

/// Message of musl's loader if a shared library is missing.
pub(crate) const MUSL_LIBRARY_NOT_FOUND: &str = "Error loading shared library ";

/// Explains a missing or outdated library, and returns the message and the help.
pub(crate) fn library_not_found(
    facts: &Facts,
    image: &str,
    program: &str,
    error: &str,
) -> (String, String) {
    let target = musl_target(facts);
    let link = format!(
        "link the program statically: `rustup target add {target} && cargo build --release --target {target}` (the output is in `target/{target}/release`)"
    );
    let after = |pattern: &str| error.split(pattern).nth(1).and_then(|rest| rest.split(':').next());
    let library = after(GLIBC_LIBRARY_NOT_FOUND).or_else(|| after(MUSL_LIBRARY_NOT_FOUND));
    if let Some((_, version)) = error.split_once(": version `") {
        let version = version.split('\'').next().unwrap_or_default();
        return (
            format!(
                "the program of `{image}` requires `{version}`, but the image has an older library"
            ),
            format!("base both stages of the Dockerfile on the same release, or {link}"),
        );
    }
    match library {
        Some(library) => (
            format!(
                "the program of `{image}` requires the shared library `{library}`, which is not in the image"
            ),
            format!(
                "install the package that provides `{library}` in the last stage of the Dockerfile, or {link}"
            ),
        ),
        None => (
            format!(
                "`{image}` contains `{program}`, but not its dynamic loader or script interpreter"
            ),
            format!("{link}, or use a base image that contains it, such as `debian:stable-slim`"),
        ),
    }
}

/// Returns cargo's target for static programs on the pod's node.
fn musl_target(facts: &Facts) -> &'static str {
    if facts.platform().ends_with("/arm64") {
        "aarch64-unknown-linux-musl"
    } else {
        "x86_64-unknown-linux-musl"
    }
}

/// Explains a missing entrypoint, and returns the message and the help.
pub(crate) fn entrypoint_not_found(
    facts: &Facts,
    container: Container,
    program: &str,
    error: &str,
) -> (String, String) {
    let (name, image, controller) = (container.name(), container.image(), facts.controller_id());
    if error.contains("no command specified") {
        return (
            format!("neither `{image}` nor container `{name}` specifies a command"),
            "add `ENTRYPOINT [\"/PROGRAM\"]` to the Dockerfile".to_owned(),
        );
    }
    if error.contains("is a directory") {
        return (
            format!("`{program}` in `{image}` is a directory, not a program"),
            "correct the target of `COPY` in the Dockerfile, which copies the program into that directory"
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
                "volume `{volume}` at `{path}` does not contain `{program}`, and hides the files of `{image}`"
            ),
            fixes::edit_manifest_help(
                facts,
                &format!("mount volume `{volume}` at another path in"),
            ),
        );
    }
    let first = |list: &str| container.spec(list).and_then(|words| words[0].as_str());
    let manifest = format!("of container `{name}` in the manifest of {controller}");
    let place = match (first("/command"), first("/args")) {
        (Some(word), _) if word == program && word.contains(' ') => {
            return (
                format!(
                    "program `{program}` not found in `{image}`: the command is one string with spaces"
                ),
                format!(
                    "write `command` {manifest} as a list of words: `{}`",
                    split_command(program)
                ),
            );
        }
        (Some(_), _) => format!("`command` {manifest}"),
        (None, Some(word)) if word == program => {
            format!("`args` {manifest} (it replaces `CMD`, not `ENTRYPOINT`)")
        }
        _ => "`ENTRYPOINT` or `CMD` in the Dockerfile".to_owned(),
    };
    (
        format!("program `{program}` not found in `{image}`"),
        format!("correct {place}, or add the program to the image"),
    )
}

/// Splits a command at spaces into the list for a manifest.
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
    fn missing_entrypoint_help_depends_on_container() {
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
                "write `command` of container `c` in the manifest of deployment/d as a list of words: `[\"/app\",\"--port\",\"80\"]`",
            ),
            (mount.clone(), "/app/server", "mount volume `data` at another path in"),
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
        let error = "exec: \"/app\": is a directory: unknown";
        let (message, _) = entrypoint_not_found(&facts, facts.containers()[0], "/app", error);
        assert_eq!(message, "`/app` in `a:1` is a directory, not a program");
    }

    #[test]
    fn missing_library_is_parsed_from_each_loader() {
        let mut facts = facts(&json!({}));
        let (gnu, musl_) = ("error while loading shared libraries", "Error loading shared library");
        let table = [
            (
                format!("/app: {gnu}: libpq.so.5: cannot open"),
                "requires the shared library `libpq.so.5`",
            ),
            (
                format!("{musl_} libpq.so.5: No such file"),
                "requires the shared library `libpq.so.5`",
            ),
            (
                "/app: /lib/libc.so.6: version `GLIBC_2.38' not found (required by /app)"
                    .to_owned(),
                "requires `GLIBC_2.38`",
            ),
            ("exec /app: no such file or directory".to_owned(), "`a:1` contains `/app`, but not"),
        ];
        for (error, expected) in table {
            let (message, help) = library_not_found(&facts, "a:1", "/app", &error);
            assert!(message.contains(expected), "{error}: {message}");
            assert!(help.contains("--target x86_64-unknown-linux-musl"), "{help}");
        }
        let node = json!({"metadata": {"name": "n"}, "status": {"nodeInfo":
            {"operatingSystem": "linux", "architecture": "arm64"}}});
        facts.nodes = vec![node];
        facts.pod["spec"]["nodeName"] = "n".into();
        assert_eq!(musl_target(&facts), "aarch64-unknown-linux-musl");
    }
}
