//! How a person enters a node, and does something there.

use kdev_core::kube::node::{self, Node};
use kdev_core::kube::object::text;
use kdev_core::shell::{in_container, over_ssh, quote, with_terminal};

use crate::facts::Facts;

/// Labels of nodes that run a control plane.
const SERVERS: [&str; 2] =
    ["node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"];
/// What distributions write into their kubelets' versions, and the units of which the
/// kubelet is a part: of servers, and of others.
const UNITS: [(&str, &str, &str); 3] = [
    ("+k3s", "k3s", "k3s-agent"),
    ("+rke2", "rke2-server", "rke2-agent"),
    ("+k0s", "k0scontroller", "k0sworker"),
];
/// The same of `MicroK8s`, whose version tells nothing.
const OF_MICROK8S: &str = "snap.microk8s.daemon-kubelite";

/// The way to a node, and what it is.
pub(crate) struct Entrance {
    way: Way,
    name: String,
    node: Option<Node>,
}

enum Way {
    Here,
    Container(String),
    /// The whole command that a remote one follows.
    Ssh(String),
}

impl Entrance {
    /// The way that the facts have gone, and else the one that they would go.
    pub(crate) fn to(facts: &Facts, name: &str) -> Self {
        let item = facts.nodes.iter().find(|node| text(node, "/metadata/name") == name);
        let node = item.and_then(node::node);
        let gone = facts.stock_of(name).and_then(|stock| Way::read(&stock.ctr));
        let container = || node.as_ref()?.container().map(|name| Way::Container(name.to_owned()));
        let way = gone.or_else(container).unwrap_or_else(|| {
            let address = node.as_ref().and_then(|node| node.address.as_deref());
            Way::Ssh(format!("ssh {}{}", config(facts), address.unwrap_or(name)))
        });
        Self { way, name: name.to_owned(), node }
    }

    /// A command there; within a container everybody is root.
    pub(crate) fn run(&self, command: &str) -> String {
        match &self.way {
            Way::Here => command.to_owned(),
            Way::Container(name) => {
                format!("docker exec {name} {}", command.trim_start_matches("sudo "))
            }
            Way::Ssh(ssh) if command.starts_with("sudo ") => {
                format!("{} {command}", with_terminal(ssh))
            }
            Way::Ssh(ssh) => format!("{ssh} {command}"),
        }
    }

    /// Several commands there, one behind the other.
    pub(crate) fn pipe(&self, commands: &str) -> String {
        match &self.way {
            Way::Here => commands.to_owned(),
            Way::Container(name) => in_container(name, commands),
            Way::Ssh(ssh) => over_ssh(ssh, commands),
        }
    }

    /// What has just been answered there.
    pub(crate) fn means(&self) -> &'static str {
        match self.way {
            Way::Here => "is this machine",
            Way::Container(_) => "answers to `docker exec`",
            Way::Ssh(_) => "answers over ssh",
        }
    }

    /// Starts its kubelet again.
    pub(crate) fn restart_kubelet(&self) -> String {
        let version = self.node.as_ref().map_or("", |node| &node.info.kubelet_version);
        match &self.way {
            // In k3d's containers there is nothing but k3s.
            Way::Container(name) if version.contains("+k3s") => format!("docker restart {name}"),
            _ => self.run(&format!("sudo systemctl restart {}", self.unit())),
        }
    }

    fn unit(&self) -> &'static str {
        let Some(node) = &self.node else { return "kubelet" };
        let is_server = SERVERS.iter().any(|label| node.labels.contains_key(*label));
        let of_version = UNITS.iter().find(|(sign, ..)| node.info.kubelet_version.contains(sign));
        match of_version {
            Some((_, server, _)) if is_server => server,
            Some((_, _, agent)) => agent,
            None if node.labels.contains_key("microk8s.io/cluster") => OF_MICROK8S,
            None => "kubelet",
        }
    }

    /// Starts the node itself, or tells whether it is there.
    pub(crate) fn start(&self) -> String {
        let minikube = self.node.as_ref().and_then(|node| node.labels.get("minikube.k8s.io/name"));
        let name = &self.name;
        match (minikube, &self.way) {
            (Some(profile), _) => {
                format!("start node `{name}`: `minikube start --profile {}`", quote(profile))
            }
            (None, Way::Container(container)) => {
                format!("start node `{name}`: `docker start {container}`")
            }
            _ => {
                let address = self.node.as_ref().and_then(|node| node.address.as_deref());
                let address = address.unwrap_or(name);
                format!("start node `{name}`, or see why it cannot be reached: `ping {address}`")
            }
        }
    }
}

impl Way {
    /// From how `ctr` is called there.
    fn read(ctr: &str) -> Option<Self> {
        let words = shlex::split(ctr)?;
        match words.first()?.as_str() {
            "docker" => Some(Self::Container(words.get(3)?.clone())),
            "ssh" => {
                let target = 1 + flags(&words);
                let ssh: Vec<String> =
                    words.get(..=target)?.iter().map(|word| quote(word)).collect();
                Some(Self::Ssh(ssh.join(" ")))
            }
            _ => Some(Self::Here),
        }
    }
}

/// How many words after `ssh` are its flags.
fn flags(words: &[String]) -> usize {
    words[1..].chunks(2).take_while(|pair| pair[0].starts_with('-')).count() * 2
}

/// The configuration of ssh that other nodes are reached with.
fn config(facts: &Facts) -> String {
    let used = facts.node_images.keys().filter_map(|name| shlex::split(&facts.stock_of(name)?.ctr));
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
        let seen = |ctr: &str| {
            NodeObservation::Known(NodeImages { ctr: ctr.into(), ..NodeImages::default() })
        };
        let shelf = ctr.map_or(NodeObservation::Unknown("no".into()), seen);
        let stocks = [
            ("n".to_owned(), shelf),
            ("other".to_owned(), seen("ssh -F '/my config' -p 22 me@10.0.0.2 ctr")),
        ];
        Facts {
            nodes: vec![json!({"metadata": {"name": "n", "labels": labels},
                "spec": {"providerID": provider},
                "status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
                    "nodeInfo": {"kubeletVersion": version}}})],
            node_images: stocks.into(),
            ..Facts::default()
        }
    }

    #[test]
    fn each_kind_of_node_has_its_kubelet_restarted() {
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
            assert_eq!(Entrance::to(&facts, "n").restart_kubelet(), expected);
        }
    }

    #[test]
    fn each_kind_of_node_is_started() {
        let minikube = json!({"minikube.k8s.io/name": "dev"});
        let table = [
            ("", json!({}), "start node `n`, or see why it cannot be reached: `ping 10.0.0.1`"),
            (
                "kind://docker/kind/kind-worker",
                json!({}),
                "start node `n`: `docker start kind-worker`",
            ),
            ("", minikube, "start node `n`: `minikube start --profile dev`"),
        ];
        for (provider, labels, expected) in table {
            let facts = facts(provider, "v1.34.0", &labels, None);
            assert_eq!(Entrance::to(&facts, "n").start(), expected);
        }
    }
}
