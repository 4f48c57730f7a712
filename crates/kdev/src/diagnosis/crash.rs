//! A container's program runs, and ends again. Pure.

use serde_json::json;

use super::{Cause, Confidence, Diagnosis, cure, probe, start};
use crate::facts::{Container, Facts, text};

pub(super) fn diagnose(facts: &Facts) -> Vec<Diagnosis> {
    facts.containers().into_iter().filter_map(|container| of_container(facts, container)).collect()
}

fn of_container(facts: &Facts, container: Container) -> Option<Diagnosis> {
    let ended = container.ended()?;
    let code = container.exit_code()?;
    // What runs may be about to end again, or well by now.
    let is_over = !container.is_running()
        || facts.may_end_again(container)
        || !container.is_ready() && probe::failing(facts, container).is_none();
    let is_done = code == 0 && (container.is_init() || container.restarts() == 0);
    if !is_over || is_done || start::failed(facts, container) || probe::restarts(facts, container) {
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
        return Some(out_of_memory(facts, container, evidence));
    }
    let (cause, words, help) = hook(facts, container, &mut evidence)
        .or_else(|| writes_in_vain(facts, container, log))
        .or_else(|| denied(facts, container, log).filter(|_| code != 126))
        .unwrap_or_else(|| crashes(facts, container, code));
    let is_sure = [Cause::Crashes, Cause::Ends].contains(&cause) && !container.is_running();
    let confidence = if is_sure { Confidence::Certain } else { Confidence::Likely };
    Some(Diagnosis { cause, confidence, words, evidence, help })
}

fn out_of_memory(facts: &Facts, container: Container, evidence: Vec<String>) -> Diagnosis {
    let name = container.name();
    let limit = container.spec("/resources/limits/memory").and_then(|limit| limit.as_str());
    let (words, help) = match limit {
        Some(limit) => (
            format!("container `{name}` uses more memory than its limit of {limit}"),
            cure::set_memory(facts, container, &doubled(limit)),
        ),
        None => (
            format!("the node has no memory left for container `{name}`"),
            format!("see what uses it with `{} top pods`", facts.kubectl),
        ),
    };
    let (cause, confidence) = (Cause::OutOfMemory, Confidence::Certain);
    Diagnosis { cause, confidence, words, evidence, help }
}

/// Twice a quantity: its number counts, whatever the unit.
fn doubled(quantity: &str) -> String {
    let end = quantity.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(quantity.len());
    let (number, unit) = quantity.split_at(end);
    number.parse::<f64>().map_or_else(|_| "SIZE".to_owned(), |n| format!("{}{unit}", 2.0 * n))
}

/// The line of a log that holds these words, whatever their case.
fn line<'a>(log: &'a str, words: &str) -> Option<&'a str> {
    log.lines().rev().find(|line| line.to_lowercase().contains(words))
}

/// What runs just behind the start fails, and takes the program with it.
fn hook(
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

fn writes_in_vain(
    facts: &Facts,
    container: Container,
    log: &str,
) -> Option<(Cause, String, String)> {
    line(log, "read-only file system")?;
    let name = container.name();
    let words = format!("container `{name}` writes to a file system that is read-only");
    let help = format!(
        "mount an `emptyDir` volume at the folder that it writes to, in the manifest of {}",
        facts.keeper_id()
    );
    Some((Cause::ReadOnlyFileSystem, words, help))
}

/// A user other than root is refused something.
fn denied(facts: &Facts, container: Container, log: &str) -> Option<(Cause, String, String)> {
    let line = line(log, "permission denied")?;
    let name = container.name();
    let user = ["/spec/securityContext/runAsUser"].iter().find_map(|path| facts.pod.pointer(path));
    let user = container.spec("/securityContext/runAsUser").or(user);
    let user = user.map_or_else(|| "its user".to_owned(), |user| format!("user {user}"));
    let (what, help) = if line.to_lowercase().contains("bind") {
        ("listen where it wants to: ports below 1024 are root's", allow_low_ports(facts))
    } else {
        (
            "do what it tries, and what root may",
            "give the files to that user, with `COPY --chown=1000` in the Dockerfile or `fsGroup` for a volume".to_owned(),
        )
    };
    let words = format!("container `{name}` runs as {user}, who may not {what}");
    Some((Cause::PermissionDenied, words, help))
}

/// Ports are a matter of the pod's own network, where it has one.
fn allow_low_ports(facts: &Facts) -> String {
    let allowed = json!({"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"});
    let patch = json!({"spec": {"securityContext": {"sysctls": [allowed]}}});
    let spec = &facts.pod["spec"];
    let is_free = spec["hostNetwork"] != true && spec.pointer("/securityContext/sysctls").is_none();
    match cure::patch(facts, &patch).filter(|_| is_free) {
        Some(patch) => format!("run `{patch}`, or let it listen on a port from 1024 on"),
        None => {
            "let it listen on a port from 1024 on, and name that in `ports` and probes".to_owned()
        }
    }
}

fn crashes(facts: &Facts, container: Container, code: i64) -> (Cause, String, String) {
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
    use super::*;

    #[test]
    fn a_limit_is_doubled_whatever_its_unit() {
        let table =
            [("20Mi", "40Mi"), ("1Gi", "2Gi"), ("500", "1000"), ("1.5Gi", "3Gi"), ("", "SIZE")];
        for (limit, twice) in table {
            assert_eq!(doubled(limit), twice, "{limit}");
        }
    }
}
