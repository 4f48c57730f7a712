//! A container's program cannot be started. Pure.

use super::{Cause, Confidence, Diagnosis, cure};
use crate::facts::{Container, Facts, text};

/// Where a program looks for what it is linked with, in the loader's words.
const NO_LIBRARY: &str = "error while loading shared libraries: ";
/// What helps a program that was linked for a system that its image has not.
const STATIC: &str = "link it statically, with `cargo build --target x86_64-unknown-linux-musl` for one, or use a base image that has what it needs, such as `debian:stable-slim`";

pub(super) fn diagnose(facts: &Facts) -> Vec<Diagnosis> {
    facts.containers().into_iter().filter_map(|container| of_container(facts, container)).collect()
}

/// What the kernel, the runtime or the loader said of the start. Some runtimes tell
/// it in the container's log.
fn words<'a>(facts: &'a Facts, container: Container<'a>) -> Option<&'a str> {
    let ended = container.ended().map(|ended| text(ended, "/message"));
    let waiting = container.waiting().map(|(_, message)| message);
    let log = facts.logs.get(container.name()).and_then(|log| log.lines().last());
    let all = ended.into_iter().chain(waiting).chain(log);
    all.into_iter().find(|words| meaning(words).is_some())
}

/// Whether the start of a container failed.
pub(super) fn failed(facts: &Facts, container: Container) -> bool {
    words(facts, container).is_some()
}

fn meaning(words: &str) -> Option<Cause> {
    let says = |sign: &str| words.contains(sign);
    let starts = says("unable to start container process: exec") || words.starts_with("exec ");
    if says("exec format error") {
        Some(Cause::WrongArchitecture)
    } else if says(NO_LIBRARY) || words.starts_with("exec ") && says(": no such file or directory")
    {
        Some(Cause::LibraryMissing)
    } else if starts && (says("no such file or directory") || says("executable file not found")) {
        Some(Cause::ProgramMissing)
    } else if starts && says("permission denied") {
        Some(Cause::ProgramNotExecutable)
    } else if says("etc/passwd: no such file") || says("no matching entries in passwd file") {
        Some(Cause::UserMissing)
    } else {
        None
    }
}

/// The program that is spoken of: in quotes behind `exec: `, or bare behind `exec `.
fn program(words: &str) -> Option<&str> {
    if let Some((_, rest)) = words.split_once("exec: \"") {
        return rest.split('"').next();
    }
    words.strip_prefix("exec ")?.split(':').next()
}

fn of_container(facts: &Facts, container: Container) -> Option<Diagnosis> {
    if container.is_running() {
        return None;
    }
    let said = words(facts, container)?;
    let cause = meaning(said)?;
    let (name, image) = (container.name(), container.image());
    let program = program(said).unwrap_or("its program");
    let mut confidence = Confidence::Certain;
    let mut evidence = vec![format!("container `{name}`: {said}")];
    let (words, help) = match cause {
        Cause::WrongArchitecture => {
            let (platform, others) = platforms(facts, container);
            let help = format!(
                "build it for {platform}, and load it: `{}`",
                rebuild(facts, container, &platform)
            );
            if let Some(others) = others {
                evidence.push(format!("the node has `{image}` for {others}, and is {platform}"));
                (format!("`{image}` is built for {others}, and the node is {platform}"), help)
            } else {
                confidence = Confidence::Likely;
                let words = format!(
                    "`{program}` is no program for {platform}: it is built for another architecture, or a script without a first line like `#!/bin/sh`"
                );
                (words, help)
            }
        }
        Cause::LibraryMissing if said.contains(NO_LIBRARY) => {
            let library = said.split(NO_LIBRARY).nth(1).and_then(|rest| rest.split(':').next());
            let library = library.unwrap_or("a library");
            (
                format!(
                    "`{image}` has no shared library `{library}`, which its program is linked with"
                ),
                STATIC.to_owned(),
            )
        }
        Cause::LibraryMissing => (
            format!(
                "`{image}` has `{program}`, but not what runs it: the loader of a dynamically linked program, or the interpreter of a script"
            ),
            STATIC.to_owned(),
        ),
        Cause::ProgramMissing => {
            let place = match container.spec("/command") {
                Some(_) => format!(
                    "`command` of container `{name}` in the manifest of {}",
                    facts.keeper_id()
                ),
                None => "`ENTRYPOINT` or `CMD` in the Dockerfile".to_owned(),
            };
            (
                format!("`{image}` has no program `{program}`"),
                format!("correct {place}, or copy the program to where it is looked for"),
            )
        }
        Cause::ProgramNotExecutable => (
            format!("`{program}` in `{image}` may not be executed"),
            format!("write `COPY --chmod=755 …` or `RUN chmod 755 {program}` into the Dockerfile"),
        ),
        _ => (
            format!("`{image}` names a user that its `/etc/passwd` does not have"),
            "write `USER 1000`, a number, into the Dockerfile".to_owned(),
        ),
    };
    Some(Diagnosis { cause, confidence, words, evidence, help })
}

/// The node's platform, and those of its image where they are others.
fn platforms(facts: &Facts, container: Container) -> (String, Option<String>) {
    let node = facts.platform();
    let stored = container
        .reference()
        .and_then(|reference| facts.stock()?.of_cri(&reference.to_string()))
        .filter(|image| !image.platforms.iter().any(|one| *one == node || one == "-"));
    (node, stored.map(|image| image.platforms.join(", ")))
}

fn rebuild(facts: &Facts, container: Container, platform: &str) -> String {
    let image = container.image();
    let load = container.reference().map(|reference| cure::load_command(facts, &reference));
    let load = load.unwrap_or_default();
    format!("docker build --platform {platform} --tag {image} . && {load}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_fails_in_many_words() {
        let runc = "failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: exec: ";
        let table = [
            ("exec /arm: exec format error", Some((Cause::WrongArchitecture, "/arm"))),
            ("exec /app: no such file or directory", Some((Cause::LibraryMissing, "/app"))),
            (
                &*format!("{runc}\"/server\": stat /server: no such file or directory: unknown"),
                Some((Cause::ProgramMissing, "/server")),
            ),
            (
                &*format!("{runc}\"server\": executable file not found in $PATH"),
                Some((Cause::ProgramMissing, "server")),
            ),
            (
                &*format!("{runc}\"/app\": permission denied: unknown"),
                Some((Cause::ProgramNotExecutable, "/app")),
            ),
            (
                "open /tmp/containerd-mount1/etc/passwd: no such file or directory",
                Some((Cause::UserMissing, "")),
            ),
            ("openat etc/passwd: no such file or directory", Some((Cause::UserMissing, ""))),
            ("cannot open config.toml: no such file or directory", None),
            ("touch: /data: Permission denied", None),
        ];
        for (words, expected) in table {
            let found = meaning(words).map(|cause| (cause, program(words).unwrap_or_default()));
            assert_eq!(found, expected, "{words}");
        }
    }
}
