//! Containers whose program starts and then exits.

use kdev_core::kube::container::Container;
use kdev_core::kube::object::{list, text};
use serde_json::json;

use crate::cause::Cause;
use crate::diagnosis::{Confidence, Diagnosis};
use crate::facts::Facts;
use crate::fixes;
use crate::rules::container::{memory, probe, start};

pub(crate) fn diagnose(facts: &Facts) -> Vec<Diagnosis> {
    facts
        .containers()
        .into_iter()
        .filter_map(|container| diagnose_container(facts, container))
        .collect()
}

fn diagnose_container(facts: &Facts, container: Container) -> Option<Diagnosis> {
    let ended = container.ended()?;
    let code = container.exit_code()?;
    // A running container may be about to crash again, or may have recovered.
    let is_over = !container.is_running()
        || facts.may_crash_again(container)
        || !container.is_ready() && probe::failing_probe(facts, container).is_none();
    let must_keep_running = !container.is_init()
        && text(&facts.pod, "/status/phase") != "Succeeded"
        && !["Never", "OnFailure"].contains(&facts.restart_policy(container));
    let has_succeeded = code == 0 && !(must_keep_running && container.restarts() > 0);
    if !is_over
        || has_succeeded
        || start::has_start_error(facts, container)
        || probe::is_restarted_by_probe(facts, container)
    {
        return None;
    }
    let reason = text(ended, "/reason");
    let name = container.name();
    let mut evidence = vec![format!(
        "container `{name}` exited with code {code} ({reason}); restart count: {}",
        container.restarts()
    )];
    evidence.extend(
        container
            .is_running()
            .then(|| facts.running_seconds(container))
            .flatten()
            .map(|seconds| format!("it was restarted and has been running for {seconds} s")),
    );
    let log = facts.logs.get(name).map(String::as_str).unwrap_or_default();
    if !log.is_empty() {
        evidence.push(format!("its log ends with\n{log}"));
    }
    if reason == "OOMKilled" {
        return Some(memory::out_of_memory(facts, container, evidence));
    }
    if text(&facts.pod, "/status/reason") == "DeadlineExceeded" {
        return Some(deadline_exceeded(facts, evidence));
    }
    let (cause, message, help) = post_start_hook_failed(facts, container, &mut evidence)
        .or_else(|| memory::probably_out_of_memory(facts, container, code))
        .or_else(|| read_only_file_system(facts, container, log))
        .or_else(|| permission_denied(facts, container, log).filter(|_| code != 126))
        .unwrap_or_else(|| describe_exit(facts, container, code));
    let is_sure =
        [Cause::CrashLoop, Cause::ExitsWithoutError].contains(&cause) && !container.is_running();
    let confidence = if is_sure { Confidence::Certain } else { Confidence::Likely };
    Some(Diagnosis { cause, confidence, message, evidence, help })
}

/// Diagnoses a pod that exceeded its `activeDeadlineSeconds`.
fn deadline_exceeded(facts: &Facts, evidence: Vec<String>) -> Diagnosis {
    let seconds = &facts.pod["spec"]["activeDeadlineSeconds"];
    Diagnosis {
        cause: Cause::DeadlineExceeded,
        confidence: Confidence::Certain,
        message: format!("the pod ran longer than its `activeDeadlineSeconds` of {seconds}"),
        evidence,
        help: fixes::edit_manifest_help(facts, "increase `activeDeadlineSeconds` in"),
    }
}

/// Returns the last line of a log that contains a lower-case text in any case.
fn find_line<'a>(log: &'a str, lower_case: &str) -> Option<&'a str> {
    log.lines().rev().find(|line| line.to_lowercase().contains(lower_case))
}

/// Explains a failed `postStart` hook, after which the kubelet kills the container.
fn post_start_hook_failed(
    facts: &Facts,
    container: Container,
    evidence: &mut Vec<String>,
) -> Option<(Cause, String, String)> {
    let began = text(container.ended()?, "/startedAt");
    let event = facts
        .container_events(container)
        .rev()
        .find(|event| event.reason == "FailedPostStartHook" && event.is_since(began))?;
    evidence.push(format!("{}: {}", event.reason, event.message));
    let name = container.name();
    let message =
        format!("the `postStart` hook of container `{name}` failed, so the kubelet killed it");
    let help = format!(
        "correct `lifecycle.postStart` of container `{name}` in the manifest of {}",
        facts.controller_id()
    );
    Some((Cause::CrashLoop, message, help))
}

/// Explains a write to a read-only file system.
fn read_only_file_system(
    facts: &Facts,
    container: Container,
    log: &str,
) -> Option<(Cause, String, String)> {
    find_line(log, "read-only file system")?;
    let name = container.name();
    let message = format!("container `{name}` writes to a read-only file system");
    let help = format!(
        "mount an `emptyDir` volume at the directory that the program writes to, in the manifest of {}",
        facts.controller_id()
    );
    Some((Cause::ReadOnlyFileSystem, message, help))
}

/// Explains an operation that is denied to a user other than root.
fn permission_denied(
    facts: &Facts,
    container: Container,
    log: &str,
) -> Option<(Cause, String, String)> {
    let line =
        find_line(log, "permission denied").or_else(|| find_line(log, "permissiondenied"))?;
    let user = facts.run_as_user(container);
    // A database or an SSH server denied access, not the container's system.
    let is_remote = ["denied for", "(publickey"].iter().any(|pattern| line.contains(pattern));
    if user == Some(0) || is_remote {
        return None;
    }
    let name = container.name();
    let user_name =
        user.map_or_else(|| "the user of its image".to_owned(), |user| format!("user {user}"));
    let owner = user.map_or_else(|| "USER".to_owned(), |user| user.to_string());
    let chown = format!(
        "make that user the owner of the files with `COPY --chown={owner}` in the Dockerfile, or set `fsGroup` for a volume"
    );
    let (operation, help) = match privileged_port(container) {
        _ if line.to_lowercase().contains("bind") => {
            ("listen on a port below 1024".to_owned(), privileged_port_help(facts))
        }
        Some(port) => (
            format!("listen on port {port}, or to access a file"),
            format!("{}; if it is a file, {chown}", privileged_port_help(facts)),
        ),
        None => ("access a file or resource".to_owned(), chown),
    };
    let message =
        format!("container `{name}` runs as {user_name}, which is not allowed to {operation}");
    Some((Cause::PermissionDenied, message, help))
}

/// Returns a port of the container on which only root may listen by default.
fn privileged_port(container: Container) -> Option<u64> {
    let ports = list(container.spec("/ports")?);
    ports.filter_map(|one| one["containerPort"].as_u64()).find(|port| *port < 1024)
}

/// Returns help to use a port below 1024. The sysctl belongs to the pod's network
/// namespace, which a pod with `hostNetwork` does not have.
fn privileged_port_help(facts: &Facts) -> String {
    let allowed = json!({"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"});
    let patch = json!({"spec": {"securityContext": {"sysctls": [allowed]}}});
    let spec = &facts.pod["spec"];
    let can_set_sysctls =
        spec["hostNetwork"] != true && spec.pointer("/securityContext/sysctls").is_none();
    match fixes::patch_command(facts, &patch).filter(|_| can_set_sysctls) {
        Some(patch) => format!("run `{patch}`, or make the program listen on a port above 1023"),
        None => "make the program listen on a port above 1023, and update `ports` and the probes"
            .to_owned(),
    }
}

/// Explains an exit by its code.
fn describe_exit(facts: &Facts, container: Container, code: i64) -> (Cause, String, String) {
    let (name, kubectl, pod) = (container.name(), &facts.kubectl, facts.pod_name());
    if code == 0 {
        let message = format!(
            "the program of container `{name}` exits without an error, but must keep running"
        );
        let help = format!(
            "run the program in the foreground, or use a Job instead of {}",
            facts.controller_id()
        );
        return (Cause::ExitsWithoutError, message, help);
    }
    let meaning = match code {
        101 => " (a Rust panic)",
        126 => " (a shell could not execute a program)",
        127 => " (a shell did not find a program)",
        132 => {
            " (SIGILL: the processor does not support an instruction, for example of a build with `target-cpu=native`)"
        }
        134 => " (SIGABRT: it aborted)",
        137 => " (SIGKILL: it was killed)",
        139 => " (SIGSEGV: invalid memory access)",
        143 => " (SIGTERM: it was terminated)",
        _ => "",
    };
    let is_repeated = container.restarts() > u64::from(container.is_running());
    let exits = if is_repeated { "keeps exiting" } else { "exited" };
    let message = format!("the program of container `{name}` {exits} with code {code}{meaning}");
    // If the container is not running, `kubectl logs` shows its last run.
    let previous = if container.is_running() { " --previous" } else { "" };
    let help = format!("check the log: `{kubectl} logs {pod} --container {name}{previous}`");
    (Cause::CrashLoop, message, help)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// Returns a pod of a Deployment whose container `c` exited with this state and log.
    fn facts(pod: &Value, container: &Value, ended: &Value, log: &str) -> Facts {
        let mut spec = json!({"containers": [{"name": "c"}]});
        spec.as_object_mut().unwrap().extend(pod.as_object().unwrap().clone());
        let one = spec["containers"][0].as_object_mut().unwrap();
        one.extend(container.as_object().unwrap().clone());
        let state = json!({"waiting": {"reason": "CrashLoopBackOff"}});
        let status = json!({"name": "c", "restartCount": 1, "state": state,
            "lastState": {"terminated": ended}});
        Facts {
            pod: json!({"metadata": {"name": "p"}, "spec": spec,
                "status": {"containerStatuses": [status]}}),
            owners: vec![json!({"kind": "Deployment", "metadata": {"name": "d"}})],
            logs: [("c".to_owned(), log.to_owned())].into(),
            kubectl: "kubectl".to_owned(),
            ..Facts::default()
        }
    }

    #[test]
    fn permission_denied_depends_on_user_port_and_log() {
        let (none, low) = (json!({}), json!({"ports": [{"containerPort": 80}]}));
        let user = |user: u64| json!({"securityContext": {"runAsUser": user}});
        let rust = "Os { code: 13, kind: PermissionDenied, message: \"Permission denied\" }";
        let table = [
            (user(65532), &none, rust, Some("`COPY --chown=65532` in the Dockerfile")),
            (none.clone(), &none, rust, Some("`COPY --chown=USER` in the Dockerfile")),
            (user(1), &low, "bind: Permission denied", Some("net.ipv4.ip_unprivileged_port_start")),
            (user(1), &low, rust, Some("if it is a file, make that user the owner of the files")),
            (user(0), &none, rust, None),
            (user(1), &none, "ERROR: permission denied for table users", None),
            (user(1), &none, "git@example.com: Permission denied (publickey).", None),
        ];
        for (pod, container, log, expected) in table {
            let facts = facts(&pod, container, &json!({"exitCode": 1}), log);
            let one = diagnose(&facts).remove(0);
            let is_denied = one.cause == Cause::PermissionDenied;
            assert_eq!(is_denied, expected.is_some(), "{pod} {log}: {}", one.message);
            assert!(one.help.contains(expected.unwrap_or_default()), "{log}: {}", one.help);
        }
    }

    #[test]
    fn exit_code_0_fails_only_if_container_is_restarted() {
        let table = [
            (json!({}), json!({}), true),
            (json!({"restartPolicy": "Always"}), json!({}), true),
            (json!({"restartPolicy": "OnFailure"}), json!({}), false),
            (json!({"restartPolicy": "Never"}), json!({}), false),
            (json!({"restartPolicy": "Never"}), json!({"restartPolicy": "Always"}), true),
        ];
        for (pod, container, expected) in table {
            let mut facts = facts(&pod, &container, &json!({"exitCode": 0}), "");
            assert_eq!(!diagnose(&facts).is_empty(), expected, "{pod} {container}");
            facts.pod["status"]["phase"] = "Succeeded".into();
            assert_eq!(diagnose(&facts), [], "{pod} {container}");
        }
    }

    #[test]
    fn memory_limit_and_deadline_are_detected() {
        let killed = json!({"exitCode": 137, "reason": "OOMKilled"});
        let limit = |limit: &str| json!({"resources": {"limits": {"memory": limit}}});
        let none = json!({});
        let table = [
            (&none, limit("20Mi"), "exceeded its memory limit of 20Mi"),
            (&limit("1Gi"), none.clone(), "exceeded the pod's memory limit of 1Gi"),
            (&none, none.clone(), "the node ran out of memory"),
        ];
        for (pod, container, message) in table {
            let one = diagnose(&facts(pod, &container, &killed, "")).remove(0);
            assert_eq!(one.cause, Cause::OutOfMemory);
            assert!(one.message.contains(message), "{}", one.message);
        }
        let unreported = json!({"exitCode": 137, "reason": "Error"});
        let one = diagnose(&facts(&none, &limit("20Mi"), &unreported, "")).remove(0);
        assert_eq!((one.cause, one.confidence), (Cause::OutOfMemory, Confidence::Likely));
        assert!(one.message.ends_with("it exceeded its memory limit of 20Mi"), "{}", one.message);
        let others = [(none.clone(), 137), (limit("20Mi"), 143), (limit("20Mi"), 1)];
        for (container, code) in others {
            let ended = json!({"exitCode": code, "reason": "Error"});
            let one = diagnose(&facts(&none, &container, &ended, "")).remove(0);
            assert_eq!(one.cause, Cause::CrashLoop, "{container} {code}");
        }
        let ended = json!({"exitCode": 143, "reason": "Error"});
        let mut facts = facts(&json!({"activeDeadlineSeconds": 5}), &none, &ended, "");
        facts.pod["status"]["reason"] = "DeadlineExceeded".into();
        let one = diagnose(&facts).remove(0);
        assert_eq!(one.cause, Cause::DeadlineExceeded);
        assert!(one.message.ends_with("its `activeDeadlineSeconds` of 5"), "{}", one.message);
    }
}
