//! Detects which containerd a node's kubelet uses.

use kdev_core::kube::node::Node;

use crate::config::NodeSettings;

/// The containerd of a node's kubelet. The machine may also run others, such as Docker's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Runtime {
    /// A standalone containerd.
    Containerd,
    /// The one bundled with k3s or RKE2.
    K3s,
    /// The one bundled with `MicroK8s`.
    Microk8s,
    /// The one bundled with k0s.
    K0s,
    /// The one that the configured `ctr` command uses.
    Custom(String),
}

impl Runtime {
    /// Returns the configured runtime or the one that the node reports; `None` if that is not
    /// containerd.
    pub(crate) fn detect(node: &Node, settings: &NodeSettings) -> Option<Self> {
        if let Some(ctr) = &settings.ctr {
            return Some(Self::Custom(ctr.clone()));
        }
        let version = node.info.container_runtime_version.strip_prefix("containerd://")?;
        // The distributions set these when they build or start containerd and kubelet.
        Some(if version.contains("-k3s") {
            Self::K3s
        } else if node.labels.get("microk8s.io/cluster").is_some_and(|yes| yes == "true") {
            Self::Microk8s
        } else if node.info.kubelet_version.contains("+k0s") {
            Self::K0s
        } else {
            Self::Containerd
        })
    }

    /// Returns the argument for the script.
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Containerd => "containerd",
            Self::K3s => "k3s",
            Self::Microk8s => "microk8s",
            Self::K0s => "k0s",
            Self::Custom(ctr) => ctr,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtime_is_detected_from_node_info() {
        let default = NodeSettings::default();
        let custom = NodeSettings { ctr: Some("k0s ctr".into()), ..NodeSettings::default() };
        let table = [
            ("containerd://1.6.20", None, &default, Some(Runtime::Containerd)),
            ("containerd://2.1.5-k3s1", None, &default, Some(Runtime::K3s)),
            ("containerd://1.7.28", Some("true"), &default, Some(Runtime::Microk8s)),
            ("containerd://1.7.28", Some("false"), &default, Some(Runtime::Containerd)),
            ("cri-o://1.30.0", None, &default, None),
            ("containerd://1.7.28", None, &custom, Some(Runtime::Custom("k0s ctr".into()))),
        ];
        for (version, label, settings, expected) in table {
            let mut node = Node::named("n");
            node.info.container_runtime_version = version.into();
            node.labels.extend(label.map(|yes| ("microk8s.io/cluster".into(), yes.into())));
            assert_eq!(Runtime::detect(&node, settings), expected, "{version} {label:?}");
        }
        let mut node = Node::named("n");
        node.info.container_runtime_version = "containerd://1.7.28".into();
        node.info.kubelet_version = "v1.34.1+k0s".into();
        assert_eq!(Runtime::detect(&node, &default), Some(Runtime::K0s));
    }
}
