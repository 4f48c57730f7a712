//! The pod's node is unhealthy: its kubelet is not ready or does not report, or the node is
//! under pressure.

use kdev_core::kube::object::{condition, text};
use serde_json::Value;

use crate::cause::Cause;
use crate::diagnosis::{Confidence, Diagnosis};
use crate::facts::{Facts, NodeObservation};
use crate::fixes::node_shell::NodeShell;
use crate::fixes::{self, placement};

pub(crate) fn diagnose(facts: &Facts) -> Vec<Diagnosis> {
    if !facts.is_unready() {
        return Vec::new();
    }
    node_not_ready(facts)
        .or_else(|| pod_not_acknowledged(facts))
        .or_else(|| evicted(facts))
        .into_iter()
        .collect()
}

/// The kubelet has stopped reporting, or reports that the node is not ready.
fn node_not_ready(facts: &Facts) -> Option<Diagnosis> {
    let node = facts.node()?;
    let ready = condition(node, "Ready").filter(|ready| ready["status"] != "True")?;
    if fixes::node::is_network_not_ready(text(ready, "/message")) {
        return None;
    }
    let name = facts.node_name()?;
    let message = if ready["status"] == "Unknown" {
        format!("the kubelet on node `{name}` has stopped reporting, so the pod cannot start")
    } else {
        format!("the kubelet on node `{name}` reports that the node is not ready")
    };
    Some(Diagnosis {
        cause: Cause::NodeNotReady,
        confidence: Confidence::Certain,
        message,
        evidence: fixes::node::unhealthy_conditions(facts, name)
            .into_iter()
            .chain(connection_evidence(facts, name))
            .collect(),
        help: fixes::node::start_kubelet_help(facts, name),
    })
}

/// The kubelet has not acknowledged the pod. This shows before the cluster notices that the
/// kubelet has stopped reporting.
fn pod_not_acknowledged(facts: &Facts) -> Option<Diagnosis> {
    /// The seconds after which a kubelet should have acknowledged a pod, with a margin for
    /// clock skew.
    const ACKNOWLEDGE_TIMEOUT: i64 = 20;
    let name = facts.node_name().filter(|_| facts.node().is_some())?;
    let status = &facts.pod["status"];
    if text(status, "/phase") != "Pending" || !status["startTime"].is_null() {
        return None;
    }
    let scheduled = facts.condition("PodScheduled").map(|one| text(one, "/lastTransitionTime"));
    let created = text(&facts.pod, "/metadata/creationTimestamp");
    let seconds = facts
        .seconds_since(scheduled.unwrap_or(created))
        .filter(|seconds| *seconds > ACKNOWLEDGE_TIMEOUT)?;
    let evidence =
        format!("the pod was assigned to the node {seconds} s ago, and has no `status.startTime`");
    Some(Diagnosis {
        cause: Cause::NodeNotReady,
        confidence: Confidence::Likely,
        message: format!("the kubelet on node `{name}` has not acknowledged the pod"),
        evidence: std::iter::once(evidence).chain(connection_evidence(facts, name)).collect(),
        help: fixes::node::start_kubelet_help(facts, name),
    })
}

/// Returns whether the node itself is reachable.
fn connection_evidence(facts: &Facts, name: &str) -> Option<String> {
    Some(match facts.node_images.get(name)? {
        NodeObservation::Known(_) => {
            format!("node `{name}` {}", NodeShell::for_node(facts, name).describe())
        }
        NodeObservation::Unknown(error) => error.clone(),
    })
}

/// The kubelet has evicted or rejected the pod because of node pressure, or because the pod
/// exceeded its storage limit.
fn evicted(facts: &Facts) -> Option<Diagnosis> {
    let status = &facts.pod["status"];
    if status["reason"] != "Evicted" {
        return None;
    }
    let name = facts.node_name()?;
    let status_message = text(status, "/message");
    let is_own_limit =
        ["exceeds the ", "exceeded its local"].iter().any(|sign| status_message.contains(sign));
    let (message, help) = if is_own_limit {
        (
            "the pod was evicted because it exceeded its ephemeral storage limit".to_owned(),
            fixes::edit_manifest_help(facts, "increase the exceeded storage limit in"),
        )
    } else {
        let resource = fixes::node::pressure(facts, name, status_message);
        let is_now = fixes::node::is_under_pressure(facts, name, resource) == Some(true);
        let is_rejected = status_message.starts_with("Pod was rejected");
        (
            format!(
                "node `{name}` {} low on {resource}, and the kubelet {} the pod",
                if is_now { "is" } else { "was" },
                if is_rejected { "rejected" } else { "evicted" }
            ),
            eviction_help(facts, name, resource),
        )
    };
    let evidence = [
        Some(format!("Evicted: {status_message}")),
        fixes::node::unhealthy_conditions(facts, name),
    ];
    Some(Diagnosis {
        cause: Cause::NodePressure,
        confidence: Confidence::Certain,
        message,
        evidence: evidence.into_iter().flatten().collect(),
        help,
    })
}

/// Returns the help after an eviction: a controller replaces the pod, a bare pod must be
/// recreated.
fn eviction_help(facts: &Facts, name: &str, resource: &str) -> String {
    let pod = format!("pod/{}", facts.pod_name());
    let has_recovered = fixes::node::is_under_pressure(facts, name, resource) == Some(false);
    if is_replaced(facts) {
        return format!(
            "nothing to do, another pod has replaced it; run `{} delete {pod}` to remove this one",
            facts.kubectl
        );
    }
    match (placement::has_no_owner(facts), has_recovered) {
        (true, true) => format!("recreate {pod}"),
        (true, false) => {
            format!("{}; then recreate {pod}", fixes::node::relieve_pressure_help(facts, name))
        }
        (false, _) => fixes::node::relieve_pressure_help(facts, name),
    }
}

/// Whether as many other pods are ready as there should be.
fn is_replaced(facts: &Facts) -> bool {
    let Some(owner) = facts.owners.first() else { return false };
    let number = |path| owner.pointer(path).and_then(Value::as_u64);
    match (number("/spec/replicas"), number("/status/readyReplicas")) {
        (Some(desired), Some(ready)) => ready >= desired,
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
    fn eviction_names_resource_under_pressure() {
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
            let verb = if message.starts_with("Pod") { "rejected" } else { "evicted" };
            let expected =
                format!("node `n` was low on {expected}, and the kubelet {verb} the pod");
            assert_eq!((found[0].cause, &found[0].message), (Cause::NodePressure, &expected));
        }
    }

    #[test]
    fn eviction_help_depends_on_owner() {
        let free_disk = "free disk space on node `n`: `ssh -t n 'sudo du -xh -d2 /var | sort -h | tail'` shows the largest directories; do not prune images, because that also deletes loaded images that no pod uses";
        let set = |ready: u64| {
            json!({"kind": "ReplicaSet", "metadata": {"name": "w"},
            "spec": {"replicas": 2}, "status": {"readyReplicas": ready}})
        };
        let is_low = "node `n` is low on disk, and the kubelet rejected the pod";
        let was_low = "node `n` was low on disk, and the kubelet rejected the pod";
        let table = [
            ("True", None, is_low, format!("{free_disk}; then recreate pod/p")),
            ("False", None, was_low, "recreate pod/p".to_owned()),
            ("True", Some(set(1)), is_low, free_disk.to_owned()),
            (
                "False",
                Some(set(2)),
                was_low,
                "nothing to do, another pod has replaced it; run `kubectl delete pod/p` to remove this one"
                    .to_owned(),
            ),
        ];
        for (status, owner, message, help) in table {
            let mut facts = pod("Pod was rejected: The node had condition: [DiskPressure]. ");
            facts.kubectl = "kubectl".into();
            facts.owners.extend(owner);
            facts.nodes[0]["status"]["conditions"] =
                json!([{"type": "DiskPressure", "status": status}]);
            let found = diagnose(&facts);
            assert_eq!(found[0].message, message);
            assert_eq!(found[0].help, help);
        }
    }

    #[test]
    fn exceeded_pod_limit_is_not_node_pressure() {
        let messages = [
            "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. ",
            "Container c exceeded its local ephemeral storage limit \"1Mi\". ",
            "Usage of EmptyDir volume \"v\" exceeds the limit \"1Mi\". ",
        ];
        for message in messages {
            let help = &diagnose(&pod(message))[0].help;
            assert!(help.starts_with("increase the exceeded storage limit in"), "{help}");
        }
    }

    #[test]
    fn unready_kubelet_differs_from_silent_kubelet() {
        let mut facts = pod("");
        let table = [
            (
                "Unknown",
                "Kubelet stopped posting node status.",
                Some("the kubelet on node `n` has stopped reporting"),
            ),
            ("False", "PLEG is not healthy", Some("the kubelet on node `n` reports")),
            ("False", "container runtime network not ready: NetworkReady=false", None),
            ("True", "kubelet is posting ready status", None),
        ];
        for (status, message, expected) in table {
            let ready = json!({"type": "Ready", "status": status, "message": message});
            facts.nodes[0]["status"] = json!({"conditions": [ready]});
            let found = node_not_ready(&facts).map(|found| found.message);
            let starts =
                |message: &String| expected.is_some_and(|start| message.starts_with(start));
            assert_eq!(found.as_ref().map(starts), expected.map(|_| true), "{message}: {found:?}");
        }
    }

    #[test]
    fn unacknowledged_pod_is_reported_after_timeout() {
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
