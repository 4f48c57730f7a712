//! Reads how a kubelet verifies the credentials of images that it did not pull.

use std::time::Duration;

use kdev_core::kube::kubelet_policy;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::cx::Cx;
use crate::process::Command;

/// Limits the request for a kubelet's configuration.
const KUBELET_CONFIG_TIMEOUT: Duration = Duration::from_secs(10);

/// Returns the image policy of a node's kubelet, or null if the user is not allowed to read
/// its configuration. If the kubelet rejects an image because of this policy, neither the
/// pod nor its events show that.
pub(crate) fn fetch_image_policy(cx: &Cx, cluster: &Cluster, node: &str) -> Value {
    fetch(cx, cluster, node)
        .map(|config| kubelet_policy::from_kubelet_config(&config))
        .unwrap_or_default()
}

fn fetch(cx: &Cx, cluster: &Cluster, node: &str) -> Option<Value> {
    let sh = cx.shell().ok()?;
    let path = format!("/api/v1/nodes/{node}/proxy/configz");
    let cmd = cluster.cmd(&sh, None).args(["get", "--raw", &path]);
    let output = Command::new(cmd).timeout(KUBELET_CONFIG_TIMEOUT).read(cx).ok()?;
    let mut response: Value = serde_json::from_slice(&output.stdout).ok()?;
    Some(response["kubeletconfig"].take())
}
