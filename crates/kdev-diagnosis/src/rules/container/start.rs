//! Containers whose program cannot be started.

use kdev_core::kube::container::Container;
use kdev_core::kube::object::{list, text};
use serde_json::Value;

use crate::cause::Cause;
use crate::diagnosis::{Confidence, Diagnosis};
use crate::facts::Facts;
use crate::fixes;
use crate::rules::container::entrypoint::{self, GLIBC_LIBRARY_NOT_FOUND, MUSL_LIBRARY_NOT_FOUND};
use crate::rules::container::memory;

/// Start of a runtime's message if it cannot start a container's program.
const START_ERROR: &str = "unable to start container process: ";
/// Messages of runtimes for a program that does not exist.
const ENTRYPOINT_NOT_FOUND: [&str; 3] =
    ["no such file or directory", "executable file not found", "is a directory"];
/// Messages of containerd, for images with and without a list of users, and of other
/// runtimes for a user that does not exist.
const USER_NOT_FOUND: [&str; 4] = [
    "no users found",
    "no groups found",
    "etc/passwd: no such file",
    "no matching entries in passwd file",
];
/// Number of last lines of a log that are searched for a start error.
const MAX_LOG_LINES: usize = 5;

pub(crate) fn diagnose(facts: &Facts) -> Vec<Diagnosis> {
    facts
        .containers()
        .into_iter()
        .filter_map(|container| diagnose_container(facts, container))
        .collect()
}

/// Returns the error of the kernel, the runtime, or the loader on start. Some runtimes
/// write it to the container's log.
fn start_error<'a>(facts: &'a Facts, container: Container<'a>) -> Option<&'a str> {
    let ended = container.ended().map(|ended| text(ended, "/message"));
    let waiting = container.waiting().map(|(_, message)| message);
    let log = facts.logs.get(container.name()).map(|log| log.lines().rev().take(MAX_LOG_LINES));
    // A log can contain any text, so only messages count that programs do not write.
    let log = log.into_iter().flatten().filter(|line| is_start_error(line));
    let all = ended.into_iter().chain(waiting).chain(log);
    all.into_iter().find(|error| classify(error).is_some())
}

fn is_start_error(line: &str) -> bool {
    line.starts_with("exec ") || line.contains(START_ERROR) || is_library_error(line)
}

fn is_library_error(error: &str) -> bool {
    let is_older = error.contains(": version `") && error.contains(" not found (required by ");
    error.contains(GLIBC_LIBRARY_NOT_FOUND) || error.starts_with(MUSL_LIBRARY_NOT_FOUND) || is_older
}

/// Returns whether the start of a container failed.
pub(crate) fn has_start_error(facts: &Facts, container: Container) -> bool {
    start_error(facts, container).is_some()
}

fn classify(error: &str) -> Option<Cause> {
    let contains = |pattern: &str| error.contains(pattern);
    let starts = contains("unable to start container process: exec") || error.starts_with("exec ");
    if contains("exec format error") {
        Some(Cause::WrongArchitecture)
    } else if is_library_error(error)
        || error.starts_with("exec ") && contains(": no such file or directory")
    {
        Some(Cause::LibraryNotFound)
    } else if contains("container init was OOM-killed") {
        Some(Cause::OutOfMemory)
    } else if starts && ENTRYPOINT_NOT_FOUND.iter().any(|pattern| contains(pattern)) {
        Some(Cause::EntrypointNotFound)
    } else if starts && contains("permission denied") {
        Some(Cause::EntrypointNotExecutable)
    } else if contains("no command specified") {
        Some(Cause::EntrypointNotFound)
    } else if contains("error mounting ") && contains("to rootfs at ") && contains("a directory") {
        Some(Cause::MountFailed)
    } else if USER_NOT_FOUND.iter().any(|pattern| contains(pattern)) {
        Some(Cause::UserNotFound)
    } else if contains(START_ERROR) && !contains("exec failed") {
        Some(Cause::StartFailed)
    } else {
        None
    }
}

/// Returns whether the program's name has the extension of a script.
fn has_script_extension(program: &str) -> bool {
    let (_, end) = program.rsplit_once('.').unwrap_or_default();
    ["sh", "bash", "py", "rb", "pl", "js"].contains(&end)
}

/// Parses the program: in quotes after `exec: `, or without quotes after `exec `.
fn parse_program(error: &str) -> Option<&str> {
    if let Some((_, rest)) = error.split_once("exec: \"") {
        return rest.split('"').next();
    }
    error.strip_prefix("exec ")?.split(':').next()
}

fn diagnose_container(facts: &Facts, container: Container) -> Option<Diagnosis> {
    if container.is_running() && !facts.may_crash_again(container) {
        return None;
    }
    let error = start_error(facts, container)?;
    let cause = classify(error)?;
    let (name, image) = (container.name(), container.image());
    let program = parse_program(error).unwrap_or("the program");
    let reported = format!("container `{name}`: {error}");
    let diagnosis = |cause, message, help| Diagnosis {
        cause,
        confidence: confidence(container),
        message,
        evidence: vec![reported.clone()],
        help,
    };
    Some(match cause {
        Cause::WrongArchitecture => exec_format_error(facts, container, program, reported),
        Cause::LibraryNotFound => {
            let (message, help) = entrypoint::library_not_found(facts, image, program, error);
            diagnosis(cause, message, help)
        }
        Cause::OutOfMemory => memory::out_of_memory(facts, container, vec![reported]),
        Cause::EntrypointNotFound => {
            let (message, help) =
                entrypoint::entrypoint_not_found(facts, container, program, error);
            diagnosis(cause, message, help)
        }
        // Many runtimes report the same error for a directory.
        Cause::EntrypointNotExecutable => diagnosis(
            cause,
            format!("`{program}` in `{image}` is not executable, or is a directory"),
            format!(
                "use `COPY --chmod=755 …` or `RUN chmod 755 {program}` in the Dockerfile; if it is a directory, correct the target of `COPY`"
            ),
        ),
        Cause::MountFailed => {
            let (message, help) = mount_type_mismatch(facts, container, error)
                .unwrap_or_else(|| start_failed(facts, container, error));
            diagnosis(cause, message, help)
        }
        Cause::UserNotFound => diagnosis(
            cause,
            format!("the user of `{image}` is not in its `/etc/passwd`"),
            "set a numeric user in the Dockerfile, such as `USER 1000`".to_owned(),
        ),
        _ => {
            let (message, help) = start_failed(facts, container, error);
            diagnosis(cause, message, help)
        }
    })
}

/// Returns the confidence in a start error: a later start may have succeeded.
fn confidence(container: Container) -> Confidence {
    if container.is_running() { Confidence::Likely } else { Confidence::Certain }
}

/// Diagnoses a program in a format that the kernel cannot execute.
fn exec_format_error(
    facts: &Facts,
    container: Container,
    program: &str,
    error: String,
) -> Diagnosis {
    let image = container.image();
    let (platform, others) = node_and_image_platforms(facts, container);
    let rebuild = rebuild_command(facts, container, &platform);
    let mut diagnosis = Diagnosis {
        cause: Cause::WrongArchitecture,
        confidence: Confidence::Likely,
        message: format!(
            "`{program}` cannot run on {platform}: it is built for another architecture, or is a script without a shebang line such as `#!/bin/sh`"
        ),
        evidence: vec![error],
        help: format!("build the image for {platform} and load it: `{rebuild}`"),
    };
    if let Some(others) = others {
        let evidence = format!("the image on the node is for {others}; the node is {platform}");
        diagnosis.evidence.push(evidence);
        diagnosis.confidence = confidence(container);
        diagnosis.message = format!("`{image}` is built for {others}, but the node is {platform}");
    } else if has_script_extension(program) {
        diagnosis.cause = Cause::NoInterpreter;
        diagnosis.message = format!("script `{program}` has no shebang line such as `#!/bin/sh`");
        diagnosis.help = format!(
            "run `{rebuild}` after adding a shebang line such as `#!/bin/sh` to `{program}`"
        );
    }
    diagnosis
}

/// Explains the mount of a file over a directory, or of a directory over a file.
fn mount_type_mismatch(
    facts: &Facts,
    container: Container,
    error: &str,
) -> Option<(String, String)> {
    let path = error.split("to rootfs at \"").nth(1)?.split('"').next()?;
    // In many images `/var/run` is a link, which the runtime follows.
    let resolve = |path: &str| path.strip_prefix("/var/run/").map(|rest| format!("/run/{rest}"));
    let is_at_path = |mount: &&Value| {
        let mount_path = text(mount, "/mountPath");
        mount_path == path || resolve(mount_path).is_some_and(|resolved| resolved == path)
    };
    let mount = container.spec("/volumeMounts").into_iter().flat_map(list).find(is_at_path)?;
    let (volume, sub_path) = (text(mount, "/name"), text(mount, "/subPath"));
    let image = container.image();
    let controller = facts.controller_id();
    let help = match sub_path {
        "" => format!("mount volume `{volume}` at a directory, in the manifest of {controller}"),
        sub_path => format!(
            "correct `subPath: {sub_path}` of volume `{volume}` in the manifest of {controller}: a path that does not exist in the volume is mounted as a directory"
        ),
    };
    Some((
        format!(
            "volume `{volume}` cannot be mounted at `{path}` of `{image}`: one of them is a directory, and the other is a file"
        ),
        help,
    ))
}

/// Explains any other start error with the runtime's message.
fn start_failed(facts: &Facts, container: Container, error: &str) -> (String, String) {
    let (name, controller) = (container.name(), facts.controller_id());
    let reason = error.split(START_ERROR).nth(1).unwrap_or(error);
    let reason =
        reason.trim_start_matches("error during container init: ").trim_end_matches(": unknown");
    let directory = container.spec("/workingDir").and_then(Value::as_str).unwrap_or_default();
    let help = if !directory.is_empty() && reason.contains(directory) {
        format!("correct `workingDir` of container `{name}` in the manifest of {controller}")
    } else {
        fixes::describe_help(facts)
    };
    (format!("container `{name}` cannot be started: {reason}"), help)
}

/// Returns the node's platform, and the platforms of its image if they are others.
fn node_and_image_platforms(facts: &Facts, container: Container) -> (String, Option<String>) {
    let node = facts.platform();
    let stored = container
        .reference()
        .and_then(|reference| facts.images_on_pod_node()?.in_cri_namespace(&reference.to_string()))
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
    fn start_error_determines_cause() {
        let runc = "failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: exec: ";
        let table = [
            ("exec /arm: exec format error", Some((Cause::WrongArchitecture, "/arm"))),
            ("exec /app: no such file or directory", Some((Cause::LibraryNotFound, "/app"))),
            (
                &*format!("{runc}\"/server\": stat /server: no such file or directory: unknown"),
                Some((Cause::EntrypointNotFound, "/server")),
            ),
            (
                &*format!("{runc}\"server\": executable file not found in $PATH"),
                Some((Cause::EntrypointNotFound, "server")),
            ),
            (
                &*format!("{runc}\"/app\": permission denied: unknown"),
                Some((Cause::EntrypointNotExecutable, "/app")),
            ),
            (
                "open /tmp/containerd-mount1/etc/passwd: no such file or directory",
                Some((Cause::UserNotFound, "")),
            ),
            ("openat etc/passwd: no such file or directory", Some((Cause::UserNotFound, ""))),
            ("failed to generate spec: no users found", Some((Cause::UserNotFound, ""))),
            (
                "/app: /lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.38' not found (required by /app)",
                Some((Cause::LibraryNotFound, "")),
            ),
            (
                "Error loading shared library libpq.so.5: No such file or directory (needed by /app)",
                Some((Cause::LibraryNotFound, "")),
            ),
            (
                &*format!("{runc}\"/app\": is a directory: unknown"),
                Some((Cause::EntrypointNotFound, "/app")),
            ),
            (
                "container init was OOM-killed (memory limit too low?)",
                Some((Cause::OutOfMemory, "")),
            ),
            ("cannot open config.toml: no such file or directory", None),
            ("touch: /data: Permission denied", None),
            (
                "spec: failed to generate spec: no command specified",
                Some((Cause::EntrypointNotFound, "")),
            ),
            (
                "unable to start container process: error during container init: error mounting \"/a\" to rootfs at \"/b\": mount /a:/b: not a directory",
                Some((Cause::MountFailed, "")),
            ),
            (
                "unable to start container process: error during container init: mkdir /app: not a directory",
                Some((Cause::StartFailed, "")),
            ),
        ];
        for (error, expected) in table {
            let found =
                classify(error).map(|cause| (cause, parse_program(error).unwrap_or_default()));
            assert_eq!(found, expected, "{error}");
        }
    }

    #[test]
    fn start_error_is_reported_until_restart_succeeds() {
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
    fn program_log_is_not_a_start_error() {
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
