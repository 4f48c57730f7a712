//! No node takes the pod, or the one that it names does not exist. Pure.

use super::hindrance::{self, Judged};
use super::{Cause, Confidence, Diagnosis, cure, relief, whereabouts};
use crate::container::Container;
use crate::facts::{Facts, list, text};
use crate::words;

/// The scheduler of pods that name none.
const DEFAULT: &str = "default-scheduler";
/// How long a scheduler may take for its first word, in seconds.
const PATIENCE: u64 = 20;
/// How many nodes are named at most.
const NODES: usize = 6;
/// What a kubelet says of a pod that it does not take, and what it means.
const REJECTED: [(&str, Cause); 3] = [
    ("OutOf", Cause::ResourcesShort),
    ("NodeAffinity", Cause::NodeSelector),
    ("NodePorts", Cause::PortTaken),
];

pub(super) fn diagnose(facts: &Facts) -> Vec<Diagnosis> {
    if !facts.is_pod() {
        return unplaced(facts).into_iter().collect();
    }
    if let Some(node) = facts.node_name() {
        return rejected(facts, node).or_else(|| missing(facts, node)).into_iter().collect();
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

/// The node's kubelet has not taken the pod, which names that node itself.
fn rejected(facts: &Facts, node: &str) -> Option<Diagnosis> {
    let reason = text(&facts.pod, "/status/reason");
    let (_, cause) = REJECTED.into_iter().find(|(start, _)| reason.starts_with(start))?;
    let message = text(&facts.pod, "/status/message");
    Some(Diagnosis {
        cause,
        confidence: Confidence::Certain,
        words: format!(
            "the pod was put onto node `{node}` past the scheduler, and the node's kubelet does not take it"
        ),
        evidence: vec![format!("{reason}: {message}")],
        help: cure::by_hand(facts, "take `nodeName` out of"),
    })
}

/// The node that the pod names does not exist.
fn missing(facts: &Facts, name: &str) -> Option<Diagnosis> {
    if facts.nodes.is_empty() || facts.node().is_some() {
        return None;
    }
    let nodes: Vec<&str> =
        facts.nodes.iter().map(|node| text(node, "/metadata/name")).take(NODES).collect();
    let nearest = nodes.iter().min_by_key(|node| strsim::levenshtein(node, name));
    let instead = nearest.copied().unwrap_or_default();
    Some(Diagnosis {
        cause: Cause::NodeMissing,
        confidence: Confidence::Certain,
        words: format!(
            "the pod names node `{name}` in `nodeName`, and the cluster has no such node"
        ),
        evidence: vec![format!("the cluster has {}", words::list(&nodes))],
        help: relief::set_in_pod(facts, "nodeName", name, instead),
    })
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
    if !is_own && waits < PATIENCE {
        return None;
    }
    let (words, help) = if is_own {
        (
            format!(
                "the pod asks for the scheduler `{name}`, and no such scheduler looks after it"
            ),
            relief::set_in_pod(facts, "schedulerName", name, DEFAULT),
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
        cause: Cause::Unscheduled,
        confidence: Confidence::Likely,
        words,
        evidence,
        help,
    })
}

/// Somebody has to let it go first.
fn gated(facts: &Facts, message: &str) -> Diagnosis {
    let gates: Vec<&str> =
        list(&facts.pod["spec"]["schedulingGates"]).map(|gate| text(gate, "/name")).collect();
    let gates = words::list(&gates);
    Diagnosis {
        cause: Cause::Unscheduled,
        confidence: Confidence::Certain,
        words: format!("the pod waits for a controller to open its scheduling gate {gates}"),
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
    let judged = hindrance::judge(facts, message);
    // A node that is right for the pod waits for a volume only.
    if judged.iter().any(Judged::is_right) {
        return Vec::new();
    }
    let images = whereabouts::nodes_with_images(facts);
    let Some(nearest) = nearest(facts, &judged, &images) else { return Vec::new() };
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
        let mut evidence = vec![format!("the scheduler: {}", hindrance::essence(message))];
        evidence.extend(hindrance.evidence(facts, &nearest.name));
        found.push(Diagnosis {
            cause: hindrance.cause(),
            confidence: Confidence::Certain,
            words,
            evidence,
            help: hindrance.cure(facts, nearest),
        });
    }
    if let Some(first) = found.first_mut() {
        first.evidence.extend(where_images_are(facts, &images));
    }
    found
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
    let judged = hindrance::judge_daemon(facts, maker.pointer("/spec/template/spec")?);
    let nearest = nearest(facts, &judged, &[])?;
    let hindrance = nearest.hindrances.iter().min_by_key(|one| one.cause())?;
    let mut evidence = vec!["`status.desiredNumberScheduled` is 0".to_owned()];
    evidence.extend(hindrance.evidence(facts, &nearest.name));
    Some(Diagnosis {
        cause: Cause::NotWanted,
        confidence: Confidence::Certain,
        words: overview(&judged),
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
        ..=NODES => words::list(nodes),
        many => format!("{many} nodes"),
    };
    let groups: Vec<String> =
        groups.iter().map(|(what, nodes)| format!("{}: {what}", named(nodes))).collect();
    format!("no node takes the pod; {}", groups.join("; "))
}

/// Where its images are, if that is not everywhere.
fn where_images_are(facts: &Facts, images: &[String]) -> Option<String> {
    let told = facts.stocks.keys().filter(|node| facts.stock_of(node).is_some()).count();
    if images.is_empty() || images.len() == told {
        return None;
    }
    let names: Vec<&str> = facts.containers().iter().map(Container::image).collect();
    Some(format!("only {} has the image {}", words::list(images), words::list(&names)))
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
            found[0].words,
            "no node takes the pod; `n2`: it has the taint `team:NoSchedule`"
        );
        assert_eq!(found[0].help, "run `kubectl taint nodes n2 team:NoSchedule-`");
    }

    #[test]
    fn a_scheduler_is_given_a_moment() {
        let pod = |scheduler: &str| json!({"metadata": {"name": "p"}, "spec": {"schedulerName": scheduler}});
        let table = [(DEFAULT, 1, false), (DEFAULT, 60, true), ("mine", 1, true)];
        for (scheduler, age, expected) in table {
            let facts = Facts { pod: pod(scheduler), age_seconds: Some(age), ..Facts::default() };
            assert_eq!(!diagnose(&facts).is_empty(), expected, "{scheduler} {age}");
        }
    }
}
