//! What the pods of all namespaces request of the nodes.

use std::collections::BTreeMap;

use kdev_core::kube::object::text;
use kdev_core::kube::resources;
use kdev_diagnosis::facts::Facts;
use serde::Deserialize;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::cx::Cx;

/// What pods of all namespaces request of each node, where some pod lacks
/// resources and the user may see it.
pub(crate) fn sum_per_node(
    cx: &Cx,
    cluster: &Cluster,
    facts: &[Facts],
) -> BTreeMap<String, BTreeMap<String, String>> {
    #[derive(Deserialize)]
    struct List {
        items: Vec<Value>,
    }
    if !facts.iter().any(is_missing_resources) {
        return BTreeMap::new();
    }
    let Ok(sh) = cx.shell() else { return BTreeMap::new() };
    let get = ["get", "pods", "--all-namespaces", "--output=json", "--field-selector", ACTIVE_PODS];
    let cmd = cluster.cmd(&sh, None).args(get);
    match cluster.get_json::<List>(cx, cmd, "show the pods of all namespaces") {
        Ok(list) => resources::sum(&list.items),
        Err(_) => BTreeMap::new(),
    }
}

fn is_missing_resources(facts: &Facts) -> bool {
    let scheduled = facts.condition("PodScheduled");
    let message = scheduled.map(|scheduled| text(scheduled, "/message")).unwrap_or_default();
    message.contains(" Insufficient ") || message.contains(" Too many pods")
}

/// The pods that hold what they request.
const ACTIVE_PODS: &str = "spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed";
