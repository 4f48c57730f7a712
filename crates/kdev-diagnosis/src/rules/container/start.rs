//! A container's program cannot be started.

use kdev_core::kube::container::Container;
use kdev_core::kube::object::{list, text};
use serde_json::Value;

use crate::cause::Cause;
use crate::diagnosis::{Confidence, Diagnosis};
use crate::facts::Facts;
use crate::fixes;
use crate::rules::container::entrypoint::{self, GLIBC_LIBRARY_NOT_FOUND, MUSL_LIBRARY_NOT_FOUND};
use crate::rules::container::memory;

/// How a runtime's words begin when a container cannot be made for its program.
const START_ERROR: &str = "unable to start container process: ";
/// What a runtime says of a program that is not there.
const ENTRYPOINT_NOT_FOUND: [&str; 3] =
    ["no such file or directory", "executable file not found", "is a directory"];
/// In containerd's words, where the image has a list of users and where it has none,
/// and in those of others.
const USER_NOT_FOUND: [&str; 4] = [
    "no users found",
    "no groups found",
    "etc/passwd: no such file",
    "no matching entries in passwd file",
];
/// How many lines at a log's end may tell of it.
const MAX_LOG_LINES: usize = 5;

pub(crate) fn diagnose(facts: &Facts) -> Vec<Diagnosis> {
    facts
        .containers()
        .into_iter()
        .filter_map(|container| diagnose_container(facts, container))
        .collect()
}

/// What the kernel, the runtime or the loader said of the start. Some runtimes tell
/// it in the container's log.
fn start_error<'a>(facts: &'a Facts, container: Container<'a>) -> Option<&'a str> {
    let ended = container.ended().map(|ended| text(ended, "/message"));
    let waiting = container.waiting().map(|(_, message)| message);
    let log = facts.logs.get(container.name()).map(|log| log.lines().rev().take(MAX_LOG_LINES));
    // A log may hold anything: only what no program says of itself counts there.
    let log = log.into_iter().flatten().filter(|line| is_start_error(line));
    let all = ended.into_iter().chain(waiting).chain(log);
    all.into_iter().find(|words| classify(words).is_some())
}

fn is_start_error(line: &str) -> bool {
    line.starts_with("exec ") || line.contains(START_ERROR) || is_library_error(line)
}

fn is_library_error(words: &str) -> bool {
    let is_older = words.contains(": version `") && words.contains(" not found (required by ");
    words.contains(GLIBC_LIBRARY_NOT_FOUND) || words.starts_with(MUSL_LIBRARY_NOT_FOUND) || is_older
}

/// Whether the start of a container failed.
pub(crate) fn has_start_error(facts: &Facts, container: Container) -> bool {
    start_error(facts, container).is_some()
}

fn classify(words: &str) -> Option<Cause> {
    let says = |sign: &str| words.contains(sign);
    let starts = says("unable to start container process: exec") || words.starts_with("exec ");
    if says("exec format error") {
        Some(Cause::WrongArchitecture)
    } else if is_library_error(words)
        || words.starts_with("exec ") && says(": no such file or directory")
    {
        Some(Cause::LibraryMissing)
    } else if says("container init was OOM-killed") {
        Some(Cause::OutOfMemory)
    } else if starts && ENTRYPOINT_NOT_FOUND.iter().any(|sign| says(sign)) {
        Some(Cause::ProgramMissing)
    } else if starts && says("permission denied") {
        Some(Cause::ProgramNotExecutable)
    } else if says("no command specified") {
        Some(Cause::ProgramMissing)
    } else if says("error mounting ") && says("to rootfs at ") && says("a directory") {
        Some(Cause::VolumeUnmountable)
    } else if USER_NOT_FOUND.iter().any(|sign| says(sign)) {
        Some(Cause::UserMissing)
    } else if says(START_ERROR) && !says("exec failed") {
        Some(Cause::NotStarted)
    } else {
        None
    }
}

/// Whether its name tells that it is a script.
fn has_script_extension(program: &str) -> bool {
    let (_, end) = program.rsplit_once('.').unwrap_or_default();
    ["sh", "bash", "py", "rb", "pl", "js"].contains(&end)
}

/// The program that is spoken of: in quotes behind `exec: `, or bare behind `exec `.
fn parse_program(words: &str) -> Option<&str> {
    if let Some((_, rest)) = words.split_once("exec: \"") {
        return rest.split('"').next();
    }
    words.strip_prefix("exec ")?.split(':').next()
}

fn diagnose_container(facts: &Facts, container: Container) -> Option<Diagnosis> {
    if container.is_running() && !facts.may_end_again(container) {
        return None;
    }
    let said = start_error(facts, container)?;
    let cause = classify(said)?;
    let (name, image) = (container.name(), container.image());
    let program = parse_program(said).unwrap_or("its program");
    let said_so = format!("container `{name}`: {said}");
    let diagnosis = |cause, words, help| Diagnosis {
        cause,
        confidence: confidence(container),
        words,
        evidence: vec![said_so.clone()],
        help,
    };
    Some(match cause {
        Cause::WrongArchitecture => exec_format_error(facts, container, program, said_so),
        Cause::LibraryMissing => {
            let (words, help) = entrypoint::library_not_found(facts, image, program, said);
            diagnosis(cause, words, help)
        }
        Cause::OutOfMemory => memory::out_of_memory(facts, container, vec![said_so]),
        Cause::ProgramMissing => {
            let (words, help) = entrypoint::entrypoint_not_found(facts, container, program, said);
            diagnosis(cause, words, help)
        }
        // Many runtimes say the same of a folder.
        Cause::ProgramNotExecutable => diagnosis(
            cause,
            format!("`{program}` in `{image}` may not be executed, or is a folder"),
            format!(
                "write `COPY --chmod=755 …` or `RUN chmod 755 {program}` into the Dockerfile; if it is a folder, correct what `COPY` puts there"
            ),
        ),
        Cause::VolumeUnmountable => {
            let (words, help) = mount_type_mismatch(facts, container, said)
                .unwrap_or_else(|| start_failed(facts, container, said));
            diagnosis(cause, words, help)
        }
        Cause::UserMissing => diagnosis(
            cause,
            format!("`{image}` names a user that its `/etc/passwd` does not have"),
            "write `USER 1000`, a number, into the Dockerfile".to_owned(),
        ),
        _ => {
            let (words, help) = start_failed(facts, container, said);
            diagnosis(cause, words, help)
        }
    })
}

/// Of what the runtime has said: what has been started since may do better.
fn confidence(container: Container) -> Confidence {
    if container.is_running() { Confidence::Likely } else { Confidence::Certain }
}

/// The kernel knows no way to run it.
fn exec_format_error(
    facts: &Facts,
    container: Container,
    program: &str,
    said: String,
) -> Diagnosis {
    let image = container.image();
    let (platform, others) = node_and_image_platforms(facts, container);
    let rebuild = rebuild_command(facts, container, &platform);
    let mut diagnosis = Diagnosis {
        cause: Cause::WrongArchitecture,
        confidence: Confidence::Likely,
        words: format!(
            "`{program}` is no program for {platform}: it is built for another architecture, or a script without a first line like `#!/bin/sh`"
        ),
        evidence: vec![said],
        help: format!("build it for {platform}, and load it: `{rebuild}`"),
    };
    if let Some(others) = others {
        let seen = format!("the node has `{image}` for {others}, and is {platform}");
        diagnosis.evidence.push(seen);
        diagnosis.confidence = confidence(container);
        diagnosis.words = format!("`{image}` is built for {others}, and the node is {platform}");
    } else if has_script_extension(program) {
        diagnosis.cause = Cause::NoInterpreter;
        diagnosis.words = format!(
            "the script `{program}` does not say in its first line what runs it, as `#!/bin/sh` does"
        );
        diagnosis.help =
            format!("run `{rebuild}` as soon as `{program}` has a first line like `#!/bin/sh`");
    }
    diagnosis
}

/// A file is to be mounted over a folder, or a folder over a file.
fn mount_type_mismatch(
    facts: &Facts,
    container: Container,
    said: &str,
) -> Option<(String, String)> {
    let path = said.split("to rootfs at \"").nth(1)?.split('"').next()?;
    // The runtime follows the link that `/var/run` is in many images.
    let plain = |path: &str| path.strip_prefix("/var/run/").map(|rest| format!("/run/{rest}"));
    let is_there = |mount: &&Value| {
        let wanted = text(mount, "/mountPath");
        wanted == path || plain(wanted).is_some_and(|plain| plain == path)
    };
    let mount = container.spec("/volumeMounts").into_iter().flat_map(list).find(is_there)?;
    let (volume, part) = (text(mount, "/name"), text(mount, "/subPath"));
    let image = container.image();
    let keeper = facts.keeper_id();
    let help = match part {
        "" => format!("mount volume `{volume}` at a folder, in the manifest of {keeper}"),
        part => format!(
            "correct `subPath: {part}` of volume `{volume}` in the manifest of {keeper}: without such a file there, it is taken for a folder"
        ),
    };
    Some((
        format!(
            "volume `{volume}` cannot be mounted at `{path}` of `{image}`: one of them is a folder, and the other a file"
        ),
        help,
    ))
}

/// The runtime's own words, where no others are known.
fn start_failed(facts: &Facts, container: Container, said: &str) -> (String, String) {
    let (name, keeper) = (container.name(), facts.keeper_id());
    let why = said.split(START_ERROR).nth(1).unwrap_or(said);
    let why = why.trim_start_matches("error during container init: ").trim_end_matches(": unknown");
    let folder = container.spec("/workingDir").and_then(Value::as_str).unwrap_or_default();
    let help = if !folder.is_empty() && why.contains(folder) {
        format!("correct `workingDir` of container `{name}` in the manifest of {keeper}")
    } else {
        format!("see `{} describe {}`", facts.kubectl, facts.subject)
    };
    (format!("container `{name}` cannot be started: {why}"), help)
}

/// The node's platform, and those of its image where they are others.
fn node_and_image_platforms(facts: &Facts, container: Container) -> (String, Option<String>) {
    let node = facts.platform();
    let stored = container
        .reference()
        .and_then(|reference| facts.stock()?.in_cri_namespace(&reference.to_string()))
        .filter(|image| !image.platforms.iter().any(|one| *one == node || one == "-"));
    (node, stored.map(|image| image.platforms.join(", ")))
}

fn rebuild_command(facts: &Facts, container: Container, platform: &str) -> String {
    let image = container.image();
    let load = container.reference().map(|reference| fixes::load_command(facts, &reference));
    let load = load.unwrap_or_default();
    format!("docker build --platform {platform} --tag {image} . && {load}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
            ("failed to generate spec: no users found", Some((Cause::UserMissing, ""))),
            (
                "/app: /lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.38' not found (required by /app)",
                Some((Cause::LibraryMissing, "")),
            ),
            (
                "Error loading shared library libpq.so.5: No such file or directory (needed by /app)",
                Some((Cause::LibraryMissing, "")),
            ),
            (
                &*format!("{runc}\"/app\": is a directory: unknown"),
                Some((Cause::ProgramMissing, "/app")),
            ),
            (
                "container init was OOM-killed (memory limit too low?)",
                Some((Cause::OutOfMemory, "")),
            ),
            ("cannot open config.toml: no such file or directory", None),
            ("touch: /data: Permission denied", None),
            (
                "spec: failed to generate spec: no command specified",
                Some((Cause::ProgramMissing, "")),
            ),
            (
                "unable to start container process: error during container init: error mounting \"/a\" to rootfs at \"/b\": mount /a:/b: not a directory",
                Some((Cause::VolumeUnmountable, "")),
            ),
            (
                "unable to start container process: error during container init: mkdir /app: not a directory",
                Some((Cause::NotStarted, "")),
            ),
        ];
        for (words, expected) in table {
            let found =
                classify(words).map(|cause| (cause, parse_program(words).unwrap_or_default()));
            assert_eq!(found, expected, "{words}");
        }
    }

    #[test]
    fn a_start_that_failed_is_told_until_the_next_one_holds() {
        let mut facts = Facts {
            pod: json!({"metadata": {"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z"},
                "spec": {"containers": [{"name": "c", "image": "a"}]},
                "status": {"containerStatuses": [{"name": "c",
                    "state": {"running": {"startedAt": "2026-01-01T00:00:20Z"}},
                    "lastState": {"terminated": {"exitCode": 255}}}]}}),
            logs: [("c".to_owned(), "exec /app: no such file or directory".to_owned())].into(),
            ..Facts::default()
        };
        for (age, expected) in [(21, Some(Confidence::Likely)), (31, None)] {
            facts.age_seconds = Some(age);
            assert_eq!(diagnose(&facts).first().map(|one| one.confidence), expected, "{age}");
        }
        facts.pod["status"]["containerStatuses"][0]["state"] = json!({"waiting": {}});
        assert_eq!(diagnose(&facts)[0].confidence, Confidence::Certain);
    }

    #[test]
    fn what_a_program_logs_is_not_taken_for_the_runtimes_words() {
        let table = [
            ("exec /app: exec format error", true),
            ("/app: error while loading shared libraries: libx.so: cannot open", true),
            ("no users found", false),
            ("error: no command specified", false),
            ("fork/exec /bin/tool: exec format error", false),
        ];
        for (line, expected) in table {
            assert_eq!(is_start_error(line), expected, "{line}");
        }
    }
}
