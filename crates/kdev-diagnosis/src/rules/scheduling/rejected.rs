//! The kubelet rejected the pod, or the pod's node does not exist.

use kdev_core::kube::object::text;
use kdev_core::text;

use crate::cause::Cause;
use crate::diagnosis::{Confidence, Diagnosis};
use crate::facts::Facts;
use crate::fixes::{self, placement};

/// The maximum number of nodes that are listed by name.
const MAX_NODES: usize = 6;
/// How long the API server keeps events, in seconds.
const EVENT_TTL: u64 = 3600;
/// The start of the reasons with which a kubelet rejects a pod, and their causes.
const REJECTIONS: [(&str, Cause); 3] = [
    ("OutOf", Cause::InsufficientResources),
    ("NodeAffinity", Cause::NodeSelector),
    ("NodePorts", Cause::HostPortInUse),
];

pub(crate) fn diagnose(facts: &Facts, node: &str) -> Option<Diagnosis> {
    rejected_by_kubelet(facts, node).or_else(|| node_not_found(facts, node))
}

/// The node's kubelet has rejected the pod.
fn rejected_by_kubelet(facts: &Facts, node: &str) -> Option<Diagnosis> {
    let reason = text(&facts.pod, "/status/reason");
    let (_, cause) = REJECTIONS.into_iter().find(|(start, _)| reason.starts_with(start))?;
    let status_message = text(&facts.pod, "/status/message");
    let details = status_message.trim_start_matches("Pod was rejected: ");
    let (message, help) = if is_node_set_in_manifest(facts) {
        (
            format!(
                "the pod's `nodeName` bypasses the scheduler, and the kubelet on node `{node}` rejected the pod"
            ),
            fixes::edit_manifest_help(facts, "remove `nodeName` from"),
        )
    } else {
        (
            format!("the kubelet on node `{node}` rejected the pod: {details}"),
            recreate_help(facts, ""),
        )
    };
    Some(Diagnosis {
        cause,
        confidence: Confidence::Certain,
        message,
        evidence: vec![format!("{reason}: {status_message}")],
        help,
    })
}

/// The pod's node does not exist.
fn node_not_found(facts: &Facts, name: &str) -> Option<Diagnosis> {
    if facts.nodes.is_empty() || facts.node().is_some() {
        return None;
    }
    let mut nodes: Vec<&str> =
        facts.nodes.iter().map(|node| text(node, "/metadata/name")).collect();
    let (message, help) = if is_node_set_in_manifest(facts) {
        let nearest = nodes.iter().min_by_key(|node| strsim::levenshtein(node, name));
        let existing = nearest.copied().unwrap_or_default();
        (
            format!("node `{name}` in the pod's `nodeName` does not exist"),
            placement::set_pod_field_help(facts, "nodeName", name, existing),
        )
    } else {
        (
            format!("the pod's node `{name}` no longer exists"),
            recreate_help(facts, " --force --grace-period=0"),
        )
    };
    Some(Diagnosis {
        cause: Cause::NodeNotFound,
        confidence: Confidence::Certain,
        message,
        evidence: vec![list_nodes(&mut nodes)],
        help,
    })
}

/// Lists the nodes of the cluster.
fn list_nodes(nodes: &mut Vec<&str>) -> String {
    let count = nodes.len();
    nodes.truncate(MAX_NODES);
    if count > MAX_NODES {
        format!("the cluster has {count} nodes, among them {}", text::list(nodes))
    } else {
        format!("the cluster has {}", text::list(nodes))
    }
}

/// Whether the manifest sets the pod's node, and not the scheduler.
fn is_node_set_in_manifest(facts: &Facts) -> bool {
    if !facts.owners.is_empty() {
        let specs = ["/spec/template/spec", "/spec/jobTemplate/spec/template/spec"];
        return facts.owners.iter().any(|owner| {
            specs.iter().any(|spec| owner.pointer(&format!("{spec}/nodeName")).is_some())
        });
    }
    let has_scheduled_event = facts.pod_events().any(|event| event.reason == "Scheduled");
    let is_missing = !facts.nodes.is_empty() && facts.node().is_none();
    // The scheduler sets the condition `PodScheduled`, which only a kubelet can remove.
    let has_no_trace = if is_missing {
        facts.condition("PodScheduled").is_none_or(|one| one["status"] != "True")
    } else {
        facts.age_seconds.is_none_or(|age| age < EVENT_TTL)
    };
    has_no_trace && !has_scheduled_event
}

/// Returns the help that replaces a pod that cannot continue.
fn recreate_help(facts: &Facts, flags: &str) -> String {
    let (kubectl, pod) = (&facts.kubectl, facts.pod_name());
    let delete = format!("{kubectl} delete pod/{pod}{flags}");
    if placement::has_no_owner(facts) {
        return format!("delete the pod with `{delete}`, and recreate it from its manifest");
    }
    format!("run `{delete}`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::ApiEvent;
    use serde_json::{Value, json};

    fn scheduled(status: &Value, owner: Option<Value>) -> Facts {
        Facts {
            subject: "pod/p".into(),
            kubectl: "kubectl".into(),
            pod: json!({"kind": "Pod", "metadata": {"name": "p"}, "spec": {"nodeName": "n2"}, "status": status}),
            owners: owner.into_iter().collect(),
            nodes: vec![json!({"metadata": {"name": "n1"}})],
            ..Facts::default()
        }
    }

    fn deployment(spec: &Value) -> Value {
        json!({"kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"template": {"spec": spec}}})
    }

    #[test]
    fn missing_node_is_manifest_error_only_if_manifest_names_it() {
        let named = "node `n2` in the pod's `nodeName` does not exist";
        let gone = "the pod's node `n2` no longer exists";
        let (never, was) = (
            json!({"phase": "Pending"}),
            json!({"phase": "Running", "conditions": [
            {"type": "PodScheduled", "status": "True"}]}),
        );
        let delete = "run `kubectl delete pod/p --force --grace-period=0`";
        let bare = "delete the pod with `kubectl delete pod/p --force --grace-period=0`, and recreate it from its manifest";
        let table = [
            (
                &never,
                Some(deployment(&json!({"nodeName": "n2"}))),
                named,
                "run `kubectl patch deployment/web --patch '{\"spec\":{\"template\":{\"spec\":{\"nodeName\":\"n1\"}}}}'`",
            ),
            (&was, Some(deployment(&json!({}))), gone, delete),
            (
                &never,
                None,
                named,
                "run `kubectl get pod/p --output json | sed 's|\"nodeName\": \"n2\"|\"nodeName\": \"n1\"|' | kubectl replace --force --filename -`, which deletes and recreates the pod",
            ),
            (&was, None, gone, bare),
        ];
        for (status, owner, message, help) in table {
            // Events do not matter here.
            let facts = Facts { age_seconds: Some(4000), ..scheduled(status, owner) };
            let found = diagnose(&facts, "n2").unwrap();
            assert_eq!((found.message.as_str(), found.help.as_str()), (message, help));
        }
    }

    #[test]
    fn rejection_is_manifest_error_only_if_manifest_names_node() {
        let past = "the pod's `nodeName` bypasses the scheduler, and the kubelet on node `n2` rejected the pod";
        let rejected = "the kubelet on node `n2` rejected the pod: Node didn't have enough resource: cpu, requested: 1500, used: 600, capacity: 2000";
        let status = json!({"phase": "Failed", "reason": "OutOfcpu",
            "message": "Pod was rejected: Node didn't have enough resource: cpu, requested: 1500, used: 600, capacity: 2000"});
        let edit_help = "remove `nodeName` from the manifest of pod/p, and recreate it";
        let bare = "delete the pod with `kubectl delete pod/p`, and recreate it from its manifest";
        let event = ApiEvent {
            regarding: "Pod/p".into(),
            reason: "Scheduled".into(),
            ..ApiEvent::default()
        };
        let table = [
            (None, None, 5, past, edit_help),
            (None, Some(&event), 5, rejected, bare),
            // The event has expired.
            (None, None, 4000, rejected, bare),
            (Some(deployment(&json!({}))), Some(&event), 5, rejected, "run `kubectl delete pod/p`"),
        ];
        for (owner, event, age, message, help) in table {
            let mut facts = scheduled(&status, owner);
            facts.nodes.push(json!({"metadata": {"name": "n2"}}));
            facts.events.extend(event.cloned());
            facts.age_seconds = Some(age);
            let found = diagnose(&facts, "n2").unwrap();
            assert_eq!((found.message.as_str(), found.help.as_str()), (message, help));
            assert_eq!(found.cause, Cause::InsufficientResources);
        }
    }

    #[test]
    fn long_node_list_is_truncated() {
        let mut few = vec!["a", "b"];
        assert_eq!(list_nodes(&mut few), "the cluster has `a` and `b`");
        let mut many = vec!["a", "b", "c", "d", "e", "f", "g", "h"];
        let expected = "the cluster has 8 nodes, among them `a`, `b`, `c`, `d`, `e`, and `f`";
        assert_eq!(list_nodes(&mut many), expected);
    }
}
