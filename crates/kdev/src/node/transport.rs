//! How a node is talked to: on this very machine, through docker where it is a
//! container, or by ssh.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::{fmt, fs};

use kdev_core::kube::node::{Node, NodeInfo};
use kdev_core::shell::{in_container, over_ssh};
use xshell::{Cmd, Shell, cmd};

use crate::config::{Config, NodeSettings};
use crate::cx::Cx;
use crate::node::error::{NodeErrorKind, NodeError};
use crate::node::ssh::{SshEndpoint, Ssh, SshTarget};
use crate::process::Command;
use crate::tools::{self, TOOL_TIMEOUT, Result};

/// The ways to all nodes of one run.
pub(crate) struct Transports {
    ssh: Ssh,
    docker: PathBuf,
    kinds: BTreeMap<String, Result<TransportKind, TransportError>>,
}

/// Where a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum TransportKind {
    Local,
    Container(String),
    Ssh(SshTarget),
}

/// Why there is no way to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
enum TransportError {
    NoAddress,
    InvalidSshTarget(String),
    InvalidContainerName(String),
}

/// An open way to one node.
pub(crate) struct Transport<'a> {
    all: &'a Transports,
    kind: &'a TransportKind,
}

impl Transports {
    /// Finds a way to each node. ssh and docker must be there only if a node is
    /// reached through them.
    pub(crate) fn find(cx: &Cx, config: &Config, nodes: &[&Node]) -> Result<Self> {
        let nobody = NodeSettings::default();
        let settings = |node: &Node| config.nodes.get(&node.name).unwrap_or(&nobody);
        let open = nodes.iter().filter(|node| settings(node).is_unset());
        let guessed: Vec<&str> = open.filter_map(|node| node.container()).collect();
        let running = running_containers(cx, &guessed);
        let way = |node: &&Node| (node.name.clone(), TransportKind::choose(node, settings(node), &running));
        let ways: BTreeMap<_, _> = nodes.iter().map(way).collect();
        let any = |is: fn(&TransportKind) -> bool| ways.values().flatten().any(is);
        let ssh =
            if any(|way| matches!(way, TransportKind::Ssh(_))) { tools::find_ssh(cx)? } else { "ssh".into() };
        let in_docker = any(|way| matches!(way, TransportKind::Container(_)));
        let docker = if in_docker { tools::DOCKER.find()? } else { "docker".into() };
        Ok(Self { ssh: Ssh::new(ssh, config.ssh_config.clone()), docker, kinds: ways })
    }

    /// The way to one of the nodes that it was made for.
    pub(crate) fn get(&self, node: &Node) -> Result<Transport<'_>, NodeError> {
        let (at, fault) = match self.kinds.get(&node.name) {
            Some(Ok(way)) => return Ok(Transport { all: self, kind: way }),
            None | Some(Err(TransportError::NoAddress)) => (String::new(), NodeErrorKind::NoAddress),
            Some(Err(TransportError::InvalidSshTarget(text))) => (text.clone(), NodeErrorKind::InvalidSshTarget(text.clone())),
            Some(Err(TransportError::InvalidContainerName(name))) => {
                (name.clone(), NodeErrorKind::InvalidContainerName(name.clone()))
            }
        };
        Err(NodeError {
            node: node.name.clone(),
            kind: fault,
            connect_command: format!("ssh {at}"),
            known_hosts_name: at.clone(),
            location: at,
        })
    }

    /// Ends what is shared between the calls of one run.
    pub(crate) fn close(&self, cx: &Cx) {
        self.ssh.close(cx);
    }
}

impl TransportKind {
    /// What the configuration says; else this machine itself where its IDs are
    /// the node's; else the container that the node is; else the node's address
    /// in the cluster.
    fn choose(node: &Node, settings: &NodeSettings, running: &[String]) -> Result<Self, TransportError> {
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
        let text = settings.ssh.as_ref().or(node.address.as_ref()).ok_or(TransportError::NoAddress)?;
        SshTarget::parse(text).map(Self::Ssh).ok_or_else(|| TransportError::InvalidSshTarget(text.clone()))
    }
}

impl Transport<'_> {
    /// The command that runs these words on the node.
    pub(crate) fn command<'s>(&self, sh: &'s Shell, words: &[&str]) -> Cmd<'s> {
        match self.kind {
            TransportKind::Container(name) => {
                let docker = &self.all.docker;
                cmd!(sh, "{docker} exec --interactive {name} {words...}")
            }
            TransportKind::Ssh(target) => self.all.ssh.command(sh, target, words),
            TransportKind::Local => {
                let (program, args) = (words[0], &words[1..]);
                cmd!(sh, "{program} {args...}")
            }
        }
    }

    /// Whether bytes to it pass a network.
    pub(crate) fn is_remote(&self) -> bool {
        matches!(self.kind, TransportKind::Ssh(_))
    }

    /// Whether a name alone has led there.
    pub(crate) fn is_container(&self) -> bool {
        matches!(self.kind, TransportKind::Container(_))
    }

    /// A shell there, as a person would open it.
    pub(crate) fn display_command(&self) -> String {
        match self.kind {
            TransportKind::Container(name) => format!("docker exec -it {name} sh"),
            TransportKind::Ssh(target) => self.all.ssh.display_command(target),
            TransportKind::Local => "sh".to_owned(),
        }
    }

    /// Several commands there, one behind the other, as a person would type them.
    pub(crate) fn shell_pipeline(&self, commands: &str) -> String {
        match self.kind {
            TransportKind::Container(name) => in_container(name, commands),
            TransportKind::Ssh(target) => over_ssh(&self.all.ssh.display_command(target), commands),
            TransportKind::Local => commands.to_owned(),
        }
    }

    /// A command there that reads stdin, as a person would type it.
    pub(crate) fn command_with_stdin(&self, command: &str) -> String {
        match self.kind {
            TransportKind::Container(name) => format!("docker exec -i {name} {command}"),
            TransportKind::Ssh(target) => format!("{} {command}", self.all.ssh.display_command(target)),
            TransportKind::Local => command.to_owned(),
        }
    }

    /// Where it is reached by ssh.
    pub(crate) fn ssh_endpoint(&self) -> Option<SshEndpoint> {
        match self.kind {
            TransportKind::Ssh(target) => Some(self.all.ssh.endpoint(target)),
            _ => None,
        }
    }

    /// As `known_hosts` has it.
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

/// Those of these containers that run on this machine's docker; none where there is
/// no docker that answers. Docker Desktop leaves its own out of a list.
fn running_containers(cx: &Cx, names: &[&str]) -> Vec<String> {
    let names: Vec<&str> = names.iter().copied().filter(|name| is_container_name(name)).collect();
    let (Ok(docker), Ok(sh), false) = (tools::DOCKER.find(), cx.shell(), names.is_empty()) else {
        return Vec::new();
    };
    let format = "{{if .State.Running}}{{.Name}}{{end}}";
    let task = Command::new(cmd!(sh, "{docker} container inspect --format {format} {names...}"));
    // It fails where one of them is not there, and tells of the others.
    let told = task.timeout(TOOL_TIMEOUT).output(cx).map(|output| output.text()).unwrap_or_default();
    told.lines().map(|name| name.trim_start_matches('/').to_owned()).collect()
}

/// As docker allows it, so that it cannot be taken for an option.
fn is_container_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

/// Told by IDs, not by names: a name can be anybody's. Both must agree, since
/// cloned machines share the first.
fn is_this_machine(info: &NodeInfo) -> bool {
    let here = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    !info.machine_id.is_empty()
        && !info.boot_id.is_empty()
        && here("/etc/machine-id") == info.machine_id
        && here("/proc/sys/kernel/random/boot_id") == info.boot_id
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

    fn is_ssh(way: &Result<TransportKind, TransportError>) -> bool {
        matches!(way, Ok(TransportKind::Ssh(_)))
    }

    #[test]
    fn a_node_that_is_a_container_is_reached_through_docker() {
        let running = ["k3d-a-server-0".to_owned(), "a-worker".to_owned()];
        let open = NodeSettings::default();
        let way = |provider, minikube| TransportKind::choose(&node(provider, minikube), &open, &running);
        let container = |name: &str| Ok(TransportKind::Container(name.to_owned()));
        assert_eq!(way("kind://docker/a/a-worker", false), container("a-worker"));
        assert_eq!(way("k3s://k3d-a-server-0", false), container("k3d-a-server-0"));
        assert_eq!(way("", true), container("k3d-a-server-0"));
        // A name alone is no evidence; nor is what docker does not have.
        assert!(is_ssh(&way("", false)));
        assert!(is_ssh(&way("kind://docker/b/b-worker", false)));
        assert!(is_ssh(&way("kind://podman/a/a-worker", false)));
    }

    #[test]
    fn the_configuration_goes_first() {
        let running = ["k3d-a-server-0".to_owned()];
        let node = node("k3s://k3d-a-server-0", false);
        let ssh = NodeSettings { ssh: Some("u@h".into()), ..NodeSettings::default() };
        assert!(is_ssh(&TransportKind::choose(&node, &ssh, &running)));
        let docker =
            |name: &str| NodeSettings { docker: Some(name.into()), ..NodeSettings::default() };
        assert_eq!(TransportKind::choose(&node, &docker("mine"), &[]), Ok(TransportKind::Container("mine".into())));
        for name in ["--privileged", "a b", "", "a;b"] {
            let bad = Err(TransportError::InvalidContainerName(name.into()));
            assert_eq!(TransportKind::choose(&node, &docker(name), &[]), bad, "{name:?}");
        }
    }
}
