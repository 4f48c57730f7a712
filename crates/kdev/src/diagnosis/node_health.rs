//! The pod's node is ill: its kubelet is silent or not ready, or it runs out of
//! something. Pure.

use serde_json::Value;

use super::{Cause, Confidence, Diagnosis, cure, sandbox};
use crate::facts::{Facts, Shelf, condition, list, text};

/// The conditions of a node that runs out of something, and of what.
const PRESSURES: [(&str, &str); 3] =
    [("DiskPressure", "disk"), ("MemoryPressure", "memory"), ("PIDPressure", "process IDs")];

pub(super) fn diagnose(facts: &Facts) -> Vec<Diagnosis> {
    if !facts.is_in_trouble() {
        return Vec::new();
    }
    silent(facts).or_else(|| evicted(facts)).into_iter().collect()
}

/// Its kubelet is not heard of, or says itself that it is not ready.
fn silent(facts: &Facts) -> Option<Diagnosis> {
    let node = facts.node()?;
    let ready = condition(node, "Ready").filter(|ready| ready["status"] != "True")?;
    if sandbox::is_of_network(text(ready, "/message")) {
        return None;
    }
    let name = facts.node_name()?;
    let words = if ready["status"] == "Unknown" {
        format!("nothing is heard of the kubelet of node `{name}`, which has to start the pod")
    } else {
        format!("the kubelet of node `{name}` says that the node is not ready")
    };
    Some(Diagnosis {
        cause: Cause::NodeSilent,
        confidence: Confidence::Certain,
        words,
        evidence: complaint(facts, name).into_iter().chain(reached(facts, name)).collect(),
        help: wake(facts, name),
    })
}

/// Whether the machine itself lives, as far as ssh tells.
fn reached(facts: &Facts, name: &str) -> Option<String> {
    Some(match facts.stocks.get(name)? {
        Shelf::Seen(_) => format!("node `{name}` itself answers over ssh"),
        Shelf::Unseen(why) => why.clone(),
    })
}

/// The kubelet has ended the pod, or refused it, because the node runs out of
/// something.
fn evicted(facts: &Facts) -> Option<Diagnosis> {
    let status = &facts.pod["status"];
    if status["reason"] != "Evicted" {
        return None;
    }
    let name = facts.node_name()?;
    let message = text(status, "/message");
    let is_own = message.contains("exceeds the ") || message.contains("exceeded its local");
    let (words, help) = if is_own {
        (
            "the pod has filled more of the node's disk than it may, and was ended".to_owned(),
            cure::by_hand(
                facts,
                "raise the limit that is named, or let the program write less, in",
            ),
        )
    } else {
        (
            format!(
                "node `{name}` runs out of {}, and does not keep the pod",
                shortage(facts, name, message)
            ),
            relieve(facts, name),
        )
    };
    let evidence = [Some(format!("Evicted: {message}")), complaint(facts, name)];
    Some(Diagnosis {
        cause: Cause::NodePressure,
        confidence: Confidence::Certain,
        words,
        evidence: evidence.into_iter().flatten().collect(),
        help,
    })
}

fn node<'a>(facts: &'a Facts, name: &str) -> Option<&'a Value> {
    facts.nodes.iter().find(|node| text(node, "/metadata/name") == name)
}

/// What the node has too little of.
fn shortage(facts: &Facts, name: &str, message: &str) -> &'static str {
    let is_under = |kind: &str| {
        message.contains(kind)
            || node(facts, name).and_then(|node| condition(node, kind)).is_some_and(is_true)
    };
    let words = PRESSURES.iter().find(|(kind, _)| is_under(kind)).map(|(_, words)| *words);
    let of_resource = || match message {
        _ if message.contains("memory") => "memory",
        _ if message.contains("pids") => "process IDs",
        _ => "disk",
    };
    words.unwrap_or_else(of_resource)
}

fn is_true(condition: &Value) -> bool {
    condition["status"] == "True"
}

/// What the node says of itself that is not well.
pub(super) fn complaint(facts: &Facts, name: &str) -> Option<String> {
    let conditions = list(&node(facts, name)?["status"]["conditions"]);
    let bad = conditions.filter(|one| (one["type"] == "Ready") != is_true(one));
    let bad: Vec<String> = bad
        .map(|one| {
            format!("{} is {}: {}", text(one, "/type"), text(one, "/status"), text(one, "/message"))
        })
        .collect();
    (!bad.is_empty()).then(|| format!("node `{name}`: {}", bad.join("; ")))
}

/// Brings a node's kubelet back.
pub(super) fn wake(facts: &Facts, name: &str) -> String {
    let ready = node(facts, name).and_then(|node| condition(node, "Ready"));
    let message = ready.map(|ready| text(ready, "/message")).unwrap_or_default();
    if sandbox::is_of_network(message) {
        return sandbox::network_help(facts, name, message);
    }
    if let Some(Shelf::Unseen(_)) = facts.stocks.get(name) {
        return format!(
            "start node `{name}`, or see why it cannot be reached: `ping {}`",
            address(facts, name)
        );
    }
    format!(
        "start the kubelet of node `{name}`: `ssh {} sudo systemctl restart kubelet`",
        address(facts, name)
    )
}

/// Where people reach it.
fn address(facts: &Facts, name: &str) -> String {
    let addresses = node(facts, name).map(|node| list(&node["status"]["addresses"]));
    let internal = addresses.into_iter().flatten().find(|one| one["type"] == "InternalIP");
    internal.map_or_else(|| name.to_owned(), |one| text(one, "/address").to_owned())
}

/// Gives a node some of what it has too little of.
pub(super) fn relieve(facts: &Facts, name: &str) -> String {
    let what = shortage(facts, name, text(&facts.pod, "/status/message"));
    let address = address(facts, name);
    match what {
        "disk" => format!(
            "make room on the disk of node `{name}`, for instance by deleting images that no container uses: `ssh {address} sudo crictl rmi --prune`"
        ),
        "memory" => format!(
            "free memory on node `{name}`: end what uses most of it, by `{} top pods --all-namespaces --sort-by memory`",
            facts.kubectl
        ),
        _ => format!("end processes on node `{name}`: `ssh {address} ps -eLf` shows them"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(message: &str) -> Facts {
        Facts {
            pod: json!({"kind": "Pod", "metadata": {"name": "p"}, "spec": {"nodeName": "n"},
                "status": {"phase": "Failed", "reason": "Evicted", "message": message}}),
            nodes: vec![json!({"metadata": {"name": "n"}})],
            ..Facts::default()
        }
    }

    #[test]
    fn what_a_node_runs_out_of_is_told() {
        let table = [
            ("Pod was rejected: The node had condition: [DiskPressure]. ", "disk"),
            ("Pod was rejected: The node had condition: [MemoryPressure]. ", "memory"),
            (
                "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. Container c was using 30Mi, request is 0, has larger consumption of memory. ",
                "memory",
            ),
            (
                "The node was low on resource: ephemeral-storage. Threshold quantity: 1Gi, available: 1Mi. ",
                "disk",
            ),
            (
                "The node was low on resource: pids. Threshold quantity: 10, available: 3. ",
                "process IDs",
            ),
        ];
        for (message, expected) in table {
            let found = diagnose(&pod(message));
            let words = format!("node `n` runs out of {expected}, and does not keep the pod");
            assert_eq!((found[0].cause, &found[0].words), (Cause::NodePressure, &words));
        }
    }

    #[test]
    fn a_limit_of_the_pods_own_is_told_from_a_full_disk() {
        let words = [
            "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. ",
            "Container c exceeded its local ephemeral storage limit \"1Mi\". ",
            "Usage of EmptyDir volume \"v\" exceeds the limit \"1Mi\". ",
        ];
        for message in words {
            let help = &diagnose(&pod(message))[0].help;
            assert!(help.starts_with("raise the limit that is named"), "{help}");
        }
    }

    #[test]
    fn a_kubelet_that_is_not_ready_is_told_from_one_that_is_silent() {
        let mut facts = pod("");
        let table = [
            (
                "Unknown",
                "Kubelet stopped posting node status.",
                Some("nothing is heard of the kubelet"),
            ),
            ("False", "PLEG is not healthy", Some("the kubelet of node `n` says")),
            ("False", "container runtime network not ready: NetworkReady=false", None),
            ("True", "kubelet is posting ready status", None),
        ];
        for (status, message, expected) in table {
            let ready = json!({"type": "Ready", "status": status, "message": message});
            facts.nodes[0]["status"] = json!({"conditions": [ready]});
            let found = silent(&facts).map(|found| found.words);
            let starts = |words: &String| expected.is_some_and(|start| words.starts_with(start));
            assert_eq!(found.as_ref().map(starts), expected.map(|_| true), "{message}: {found:?}");
        }
    }
}
