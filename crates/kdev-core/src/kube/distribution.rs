//! Detects the distribution of a node from its API object, and knows the services and files
//! of its kubelet and its containerd.

use serde_json::Value;

use crate::kube::node::Node;

/// Annotation in which kubeadm stores the runtime's socket.
const KUBEADM: &str = "kubeadm.alpha.kubernetes.io/cri-socket";
/// The labels of control plane nodes.
const CONTROL_PLANE_LABELS: [&str; 2] =
    ["node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"];
/// Suffixes of the kubelet's version in distributions that build their own kubelet.
const BUILDS: [(&str, &str); 3] = [("+k3s", "k3s"), ("+rke2", "RKE2"), ("+k0s", "k0s")];

/// The services and files of the kubelet and the containerd on a node.
#[derive(Debug, PartialEq, Eq)]
pub struct NodeServices {
    /// The systemd unit that contains the kubelet.
    pub kubelet_unit: &'static str,
    /// The systemd unit that contains containerd.
    pub containerd_unit: &'static str,
    /// The file in which a user configures containerd.
    pub containerd_config: &'static str,
    /// The log file of containerd; `None` if it logs to the journal.
    containerd_log: Option<&'static str>,
}

static PLAIN: NodeServices = NodeServices {
    kubelet_unit: "kubelet",
    containerd_unit: "containerd",
    containerd_config: "/etc/containerd/config.toml",
    containerd_log: None,
};
/// `MicroK8s`, which the kubelet's version does not show.
static MICROK8S: NodeServices = NodeServices {
    kubelet_unit: "snap.microk8s.daemon-kubelite",
    containerd_unit: "snap.microk8s.daemon-containerd",
    containerd_config: "/var/snap/microk8s/current/args/containerd-template.toml",
    containerd_log: None,
};
/// By a part of the kubelet's version: the services on a control plane node and on other
/// nodes. One unit contains the kubelet and containerd.
static BUNDLED: [(&str, NodeServices, NodeServices); 3] = [
    ("+k3s", k3s("k3s"), k3s("k3s-agent")),
    ("+rke2", rke2("rke2-server"), rke2("rke2-agent")),
    ("+k0s", k0s("k0scontroller"), k0s("k0sworker")),
];

const fn k3s(unit: &'static str) -> NodeServices {
    NodeServices {
        kubelet_unit: unit,
        containerd_unit: unit,
        containerd_config: "/var/lib/rancher/k3s/agent/etc/containerd/config.toml.tmpl",
        containerd_log: Some("/var/lib/rancher/k3s/agent/containerd/containerd.log"),
    }
}

const fn rke2(unit: &'static str) -> NodeServices {
    NodeServices {
        kubelet_unit: unit,
        containerd_unit: unit,
        containerd_config: "/var/lib/rancher/rke2/agent/etc/containerd/config.toml.tmpl",
        containerd_log: Some("/var/lib/rancher/rke2/agent/containerd/containerd.log"),
    }
}

const fn k0s(unit: &'static str) -> NodeServices {
    NodeServices {
        kubelet_unit: unit,
        containerd_unit: unit,
        containerd_config: "/etc/k0s/containerd.toml",
        containerd_log: None,
    }
}

impl NodeServices {
    /// Returns the services of a node.
    pub fn for_node(node: &Node) -> &'static Self {
        let is_server = CONTROL_PLANE_LABELS.iter().any(|label| node.labels.contains_key(*label));
        let version = &node.info.kubelet_version;
        match BUNDLED.iter().find(|(mark, ..)| version.contains(mark)) {
            Some((_, server, _)) if is_server => server,
            Some((_, _, agent)) => agent,
            None if node.labels.contains_key("microk8s.io/cluster") => &MICROK8S,
            None => &PLAIN,
        }
    }

    /// Returns the command that shows the log of containerd on the node.
    pub fn containerd_log_command(&self) -> String {
        match self.containerd_log {
            Some(file) => format!("sudo tail {file}"),
            None => format!("journalctl --unit {}", self.containerd_unit),
        }
    }
}

/// Returns the name of the distribution; `None` if the node shows none.
pub fn detect(node: &Node, item: &Value) -> Option<&'static str> {
    let has = |label: &str| node.labels.contains_key(label);
    let built = || BUILDS.iter().find(|(mark, _)| node.info.kubelet_version.contains(mark));
    if node.provider.starts_with("kind://") {
        Some("kind")
    } else if node.provider.starts_with("k3s://k3d-") {
        Some("k3d")
    } else if has("minikube.k8s.io/name") {
        Some("minikube")
    } else if has("microk8s.io/cluster") {
        Some("MicroK8s")
    } else if node.is_docker_desktop() {
        Some("Docker Desktop")
    } else if let Some((_, name)) = built() {
        Some(name)
    } else {
        cri_socket(item).map(|_| "kubeadm")
    }
}

/// Returns the socket of the kubelet's runtime, if kubeadm stored it.
pub fn cri_socket(item: &Value) -> Option<&str> {
    let noted = item["metadata"]["annotations"][KUBEADM].as_str()?;
    Some(noted.strip_prefix("unix://").unwrap_or(noted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn distribution_is_detected() {
        let table = [
            ("kind://docker/a/a-worker", "", "v1.31.0", json!({}), Some("kind")),
            ("k3s://k3d-a-server-0", "", "v1.31.5+k3s1", json!({}), Some("k3d")),
            ("k3s://own", "", "v1.31.5+k3s1", json!({}), Some("k3s")),
            ("", "", "v1.28.9+rke2r1", json!({}), Some("RKE2")),
            ("", "", "v1.30.1+k0s", json!({}), Some("k0s")),
            ("", "minikube.k8s.io/name", "v1.31.0", json!({}), Some("minikube")),
            ("", "microk8s.io/cluster", "v1.31.0", json!({}), Some("MicroK8s")),
            ("", "", "v1.31.0", json!({KUBEADM: "unix:///run/c.sock"}), Some("kubeadm")),
            ("aws:///eu/i-1", "", "v1.31.0-eks", json!({}), None),
        ];
        for (provider, label, version, annotations, expected) in table {
            let mut node = Node::named("a");
            node.provider = provider.into();
            node.info.kubelet_version = version.into();
            node.labels.insert(label.into(), "true".into());
            let item = json!({"metadata": {"annotations": annotations}});
            assert_eq!(detect(&node, &item), expected, "{provider} {label} {version}");
        }
        let noted = json!({"metadata": {"annotations": {KUBEADM: "unix:///run/c.sock"}}});
        assert_eq!(cri_socket(&noted), Some("/run/c.sock"));
    }

    #[test]
    fn services_depend_on_distribution_and_role() {
        let journal = |unit: &str| format!("journalctl --unit {unit}");
        let file = |name: &str| {
            format!("sudo tail /var/lib/rancher/{name}/agent/containerd/containerd.log")
        };
        let server = CONTROL_PLANE_LABELS[0];
        let table = [
            ("v1.34.0", "", "kubelet", "containerd", journal("containerd")),
            ("v1.34.0", server, "kubelet", "containerd", journal("containerd")),
            ("v1.30.2+k3s1", "", "k3s-agent", "k3s-agent", file("k3s")),
            ("v1.30.2+k3s1", server, "k3s", "k3s", file("k3s")),
            ("v1.30.2+rke2r1", "", "rke2-agent", "rke2-agent", file("rke2")),
            ("v1.30.2+rke2r1", server, "rke2-server", "rke2-server", file("rke2")),
            ("v1.30.2+k0s", "", "k0sworker", "k0sworker", journal("k0sworker")),
            ("v1.30.2+k0s", server, "k0scontroller", "k0scontroller", journal("k0scontroller")),
            (
                "v1.34.0",
                "microk8s.io/cluster",
                "snap.microk8s.daemon-kubelite",
                "snap.microk8s.daemon-containerd",
                journal("snap.microk8s.daemon-containerd"),
            ),
        ];
        for (version, label, kubelet, containerd, log) in table {
            let mut node = Node::named("a");
            node.info.kubelet_version = version.into();
            node.labels.insert(label.into(), "true".into());
            let services = NodeServices::for_node(&node);
            let units = (services.kubelet_unit, services.containerd_unit);
            assert_eq!(units, (kubelet, containerd), "{version} {label}");
            assert_eq!(services.containerd_log_command(), log, "{version} {label}");
        }
    }
}
