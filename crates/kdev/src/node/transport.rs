//! Reaches nodes: on this machine, through Docker for nodes that are containers, or by SSH.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::{fmt, fs};

use kdev_core::kube::distribution::NodeServices;
use kdev_core::kube::node::{Node, NodeInfo};
use kdev_core::shell::{in_container, over_ssh};
use xshell::{Cmd, Shell, cmd};

use crate::config::{Config, NodeSettings};
use crate::cx::Cx;
use crate::node::error::{NodeError, NodeErrorKind};
use crate::node::probes::{ProbeLines, Probes, RunningLoad};
use crate::node::ssh::{KeptSsh, Ssh, SshEndpoint};
use crate::process::Command;
use crate::tools::ssh::SshTarget;
use crate::tools::{self, Result, TOOL_TIMEOUT};

/// The transports to all nodes of one run.
pub(crate) struct Transports {
    ssh: Arc<Ssh>,
    probes: Arc<Probes>,
    docker: PathBuf,
    kinds: BTreeMap<String, Result<TransportKind, TransportError>>,
}

/// How a node is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
enum TransportKind {
    Local,
    Container(String),
    Ssh(SshTarget),
}

/// Why a node cannot be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
enum TransportError {
    NoAddress,
    InvalidSshTarget(String),
    InvalidContainerName(String),
}

/// The transport to one node.
pub(crate) struct Transport<'a> {
    all: &'a Transports,
    kind: &'a TransportKind,
}

impl Transports {
    /// Chooses the transport to each node. ssh and `docker` are only required if a node is
    /// reached through them.
    pub(crate) fn find(cx: &Cx, config: &Config, nodes: &[&Node]) -> Result<Self> {
        Self::find_again(cx, config, nodes, &KeptSsh::default(), Arc::default())
    }

    /// Like [`Self::find`], with SSH connections that other runs may have opened, and with what
    /// the nodes have reported to other packages of this run.
    pub(crate) fn find_again(
        cx: &Cx,
        config: &Config,
        nodes: &[&Node],
        kept: &KeptSsh,
        probes: Arc<Probes>,
    ) -> Result<Self> {
        let default = NodeSettings::default();
        let settings = |node: &Node| config.nodes.get(&node.name).unwrap_or(&default);
        let unset = nodes.iter().filter(|node| settings(node).is_unset());
        let containers: Vec<&str> = unset.filter_map(|node| node.container()).collect();
        let running = running_containers(cx, &containers);
        let kind = |node: &&Node| {
            (node.name.clone(), TransportKind::choose(node, settings(node), &running))
        };
        let kinds: BTreeMap<_, _> = nodes.iter().map(kind).collect();
        let any = |is: fn(&TransportKind) -> bool| kinds.values().flatten().any(is);
        let ssh = if any(|kind| matches!(kind, TransportKind::Ssh(_))) {
            kept.find(cx, config.ssh_config.as_ref())?
        } else {
            Arc::new(Ssh::new("ssh".into(), (0, 0), config.ssh_config.clone()))
        };
        let in_docker = any(|kind| matches!(kind, TransportKind::Container(_)));
        let docker = if in_docker { tools::DOCKER.find()? } else { "docker".into() };
        Ok(Self { ssh, probes, docker, kinds })
    }

    /// Returns the transport to one of the nodes.
    pub(crate) fn get(&self, node: &Node) -> Result<Transport<'_>, NodeError> {
        let (at, kind) = match self.kinds.get(&node.name) {
            Some(Ok(kind)) => return Ok(Transport { all: self, kind }),
            None | Some(Err(TransportError::NoAddress)) => {
                (String::new(), NodeErrorKind::NoAddress)
            }
            Some(Err(TransportError::InvalidSshTarget(text))) => {
                (text.clone(), NodeErrorKind::InvalidSshTarget(text.clone()))
            }
            Some(Err(TransportError::InvalidContainerName(name))) => {
                (name.clone(), NodeErrorKind::InvalidContainerName(name.clone()))
            }
        };
        Err(NodeError {
            node: node.name.clone(),
            kind,
            connect_command: format!("ssh {at}"),
            known_hosts_name: at.clone(),
            services: NodeServices::for_node(node),
            location: at,
        })
    }

    /// Closes the shared connections.
    pub(crate) fn close(&self, cx: &Cx) {
        self.ssh.close(cx);
    }

    /// Closes the shared connections when the returned value is dropped.
    pub(crate) fn close_at_end<'a>(&'a self, cx: &'a Cx) -> impl Drop + 'a {
        CloseAtEnd(self, cx)
    }
}

struct CloseAtEnd<'a>(&'a Transports, &'a Cx<'a>);

impl Drop for CloseAtEnd<'_> {
    fn drop(&mut self) {
        self.0.close(self.1);
    }
}

impl TransportKind {
    /// Returns the configured transport. The default is this machine if its IDs are the
    /// node's, else the container that the node runs in, else the node's address.
    fn choose(
        node: &Node,
        settings: &NodeSettings,
        running: &[String],
    ) -> Result<Self, TransportError> {
        if let Some(name) = &settings.docker {
            let bad = || TransportError::InvalidContainerName(name.clone());
            return is_container_name(name).then(|| Self::Container(name.clone())).ok_or_else(bad);
        }
        if settings.is_unset() && is_this_machine(&node.info) {
            return Ok(Self::Local);
        }
        let container = node.container().filter(|name| running.iter().any(|one| one == name));
        if let Some(name) = container.filter(|_| settings.is_unset()) {
            return Ok(Self::Container(name.to_owned()));
        }
        let text =
            settings.ssh.as_ref().or(node.address.as_ref()).ok_or(TransportError::NoAddress)?;
        SshTarget::parse(text)
            .map(Self::Ssh)
            .ok_or_else(|| TransportError::InvalidSshTarget(text.clone()))
    }
}

impl Transport<'_> {
    /// Returns the command that runs a command on the node.
    pub(crate) fn command<'s>(&self, sh: &'s Shell, args: &[&str]) -> Cmd<'s> {
        match self.kind {
            TransportKind::Container(name) => {
                let docker = &self.all.docker;
                cmd!(sh, "{docker} exec --interactive {name} {args...}")
            }
            TransportKind::Ssh(target) => self.all.ssh.command(sh, target, args),
            TransportKind::Local => {
                let (program, args) = (args[0], &args[1..]);
                cmd!(sh, "{program} {args...}")
            }
        }
    }

    /// Returns whether data to the node passes a network.
    pub(crate) fn is_remote(&self) -> bool {
        matches!(self.kind, TransportKind::Ssh(_))
    }

    /// Returns whether an earlier run has connected to the node. It may have been restarted, or
    /// this machine suspended, in the meantime.
    pub(crate) fn has_connected(&self) -> bool {
        matches!(self.kind, TransportKind::Ssh(target) if self.all.ssh.has_connected(target))
    }

    /// Closes the shared connection to the node.
    pub(crate) fn disconnect(&self, cx: &Cx) {
        if let TransportKind::Ssh(target) = self.kind {
            self.all.ssh.disconnect(cx, target);
        }
    }

    /// Returns the command that opens a shell on the node.
    pub(crate) fn display_command(&self) -> String {
        match self.kind {
            TransportKind::Container(name) => format!("docker exec -it {name} sh"),
            TransportKind::Ssh(target) => self.all.ssh.display_command(target),
            TransportKind::Local => "sh".to_owned(),
        }
    }

    /// Returns the command that runs a shell pipeline on the node.
    pub(crate) fn shell_pipeline(&self, commands: &str) -> String {
        match self.kind {
            TransportKind::Container(name) => in_container(name, commands),
            TransportKind::Ssh(target) => over_ssh(&self.all.ssh.display_command(target), commands),
            TransportKind::Local => commands.to_owned(),
        }
    }

    /// Returns the command that runs a command on the node with stdin attached.
    pub(crate) fn command_with_stdin(&self, command: &str) -> String {
        match self.kind {
            TransportKind::Container(name) => format!("docker exec -i {name} {command}"),
            TransportKind::Ssh(target) => {
                format!("{} {command}", self.all.ssh.display_command(target))
            }
            TransportKind::Local => command.to_owned(),
        }
    }

    /// Returns the SSH endpoint of a node that is reached by SSH.
    pub(crate) fn ssh_endpoint(&self) -> Option<SshEndpoint> {
        match self.kind {
            TransportKind::Ssh(target) => Some(self.all.ssh.endpoint(target)),
            _ => None,
        }
    }

    /// Returns what the node has reported to this run, or queries it.
    pub(super) fn shared_probe(
        &self,
        key: &str,
        query: impl FnOnce() -> Result<ProbeLines, NodeError>,
    ) -> Result<ProbeLines, NodeError> {
        let config = self.all.ssh.config();
        self.all.probes.get_or_query(format!("{self} {config:?} {key}"), query)
    }

    /// Marks the start of a load onto the node with this name.
    pub(crate) fn begin_load<'a>(&'a self, node: &'a str) -> RunningLoad<'a> {
        self.all.probes.begin_load(node)
    }

    /// Returns the node's name in `known_hosts`; empty if it is not reached by SSH.
    pub(crate) fn known_hosts_name(&self) -> String {
        match self.kind {
            TransportKind::Ssh(target) => target.known_hosts_name(),
            _ => String::new(),
        }
    }
}

impl fmt::Display for Transport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            TransportKind::Container(name) => write!(f, "container `{name}`"),
            TransportKind::Ssh(target) => write!(f, "{target}"),
            TransportKind::Local => f.write_str("this machine"),
        }
    }
}

/// Returns the names of the given containers that are running in Docker; none if Docker is
/// not available. The containers are inspected, because Docker Desktop hides its own from
/// the list.
fn running_containers(cx: &Cx, names: &[&str]) -> Vec<String> {
    let names: Vec<&str> = names.iter().copied().filter(|name| is_container_name(name)).collect();
    let (Ok(docker), Ok(sh), false) = (tools::DOCKER.find(), cx.shell(), names.is_empty()) else {
        return Vec::new();
    };
    let format = "{{if .State.Running}}{{.Name}}{{end}}";
    let command = Command::new(cmd!(sh, "{docker} container inspect --format {format} {names...}"));
    // It fails if a container does not exist, but still prints the others.
    let output =
        command.timeout(TOOL_TIMEOUT).output(cx).map(|output| output.text()).unwrap_or_default();
    output.lines().map(|name| name.trim_start_matches('/').to_owned()).collect()
}

/// Returns whether Docker allows the name, so that it cannot be mistaken for an option.
fn is_container_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

/// Compares the machine ID and the boot ID, because names are not unique and cloned machines
/// have the same machine ID.
fn is_this_machine(info: &NodeInfo) -> bool {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    !info.machine_id.is_empty()
        && !info.boot_id.is_empty()
        && read("/etc/machine-id") == info.machine_id
        && read("/proc/sys/kernel/random/boot_id") == info.boot_id
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(provider: &str, minikube: bool) -> Node {
        let mut node = Node::named("k3d-a-server-0");
        node.provider = provider.to_owned();
        node.address = Some("172.18.0.2".to_owned());
        node.labels.extend(minikube.then(|| ("minikube.k8s.io/name".into(), "a".into())));
        node
    }

    fn is_ssh(kind: &Result<TransportKind, TransportError>) -> bool {
        matches!(kind, Ok(TransportKind::Ssh(_)))
    }

    #[test]
    fn container_node_is_reached_through_docker() {
        let running = ["k3d-a-server-0".to_owned(), "a-worker".to_owned()];
        let unset = NodeSettings::default();
        let kind =
            |provider, minikube| TransportKind::choose(&node(provider, minikube), &unset, &running);
        let container = |name: &str| Ok(TransportKind::Container(name.to_owned()));
        assert_eq!(kind("kind://docker/a/a-worker", false), container("a-worker"));
        assert_eq!(kind("k3s://k3d-a-server-0", false), container("k3d-a-server-0"));
        assert_eq!(kind("", true), container("k3d-a-server-0"));
        // Neither a name alone nor a container that Docker does not have is enough.
        assert!(is_ssh(&kind("", false)));
        assert!(is_ssh(&kind("kind://docker/b/b-worker", false)));
        assert!(is_ssh(&kind("kind://podman/a/a-worker", false)));
    }

    #[test]
    fn configured_transport_takes_precedence() {
        let running = ["k3d-a-server-0".to_owned()];
        let node = node("k3s://k3d-a-server-0", false);
        let ssh = NodeSettings { ssh: Some("u@h".into()), ..NodeSettings::default() };
        assert!(is_ssh(&TransportKind::choose(&node, &ssh, &running)));
        let docker =
            |name: &str| NodeSettings { docker: Some(name.into()), ..NodeSettings::default() };
        assert_eq!(
            TransportKind::choose(&node, &docker("mine"), &[]),
            Ok(TransportKind::Container("mine".into()))
        );
        for name in ["--privileged", "a b", "", "a;b"] {
            let bad = Err(TransportError::InvalidContainerName(name.into()));
            assert_eq!(TransportKind::choose(&node, &docker(name), &[]), bad, "{name:?}");
        }
    }
}
