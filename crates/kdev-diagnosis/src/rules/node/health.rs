//! The pod's node is ill: its kubelet is silent or not ready, or it runs out of
//! something.

use kdev_core::kube::object::{condition, text};
use serde_json::Value;

use crate::cause::Cause;
use crate::diagnosis::{Confidence, Diagnosis};
use crate::facts::{Facts, NodeObservation};
use crate::fixes::node_shell::Entrance;
use crate::fixes::{self, placement};

pub(crate) fn diagnose(facts: &Facts) -> Vec<Diagnosis> {
    if !facts.is_in_trouble() {
        return Vec::new();
    }
    silent(facts).or_else(|| unheard(facts)).or_else(|| evicted(facts)).into_iter().collect()
}

/// Its kubelet is not heard of, or says itself that it is not ready.
fn silent(facts: &Facts) -> Option<Diagnosis> {
    let node = facts.node()?;
    let ready = condition(node, "Ready").filter(|ready| ready["status"] != "True")?;
    if fixes::node::is_of_network(text(ready, "/message")) {
        return None;
    }
    let name = facts.node_name()?;
    let words = if ready["status"] == "Unknown" {
        format!("nothing is heard of the kubelet of node `{name}`, which has to start the pod")
    } else {
        format!("the kubelet of node `{name}` says that the node is not ready")
    };
    Some(Diagnosis {
        cause: Cause::NodeNotReady,
        confidence: Confidence::Certain,
        message: words,
        evidence: fixes::node::complaint(facts, name)
            .into_iter()
            .chain(reached(facts, name))
            .collect(),
        help: fixes::node::wake(facts, name),
    })
}

/// Its kubelet has not taken notice of the pod, which comes before the cluster misses
/// the kubelet itself.
fn unheard(facts: &Facts) -> Option<Diagnosis> {
    /// How long a kubelet may take to notice a pod, in seconds; two machines' clocks
    /// may differ by some.
    const PATIENCE: i64 = 20;
    let name = facts.node_name().filter(|_| facts.node().is_some())?;
    let status = &facts.pod["status"];
    if text(status, "/phase") != "Pending" || !status["startTime"].is_null() {
        return None;
    }
    let given = facts.condition("PodScheduled").map(|one| text(one, "/lastTransitionTime"));
    let created = text(&facts.pod, "/metadata/creationTimestamp");
    let waits = facts.since(given.unwrap_or(created)).filter(|waits| *waits > PATIENCE)?;
    let seen = format!("the pod has been given to it {waits} s ago, and has no `status.startTime`");
    Some(Diagnosis {
        cause: Cause::NodeNotReady,
        confidence: Confidence::Likely,
        message: format!("the kubelet of node `{name}` does not take notice of the pod"),
        evidence: std::iter::once(seen).chain(reached(facts, name)).collect(),
        help: fixes::node::wake(facts, name),
    })
}

/// Whether the machine itself lives.
fn reached(facts: &Facts, name: &str) -> Option<String> {
    Some(match facts.node_images.get(name)? {
        NodeObservation::Known(_) => {
            format!("node `{name}` itself {}", Entrance::to(facts, name).means())
        }
        NodeObservation::Unknown(why) => why.clone(),
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
            fixes::by_hand(
                facts,
                "raise the limit that is named, or let the program write less, in",
            ),
        )
    } else {
        let what = fixes::node::shortage(facts, name, message);
        let runs =
            if fixes::node::is_short(facts, name, what) == Some(true) { "runs" } else { "ran" };
        let keeps = if runs == "runs" { "does" } else { "did" };
        (
            format!("node `{name}` {runs} out of {what}, and {keeps} not keep the pod"),
            after_eviction(facts, name, what),
        )
    };
    let evidence = [Some(format!("Evicted: {message}")), fixes::node::complaint(facts, name)];
    Some(Diagnosis {
        cause: Cause::NodePressure,
        confidence: Confidence::Certain,
        message: words,
        evidence: evidence.into_iter().flatten().collect(),
        help,
    })
}

/// Nobody makes a bare pod anew, and a set makes another one at once.
fn after_eviction(facts: &Facts, name: &str, what: &str) -> String {
    let pod = format!("pod/{}", facts.pod_name());
    let is_well_again = fixes::node::is_short(facts, name, what) == Some(false);
    if is_replaced(facts) {
        return format!(
            "nothing is to be done: another pod runs in its place, and `{} delete {pod}` takes this one away",
            facts.kubectl
        );
    }
    match (placement::is_bare(facts), is_well_again) {
        (true, true) => format!("make {pod} anew"),
        (true, false) => format!("{}; make {pod} anew then", fixes::node::relieve(facts, name)),
        (false, _) => fixes::node::relieve(facts, name),
    }
}

/// Whether as many other pods are ready as there should be.
fn is_replaced(facts: &Facts) -> bool {
    let Some(maker) = facts.owners.first() else { return false };
    let number = |path| maker.pointer(path).and_then(Value::as_u64);
    match (number("/spec/replicas"), number("/status/readyReplicas")) {
        (Some(wanted), Some(ready)) => ready >= wanted,
        _ => false,
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
            let words = format!("node `n` ran out of {expected}, and did not keep the pod");
            assert_eq!((found[0].cause, &found[0].message), (Cause::NodePressure, &words));
        }
    }

    #[test]
    fn an_evicted_pod_is_made_anew_by_somebody() {
        let room = "make room on the disk of node `n`: `ssh -t n 'sudo du -xh -d2 /var | sort -h | tail'` shows what fills it; to prune images would also delete loaded ones that no pod uses";
        let set = |ready: u64| {
            json!({"kind": "ReplicaSet", "metadata": {"name": "w"},
            "spec": {"replicas": 2}, "status": {"readyReplicas": ready}})
        };
        let (runs, ran) =
            ("node `n` runs out of disk, and does not", "node `n` ran out of disk, and did not");
        let table = [
            ("True", None, runs, format!("{room}; make pod/p anew then")),
            ("False", None, ran, "make pod/p anew".to_owned()),
            ("True", Some(set(1)), runs, room.to_owned()),
            (
                "False",
                Some(set(2)),
                ran,
                "nothing is to be done: another pod runs in its place, and `kubectl delete pod/p` takes this one away"
                    .to_owned(),
            ),
        ];
        for (status, owner, words, help) in table {
            let mut facts = pod("Pod was rejected: The node had condition: [DiskPressure]. ");
            facts.kubectl = "kubectl".into();
            facts.owners.extend(owner);
            facts.nodes[0]["status"]["conditions"] =
                json!([{"type": "DiskPressure", "status": status}]);
            let found = diagnose(&facts);
            assert!(found[0].message.starts_with(words), "{}", found[0].message);
            assert_eq!(found[0].help, help);
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
            let found = silent(&facts).map(|found| found.message);
            let starts = |words: &String| expected.is_some_and(|start| words.starts_with(start));
            assert_eq!(found.as_ref().map(starts), expected.map(|_| true), "{message}: {found:?}");
        }
    }

    #[test]
    fn a_kubelet_is_given_a_moment_to_notice_a_pod() {
        let facts = |status: Value, age: u64| Facts {
            pod: json!({"metadata": {"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z"},
                "spec": {"nodeName": "n"}, "status": status}),
            nodes: vec![json!({"metadata": {"name": "n"}})],
            age_seconds: Some(age),
            ..Facts::default()
        };
        let scheduled =
            json!([{"type": "PodScheduled", "lastTransitionTime": "2026-01-01T00:01:00Z"}]);
        let noticed = json!({"phase": "Pending", "startTime": "2026-01-01T00:00:01Z"});
        let table = [
            (json!({"phase": "Pending"}), 20, false),
            (json!({"phase": "Pending"}), 21, true),
            (json!({"phase": "Pending", "conditions": scheduled}), 80, false),
            (json!({"phase": "Pending", "conditions": scheduled}), 81, true),
            (noticed, 99, false),
        ];
        for (status, age, expected) in table {
            let found = diagnose(&facts(status.clone(), age));
            assert_eq!(!found.is_empty(), expected, "{status} {age}");
        }
    }
}
