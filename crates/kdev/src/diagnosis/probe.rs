//! A probe fails: the container is restarted, or gets no traffic. Pure.

use serde_json::{Value, json};

use super::{Cause, Confidence, Diagnosis, cure};
use crate::facts::{ApiEvent, Container, Facts, list, text};

/// The probes, as the kubelet names them, and as a manifest does.
const PROBES: [(&str, &str); 3] =
    [("Startup", "startupProbe"), ("Liveness", "livenessProbe"), ("Readiness", "readinessProbe")];

pub(super) fn diagnose(facts: &Facts) -> Vec<Diagnosis> {
    let failing =
        facts.containers().into_iter().filter_map(|container| of_container(facts, container));
    failing.chain(gate(facts)).collect()
}

/// Whether it is a probe that ends a container again and again.
pub(super) fn restarts(facts: &Facts, container: Container) -> bool {
    let killed = container.exit_code().is_some_and(|code| code == 137 || code == 143);
    killed && failing(facts, container).is_some_and(|(kind, ..)| kind != "readinessProbe")
}

/// The probe that fails, and the kubelet's last words on it.
fn failing<'a>(
    facts: &'a Facts,
    container: Container<'a>,
) -> Option<(&'static str, &'a Value, &'a ApiEvent)> {
    for (said, kind) in PROBES {
        let Some(probe) = container.spec(&format!("/{kind}")) else { continue };
        let start = [format!("{said} probe failed"), format!("{said} probe errored")];
        let mut events = facts.pod_events().rev();
        let is_it = |event: &&ApiEvent| start.iter().any(|start| event.message.contains(start));
        if let Some(event) = events.find(is_it) {
            return Some((kind, probe, event));
        }
    }
    None
}

fn of_container(facts: &Facts, container: Container) -> Option<Diagnosis> {
    let is_killed = restarts(facts, container);
    if container.is_ready() || !(container.is_running() || is_killed) {
        return None;
    }
    let (kind, probe, event) = failing(facts, container)?;
    let name = container.name();
    let answer = event.message.split_once(": ").map_or("", |(_, answer)| answer);
    let cause = if kind == "readinessProbe" { Cause::NotReady } else { Cause::ProbeRestarts };
    let follows = match cause {
        Cause::NotReady => "so the pod gets no traffic",
        _ => "so it is killed and started again",
    };
    let (why, help) = judged(facts, container, kind, probe, answer);
    Some(Diagnosis {
        cause,
        confidence: Confidence::Certain,
        words: format!("the {kind} of container `{name}` fails, {follows}: {why}"),
        evidence: vec![
            format!("the probe: {}", action(probe)),
            format!("its last answer, {} so far: {answer}", times(event.count)),
        ],
        help,
    })
}

fn times(count: u64) -> String {
    if count == 1 { "one".to_owned() } else { format!("{count} like it") }
}

/// What the probe does, as it is written.
fn action(probe: &Value) -> String {
    let kinds = ["httpGet", "tcpSocket", "grpc", "exec"];
    let kind = kinds.into_iter().find(|kind| probe.get(kind).is_some()).unwrap_or("none");
    format!("{kind} {}", probe[kind])
}

/// What the answer means, and what helps.
fn judged(
    facts: &Facts,
    container: Container,
    kind: &str,
    probe: &Value,
    answer: &str,
) -> (String, String) {
    let (name, keeper) = (container.name(), facts.keeper_id());
    let correct = |what: &str| {
        format!("correct {what} in `{kind}` of container `{name}` in the manifest of {keeper}")
    };
    let says = |sign: &str| answer.contains(sign);
    if says("executable file not found") || says("exec: ") && says("no such file") {
        return ("the image has no such program".to_owned(), correct("the command"));
    }
    if let Some(code) = answer.split("statuscode: ").nth(1) {
        let path = text(probe, "/httpGet/path");
        return (format!("it answers {code} to `GET {path}`"), correct("the path"));
    }
    if says("connection refused") {
        let port = port(probe);
        let why = format!("nothing listens on port {port}");
        let help = match other_port(container, &port) {
            Some(other) => set_port(facts, container, kind, probe, other),
            None => Some(correct("the port")),
        };
        return (why, help.unwrap_or_else(|| correct("the port")));
    }
    if says("deadline exceeded") || says("timeout") {
        let seconds = probe["timeoutSeconds"].as_u64().unwrap_or(1);
        return (
            format!("it does not answer within {seconds} s"),
            correct("the port, or `timeoutSeconds`"),
        );
    }
    ("its command fails".to_owned(), correct("the command"))
}

fn port(probe: &Value) -> String {
    let port = ["httpGet", "tcpSocket", "grpc"].iter().find_map(|kind| probe[kind].get("port"));
    port.map(|port| port.to_string().trim_matches('"').to_owned()).unwrap_or_default()
}

/// The only port that the container names, if it is another one.
fn other_port(container: Container, port: &str) -> Option<u64> {
    let mut ports = list(container.spec("/ports")?).filter_map(|one| one["containerPort"].as_u64());
    let only = ports.next().filter(|_| ports.next().is_none())?;
    (only.to_string() != port).then_some(only)
}

fn set_port(
    facts: &Facts,
    container: Container,
    kind: &str,
    probe: &Value,
    port: u64,
) -> Option<String> {
    let action =
        ["httpGet", "tcpSocket", "grpc"].into_iter().find(|one| probe.get(one).is_some())?;
    let probe = json!({kind: {action: {"port": port}}, "name": container.name()});
    let patch = cure::patch(facts, &json!({"spec": {"containers": [probe]}}))?;
    Some(format!("if it listens on the port {port} that it names, run `{patch}`"))
}

/// A readiness gate that nobody has opened yet.
fn gate(facts: &Facts) -> Option<Diagnosis> {
    let is_open = |gate: &str| facts.condition(gate).is_some_and(|one| one["status"] == "True");
    let gates = list(&facts.pod["spec"]["readinessGates"]);
    let closed = gates.map(|gate| text(gate, "/conditionType")).find(|gate| !is_open(gate))?;
    facts.containers().iter().all(Container::is_ready).then(|| Diagnosis {
        cause: Cause::GateClosed,
        confidence: Confidence::Certain,
        words: format!("its readiness gate `{closed}` is closed: some controller must open it"),
        evidence: vec![format!("the pod has no condition `{closed}` that is true")],
        help: format!("see that the controller runs that sets `{closed}`, or take the gate out of the manifest of {}", facts.keeper_id()),
    })
}
