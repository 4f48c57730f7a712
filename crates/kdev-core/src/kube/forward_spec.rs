//! Which port of which workload is forwarded to which local port.

use serde_json::Value;

use crate::kube::object::{list, text};
use crate::text;

/// A port to forward, as `[LOCAL:]PORT[/WORKLOAD]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardSpec {
    pub local: LocalPort,
    pub port: PortRef,
    /// `NAME` or `KIND/NAME`; `None` for the project's first workload.
    pub workload: Option<String>,
}

/// A port on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalPort {
    /// The same number as in the pod.
    Same,
    /// Any free port.
    Any,
    Number(u16),
}

/// A port of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortRef {
    Number(u16),
    /// The name of a container port.
    Name(String),
}

impl std::fmt::Display for PortRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

impl ForwardSpec {
    /// Parses a port. The error is a reason, such as "`0` is not a port".
    pub fn parse(text: &str) -> Result<Self, String> {
        let (ports, workload) = match text.split_once('/') {
            Some((_, "")) => return Err("the workload is empty".to_owned()),
            Some((ports, workload)) => (ports, Some(workload.to_owned())),
            None => (text, None),
        };
        let (local, port) = match ports.split_once(':') {
            None => (LocalPort::Same, ports),
            Some(("" | "0", port)) => (LocalPort::Any, port),
            Some((local, port)) => (LocalPort::Number(parse_number(local)?), port),
        };
        let port = if is_port_name(port) {
            PortRef::Name(port.to_owned())
        } else {
            PortRef::Number(parse_number(port)?)
        };
        Ok(Self { local, port, workload })
    }
}

fn parse_number(text: &str) -> Result<u16, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("`{text}` is not a port"))
}

/// Whether a text can be the name of a port: at most 15 letters, digits, and hyphens, with at
/// least one letter.
fn is_port_name(text: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    text.len() <= 15 && text.chars().all(is_allowed) && text.chars().any(|c| c.is_ascii_lowercase())
}

/// A port of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerPort {
    pub name: String,
    pub number: u16,
    pub protocol: String,
}

impl ContainerPort {
    pub fn is_tcp(&self) -> bool {
        self.protocol == "TCP"
    }
}

/// Returns the ports of the containers in a pod spec.
pub fn container_ports(spec: &Value) -> Vec<ContainerPort> {
    let port = |port: &Value| {
        let protocol = text(port, "/protocol");
        Some(ContainerPort {
            name: text(port, "/name").to_owned(),
            number: u16::try_from(port["containerPort"].as_u64()?).ok()?,
            protocol: if protocol.is_empty() { "TCP" } else { protocol }.to_owned(),
        })
    };
    ["containers", "initContainers"]
        .into_iter()
        .flat_map(|field| list(&spec[field]))
        .flat_map(|container| list(&container["ports"]))
        .filter_map(port)
        .collect()
}

/// Finds the number of a port of `owner`, such as `deployment/hello`. A number needs no declaration,
/// because declarations have no effect. The error is a reason.
pub fn resolve_port(port: &PortRef, ports: &[ContainerPort], owner: &str) -> Result<u16, String> {
    let is_meant = |one: &&ContainerPort| match port {
        PortRef::Number(number) => one.number == *number,
        PortRef::Name(name) => one.name == *name,
    };
    let mut declared = ports.iter().filter(is_meant);
    match (port, declared.clone().find(|one| one.is_tcp()).or_else(|| declared.next())) {
        (_, Some(one)) if one.is_tcp() => Ok(one.number),
        (_, Some(one)) => {
            let protocol = &one.protocol;
            Err(format!("port `{port}` of {owner} is a {protocol} port; only TCP can be forwarded"))
        }
        (PortRef::Number(number), None) => Ok(*number),
        (PortRef::Name(name), None) => {
            let known: Vec<&String> =
                ports.iter().filter(|one| !one.name.is_empty()).map(|one| &one.name).collect();
            Err(match known.as_slice() {
                [] => format!("{owner} has no port `{name}`"),
                known => format!("{owner} has no port `{name}`, but {}", text::list(known)),
            })
        }
    }
}

/// Returns a port that an unprivileged user can open in place of this one.
pub fn unprivileged_port(port: u16) -> u16 {
    const FIRST_UNPRIVILEGED: u16 = 1024;
    if port < FIRST_UNPRIVILEGED { 8000 + port } else { port }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn spec_has_local_port_and_workload() {
        let number = PortRef::Number;
        let name = |name: &str| PortRef::Name(name.to_owned());
        let table = [
            ("8080", LocalPort::Same, number(8080), None),
            ("9000:8080", LocalPort::Number(9000), number(8080), None),
            (":8080", LocalPort::Any, number(8080), None),
            ("0:8080", LocalPort::Any, number(8080), None),
            ("http", LocalPort::Same, name("http"), None),
            ("80:http/web", LocalPort::Number(80), name("http"), Some("web")),
            ("5432/statefulset/db", LocalPort::Same, number(5432), Some("statefulset/db")),
        ];
        for (text, local, port, workload) in table {
            let expected = ForwardSpec { local, port, workload: workload.map(str::to_owned) };
            assert_eq!(ForwardSpec::parse(text), Ok(expected), "{text}");
        }
        let errors = [
            ("", "`` is not a port"),
            ("0", "`0` is not a port"),
            ("65536", "`65536` is not a port"),
            ("-1", "`-1` is not a port"),
            ("a:8080", "`a` is not a port"),
            ("1:2:3", "`2:3` is not a port"),
            ("8080/", "the workload is empty"),
            ("HTTP", "`HTTP` is not a port"),
        ];
        for (text, expected) in errors {
            assert_eq!(ForwardSpec::parse(text), Err(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn port_is_resolved_in_pod_spec() {
        let spec = json!({"containers": [
            {"ports": [{"containerPort": 8080, "name": "http"}, {"containerPort": 53, "protocol": "UDP", "name": "dns"}]},
            {"ports": [{"containerPort": 9000, "protocol": "SCTP"}, {"containerPort": 9000}]}, {}]});
        let ports = container_ports(&spec);
        assert_eq!(
            ports.iter().map(|port| port.number).collect::<Vec<_>>(),
            [8080, 53, 9000, 9000]
        );
        let resolve =
            |text: &str| resolve_port(&ForwardSpec::parse(text).unwrap().port, &ports, "pod/a");
        assert_eq!(resolve("http"), Ok(8080));
        assert_eq!(resolve("9000"), Ok(9000));
        assert_eq!(resolve("7000"), Ok(7000));
        let udp = |port: &str| {
            Err(format!("port `{port}` of pod/a is a UDP port; only TCP can be forwarded"))
        };
        assert_eq!(resolve("53"), udp("53"));
        assert_eq!(resolve("dns"), udp("dns"));
        assert_eq!(resolve("web"), Err("pod/a has no port `web`, but `http` and `dns`".to_owned()));
        let none = resolve_port(&PortRef::Name("web".to_owned()), &[], "pod/a");
        assert_eq!(none, Err("pod/a has no port `web`".to_owned()));
    }

    #[test]
    fn privileged_port_has_replacement() {
        assert_eq!([80, 443, 1023, 1024].map(unprivileged_port), [8080, 8443, 9023, 1024]);
    }
}
