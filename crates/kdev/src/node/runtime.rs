//! Which containerd a node's kubelet asks, and by which `ctr` it is talked to.
//! Pure.

use kdev_core::kube::node::Node;

use crate::config::NodeSettings;

/// The containerd of a node's kubelet. A machine may run others beside it, like
/// docker's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Runtime {
    /// One that stands for itself.
    Containerd,
    /// The one within k3s or RKE2.
    K3s,
    /// The one within `MicroK8s`.
    Microk8s,
    /// The one within k0s.
    K0s,
    /// Whichever this command, told by the configuration, talks to.
    Custom(String),
}

impl Runtime {
    /// What the configuration tells, else what the node reports; `None` if that
    /// is no containerd at all.
    pub(crate) fn detect(node: &Node, settings: &NodeSettings) -> Option<Self> {
        if let Some(ctr) = &settings.ctr {
            return Some(Self::Custom(ctr.clone()));
        }
        let version = node.info.container_runtime_version.strip_prefix("containerd://")?;
        // All are set by the distributions themselves: in how they build their
        // containerd or kubelet, and in how they start it.
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

    /// As the script on the node is told.
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
    fn a_distribution_is_told_by_what_its_nodes_report() {
        let nobody = NodeSettings::default();
        let told = NodeSettings { ctr: Some("k0s ctr".into()), ..NodeSettings::default() };
        let table = [
            ("containerd://1.6.20", None, &nobody, Some(Runtime::Containerd)),
            ("containerd://2.1.5-k3s1", None, &nobody, Some(Runtime::K3s)),
            ("containerd://1.7.28", Some("true"), &nobody, Some(Runtime::Microk8s)),
            ("containerd://1.7.28", Some("false"), &nobody, Some(Runtime::Containerd)),
            ("cri-o://1.30.0", None, &nobody, None),
            ("containerd://1.7.28", None, &told, Some(Runtime::Custom("k0s ctr".into()))),
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
        assert_eq!(Runtime::detect(&node, &nobody), Some(Runtime::K0s));
    }
}
