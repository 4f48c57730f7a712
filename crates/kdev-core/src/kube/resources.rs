//! Resource requests of pods, summed up per node.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::kube::object::{list, text};
use crate::kube::quantity;

/// Amounts by resource, in thousandths.
pub type Amounts = BTreeMap<String, i128>;

/// Sums up the requests of these pods per node.
pub fn sum(pods: &[Value]) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut nodes: BTreeMap<String, Amounts> = BTreeMap::new();
    for pod in pods {
        let node = nodes.entry(text(pod, "/spec/nodeName").to_owned()).or_default();
        for (resource, amount) in requests(&pod["spec"]) {
            *node.entry(resource).or_default() += amount;
        }
    }
    let written = |(resource, amount): (String, i128)| {
        let text = quantity::format(&resource, amount);
        (resource, text)
    };
    nodes.into_iter().map(|(node, sums)| (node, sums.into_iter().map(written).collect())).collect()
}

/// Returns the requests of a pod as the scheduler counts them: the sum of its containers
/// and sidecars, or the largest init container if that is more.
pub fn requests(spec: &Value) -> Amounts {
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

/// Parses the amounts of a resource list.
pub fn amounts(list: &Value) -> Amounts {
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
    fn requests_are_counted_like_scheduler() {
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
