//! What is left of the nodes' resources: what pods request, and a node's pods
//! have taken. The counting is pure.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::cx::Cx;
use crate::facts::{Facts, list, text};
use crate::quantity;

/// Amounts by resource, in thousandths.
pub(crate) type Amounts = BTreeMap<String, i128>;

/// The pods that hold what they request.
const HOLDERS: &str = "spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed";

/// What pods of all namespaces request of each node, where some pod lacks
/// resources and the user may see it.
pub(crate) fn of_nodes(
    cx: &Cx,
    cluster: &Cluster,
    facts: &[Facts],
) -> BTreeMap<String, BTreeMap<String, String>> {
    #[derive(Deserialize)]
    struct List {
        items: Vec<Value>,
    }
    if !facts.iter().any(lacks_resources) {
        return BTreeMap::new();
    }
    let Ok(sh) = cx.shell() else { return BTreeMap::new() };
    let get = ["get", "pods", "--all-namespaces", "--output=json", "--field-selector", HOLDERS];
    let cmd = cluster.cmd(&sh, None).args(get);
    match cluster.json::<List>(cx, cmd, "show the pods of all namespaces") {
        Ok(list) => sum(&list.items),
        Err(_) => BTreeMap::new(),
    }
}

fn lacks_resources(facts: &Facts) -> bool {
    let scheduled = facts.condition("PodScheduled");
    let message = scheduled.map(|scheduled| text(scheduled, "/message")).unwrap_or_default();
    message.contains(" Insufficient ") || message.contains(" Too many pods")
}

/// What these pods request of each node.
fn sum(pods: &[Value]) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut nodes: BTreeMap<String, Amounts> = BTreeMap::new();
    for pod in pods {
        let node = nodes.entry(text(pod, "/spec/nodeName").to_owned()).or_default();
        for (resource, amount) in requests(&pod["spec"]) {
            *node.entry(resource).or_default() += amount;
        }
    }
    let written = |(resource, amount): (String, i128)| {
        let text = quantity::write(&resource, amount);
        (resource, text)
    };
    nodes.into_iter().map(|(node, sums)| (node, sums.into_iter().map(written).collect())).collect()
}

/// What a pod requests, as the scheduler counts it: its containers and sidecars
/// together, or the greediest of its init containers.
pub(crate) fn requests(spec: &Value) -> Amounts {
    let mut sums = Amounts::from([("pods".to_owned(), 1000)]);
    let (sidecars, inits): (Vec<&Value>, Vec<&Value>) =
        list(&spec["initContainers"]).partition(|one| one["restartPolicy"] == "Always");
    for container in list(&spec["containers"]).chain(sidecars) {
        for (resource, amount) in amounts(&container["resources"]["requests"]) {
            *sums.entry(resource).or_default() += amount;
        }
    }
    for (resource, amount) in inits.iter().flat_map(|one| amounts(&one["resources"]["requests"])) {
        let sum = sums.entry(resource).or_default();
        *sum = amount.max(*sum);
    }
    for (resource, amount) in amounts(&spec["overhead"]) {
        *sums.entry(resource).or_default() += amount;
    }
    sums
}

/// The amounts of a resource list.
pub(crate) fn amounts(list: &Value) -> Amounts {
    let amount = |(resource, amount): (&String, &Value)| {
        let amount = amount.as_str().map_or_else(|| amount.to_string(), str::to_owned);
        Some((resource.clone(), quantity::parse(&amount)?))
    };
    list.as_object().into_iter().flatten().filter_map(amount).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn requests_are_counted_as_the_scheduler_does() {
        let cpu = |amount: &str| json!({"resources": {"requests": {"cpu": amount}}});
        let mut sidecar = cpu("100m");
        sidecar["restartPolicy"] = json!("Always");
        let table = [
            (json!({"containers": [cpu("1"), cpu("500m")]}), 1500),
            (json!({"containers": [cpu("1")], "initContainers": [cpu("2"), cpu("3")]}), 3000),
            (json!({"containers": [cpu("1")], "initContainers": [sidecar]}), 1100),
            (json!({"containers": [cpu("1")], "overhead": {"cpu": "250m"}}), 1250),
        ];
        for (spec, expected) in table {
            assert_eq!(requests(&spec)["cpu"], expected, "{spec}");
        }
        let pod = |cpu_: &str| json!({"spec": {"nodeName": "n", "containers": [cpu(cpu_)]}});
        let sums = sum(&[pod("1"), pod("500m")]);
        assert_eq!((sums["n"]["cpu"].as_str(), sums["n"]["pods"].as_str()), ("1500m", "2"));
    }
}
