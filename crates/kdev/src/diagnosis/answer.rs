//! What a probe's answer means, and what helps. Pure.

use serde_json::{Value, json};

use super::cure;
use crate::cmd::quoted;
use crate::container::Container;
use crate::facts::{Facts, list, text};

/// What the answer means, and what helps.
pub(super) fn judged(
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
    let seconds = probe["timeoutSeconds"].as_u64().unwrap_or(1);
    let right_port = |otherwise: String| {
        let other = other_port(container, &number(container, &port(probe)));
        let set = other.and_then(|other| set_port(facts, container, kind, probe, other));
        set.unwrap_or(otherwise)
    };
    if says("executable file not found") || says("exec: ") && says("no such file") {
        return ("the image has no such program".to_owned(), correct("the command"));
    }
    let scheme = |scheme: &str| {
        let patch = set(facts, container, kind, &json!({"httpGet": {"scheme": scheme}}));
        patch.map_or_else(|| correct("`scheme`"), |patch| format!("run `{patch}`"))
    };
    if let Some(code) = answer.split("statuscode: ").nth(1) {
        let path = text(probe, "/httpGet/path");
        let why = format!("it answers {code} to `GET {path}`");
        let help = match code.trim() {
            "400" => {
                format!("if it speaks HTTPS, {}; if not, {}", scheme("HTTPS"), correct("the path"))
            }
            "401" | "403" => correct("`httpHeaders`, which must let the kubelet in, or the path"),
            code if code.starts_with('5') => log(facts, container),
            _ => correct("the path"),
        };
        return (why, help);
    }
    if says("malformed HTTP response") {
        return (
            "it answers, but not by HTTP".to_owned(),
            format!("if it speaks HTTPS, {}", scheme("HTTPS")),
        );
    }
    if says("EOF") || says("connection reset") {
        return (
            "it takes the connection, and ends it without an answer".to_owned(),
            log(facts, container),
        );
    }
    if says("strconv.Atoi: parsing") {
        let port = port(probe);
        return (
            format!("the container has no port that is called `{port}`"),
            right_port(correct("the port")),
        );
    }
    if says("server gave HTTP response to HTTPS client") {
        return ("it speaks HTTP, and is asked by HTTPS".to_owned(), scheme("HTTP"));
    }
    if says("connection refused") {
        let port = number(container, &port(probe));
        let why = format!("nothing listens on port {port} of the pod's address");
        let longer = match kind {
            "readinessProbe" => "",
            _ => ", or raise its `failureThreshold` if the start takes long",
        };
        let otherwise = format!(
            "let the program listen on `0.0.0.0:{port}`, since `127.0.0.1` is for itself alone; or {}{longer}",
            correct("the port")
        );
        return (why, right_port(otherwise));
    }
    if probe.get("grpc").is_some() {
        return grpc(
            facts,
            container,
            answer,
            &port(probe),
            right_port(correct("the port, or `timeoutSeconds`,")),
        );
    }
    if says("timed out") || says("deadline exceeded") || says("timeout") {
        let what = if probe.get("exec").is_some() { "the command" } else { "the port" };
        let why = format!("it does not answer within {seconds} s");
        return (why, correct(&format!("{what}, or `timeoutSeconds`,")));
    }
    if let Some(command) = probe.pointer("/exec/command").filter(|_| container.is_running()) {
        let words: Vec<String> = list(command).filter_map(Value::as_str).map(quoted).collect();
        let (kubectl, pod) = (&facts.kubectl, facts.pod_name());
        let run = format!("{kubectl} exec {pod} --container {name} -- {}", words.join(" "));
        return ("its command fails".to_owned(), format!("see why with `{run}`"));
    }
    if probe.get("exec").is_some() {
        return ("its command fails".to_owned(), log(facts, container));
    }
    ("it gets no answer that counts".to_owned(), correct("the address"))
}

fn log(facts: &Facts, container: Container) -> String {
    let (kubectl, pod, name) = (&facts.kubectl, facts.pod_name(), container.name());
    format!(
        "read its log with `{kubectl} logs {pod} --container {name}`, and cure what it complains of"
    )
}

/// What an answer to gRPC's health check means.
fn grpc(
    facts: &Facts,
    container: Container,
    answer: &str,
    port: &str,
    right_port: String,
) -> (String, String) {
    if answer.contains("does not implement the grpc health protocol") {
        let why = "it speaks gRPC, but not the protocol for health checks".to_owned();
        let help =
            "let the program serve `grpc.health.v1.Health`, or probe its port with `tcpSocket`";
        return (why, help.to_owned());
    }
    if answer.contains("service unhealthy") {
        return ("it answers that it does not serve".to_owned(), log(facts, container));
    }
    (format!("no gRPC server answers on port {port}"), right_port)
}

fn port(probe: &Value) -> String {
    let port = ["httpGet", "tcpSocket", "grpc"].iter().find_map(|kind| probe[kind].get("port"));
    port.map(|port| port.to_string().trim_matches('"').to_owned()).unwrap_or_default()
}

/// The number of a port that is told by its name.
fn number(container: Container, port: &str) -> String {
    let mut ports = container.spec("/ports").into_iter().flat_map(list);
    let named = ports.find(|one| text(one, "/name") == port);
    named.map_or_else(|| port.to_owned(), |one| one["containerPort"].to_string())
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
    let patch = set(facts, container, kind, &json!({action: {"port": port}}))?;
    Some(format!("if it listens on the port {port} that it names, run `{patch}`"))
}

/// Changes a part of a probe.
fn set(facts: &Facts, container: Container, kind: &str, part: &Value) -> Option<String> {
    cure::patch_container(facts, container, &json!({kind: part}))
}
