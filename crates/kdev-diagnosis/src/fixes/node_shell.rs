//! Command lines that run a command on a node.

use kdev_core::kube::distribution::NodeServices;
use kdev_core::kube::node::{self, Node};
use kdev_core::kube::object::text;
use kdev_core::shell::{in_container, over_ssh, quote, with_terminal};

use crate::facts::Facts;

/// A way to run commands on a node.
pub(crate) struct NodeShell {
    kind: ShellKind,
    name: String,
    node: Option<Node>,
}

enum ShellKind {
    Local,
    Container(String),
    /// The `ssh` command, to which the remote command is appended.
    Ssh(String),
}

impl NodeShell {
    /// Uses the transport with which kdev has reached the node, or else the one that it
    /// would use.
    pub(crate) fn for_node(facts: &Facts, name: &str) -> Self {
        let item = facts.nodes.iter().find(|node| text(node, "/metadata/name") == name);
        let node = item.and_then(node::node);
        let used = facts.images_on_node(name).and_then(|found| ShellKind::from_ctr(&found.ctr));
        let container =
            || node.as_ref()?.container().map(|name| ShellKind::Container(name.to_owned()));
        let kind = used.or_else(container).unwrap_or_else(|| {
            let address = node.as_ref().and_then(|node| node.address.as_deref());
            ShellKind::Ssh(format!("ssh {}{}", ssh_config_flag(facts), address.unwrap_or(name)))
        });
        Self { kind, name: name.to_owned(), node }
    }

    /// Returns a command line that runs a command on the node. In a container it already
    /// runs as root.
    pub(crate) fn command(&self, command: &str) -> String {
        match &self.kind {
            ShellKind::Local => command.to_owned(),
            ShellKind::Container(name) => {
                format!("docker exec {name} {}", command.trim_start_matches("sudo "))
            }
            ShellKind::Ssh(ssh) if command.starts_with("sudo ") => {
                format!("{} {command}", with_terminal(ssh))
            }
            ShellKind::Ssh(ssh) => format!("{ssh} {command}"),
        }
    }

    /// Returns a command line that runs a pipeline on the node.
    pub(crate) fn pipeline_command(&self, commands: &str) -> String {
        match &self.kind {
            ShellKind::Local => commands.to_owned(),
            ShellKind::Container(name) => in_container(name, commands),
            ShellKind::Ssh(ssh) => over_ssh(ssh, commands),
        }
    }

    /// Describes how the node was reached.
    pub(crate) fn describe(&self) -> &'static str {
        match self.kind {
            ShellKind::Local => "is this machine",
            ShellKind::Container(_) => "is reachable with `docker exec`",
            ShellKind::Ssh(_) => "is reachable over SSH",
        }
    }

    /// Returns a command line that restarts the kubelet.
    pub(crate) fn restart_kubelet_command(&self) -> String {
        let version = self.node.as_ref().map_or("", |node| &node.info.kubelet_version);
        match &self.kind {
            // A k3d container runs k3s directly, without systemd.
            ShellKind::Container(name) if version.contains("+k3s") => {
                format!("docker restart {name}")
            }
            _ => self.command(&format!("sudo systemctl restart {}", self.kubelet_unit())),
        }
    }

    fn kubelet_unit(&self) -> &'static str {
        self.node.as_ref().map_or("kubelet", |node| NodeServices::for_node(node).kubelet_unit)
    }

    /// Returns the help that starts the node.
    pub(crate) fn start_node_help(&self) -> String {
        let minikube = self.node.as_ref().and_then(|node| node.labels.get("minikube.k8s.io/name"));
        let name = &self.name;
        match (minikube, &self.kind) {
            (Some(profile), _) => {
                format!("start node `{name}`: `minikube start --profile {}`", quote(profile))
            }
            (None, ShellKind::Container(container)) => {
                format!("start node `{name}`: `docker start {container}`")
            }
            _ => {
                let address = self.node.as_ref().and_then(|node| node.address.as_deref());
                let address = address.unwrap_or(name);
                format!("start node `{name}`, or check the connection: `ping {address}`")
            }
        }
    }
}

impl ShellKind {
    /// Derives the way from the node's `ctr` command.
    fn from_ctr(ctr: &str) -> Option<Self> {
        let words = shlex::split(ctr)?;
        match words.first()?.as_str() {
            "docker" => Some(Self::Container(words.get(3)?.clone())),
            "ssh" => {
                let target = 1 + count_ssh_flags(&words);
                let ssh: Vec<String> =
                    words.get(..=target)?.iter().map(|word| quote(word)).collect();
                Some(Self::Ssh(ssh.join(" ")))
            }
            _ => Some(Self::Local),
        }
    }
}

/// Counts the words after `ssh` that are its flags.
fn count_ssh_flags(words: &[String]) -> usize {
    words[1..].chunks(2).take_while(|pair| pair[0].starts_with('-')).count() * 2
}

/// Returns the `-F` flag with which kdev has reached other nodes.
fn ssh_config_flag(facts: &Facts) -> String {
    let used =
        facts.node_images.keys().filter_map(|name| shlex::split(&facts.images_on_node(name)?.ctr));
    let file = used
        .filter(|words| words.first().is_some_and(|word| word == "ssh"))
        .find_map(|words| (words.get(1)? == "-F").then(|| words.get(2).cloned())?);
    file.map(|file| format!("-F {} ", quote(&file))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::NodeObservation;
    use kdev_core::image::node_images::NodeImages;
    use serde_json::{Value, json};

    fn facts(provider: &str, version: &str, labels: &Value, ctr: Option<&str>) -> Facts {
        let known = |ctr: &str| {
            NodeObservation::Known(NodeImages { ctr: ctr.into(), ..NodeImages::default() })
        };
        let observation = ctr.map_or(NodeObservation::Unknown("no".into()), known);
        let node_images = [
            ("n".to_owned(), observation),
            ("other".to_owned(), known("ssh -F '/my config' -p 22 me@10.0.0.2 ctr")),
        ];
        Facts {
            nodes: vec![json!({"metadata": {"name": "n", "labels": labels},
                "spec": {"providerID": provider},
                "status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
                    "nodeInfo": {"kubeletVersion": version}}})],
            node_images: node_images.into(),
            ..Facts::default()
        }
    }

    #[test]
    fn kubelet_unit_depends_on_distribution() {
        let (none, server) = (json!({}), json!({"node-role.kubernetes.io/control-plane": "true"}));
        let microk8s = json!({"microk8s.io/cluster": "true"});
        let minikube = json!({"minikube.k8s.io/name": "minikube"});
        let (ssh, kind) = (Some("ssh 10.0.0.1 ctr"), "kind://docker/kind/kind-worker");
        let k3d = Some("docker exec -i k3d-a-agent-0 ctr");
        let table = [
            ("", "v1.34.0", &none, ssh, "ssh -t 10.0.0.1 sudo systemctl restart kubelet"),
            (
                "",
                "v1.34.0",
                &none,
                Some("ssh -F '/my config' -p 2222 me@n sudo -n ctr"),
                "ssh -t -F '/my config' -p 2222 me@n sudo systemctl restart kubelet",
            ),
            (
                "",
                "v1.34.0",
                &none,
                None,
                "ssh -t -F '/my config' 10.0.0.1 sudo systemctl restart kubelet",
            ),
            ("", "v1.34.0", &none, Some("sudo -n ctr"), "sudo systemctl restart kubelet"),
            ("", "v1.30.2+k3s1", &none, ssh, "ssh -t 10.0.0.1 sudo systemctl restart k3s-agent"),
            ("", "v1.30.2+k3s1", &server, ssh, "ssh -t 10.0.0.1 sudo systemctl restart k3s"),
            ("", "v1.30.2+rke2r1", &none, ssh, "ssh -t 10.0.0.1 sudo systemctl restart rke2-agent"),
            (
                "",
                "v1.30.2+rke2r1",
                &server,
                ssh,
                "ssh -t 10.0.0.1 sudo systemctl restart rke2-server",
            ),
            ("", "v1.30.2+k0s", &none, ssh, "ssh -t 10.0.0.1 sudo systemctl restart k0sworker"),
            (
                "",
                "v1.30.2",
                &microk8s,
                ssh,
                "ssh -t 10.0.0.1 sudo systemctl restart snap.microk8s.daemon-kubelite",
            ),
            (kind, "v1.34.0", &none, None, "docker exec kind-worker systemctl restart kubelet"),
            ("k3s://k3d-a-agent-0", "v1.30.2+k3s1", &none, k3d, "docker restart k3d-a-agent-0"),
            ("", "v1.34.0", &minikube, None, "docker exec n systemctl restart kubelet"),
        ];
        for (provider, version, labels, ctr, expected) in table {
            let facts = facts(provider, version, labels, ctr);
            assert_eq!(NodeShell::for_node(&facts, "n").restart_kubelet_command(), expected);
        }
    }

    #[test]
    fn start_help_depends_on_node_kind() {
        let minikube = json!({"minikube.k8s.io/name": "dev"});
        let table = [
            ("", json!({}), "start node `n`, or check the connection: `ping 10.0.0.1`"),
            (
                "kind://docker/kind/kind-worker",
                json!({}),
                "start node `n`: `docker start kind-worker`",
            ),
            ("", minikube, "start node `n`: `minikube start --profile dev`"),
        ];
        for (provider, labels, expected) in table {
            let facts = facts(provider, "v1.34.0", &labels, None);
            assert_eq!(NodeShell::for_node(&facts, "n").start_node_help(), expected);
        }
    }
}
