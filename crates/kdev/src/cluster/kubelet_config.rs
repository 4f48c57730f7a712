//! Whether a kubelet lets pods have only those images that it has pulled itself.

use std::time::Duration;

use kdev_core::kube::kubelet_policy;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::cx::Cx;
use crate::process::Command;

/// How long a kubelet may take to answer.
const KUBELET_CONFIG_TIMEOUT: Duration = Duration::from_secs(10);

/// What a node's kubelet is told of images that it has not pulled itself; null for
/// those who may not ask it. A kubelet conceals from pods and their events what it
/// refuses for this.
pub(crate) fn fetch_image_policy(cx: &Cx, cluster: &Cluster, node: &str) -> Value {
    fetch(cx, cluster, node).map(|config| kubelet_policy::from_kubelet_config(&config)).unwrap_or_default()
}

fn fetch(cx: &Cx, cluster: &Cluster, node: &str) -> Option<Value> {
    let sh = cx.shell().ok()?;
    let path = format!("/api/v1/nodes/{node}/proxy/configz");
    let cmd = cluster.cmd(&sh, None).args(["get", "--raw", &path]);
    let output = Command::new(cmd).timeout(KUBELET_CONFIG_TIMEOUT).read(cx).ok()?;
    let mut answer: Value = serde_json::from_slice(&output.stdout).ok()?;
    Some(answer["kubeletconfig"].take())
}
