//! A node of the cluster.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde_json::Value;

/// A node as the cluster lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub address: Option<String>,
    /// The provider ID, such as `kind://docker/CLUSTER/NODE`.
    pub provider: String,
    pub taints: Vec<Taint>,
    pub info: NodeInfo,
}

impl Node {
    /// Returns the Docker container that the node may be. kind names Docker and the
    /// container in the provider ID; k3d and minikube name the container after the node,
    /// but not every minikube node is a container.
    pub fn container(&self) -> Option<&str> {
        if let Some(kind) = self.provider.strip_prefix("kind://docker/") {
            return kind.split('/').nth(1);
        }
        let k3d = self.provider.strip_prefix("k3s://").is_some_and(|name| name.starts_with("k3d-"));
        let minikube = self.labels.contains_key("minikube.k8s.io/name");
        (k3d || minikube).then_some(self.name.as_str())
    }

    /// Whether it is the node of Docker Desktop's kubeadm cluster, which runs in Docker
    /// Desktop's virtual machine. The nodes of its kind cluster are containers.
    pub fn is_docker_desktop(&self) -> bool {
        self.name == "docker-desktop" && self.provider.is_empty()
    }

    /// Returns a node with a name only, for tests.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            labels: BTreeMap::new(),
            address: None,
            provider: String::new(),
            taints: Vec::new(),
            info: NodeInfo::default(),
        }
    }
}

/// `status.nodeInfo` of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeInfo {
    #[serde(rename = "machineID")]
    pub machine_id: String,
    #[serde(rename = "bootID")]
    pub boot_id: String,
    pub operating_system: String,
    pub architecture: String,
    pub container_runtime_version: String,
    pub kubelet_version: String,
}

/// A taint of a node.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Taint {
    pub key: String,
    #[serde(default)]
    pub value: String,
    pub effect: String,
}

/// Formats the taint as kubectl accepts it.
impl fmt::Display for Taint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let equals = if self.value.is_empty() { "" } else { "=" };
        write!(f, "{}{equals}{}:{}", self.key, self.value, self.effect)
    }
}

impl NodeInfo {
    /// Returns the platform in the format of image platforms.
    pub fn platform(&self) -> String {
        format!("{}/{}", self.operating_system, self.architecture)
    }
}

/// Parses a node from the API; `None` if it has no name.
pub fn node(item: &Value) -> Option<Node> {
    NodeItem::deserialize(item).ok().map(Node::from)
}

/// The nodes in a list of the API.
#[derive(Deserialize)]
pub struct NodeList {
    items: Vec<NodeItem>,
}

impl From<NodeList> for Vec<Node> {
    fn from(list: NodeList) -> Self {
        list.items.into_iter().map(Node::from).collect()
    }
}

#[derive(Deserialize)]
struct NodeItem {
    metadata: NodeMetadata,
    #[serde(default)]
    spec: NodeSpec,
    #[serde(default)]
    status: NodeStatus,
}

#[derive(Deserialize)]
struct NodeMetadata {
    name: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NodeSpec {
    taints: Vec<Taint>,
    #[serde(rename = "providerID")]
    provider_id: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct NodeStatus {
    addresses: Vec<Address>,
    node_info: NodeInfo,
}

#[derive(Deserialize)]
struct Address {
    #[serde(rename = "type")]
    kind: String,
    address: String,
}

impl From<NodeItem> for Node {
    fn from(item: NodeItem) -> Self {
        let of_kind = |kind: &str| {
            let found = item.status.addresses.iter().find(|a| a.kind == kind);
            found.map(|a| a.address.clone())
        };
        Self {
            address: of_kind("InternalIP")
                .or_else(|| of_kind("ExternalIP"))
                .or_else(|| of_kind("Hostname")),
            name: item.metadata.name,
            labels: item.metadata.labels,
            provider: item.spec.provider_id,
            taints: item.spec.taints,
            info: item.status.node_info,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_list_is_parsed() {
        let json = r#"{"items":[{"metadata":{"name":"n","labels":{"a":"b"}},
            "spec":{"providerID":"kind://docker/a/a-worker","taints":[{"key":"k","effect":"NoSchedule"}]},
            "status":{"addresses":[{"type":"Hostname","address":"h"},{"type":"InternalIP","address":"10.0.0.1"}],
            "nodeInfo":{"machineID":"m","bootID":"b","operatingSystem":"linux","architecture":"arm64",
            "containerRuntimeVersion":"containerd://1.6.20"}}}]}"#;
        let list: NodeList = serde_json::from_str(json).unwrap();
        let node = Node::from(list.items.into_iter().next().unwrap());
        assert_eq!(node.address.as_deref(), Some("10.0.0.1"));
        assert_eq!(node.info.platform(), "linux/arm64");
        assert_eq!((node.info.machine_id.as_str(), node.info.boot_id.as_str()), ("m", "b"));
        assert_eq!((node.taints.len(), node.container()), (1, Some("a-worker")));
    }
}
