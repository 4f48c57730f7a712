//! What a probe's answer means, and what helps.

use kdev_core::kube::container::Container;
use kdev_core::kube::object::{list, text};
use kdev_core::shell::quote;
use serde_json::{Value, json};

use crate::facts::Facts;
use crate::fixes;

/// A probe of a container, by the name that the manifest has for its kind.
struct Probe<'a> {
    facts: &'a Facts,
    container: Container<'a>,
    kind: &'a str,
    spec: &'a Value,
}

/// Answers that no time changes.
const PERMANENT_ERRORS: [&str; 7] = [
    "statuscode: 4",
    "executable file not found",
    "no such file",
    "strconv.Atoi: parsing",
    "server gave HTTP response",
    "malformed HTTP response",
    "does not implement the grpc health protocol",
];

/// Whether a program that is still starting will not answer otherwise later.
pub(crate) fn is_permanent(answer: &str) -> bool {
    PERMANENT_ERRORS.iter().any(|sign| answer.contains(sign))
}

/// What the answer means, and what helps.
pub(crate) fn explain(
    facts: &Facts,
    container: Container,
    kind: &str,
    probe: &Value,
    answer: &str,
) -> (String, String) {
    let probe = Probe { facts, container, kind, spec: probe };
    probe
        .explain_command(answer)
        .or_else(|| probe.explain_http(answer))
        .or_else(|| probe.explain_connection(answer))
        .unwrap_or_else(|| probe.explain_other(answer))
}

impl Probe<'_> {
    fn correct_help(&self, what: &str) -> String {
        let (name, keeper) = (self.container.name(), self.facts.keeper_id());
        let kind = self.kind;
        format!("correct {what} in `{kind}` of container `{name}` in the manifest of {keeper}")
    }

    fn set_scheme_help(&self, scheme: &str) -> String {
        let patch = self.patch_command(&json!({"httpGet": {"scheme": scheme}}));
        patch.map_or_else(|| self.correct_help("`scheme`"), |patch| format!("run `{patch}`"))
    }

    fn log_help(&self) -> String {
        log_help(self.facts, self.container)
    }

    /// By the only port that the container names, or else as told.
    fn correct_port_help(&self, otherwise: String) -> String {
        let other =
            other_port(self.container, &port_number(self.container, &probed_port(self.spec)));
        other.and_then(|other| self.set_port_help(other)).unwrap_or(otherwise)
    }

    /// Its command was run, or should have been.
    fn explain_command(&self, answer: &str) -> Option<(String, String)> {
        let says = |sign: &str| answer.contains(sign);
        if says("executable file not found") || says("exec: ") && says("no such file") {
            let why = "the image has no such program".to_owned();
            return Some((why, self.correct_help("the command")));
        }
        let command = self.spec.pointer("/exec/command").filter(|_| !is_timeout(answer))?;
        let help = if self.container.is_running() {
            let words: Vec<String> = list(command).filter_map(Value::as_str).map(quote).collect();
            let (kubectl, pod) = (&self.facts.kubectl, self.facts.pod_name());
            let (name, words) = (self.container.name(), words.join(" "));
            format!("see why with `{kubectl} exec {pod} --container {name} -- {words}`")
        } else {
            self.log_help()
        };
        Some(("its command fails".to_owned(), help))
    }

    /// Something has answered, or speaks another language.
    fn explain_http(&self, answer: &str) -> Option<(String, String)> {
        let says = |sign: &str| answer.contains(sign);
        if let Some(code) = answer.split("statuscode: ").nth(1) {
            let path = text(self.spec, "/httpGet/path");
            let help = match code.trim() {
                "400" => {
                    let (https, path) =
                        (self.set_scheme_help("HTTPS"), self.correct_help("the path"));
                    format!("if it speaks HTTPS, {https}; if not, {path}")
                }
                "401" | "403" => {
                    self.correct_help("`httpHeaders`, which must let the kubelet in, or the path")
                }
                code if code.starts_with('5') => self.log_help(),
                _ => self.correct_help("the path"),
            };
            return Some((format!("it answers {code} to `GET {path}`"), help));
        }
        if says("malformed HTTP response") {
            let help = format!("if it speaks HTTPS, {}", self.set_scheme_help("HTTPS"));
            return Some(("it answers, but not by HTTP".to_owned(), help));
        }
        if says("server gave HTTP response to HTTPS client") {
            let why = "it speaks HTTP, and is asked by HTTPS".to_owned();
            return Some((why, self.set_scheme_help("HTTP")));
        }
        let why = "it takes the connection, and ends it without an answer".to_owned();
        (says("EOF") || says("connection reset")).then(|| (why, self.log_help()))
    }

    /// Nothing has taken the connection.
    fn explain_connection(&self, answer: &str) -> Option<(String, String)> {
        let port = probed_port(self.spec);
        if answer.contains("strconv.Atoi: parsing") {
            let why = format!("the container has no port that is called `{port}`");
            return Some((why, self.correct_port_help(self.correct_help("the port"))));
        }
        if !answer.contains("connection refused") {
            return None;
        }
        let port = port_number(self.container, &port);
        let longer = match self.kind {
            "readinessProbe" => "",
            _ => ", or raise its `failureThreshold` if the start takes long",
        };
        let otherwise = format!(
            "let the program listen on `0.0.0.0:{port}`, since `127.0.0.1` is for itself alone; or {}{longer}",
            self.correct_help("the port")
        );
        let why = format!("nothing listens on port {port} of the pod's address");
        Some((why, self.correct_port_help(otherwise)))
    }

    fn explain_other(&self, answer: &str) -> (String, String) {
        if self.spec.get("grpc").is_some() {
            let otherwise = self.correct_help("the port, or `timeoutSeconds`,");
            let right_port = self.correct_port_help(otherwise);
            return explain_grpc(
                self.facts,
                self.container,
                answer,
                &probed_port(self.spec),
                right_port,
            );
        }
        if is_timeout(answer) {
            let is_command = self.spec.get("exec").is_some();
            let what = if is_command { "the command" } else { "the port" };
            let seconds = self.spec["timeoutSeconds"].as_u64().unwrap_or(1);
            let why = format!("it does not answer within {seconds} s");
            return (why, self.correct_help(&format!("{what}, or `timeoutSeconds`,")));
        }
        ("it gets no answer that counts".to_owned(), self.correct_help("the address"))
    }

    fn set_port_help(&self, port: u64) -> Option<String> {
        let actions = ["httpGet", "tcpSocket", "grpc"];
        let action = actions.into_iter().find(|one| self.spec.get(one).is_some())?;
        let patch = self.patch_command(&json!({action: {"port": port}}))?;
        Some(format!("if it listens on the port {port} that it names, run `{patch}`"))
    }

    /// Changes a part of it.
    fn patch_command(&self, part: &Value) -> Option<String> {
        fixes::patch_container(self.facts, self.container, &json!({self.kind: part}))
    }
}

fn is_timeout(answer: &str) -> bool {
    ["timed out", "deadline exceeded", "timeout"].iter().any(|sign| answer.contains(sign))
}

fn log_help(facts: &Facts, container: Container) -> String {
    let (kubectl, pod, name) = (&facts.kubectl, facts.pod_name(), container.name());
    format!(
        "read its log with `{kubectl} logs {pod} --container {name}`, and cure what it complains of"
    )
}

/// What an answer to gRPC's health check means.
fn explain_grpc(
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
        return ("it answers that it does not serve".to_owned(), log_help(facts, container));
    }
    (format!("no gRPC server answers on port {port}"), right_port)
}

fn probed_port(probe: &Value) -> String {
    let port = ["httpGet", "tcpSocket", "grpc"].iter().find_map(|kind| probe[kind].get("port"));
    port.map(|port| port.to_string().trim_matches('"').to_owned()).unwrap_or_default()
}

/// The number of a port that is told by its name.
fn port_number(container: Container, port: &str) -> String {
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
