//! What keeps a pod off a node: by what the node is, or by what the scheduler
//! has said of some of them.

use std::fmt;

use kdev_core::kube::node::{self, Taint};
use kdev_core::kube::object::text;
use kdev_core::kube::placement::{self, CORDONED, Obstacle, PodSpec};
use kdev_core::kube::{quantity, resources};
use serde::Deserialize;
use serde_json::Value;

use crate::cause::Cause;
use crate::facts::Facts;
use crate::scheduler_message::{is_of_placement, plainly, reasons};
use crate::{capacity, fixes};

/// How many nodes' labels are shown at most.
const LABELS: usize = 4;

/// One thing that keeps a pod off a node.
pub(crate) enum Hindrance {
    /// The node is not for such pods.
    Placement(Obstacle),
    /// It has too little of this resource.
    Short(String),
    /// Another pod has the port of the node.
    Port,
    /// Other pods are there, or are not, in the scheduler's words.
    Pods(String),
    /// What other rules know of: volumes, for one.
    Other(String),
}

/// A node, and all that keeps the pod off it.
pub(crate) struct Judged {
    pub(crate) name: String,
    pub(crate) hindrances: Vec<Hindrance>,
}

/// What keeps the pods of a `DaemonSet` off each node; none where a node is right.
pub(crate) fn judge_daemon(facts: &Facts, spec: &Value) -> Vec<Judged> {
    let spec = PodSpec::deserialize(spec).unwrap_or_default();
    let judged = facts.nodes.iter().filter_map(node::node).map(|node| {
        let obstacles = placement::obstacles("DaemonSet", &spec, &node);
        let hindrances = obstacles.into_iter().map(Hindrance::Placement).collect();
        Judged { name: node.name, hindrances }
    });
    let judged: Vec<Judged> = judged.collect();
    if judged.iter().all(Judged::is_known) { judged } else { Vec::new() }
}

/// What keeps a pod off each node, by what the scheduler said of all.
pub(crate) fn judge(facts: &Facts, message: &str) -> Vec<Judged> {
    let spec = PodSpec::deserialize(&facts.pod["spec"]).unwrap_or_default();
    let said: Vec<&str> = reasons(message).into_iter().filter(|r| !is_of_placement(r)).collect();
    let judged = facts.nodes.iter().filter_map(node::node).map(|node| {
        let obstacles = placement::obstacles("Pod", &spec, &node);
        let mut hindrances: Vec<Hindrance> =
            obstacles.into_iter().map(Hindrance::Placement).collect();
        // The scheduler goes on to the rest only where the node is right.
        if hindrances.is_empty() {
            hindrances = said.iter().map(|reason| Hindrance::said(reason)).collect();
            let can_be_short = |one: &Hindrance| match one {
                Hindrance::Short(resource) => capacity::is_short(facts, &node.name, resource),
                _ => true,
            };
            if hindrances.iter().any(can_be_short) {
                hindrances.retain(can_be_short);
            }
        }
        Judged { name: node.name, hindrances }
    });
    let mut judged: Vec<Judged> = judged.collect();
    // A daemon's pod is for one node.
    if judged.iter().any(|one| !one.is_for_another()) {
        judged.retain(|one| !one.is_for_another());
    }
    judged
}

/// What the scheduler says of whichever nodes, told apart.
pub(crate) fn said(message: &str) -> impl Iterator<Item = Hindrance> {
    reasons(message).into_iter().map(Hindrance::said)
}

/// What keeps the pod off, by the first that the scheduler says.
pub(crate) fn cause_of(message: &str) -> Cause {
    let reasons = reasons(message);
    let first = reasons.first().copied().unwrap_or_default();
    match Hindrance::said(first).cause() {
        Cause::Unknown if is_of_placement(first) && first.contains("affinity/selector") => {
            Cause::NodeSelector
        }
        Cause::Unknown if is_of_placement(first) => Cause::UntoleratedTaints,
        Cause::Unknown => Cause::NotScheduled,
        known => known,
    }
}

impl Judged {
    /// Whether the pod is for a node of another name.
    fn is_for_another(&self) -> bool {
        self.hindrances.iter().any(|one| match one {
            Hindrance::Placement(Obstacle::Affinity(missed)) => {
                missed.iter().any(|one| one.key == "metadata.name")
            }
            _ => false,
        })
    }

    /// Whether all that keeps the pod off it is of this family.
    pub(crate) fn is_known(&self) -> bool {
        let is_other = |one: &Hindrance| matches!(one, Hindrance::Other(_));
        !self.hindrances.is_empty() && !self.hindrances.iter().any(is_other)
    }

    /// The taints that are meant for pods.
    fn taints(&self) -> Vec<&Taint> {
        let taints = self.hindrances.iter().filter_map(|one| match one {
            Hindrance::Placement(Obstacle::Taint(taint)) => Some(taint),
            _ => None,
        });
        let is_meant =
            |taint: &&Taint| taint.key != CORDONED && !is_of_health(taint) && !is_of_agent(taint);
        taints.filter(is_meant).collect()
    }

    /// Whether it is not the node that keeps the pod off it.
    pub(crate) fn is_right(&self) -> bool {
        let is_other = |one: &Hindrance| matches!(one, Hindrance::Other(_));
        !self.hindrances.is_empty() && self.hindrances.iter().all(is_other)
    }

    /// How much it would take to let the pod run there.
    pub(crate) fn effort(&self, facts: &Facts) -> (usize, usize, i128) {
        let hardest = self.hindrances.iter().map(Hindrance::effort).max().unwrap_or_default();
        let short = self.hindrances.iter().map(|one| match one {
            Hindrance::Short(resource) => -capacity::left(facts, &self.name, resource).unwrap_or(0),
            _ => 0,
        });
        (hardest, self.hindrances.len(), short.max().unwrap_or_default())
    }
}

impl Hindrance {
    fn said(reason: &str) -> Self {
        if let Some(resource) = reason.strip_prefix("Insufficient ") {
            return Self::Short(resource.to_owned());
        }
        match reason {
            "Too many pods" => Self::Short("pods".to_owned()),
            _ if reason.contains("free ports") => Self::Port,
            _ if reason.contains("affinity rules") || reason.contains("topology spread") => {
                Self::Pods(reason.trim_start_matches("node(s) ").to_owned())
            }
            _ => Self::Other(reason.to_owned()),
        }
    }

    /// What is for all, and what was meant, is not undone if another node is near.
    fn effort(&self) -> usize {
        match self {
            Self::Placement(Obstacle::Taint(taint)) if taint.key == CORDONED => 0,
            Self::Short(resource) if !resource.contains('/') => 1,
            Self::Port | Self::Pods(_) => 1,
            Self::Placement(Obstacle::Label(..) | Obstacle::Affinity(_)) => 2,
            Self::Placement(Obstacle::Taint(taint))
                if is_of_health(taint) || is_of_agent(taint) =>
            {
                4
            }
            Self::Placement(Obstacle::Taint(_)) | Self::Short(_) => 3,
            Self::Other(_) => 5,
        }
    }

    pub(crate) fn cause(&self) -> Cause {
        match self {
            Self::Placement(Obstacle::Taint(taint))
                if placement::is_not_responding_taint(taint) =>
            {
                Cause::NodeNotReady
            }
            Self::Placement(Obstacle::Taint(taint)) if is_of_health(taint) => Cause::NodePressure,
            Self::Placement(Obstacle::Taint(_)) => Cause::UntoleratedTaints,
            Self::Placement(_) => Cause::NodeSelector,
            Self::Short(_) => Cause::InsufficientResources,
            Self::Port => Cause::HostPortInUse,
            Self::Pods(_) => Cause::PodAffinity,
            Self::Other(_) => Cause::Unknown,
        }
    }

    /// Numbers, where numbers tell.
    pub(crate) fn evidence(&self, facts: &Facts, node: &str) -> Option<String> {
        match self {
            Self::Short(resource) => {
                let wants = resources::requests(&facts.pod["spec"]).get(resource).copied()?;
                let has = capacity::allocatable(facts, node, resource).unwrap_or_default();
                let write = |amount| quantity::format(resource, amount);
                let taken = facts.requests.get(node).map(|taken| {
                    let taken = taken.get(resource).map_or("none", String::as_str);
                    format!(", and its pods request {taken} of them")
                });
                Some(format!(
                    "{resource}: the pod requests {}; node `{node}` has {} for pods{}",
                    write(wants),
                    write(has),
                    taken.unwrap_or_default()
                ))
            }
            Self::Placement(Obstacle::Label(key, _)) => {
                let labels = |node| text(node, &format!("/metadata/labels/{}", escaped(key)));
                let have = facts.nodes.iter().filter(|node| !labels(node).is_empty());
                let have: Vec<String> = have
                    .take(LABELS)
                    .map(|node| {
                        format!("`{}` has `{key}={}`", text(node, "/metadata/name"), labels(node))
                    })
                    .collect();
                (!have.is_empty()).then(|| format!("node {}", have.join(", ")))
            }
            Self::Placement(Obstacle::Taint(taint)) if is_of_health(taint) => {
                fixes::node::complaint(facts, node)
            }
            _ => None,
        }
    }

    pub(crate) fn cure(&self, facts: &Facts, on: &Judged) -> String {
        let (kubectl, node) = (&facts.kubectl, &on.name);
        match self {
            Self::Placement(Obstacle::Taint(taint)) if taint.key == CORDONED => {
                format!("run `{kubectl} uncordon {node}`, which lets every pod onto it")
            }
            Self::Placement(Obstacle::Taint(taint))
                if placement::is_not_responding_taint(taint) =>
            {
                fixes::node::wake(facts, node)
            }
            Self::Placement(Obstacle::Taint(taint)) if is_of_health(taint) => {
                fixes::node::relieve(facts, node)
            }
            Self::Placement(Obstacle::Taint(taint)) if is_of_agent(taint) => format!(
                "let what sets `{}` on node `{node}` become ready, which takes it away: see `{kubectl} get pods --all-namespaces --field-selector spec.nodeName={node}`",
                taint.key
            ),
            Self::Placement(Obstacle::Taint(_)) => {
                fixes::placement::tolerate(facts, node, &on.taints())
            }
            Self::Placement(Obstacle::Label(key, value)) => {
                fixes::placement::label(facts, node, key, value)
            }
            Self::Placement(Obstacle::Affinity(missed)) => {
                fixes::placement::affinity(facts, node, missed)
            }
            Self::Short(_) => {
                fixes::placement::request_less(facts, node, &short_amounts(facts, on))
            }
            Self::Port => fixes::placement::step_aside(facts)
                .unwrap_or_else(|| fixes::by_hand(facts, "take `hostPort` out of")),
            Self::Pods(words) => fixes::placement::stand_alone(facts, node, words, fitting(facts)),
            Self::Other(_) => format!("see `{kubectl} describe {}`", facts.subject),
        }
    }
}

impl fmt::Display for Hindrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Placement(Obstacle::Affinity(missed)) => {
                let missed: Vec<String> = missed.iter().map(|one| format!("`{one}`")).collect();
                write!(f, "the pod's node affinity asks for {}", missed.join(" and "))
            }
            Self::Placement(obstacle) => obstacle.fmt(f),
            Self::Short(resource) if resource == "pods" => {
                f.write_str("it runs as many pods as it may")
            }
            Self::Short(resource) => {
                write!(f, "too little {resource} is left for what it requests")
            }
            Self::Port => f.write_str("the host port that the pod asks for is taken"),
            Self::Pods(words) => f.write_str(plainly(words)),
            Self::Other(words) => f.write_str(words),
        }
    }
}

/// Whether a node controller has set it, and takes it away when the node is well.
fn is_of_health(taint: &Taint) -> bool {
    taint.key.starts_with("node.kubernetes.io/") && taint.key != CORDONED
}

/// Whether a program sets it until it has made the node ready.
fn is_of_agent(taint: &Taint) -> bool {
    const OF: [&str; 3] =
        ["node.cilium.io/", "node.cloudprovider.kubernetes.io/", "node.cluster.x-k8s.io/"];
    OF.iter().any(|start| taint.key.starts_with(start)) || taint.key.ends_with("/agent-not-ready")
}

fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// How many nodes are right for the pod.
fn fitting(facts: &Facts) -> usize {
    let spec = PodSpec::deserialize(&facts.pod["spec"]).unwrap_or_default();
    let nodes = facts.nodes.iter().filter_map(node::node);
    nodes.filter(|node| placement::obstacles("Pod", &spec, node).is_empty()).count()
}

/// What the node lacks: each resource with what is left of it.
fn short_amounts(facts: &Facts, on: &Judged) -> Vec<(String, i128)> {
    let short = on.hindrances.iter().filter_map(|one| match one {
        Hindrance::Short(resource) => {
            Some((resource.clone(), capacity::left(facts, &on.name, resource).unwrap_or_default()))
        }
        _ => None,
    });
    short.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A node with these taints.
    fn on(facts: &mut Facts, taints: &[(&str, &str)]) -> Judged {
        let taint = |(key, value): &(&str, &str)| json!({"key": key, "value": value, "effect": "NoSchedule"});
        let taints: Vec<Value> = taints.iter().map(taint).collect();
        facts.nodes = vec![json!({"metadata": {"name": "n"}, "spec": {"taints": taints}})];
        judge(facts, "").remove(0)
    }

    #[test]
    fn a_taint_is_tolerated_before_it_is_removed() {
        let kept = json!({"key": "gpu", "operator": "Exists"});
        let web = json!({"kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"template": {"spec": {"tolerations": [kept]}}}});
        let job = json!({"kind": "Job", "metadata": {"name": "job"}});
        let mut facts = Facts {
            kubectl: "kubectl".into(),
            pod: json!({"kind": "Pod", "metadata": {"name": "p"}, "spec": {"tolerations": [kept]}}),
            ..Facts::default()
        };
        let table = [
            (
                Some(&web),
                &[("team", "red"), ("only", "")][..],
                "run `kubectl patch deployment/web --patch '{\"spec\":{\"template\":{\"spec\":{\"tolerations\":[{\"key\":\"gpu\",\"operator\":\"Exists\"},{\"effect\":\"NoSchedule\",\"key\":\"team\",\"operator\":\"Equal\",\"value\":\"red\"},{\"effect\":\"NoSchedule\",\"key\":\"only\",\"operator\":\"Exists\"}]}}}}'`",
            ),
            (
                Some(&job),
                &[("team", "red")],
                "run `kubectl patch pod/p --type json --patch '[{\"op\":\"add\",\"path\":\"/spec/tolerations/-\",\"value\":{\"effect\":\"NoSchedule\",\"key\":\"team\",\"operator\":\"Equal\",\"value\":\"red\"}}]'`",
            ),
            (
                Some(&web),
                &[("node.cilium.io/agent-not-ready", "")],
                "let what sets `node.cilium.io/agent-not-ready` on node `n` become ready, which takes it away: see `kubectl get pods --all-namespaces --field-selector spec.nodeName=n`",
            ),
            (None, &[(CORDONED, "")], "run `kubectl uncordon n`, which lets every pod onto it"),
        ];
        for (owner, taints, expected) in table {
            facts.owners = owner.into_iter().cloned().collect();
            let on = on(&mut facts, taints);
            assert_eq!(on.hindrances[0].cure(&facts, &on), expected);
        }
        let on = on(&mut facts, &[("team", "red")]);
        assert_eq!(on.hindrances[0].to_string(), "it has the taint `team=red:NoSchedule`");
    }

    #[test]
    fn what_a_node_has_too_little_of_is_told_as_it_is() {
        let gpu = "nvidia.com/gpu";
        let room = "make room on node `n`: delete or scale down what is not needed of `kubectl get pods --all-namespaces --field-selector spec.nodeName=n`";
        let lacks = format!("too little {gpu} is left for what it requests");
        let table = [
            (
                "1 Insufficient nvidia.com/gpu",
                "",
                lacks.as_str(),
                "take `nvidia.com/gpu`, which no node has, out of the manifest of pod/p, and make that anew",
            ),
            (
                "1 Insufficient nvidia.com/gpu",
                "1",
                &lacks,
                "request no more `nvidia.com/gpu` than 1, the most that a node has, in the manifest of pod/p, and make that anew",
            ),
            ("1 Insufficient nvidia.com/gpu", "2", &lacks, room),
            ("1 Too many pods", "2", "it runs as many pods as it may", room),
        ];
        for (message, has, words, help) in table {
            let container = json!({"name": "c", "resources": {"requests": {gpu: "2"}}});
            let facts = Facts {
                kubectl: "kubectl".into(),
                pod: json!({"kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [container]}}),
                nodes: vec![
                    json!({"metadata": {"name": "n"}, "status": {"allocatable": {gpu: has}}}),
                ],
                ..Facts::default()
            };
            let judged = judge(&facts, &format!("0/1 nodes are available: {message}."));
            let on = &judged[0];
            assert_eq!(on.hindrances[0].to_string(), words);
            assert_eq!(on.hindrances[0].cure(&facts, on), help);
        }
    }
}
