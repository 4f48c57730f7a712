//! Explanations of the responses to a failed probe.

use kdev_core::kube::container::Container;
use kdev_core::kube::object::{list, text};
use kdev_core::shell::quote;
use serde_json::{Value, json};

use crate::facts::Facts;
use crate::fixes;

/// Probe of a container; `kind` is its field in the manifest, such as `livenessProbe`.
struct Probe<'a> {
    facts: &'a Facts,
    container: Container<'a>,
    kind: &'a str,
    spec: &'a Value,
}

/// Responses that do not depend on how long the program has been running.
const PERMANENT_ERRORS: [&str; 7] = [
    "statuscode: 4",
    "executable file not found",
    "no such file",
    "strconv.Atoi: parsing",
    "server gave HTTP response",
    "malformed HTTP response",
    "does not implement the grpc health protocol",
];

/// Returns whether the response stays the same after the program has started.
pub(crate) fn is_permanent(response: &str) -> bool {
    PERMANENT_ERRORS.iter().any(|pattern| response.contains(pattern))
}

/// Explains a response, and returns the reason and the help.
pub(crate) fn explain(
    facts: &Facts,
    container: Container,
    kind: &str,
    probe: &Value,
    response: &str,
) -> (String, String) {
    let probe = Probe { facts, container, kind, spec: probe };
    probe
        .explain_command(response)
        .or_else(|| probe.explain_http(response))
        .or_else(|| probe.explain_connection(response))
        .unwrap_or_else(|| probe.explain_other(response))
}

impl Probe<'_> {
    fn correct_help(&self, setting: &str) -> String {
        let (name, controller) = (self.container.name(), self.facts.controller_id());
        let kind = self.kind;
        format!(
            "correct {setting} in `{kind}` of container `{name}` in the manifest of {controller}"
        )
    }

    fn set_scheme_help(&self, scheme: &str) -> String {
        let patch = self.patch_command(&json!({"httpGet": {"scheme": scheme}}));
        patch.map_or_else(|| self.correct_help("`scheme`"), |patch| format!("run `{patch}`"))
    }

    fn log_help(&self) -> String {
        log_help(self.facts, self.container)
    }

    /// Returns help to probe the only port that the container declares, or `otherwise`.
    fn correct_port_help(&self, otherwise: String) -> String {
        let other =
            other_port(self.container, &port_number(self.container, &probed_port(self.spec)));
        other.and_then(|other| self.set_port_help(other)).unwrap_or(otherwise)
    }

    /// Explains a response of a probe that runs a command.
    fn explain_command(&self, response: &str) -> Option<(String, String)> {
        let contains = |pattern: &str| response.contains(pattern);
        if contains("executable file not found") || contains("exec: ") && contains("no such file") {
            let reason = "program not found in the image".to_owned();
            return Some((reason, self.correct_help("the command")));
        }
        let command = self.spec.pointer("/exec/command").filter(|_| !is_timeout(response))?;
        let help = if self.container.is_running() {
            let words: Vec<String> = list(command).filter_map(Value::as_str).map(quote).collect();
            let (kubectl, pod) = (&self.facts.kubectl, self.facts.pod_name());
            let (name, words) = (self.container.name(), words.join(" "));
            format!("run `{kubectl} exec {pod} --container {name} -- {words}` to see why")
        } else {
            self.log_help()
        };
        Some(("the command fails".to_owned(), help))
    }

    /// Explains an HTTP response, or a response in another protocol.
    fn explain_http(&self, response: &str) -> Option<(String, String)> {
        let contains = |pattern: &str| response.contains(pattern);
        if let Some(code) = response.split("statuscode: ").nth(1) {
            let path = text(self.spec, "/httpGet/path");
            let help = match code.trim() {
                "400" => {
                    let (https, path) =
                        (self.set_scheme_help("HTTPS"), self.correct_help("the path"));
                    format!("if the program uses HTTPS, {https}; otherwise, {path}")
                }
                "401" | "403" => self.correct_help("`httpHeaders` (with credentials) or the path"),
                code if code.starts_with('5') => self.log_help(),
                _ => self.correct_help("the path"),
            };
            return Some((format!("`GET {path}` returns {code}"), help));
        }
        if contains("malformed HTTP response") {
            let help = format!("if the program uses HTTPS, {}", self.set_scheme_help("HTTPS"));
            return Some(("the response is not HTTP".to_owned(), help));
        }
        if contains("server gave HTTP response to HTTPS client") {
            let reason = "the program uses HTTP, but the probe uses HTTPS".to_owned();
            return Some((reason, self.set_scheme_help("HTTP")));
        }
        let reason =
            "the program accepts the connection and closes it without a response".to_owned();
        (contains("EOF") || contains("connection reset")).then(|| (reason, self.log_help()))
    }

    /// Explains a connection that was refused, or a port without a number.
    fn explain_connection(&self, response: &str) -> Option<(String, String)> {
        let port = probed_port(self.spec);
        if response.contains("strconv.Atoi: parsing") {
            let reason = format!("the container has no port named `{port}`");
            return Some((reason, self.correct_port_help(self.correct_help("the port"))));
        }
        if !response.contains("connection refused") {
            return None;
        }
        let port = port_number(self.container, &port);
        let startup_hint = match self.kind {
            "readinessProbe" => "",
            _ => "; if the program starts slowly, increase `failureThreshold`",
        };
        let otherwise = format!(
            "make the program listen on `0.0.0.0:{port}`, because the kubelet cannot reach `127.0.0.1`, or {}{startup_hint}",
            self.correct_help("the port")
        );
        let reason = format!("nothing listens on port {port} of the pod's IP address");
        Some((reason, self.correct_port_help(otherwise)))
    }

    fn explain_other(&self, response: &str) -> (String, String) {
        if self.spec.get("grpc").is_some() {
            let otherwise = self.correct_help("the port or `timeoutSeconds`");
            let right_port = self.correct_port_help(otherwise);
            return explain_grpc(
                self.facts,
                self.container,
                response,
                &probed_port(self.spec),
                right_port,
            );
        }
        if is_timeout(response) {
            let is_command = self.spec.get("exec").is_some();
            let setting = if is_command { "the command" } else { "the port" };
            let seconds = self.spec["timeoutSeconds"].as_u64().unwrap_or(1);
            let reason = format!("no response within {seconds} s");
            return (reason, self.correct_help(&format!("{setting} or `timeoutSeconds`")));
        }
        ("no valid response".to_owned(), self.correct_help("the address"))
    }

    fn set_port_help(&self, port: u64) -> Option<String> {
        let actions = ["httpGet", "tcpSocket", "grpc"];
        let action = actions.into_iter().find(|one| self.spec.get(one).is_some())?;
        let patch = self.patch_command(&json!({action: {"port": port}}))?;
        Some(format!(
            "if the program listens on port {port}, which the container declares, run `{patch}`"
        ))
    }

    /// Returns a command that changes a part of the probe.
    fn patch_command(&self, part: &Value) -> Option<String> {
        fixes::patch_container_command(self.facts, self.container, &json!({self.kind: part}))
    }
}

fn is_timeout(response: &str) -> bool {
    ["timed out", "deadline exceeded", "timeout"].iter().any(|pattern| response.contains(pattern))
}

fn log_help(facts: &Facts, container: Container) -> String {
    let (kubectl, pod, name) = (&facts.kubectl, facts.pod_name(), container.name());
    format!("check the log: `{kubectl} logs {pod} --container {name}`")
}

/// Explains the response to a gRPC health check.
fn explain_grpc(
    facts: &Facts,
    container: Container,
    response: &str,
    port: &str,
    right_port: String,
) -> (String, String) {
    if response.contains("does not implement the grpc health protocol") {
        let reason = "the gRPC server does not implement the health checking protocol".to_owned();
        let help =
            "implement `grpc.health.v1.Health` in the program, or probe its port with `tcpSocket`";
        return (reason, help.to_owned());
    }
    if response.contains("service unhealthy") {
        return (
            "the gRPC health check reports that the program is not serving".to_owned(),
            log_help(facts, container),
        );
    }
    (format!("no gRPC server responds on port {port}"), right_port)
}

fn probed_port(probe: &Value) -> String {
    let port = ["httpGet", "tcpSocket", "grpc"].iter().find_map(|kind| probe[kind].get("port"));
    port.map(|port| port.to_string().trim_matches('"').to_owned()).unwrap_or_default()
}

/// Returns the number of a port that is given by name or number.
fn port_number(container: Container, port: &str) -> String {
    let mut ports = container.spec("/ports").into_iter().flat_map(list);
    let named = ports.find(|one| text(one, "/name") == port);
    named.map_or_else(|| port.to_owned(), |one| one["containerPort"].to_string())
}

/// Returns the only port that the container declares, if it is another one.
fn other_port(container: Container, port: &str) -> Option<u64> {
    let mut ports = list(container.spec("/ports")?).filter_map(|one| one["containerPort"].as_u64());
    let only = ports.next().filter(|_| ports.next().is_none())?;
    (only.to_string() != port).then_some(only)
}
