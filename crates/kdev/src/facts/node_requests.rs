//! The resource requests of the pods on each node, in all namespaces.

use std::collections::BTreeMap;

use kdev_core::kube::object::text;
use kdev_core::kube::resources;
use kdev_diagnosis::facts::Facts;
use serde::Deserialize;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::cx::Cx;

/// Sums up the resource requests of all pods per node, if a pod was not scheduled because of
/// missing resources and the user is allowed to list all pods.
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
    match cluster.get_json::<List>(cx, cmd, "list the pods of all namespaces") {
        Ok(list) => resources::sum(&list.items),
        Err(_) => BTreeMap::new(),
    }
}

fn is_missing_resources(facts: &Facts) -> bool {
    let scheduled = facts.condition("PodScheduled");
    let message = scheduled.map(|scheduled| text(scheduled, "/message")).unwrap_or_default();
    message.contains(" Insufficient ") || message.contains(" Too many pods")
}

/// Selects the pods whose requests count.
const ACTIVE_PODS: &str = "spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed";
