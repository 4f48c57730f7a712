//! Settings of single nodes.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The keys of a node's table.
pub(crate) const NODE_KEYS: [&str; 4] = ["ssh", "docker", "sudo", "ctr"];

/// How to reach one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSettings {
    /// `user@host`, `user@host:port`, or a host of the SSH configuration.
    pub ssh: Option<String>,
    /// The name of the Docker container that is the node.
    pub docker: Option<String>,
    /// Whether `sudo -n` is needed to connect to containerd; detected by default.
    pub sudo: Option<bool>,
    /// The command for the containerd of the node's kubelet, such as `k0s ctr`; detected
    /// by default.
    pub ctr: Option<String>,
}

impl NodeSettings {
    /// Returns whether neither `ssh` nor `docker` is set.
    pub(crate) fn is_unset(&self) -> bool {
        self.ssh.is_none() && self.docker.is_none()
    }
}

/// Merges the nodes of two layers, setting by setting.
pub(crate) fn merge_nodes(
    upper: BTreeMap<String, NodeSettings>,
    mut lower: BTreeMap<String, NodeSettings>,
) -> BTreeMap<String, NodeSettings> {
    for (name, settings) in upper {
        let below = lower.remove(&name).unwrap_or_default();
        // `ssh` and `docker` are alternatives, so they come from the same layer.
        let transport = if settings.is_unset() { &below } else { &settings };
        let merged = NodeSettings {
            ssh: transport.ssh.clone(),
            docker: transport.docker.clone(),
            sudo: settings.sudo.or(below.sudo),
            ctr: settings.ctr.clone().or(below.ctr),
        };
        lower.insert(name, merged);
    }
    lower
}
