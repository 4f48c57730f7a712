//! The pod has its node, but that does not take it, or is not there.

use kdev_core::kube::object::text;
use kdev_core::text;

use crate::cause::Cause;
use crate::diagnosis::{Confidence, Diagnosis};
use crate::facts::Facts;
use crate::fixes::{self, placement};

/// How many nodes are named at most.
const NODES: usize = 6;
/// How long the API keeps events, in seconds.
const EVENTS: u64 = 3600;
/// What a kubelet says of a pod that it does not take, and what it means.
const REJECTED: [(&str, Cause); 3] = [
    ("OutOf", Cause::InsufficientResources),
    ("NodeAffinity", Cause::NodeSelector),
    ("NodePorts", Cause::HostPortInUse),
];

pub(crate) fn diagnose(facts: &Facts, node: &str) -> Option<Diagnosis> {
    rejected(facts, node).or_else(|| missing(facts, node))
}

/// The node's kubelet has not taken the pod.
fn rejected(facts: &Facts, node: &str) -> Option<Diagnosis> {
    let reason = text(&facts.pod, "/status/reason");
    let (_, cause) = REJECTED.into_iter().find(|(start, _)| reason.starts_with(start))?;
    let message = text(&facts.pod, "/status/message");
    let why = message.trim_start_matches("Pod was rejected: ");
    let (words, help) = if names_node(facts) {
        (
            format!(
                "the pod was put onto node `{node}` past the scheduler, and the node's kubelet does not take it"
            ),
            fixes::by_hand(facts, "take `nodeName` out of"),
        )
    } else {
        (format!("the kubelet of node `{node}` refused the pod: {why}"), anew(facts, ""))
    };
    Some(Diagnosis {
        cause,
        confidence: Confidence::Certain,
        message: words,
        evidence: vec![format!("{reason}: {message}")],
        help,
    })
}

/// The pod's node does not exist.
fn missing(facts: &Facts, name: &str) -> Option<Diagnosis> {
    if facts.nodes.is_empty() || facts.node().is_some() {
        return None;
    }
    let mut nodes: Vec<&str> =
        facts.nodes.iter().map(|node| text(node, "/metadata/name")).collect();
    let (words, help) = if names_node(facts) {
        let nearest = nodes.iter().min_by_key(|node| strsim::levenshtein(node, name));
        let instead = nearest.copied().unwrap_or_default();
        (
            format!("the pod names node `{name}` in `nodeName`, and the cluster has no such node"),
            placement::set_in_pod(facts, "nodeName", name, instead),
        )
    } else {
        (
            format!("node `{name}`, on which the pod was, is gone from the cluster"),
            anew(facts, " --force --grace-period=0"),
        )
    };
    Some(Diagnosis {
        cause: Cause::NodeNotFound,
        confidence: Confidence::Certain,
        message: words,
        evidence: vec![has(&mut nodes)],
        help,
    })
}

/// Which nodes there are, as far as they can be listed.
fn has(nodes: &mut Vec<&str>) -> String {
    let more = nodes.len().saturating_sub(NODES);
    nodes.truncate(NODES);
    match more {
        0 => format!("the cluster has {}", text::list(nodes)),
        _ => format!("the cluster has {more} nodes besides {}", text::list(nodes)),
    }
}

/// Whether the pod was told its node by whoever made it, and not by the scheduler.
fn names_node(facts: &Facts) -> bool {
    if !facts.owners.is_empty() {
        let specs = ["/spec/template/spec", "/spec/jobTemplate/spec/template/spec"];
        return facts.owners.iter().any(|owner| {
            specs.iter().any(|spec| owner.pointer(&format!("{spec}/nodeName")).is_some())
        });
    }
    let was_told = facts.pod_events().any(|event| event.reason == "Scheduled");
    let is_gone = !facts.nodes.is_empty() && facts.node().is_none();
    // The scheduler leaves a mark on a pod, and only a kubelet can take it away.
    let is_silent = if is_gone {
        facts.condition("PodScheduled").is_none_or(|one| one["status"] != "True")
    } else {
        facts.age_seconds.is_none_or(|age| age < EVENTS)
    };
    is_silent && !was_told
}

/// Makes room for a new pod in the place of one that cannot go on.
fn anew(facts: &Facts, flags: &str) -> String {
    let (kubectl, pod) = (&facts.kubectl, facts.pod_name());
    let delete = format!("{kubectl} delete pod/{pod}{flags}");
    if placement::is_bare(facts) {
        return format!("delete the pod with `{delete}`, and make it anew from its manifest");
    }
    format!("run `{delete}`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::ApiEvent;
    use serde_json::{Value, json};

    fn placed(status: &Value, owner: Option<Value>) -> Facts {
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
    fn a_node_is_blamed_on_the_manifest_only_if_that_names_it() {
        let named = "the pod names node `n2` in `nodeName`, and the cluster has no such node";
        let gone = "node `n2`, on which the pod was, is gone from the cluster";
        let (never, was) = (
            json!({"phase": "Pending"}),
            json!({"phase": "Running", "conditions": [
            {"type": "PodScheduled", "status": "True"}]}),
        );
        let delete = "run `kubectl delete pod/p --force --grace-period=0`";
        let bare = "delete the pod with `kubectl delete pod/p --force --grace-period=0`, and make it anew from its manifest";
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
                "run `kubectl get pod/p --output json | sed 's|\"nodeName\": \"n2\"|\"nodeName\": \"n1\"|' | kubectl replace --force --filename -`, which deletes the pod and makes it anew",
            ),
            (&was, None, gone, bare),
        ];
        for (status, owner, words, help) in table {
            // Events do not matter here.
            let facts = Facts { age_seconds: Some(4000), ..placed(status, owner) };
            let found = diagnose(&facts, "n2").unwrap();
            assert_eq!((found.message.as_str(), found.help.as_str()), (words, help));
        }
    }

    #[test]
    fn a_kubelets_no_is_blamed_on_the_manifest_only_if_that_names_the_node() {
        let past = "the pod was put onto node `n2` past the scheduler, and the node's kubelet does not take it";
        let refused = "the kubelet of node `n2` refused the pod: Node didn't have enough resource: cpu, requested: 1500, used: 600, capacity: 2000";
        let status = json!({"phase": "Failed", "reason": "OutOfcpu",
            "message": "Pod was rejected: Node didn't have enough resource: cpu, requested: 1500, used: 600, capacity: 2000"});
        let by_hand = "take `nodeName` out of the manifest of pod/p, and make that anew";
        let bare = "delete the pod with `kubectl delete pod/p`, and make it anew from its manifest";
        let scheduled = ApiEvent {
            regarding: "Pod/p".into(),
            reason: "Scheduled".into(),
            ..ApiEvent::default()
        };
        let table = [
            (None, None, 5, past, by_hand),
            (None, Some(&scheduled), 5, refused, bare),
            // Then there are no events any more.
            (None, None, 4000, refused, bare),
            (
                Some(deployment(&json!({}))),
                Some(&scheduled),
                5,
                refused,
                "run `kubectl delete pod/p`",
            ),
        ];
        for (owner, event, age, words, help) in table {
            let mut facts = placed(&status, owner);
            facts.nodes.push(json!({"metadata": {"name": "n2"}}));
            facts.events.extend(event.cloned());
            facts.age_seconds = Some(age);
            let found = diagnose(&facts, "n2").unwrap();
            assert_eq!((found.message.as_str(), found.help.as_str()), (words, help));
            assert_eq!(found.cause, Cause::InsufficientResources);
        }
    }

    #[test]
    fn of_many_nodes_the_first_are_named_and_the_others_counted() {
        let mut few = vec!["a", "b"];
        assert_eq!(has(&mut few), "the cluster has `a` and `b`");
        let mut many = vec!["a", "b", "c", "d", "e", "f", "g", "h"];
        let expected = "the cluster has 2 nodes besides `a`, `b`, `c`, `d`, `e` and `f`";
        assert_eq!(has(&mut many), expected);
    }
}
