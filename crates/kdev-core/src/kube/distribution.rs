//! Detects the distribution of a node from its API object.

use serde_json::Value;

use crate::kube::node::Node;

/// Annotation in which kubeadm stores the runtime's socket.
const KUBEADM: &str = "kubeadm.alpha.kubernetes.io/cri-socket";
/// Suffixes of the kubelet's version in distributions that build their own kubelet.
const BUILDS: [(&str, &str); 3] = [("+k3s", "k3s"), ("+rke2", "RKE2"), ("+k0s", "k0s")];

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
}
