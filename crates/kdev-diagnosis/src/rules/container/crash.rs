//! A container's program runs, and ends again.

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
    // What runs may be about to end again, or well by now.
    let is_over = !container.is_running()
        || facts.may_end_again(container)
        || !container.is_ready() && probe::failing_probe(facts, container).is_none();
    let shall_go_on = !container.is_init()
        && text(&facts.pod, "/status/phase") != "Succeeded"
        && !["Never", "OnFailure"].contains(&facts.restart_policy(container));
    let is_done = code == 0 && !(shall_go_on && container.restarts() > 0);
    if !is_over
        || is_done
        || start::has_start_error(facts, container)
        || probe::is_restarted_by_probe(facts, container)
    {
        return None;
    }
    let reason = text(ended, "/reason");
    let name = container.name();
    let mut evidence = vec![format!(
        "container `{name}` ended with exit code {code}, {reason}; restarts so far: {}",
        container.restarts()
    )];
    evidence.extend(
        container
            .is_running()
            .then(|| facts.runs_for(container))
            .flatten()
            .map(|seconds| format!("it has been started again, and has run for {seconds} s since")),
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
    let (cause, words, help) = post_start_hook_failed(facts, container, &mut evidence)
        .or_else(|| memory::probably_out_of_memory(facts, container, code))
        .or_else(|| read_only_file_system(facts, container, log))
        .or_else(|| permission_denied(facts, container, log).filter(|_| code != 126))
        .unwrap_or_else(|| describe_exit(facts, container, code));
    let is_sure = [Cause::Crashes, Cause::Ends].contains(&cause) && !container.is_running();
    let confidence = if is_sure { Confidence::Certain } else { Confidence::Likely };
    Some(Diagnosis { cause, confidence, words, evidence, help })
}

/// The pod may run for so many seconds only.
fn deadline_exceeded(facts: &Facts, evidence: Vec<String>) -> Diagnosis {
    let seconds = &facts.pod["spec"]["activeDeadlineSeconds"];
    Diagnosis {
        cause: Cause::DeadlineExceeded,
        confidence: Confidence::Certain,
        words: format!("the pod ran longer than its `activeDeadlineSeconds` of {seconds} allow"),
        evidence,
        help: fixes::by_hand(facts, "raise `activeDeadlineSeconds` in"),
    }
}

/// The line of a log that holds these words, whatever their case.
fn find_line<'a>(log: &'a str, words: &str) -> Option<&'a str> {
    log.lines().rev().find(|line| line.to_lowercase().contains(words))
}

/// What runs just behind the start fails, and takes the program with it.
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
    let words =
        format!("the `postStart` hook of container `{name}` fails, so its program is killed");
    let help = format!(
        "correct `lifecycle.postStart` of container `{name}` in the manifest of {}",
        facts.keeper_id()
    );
    Some((Cause::Crashes, words, help))
}

fn read_only_file_system(
    facts: &Facts,
    container: Container,
    log: &str,
) -> Option<(Cause, String, String)> {
    find_line(log, "read-only file system")?;
    let name = container.name();
    let words = format!("container `{name}` writes to a file system that is read-only");
    let help = format!(
        "mount an `emptyDir` volume at the folder that it writes to, in the manifest of {}",
        facts.keeper_id()
    );
    Some((Cause::ReadOnlyFileSystem, words, help))
}

/// The system refuses something to a user other than root.
fn permission_denied(
    facts: &Facts,
    container: Container,
    log: &str,
) -> Option<(Cause, String, String)> {
    let line =
        find_line(log, "permission denied").or_else(|| find_line(log, "permissiondenied"))?;
    let user = facts.user(container);
    // A database, or another machine, has denied something: no matter of users here.
    let is_elsewhere = ["denied for", "(publickey"].iter().any(|sign| line.contains(sign));
    if user == Some(0) || is_elsewhere {
        return None;
    }
    let name = container.name();
    let who = user.map_or_else(|| "its user".to_owned(), |user| format!("user {user}"));
    let own = user.map_or_else(|| "USER".to_owned(), |user| user.to_string());
    let give = format!(
        "give the files to that user, with `COPY --chown={own}` in the Dockerfile, or with `fsGroup` for a volume"
    );
    let (what, help) = match privileged_port(container) {
        _ if line.to_lowercase().contains("bind") => (
            "listen where it wants to: ports below 1024 are root's".to_owned(),
            privileged_port_help(facts),
        ),
        Some(port) => (
            format!("do what it tries: to listen on port {port}, or to use a file of root's"),
            format!("{}; if it is a file, {give}", privileged_port_help(facts)),
        ),
        None => ("do what it tries, and what root may".to_owned(), give),
    };
    let words = format!("container `{name}` runs as {who}, who may not {what}");
    Some((Cause::PermissionDenied, words, help))
}

/// A port that only root may listen on, in most containers.
fn privileged_port(container: Container) -> Option<u64> {
    let ports = list(container.spec("/ports")?);
    ports.filter_map(|one| one["containerPort"].as_u64()).find(|port| *port < 1024)
}

/// Ports are a matter of the pod's own network, where it has one.
fn privileged_port_help(facts: &Facts) -> String {
    let allowed = json!({"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"});
    let patch = json!({"spec": {"securityContext": {"sysctls": [allowed]}}});
    let spec = &facts.pod["spec"];
    let is_free = spec["hostNetwork"] != true && spec.pointer("/securityContext/sysctls").is_none();
    match fixes::patch(facts, &patch).filter(|_| is_free) {
        Some(patch) => format!("run `{patch}`, or let it listen on a port from 1024 on"),
        None => {
            "let it listen on a port from 1024 on, and name that in `ports` and probes".to_owned()
        }
    }
}

fn describe_exit(facts: &Facts, container: Container, code: i64) -> (Cause, String, String) {
    let (name, kubectl, pod) = (container.name(), &facts.kubectl, facts.pod_name());
    if code == 0 {
        let words = format!(
            "the program of container `{name}` ends by itself, and without an error, where one is expected that goes on"
        );
        let help = format!("let it stay in the foreground, or make {} a Job", facts.keeper_id());
        return (Cause::Ends, words, help);
    }
    let how = match code {
        101 => ", as a Rust program does that panics",
        126 => ", as a shell does that may not execute a program",
        127 => ", as a shell does that finds no such program",
        132 => {
            ", by a signal: the processor does not know an instruction, as one of `target-cpu=native` elsewhere"
        }
        134 => ", by a signal: it aborted itself",
        137 => ", by a signal: it was killed",
        139 => ", by a signal: it used memory that is not its own",
        143 => ", by a signal: it was told to end",
        _ => "",
    };
    let is_one_of_many = container.restarts() > u64::from(container.is_running());
    let ends = if is_one_of_many { "ends again and again," } else { "has ended" };
    let words = format!("the program of container `{name}` {ends} with exit code {code}{how}");
    // Without a present run, the last one is what is shown.
    let previous = if container.is_running() { " --previous" } else { "" };
    let help = format!(
        "read its log with `{kubectl} logs {pod} --container {name}{previous}`, and cure what it complains of"
    );
    (Cause::Crashes, words, help)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// A pod of a Deployment whose container `c` has ended so, with this log.
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
    fn who_is_denied_what_is_told_by_user_port_and_log() {
        let (none, low) = (json!({}), json!({"ports": [{"containerPort": 80}]}));
        let user = |user: u64| json!({"securityContext": {"runAsUser": user}});
        let rust = "Os { code: 13, kind: PermissionDenied, message: \"Permission denied\" }";
        let table = [
            (user(65532), &none, rust, Some("`COPY --chown=65532` in the Dockerfile")),
            (none.clone(), &none, rust, Some("`COPY --chown=USER` in the Dockerfile")),
            (user(1), &low, "bind: Permission denied", Some("net.ipv4.ip_unprivileged_port_start")),
            (user(1), &low, rust, Some("if it is a file, give the files")),
            (user(0), &none, rust, None),
            (user(1), &none, "ERROR: permission denied for table users", None),
            (user(1), &none, "git@example.com: Permission denied (publickey).", None),
        ];
        for (pod, container, log, expected) in table {
            let facts = facts(&pod, container, &json!({"exitCode": 1}), log);
            let one = diagnose(&facts).remove(0);
            let is_denied = one.cause == Cause::PermissionDenied;
            assert_eq!(is_denied, expected.is_some(), "{pod} {log}: {}", one.words);
            assert!(one.help.contains(expected.unwrap_or_default()), "{log}: {}", one.help);
        }
    }

    #[test]
    fn an_end_without_an_error_is_a_fault_only_where_it_is_started_again() {
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
    fn memory_and_time_have_limits_of_their_own() {
        let killed = json!({"exitCode": 137, "reason": "OOMKilled"});
        let limit = |limit: &str| json!({"resources": {"limits": {"memory": limit}}});
        let none = json!({});
        let table = [
            (&none, limit("20Mi"), "uses more memory than its limit of 20Mi"),
            (&limit("1Gi"), none.clone(), "than the pod's limit of 1Gi leaves it"),
            (&none, none.clone(), "the node has no memory left"),
        ];
        for (pod, container, words) in table {
            let one = diagnose(&facts(pod, &container, &killed, "")).remove(0);
            assert_eq!(one.cause, Cause::OutOfMemory);
            assert!(one.words.contains(words), "{}", one.words);
        }
        let unreported = json!({"exitCode": 137, "reason": "Error"});
        let one = diagnose(&facts(&none, &limit("20Mi"), &unreported, "")).remove(0);
        assert_eq!((one.cause, one.confidence), (Cause::OutOfMemory, Confidence::Likely));
        assert!(one.words.ends_with("more memory than its limit of 20Mi"), "{}", one.words);
        let others = [(none.clone(), 137), (limit("20Mi"), 143), (limit("20Mi"), 1)];
        for (container, code) in others {
            let ended = json!({"exitCode": code, "reason": "Error"});
            let one = diagnose(&facts(&none, &container, &ended, "")).remove(0);
            assert_eq!(one.cause, Cause::Crashes, "{container} {code}");
        }
        let ended = json!({"exitCode": 143, "reason": "Error"});
        let mut facts = facts(&json!({"activeDeadlineSeconds": 5}), &none, &ended, "");
        facts.pod["status"]["reason"] = "DeadlineExceeded".into();
        let one = diagnose(&facts).remove(0);
        assert_eq!(one.cause, Cause::DeadlineExceeded);
        assert!(one.words.ends_with("its `activeDeadlineSeconds` of 5 allow"), "{}", one.words);
    }
}
