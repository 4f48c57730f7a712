//! No node takes the pod.
//!
//! - `blockers.rs`: what keeps a pod off a node
//! - `rejected.rs`: the kubelet rejected the pod, or its node is gone

pub(crate) mod blockers;
pub(crate) mod rejected;

use kdev_core::kube::container::Container;
use kdev_core::kube::object::{list, text};
use kdev_core::text;

use crate::cause::Cause;
use crate::diagnosis::{Confidence, Diagnosis};
use crate::facts::Facts;
use crate::fixes::{self, placement};
use crate::rules::scheduling::blockers::{Hindrance, Judged};
use crate::rules::volume::claims;
use crate::{location, scheduler_message};

/// The scheduler of pods that name none.
const DEFAULT: &str = "default-scheduler";
/// How long a scheduler may take for its first word, in seconds; one that may well
/// not exist, and the cluster's own.
const LITTLE_PATIENCE: u64 = 5;
const PATIENCE: u64 = 20;
/// How many nodes are named at most.
const NODES: usize = 6;

pub(crate) fn diagnose(facts: &Facts) -> Vec<Diagnosis> {
    if !facts.is_pod() {
        return unplaced(facts).into_iter().collect();
    }
    if let Some(node) = facts.node_name() {
        return rejected::diagnose(facts, node).into_iter().collect();
    }
    let Some(scheduled) = facts.condition("PodScheduled") else {
        return unserved(facts).into_iter().collect();
    };
    match text(scheduled, "/reason") {
        "SchedulingGated" => vec![gated(facts, text(scheduled, "/message"))],
        "Unschedulable" => excluded(facts, text(scheduled, "/message")),
        _ => Vec::new(),
    }
}

/// Nobody has said a word about the pod.
fn unserved(facts: &Facts) -> Option<Diagnosis> {
    let name = text(&facts.pod, "/spec/schedulerName");
    let waits = facts.age_seconds?;
    if facts.events.iter().any(|event| event.reason == "FailedScheduling") {
        return None;
    }
    let evidence = vec![format!(
        "the pod has neither a node nor a word from the scheduler `{name}` after {waits} s"
    )];
    let is_own = !name.is_empty() && name != DEFAULT;
    if waits < if is_own { LITTLE_PATIENCE } else { PATIENCE } {
        return None;
    }
    let (words, help) = if is_own {
        (
            format!(
                "the pod asks for the scheduler `{name}`, and no such scheduler looks after it"
            ),
            placement::set_in_pod(facts, "schedulerName", name, DEFAULT),
        )
    } else {
        (
            "no scheduler looks after new pods: the cluster's own does not run".to_owned(),
            format!(
                "start it; see `{} get pods --namespace kube-system --selector component=kube-scheduler`",
                facts.kubectl
            ),
        )
    };
    Some(Diagnosis {
        cause: Cause::NotScheduled,
        confidence: Confidence::Likely,
        message: words,
        evidence,
        help,
    })
}

/// Somebody has to let it go first.
fn gated(facts: &Facts, message: &str) -> Diagnosis {
    let gates: Vec<&str> =
        list(&facts.pod["spec"]["schedulingGates"]).map(|gate| text(gate, "/name")).collect();
    let gates = text::list(&gates);
    Diagnosis {
        cause: Cause::NotScheduled,
        confidence: Confidence::Certain,
        message: format!("the pod waits for a controller to open its scheduling gate {gates}"),
        evidence: vec![format!("the API server: {message}")],
        help: format!(
            "run `{} patch pod/{} --type json --patch '[{{\"op\":\"remove\",\"path\":\"/spec/schedulingGates\"}}]'`",
            facts.kubectl,
            facts.pod_name()
        ),
    }
}

/// No node may take it: what keeps it off the one that is the nearest to it.
fn excluded(facts: &Facts, message: &str) -> Vec<Diagnosis> {
    let judged = blockers::judge(facts, message);
    let images = location::nodes_with_images(facts);
    // A node that is right for the pod waits for something else, a volume mostly.
    let is_right = judged.iter().any(Judged::is_right);
    let Some(nearest) = nearest(facts, &judged, &images).filter(|_| !is_right) else {
        let is_of_claim = !claims::diagnose(facts).is_empty();
        return if is_of_claim { Vec::new() } else { vec![unexplained(facts, message)] };
    };
    let mut found: Vec<Diagnosis> = Vec::new();
    let mut hindrances: Vec<_> = nearest.hindrances.iter().collect();
    hindrances.sort_by_key(|hindrance| hindrance.cause());
    for hindrance in hindrances {
        if found.iter().any(|one| one.cause == hindrance.cause()) {
            continue;
        }
        let words = if found.is_empty() {
            overview(&judged)
        } else {
            format!("node `{}` does not take the pod: {hindrance}", nearest.name)
        };
        let mut evidence = vec![format!("the scheduler: {}", scheduler_message::essence(message))];
        evidence.extend(hindrance.evidence(facts, &nearest.name));
        found.push(Diagnosis {
            cause: hindrance.cause(),
            confidence: Confidence::Certain,
            message: words,
            evidence,
            help: hindrance.cure(facts, nearest),
        });
    }
    if let Some(first) = found.first_mut() {
        first.evidence.extend(where_images_are(facts, &images));
    }
    found
}

/// Nothing more is known than what the scheduler says.
fn unexplained(facts: &Facts, message: &str) -> Diagnosis {
    let first = blockers::said(message).next();
    let help = match &first {
        Some(Hindrance::Short(resource)) => {
            fixes::by_hand(facts, &format!("request less {resource} in"))
        }
        _ => format!("see `{} describe {}`", facts.kubectl, facts.subject),
    };
    Diagnosis {
        cause: blockers::cause_of(message),
        confidence: Confidence::Certain,
        message: format!("no node takes the pod: {}", scheduler_message::essence(message)),
        evidence: vec!["PodScheduled is False: Unschedulable".to_owned()],
        help,
    }
}

/// The node on which it would take the least to let the pod run.
fn nearest<'a>(facts: &Facts, judged: &'a [Judged], images: &[String]) -> Option<&'a Judged> {
    judged
        .iter()
        .filter(|one| one.is_known())
        .min_by_key(|one| (one.effort(facts), !images.contains(&one.name), &one.name))
}

/// A `DaemonSet` wants a pod for each node that is right, and none is. Many are
/// meant for nodes that a cluster does not have.
fn unplaced(facts: &Facts) -> Option<Diagnosis> {
    let maker = facts.owners.first().filter(|maker| maker["kind"] == "DaemonSet")?;
    let status = &maker["status"];
    let is_told = status["observedGeneration"] == maker["metadata"]["generation"];
    if !is_told || status["desiredNumberScheduled"] != 0 {
        return None;
    }
    let judged = blockers::judge_daemon(facts, maker.pointer("/spec/template/spec")?);
    let nearest = nearest(facts, &judged, &[])?;
    let hindrance = nearest.hindrances.iter().min_by_key(|one| one.cause())?;
    let mut evidence = vec!["`status.desiredNumberScheduled` is 0".to_owned()];
    evidence.extend(hindrance.evidence(facts, &nearest.name));
    Some(Diagnosis {
        cause: Cause::Inactive,
        confidence: Confidence::Certain,
        message: format!("{} has no pods: {}", facts.keeper_id(), overview(&judged)),
        evidence,
        help: hindrance.cure(facts, nearest),
    })
}

/// Each node with what keeps the pod off it; what is alike is told once.
fn overview(judged: &[Judged]) -> String {
    let mut groups: Vec<(String, Vec<&str>)> = Vec::new();
    for one in judged {
        let what: Vec<String> = one.hindrances.iter().map(ToString::to_string).collect();
        let what = what.join(", ");
        match groups.iter_mut().find(|(other, _)| *other == what) {
            Some((_, nodes)) => nodes.push(&one.name),
            None => groups.push((what, vec![&one.name])),
        }
    }
    let named = |nodes: &[&str]| match nodes.len() {
        ..=NODES => text::list(nodes),
        many => format!("{many} nodes"),
    };
    let groups: Vec<String> =
        groups.iter().map(|(what, nodes)| format!("{}: {what}", named(nodes))).collect();
    format!("no node takes the pod; {}", groups.join("; "))
}

/// Where its images are, if that is not everywhere.
fn where_images_are(facts: &Facts, images: &[String]) -> Option<String> {
    let told = facts.node_images.keys().filter(|node| facts.stock_of(node).is_some()).count();
    if images.is_empty() || images.len() == told {
        return None;
    }
    let names: Vec<&str> = facts.containers().iter().map(Container::image).collect();
    Some(format!("only {} has the image {}", text::list(images), text::list(&names)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn node(name: &str, taint: &str) -> Value {
        json!({"metadata": {"name": name}, "spec": {"taints": [{"key": taint, "effect": "NoSchedule"}]}})
    }

    #[test]
    fn a_daemons_pod_is_kept_off_its_own_node_only() {
        let mine = json!({"key": "metadata.name", "operator": "In", "values": ["n2"]});
        let affinity = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
            {"nodeSelectorTerms": [{"matchFields": [mine]}]}}});
        let message = "0/2 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 1 node(s) had untolerated taint(s). preemption: x";
        let facts = Facts {
            kubectl: "kubectl".into(),
            pod: json!({"metadata": {"name": "p"}, "spec": {"affinity": affinity},
                "status": {"conditions": [{"type": "PodScheduled", "status": "False",
                    "reason": "Unschedulable", "message": message}]}}),
            nodes: vec![node("n1", "other"), node("n2", "team")],
            ..Facts::default()
        };
        let found = diagnose(&facts);
        assert_eq!(found.len(), 1);
        assert_eq!(
            found[0].message,
            "no node takes the pod; `n2`: it has the taint `team:NoSchedule`"
        );
        assert_eq!(
            found[0].help,
            "run `kubectl patch pod/p --type json --patch '[{\"op\":\"add\",\"path\":\"/spec/tolerations\",\"value\":[{\"effect\":\"NoSchedule\",\"key\":\"team\",\"operator\":\"Exists\"}]}]'`"
        );
    }

    #[test]
    fn a_scheduler_is_given_a_moment() {
        let pod = |scheduler: &str| json!({"metadata": {"name": "p"}, "spec": {"schedulerName": scheduler}});
        let table =
            [(DEFAULT, 1, false), (DEFAULT, 60, true), ("mine", 1, false), ("mine", 10, true)];
        for (scheduler, age, expected) in table {
            let facts = Facts { pod: pod(scheduler), age_seconds: Some(age), ..Facts::default() };
            assert_eq!(!diagnose(&facts).is_empty(), expected, "{scheduler} {age}");
        }
    }

    #[test]
    fn a_claim_is_told_before_what_the_scheduler_says() {
        let conflict = "0/1 nodes are available: 1 node(s) had volume node affinity conflict. x";
        let count = "0/1 nodes are available: 1 node(s) exceed max volume count. preemption: x";
        let volume = json!({"name": "data", "persistentVolumeClaim": {"claimName": "files"}});
        let table = [
            (conflict, None),
            (
                count,
                Some(
                    "no node takes the pod: 0/1 nodes are available: 1 node(s) exceed max volume count",
                ),
            ),
        ];
        for (message, expected) in table {
            let facts = Facts {
                pod: json!({"metadata": {"name": "p"}, "spec": {"volumes": [volume]},
                    "status": {"conditions": [{"type": "PodScheduled", "status": "False",
                        "reason": "Unschedulable", "message": message}]}}),
                claims: vec![json!({"metadata": {"name": "files"},
                    "spec": {"volumeName": "pvc-1"}, "status": {"phase": "Bound"}})],
                nodes: vec![json!({"metadata": {"name": "n1"}})],
                ..Facts::default()
            };
            let found = diagnose(&facts);
            assert_eq!(found.first().map(|one| one.message.as_str()), expected);
        }
    }

    #[test]
    fn without_the_nodes_the_scheduler_is_believed() {
        let describe = "see `kubectl describe pod/p`";
        let table = [
            (
                "0/3 nodes are available: 3 Insufficient cpu. preemption: x",
                Cause::InsufficientResources,
                "no node takes the pod: 0/3 nodes are available: 3 Insufficient cpu",
                "request less cpu in the manifest of pod/p, and make that anew",
            ),
            (
                "0/3 nodes are available: 3 node(s) had untolerated taint {team: red}. preemption: x",
                Cause::UntoleratedTaints,
                "no node takes the pod: 0/3 nodes are available: 3 node(s) had untolerated taint {team: red}",
                describe,
            ),
            (
                "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector.",
                Cause::NodeSelector,
                "no node takes the pod: 0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector",
                describe,
            ),
            (
                "no nodes available to schedule pods",
                Cause::NotScheduled,
                "no node takes the pod: no nodes available to schedule pods",
                describe,
            ),
        ];
        for (message, cause, words, help) in table {
            let status = json!({"conditions": [{"type": "PodScheduled", "status": "False",
                "reason": "Unschedulable", "message": message}]});
            let facts = Facts {
                subject: "pod/p".into(),
                kubectl: "kubectl".into(),
                pod: json!({"kind": "Pod", "metadata": {"name": "p"}, "status": status}),
                ..Facts::default()
            };
            let found = diagnose(&facts);
            assert_eq!(
                (found[0].cause, found[0].message.as_str(), found[0].help.as_str()),
                (cause, words, help)
            );
        }
    }
}
