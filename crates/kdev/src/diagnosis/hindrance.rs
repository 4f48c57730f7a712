//! What keeps a pod off a node: by what the node is, or by what the scheduler
//! has said of some of them. Pure.

use std::fmt;

use serde::Deserialize;
use serde_json::Value;

use super::{Cause, cure, node_health, relief};
use crate::cluster::{self, Taint};
use crate::facts::{Facts, text};
use crate::placement::{self, CORDONED, Obstacle, PodSpec};
use crate::quantity;
use crate::taken;

/// How many nodes' labels are shown at most.
const LABELS: usize = 4;

/// One thing that keeps a pod off a node.
pub(super) enum Hindrance {
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
pub(super) struct Judged {
    pub(super) name: String,
    pub(super) hindrances: Vec<Hindrance>,
}

/// What keeps the pods of a `DaemonSet` off each node; none where a node is right.
pub(super) fn judge_daemon(facts: &Facts, spec: &Value) -> Vec<Judged> {
    let spec = PodSpec::deserialize(spec).unwrap_or_default();
    let judged = facts.nodes.iter().filter_map(cluster::node).map(|node| {
        let obstacles = placement::obstacles("DaemonSet", &spec, &node);
        let hindrances = obstacles.into_iter().map(Hindrance::Placement).collect();
        Judged { name: node.name, hindrances }
    });
    let judged: Vec<Judged> = judged.collect();
    if judged.iter().all(Judged::is_known) { judged } else { Vec::new() }
}

/// What keeps a pod off each node, by what the scheduler said of all.
pub(super) fn judge(facts: &Facts, message: &str) -> Vec<Judged> {
    let spec = PodSpec::deserialize(&facts.pod["spec"]).unwrap_or_default();
    let said: Vec<&str> = reasons(message).into_iter().filter(|r| !is_of_placement(r)).collect();
    let judged = facts.nodes.iter().filter_map(cluster::node).map(|node| {
        let obstacles = placement::obstacles("Pod", &spec, &node);
        let mut hindrances: Vec<Hindrance> =
            obstacles.into_iter().map(Hindrance::Placement).collect();
        // The scheduler goes on to the rest only where the node is right.
        if hindrances.is_empty() {
            hindrances = said.iter().map(|reason| Hindrance::said(reason)).collect();
            let can_be_short = |one: &Hindrance| match one {
                Hindrance::Short(resource) => is_short(facts, &node.name, resource),
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

/// The scheduler's message without what it says of preemption.
pub(super) fn essence(message: &str) -> &str {
    let ends = [". no new claims to deallocate", ". preemption:", ", preemption:"];
    let end = ends.iter().filter_map(|end| message.find(end)).min();
    &message[..end.unwrap_or(message.len())]
}

/// The reasons in the scheduler's message, without the numbers of nodes.
fn reasons(message: &str) -> Vec<&str> {
    let message = essence(message);
    let list = message.split_once(" available: ").map_or(message, |(_, list)| list);
    let mut reasons: Vec<&str> = Vec::new();
    let mut start = 0;
    for (at, separator) in list.match_indices(", ") {
        let next = at + separator.len();
        // Within a taint there are commas, too, but no numbers after them.
        if list[next..].starts_with(|c: char| c.is_ascii_digit()) {
            reasons.push(&list[start..at]);
            start = next;
        }
    }
    reasons.push(&list[start..]);
    let without_number =
        |reason: &&str| reason.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    reasons.iter().map(|reason| reason[reason.len() - without_number(reason)..].trim()).collect()
}

/// Whether it says what the node itself shows.
fn is_of_placement(reason: &str) -> bool {
    const SIGNS: [&str; 4] = [
        "untolerated taint",
        "were unschedulable",
        "node affinity/selector",
        "requested node name",
    ];
    SIGNS.iter().any(|sign| reason.contains(sign))
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
    pub(super) fn is_known(&self) -> bool {
        let is_other = |one: &Hindrance| matches!(one, Hindrance::Other(_));
        !self.hindrances.is_empty() && !self.hindrances.iter().any(is_other)
    }

    /// Whether it is not the node that keeps the pod off it.
    pub(super) fn is_right(&self) -> bool {
        let is_other = |one: &Hindrance| matches!(one, Hindrance::Other(_));
        !self.hindrances.is_empty() && self.hindrances.iter().all(is_other)
    }

    /// How much it would take to let the pod run there.
    pub(super) fn effort(&self, facts: &Facts) -> (usize, usize, i128) {
        let hardest = self.hindrances.iter().map(Hindrance::effort).max().unwrap_or_default();
        let short = self.hindrances.iter().map(|one| match one {
            Hindrance::Short(resource) => -room(facts, &self.name, resource).unwrap_or(0),
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
            Self::Placement(Obstacle::Taint(taint)) if is_of_health(taint) => 4,
            Self::Placement(Obstacle::Taint(_)) | Self::Short(_) => 3,
            Self::Other(_) => 5,
        }
    }

    pub(super) fn cause(&self) -> Cause {
        match self {
            Self::Placement(Obstacle::Taint(taint)) if placement::is_of_silence(taint) => {
                Cause::NodeSilent
            }
            Self::Placement(Obstacle::Taint(taint)) if is_of_health(taint) => Cause::NodePressure,
            Self::Placement(Obstacle::Taint(_)) => Cause::NodesTainted,
            Self::Placement(_) => Cause::NodeSelector,
            Self::Short(_) => Cause::ResourcesShort,
            Self::Port => Cause::PortTaken,
            Self::Pods(_) => Cause::PodAffinity,
            Self::Other(_) => Cause::Unknown,
        }
    }

    /// Numbers, where numbers tell.
    pub(super) fn evidence(&self, facts: &Facts, node: &str) -> Option<String> {
        match self {
            Self::Short(resource) => {
                let wants = taken::requests(&facts.pod["spec"]).get(resource).copied()?;
                let has = allocatable(facts, node, resource).unwrap_or_default();
                let write = |amount| quantity::write(resource, amount);
                let taken = facts.taken.get(node).map(|taken| {
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
                node_health::complaint(facts, node)
            }
            _ => None,
        }
    }

    pub(super) fn cure(&self, facts: &Facts, on: &Judged) -> String {
        let (kubectl, node) = (&facts.kubectl, &on.name);
        match self {
            Self::Placement(Obstacle::Taint(taint)) if taint.key == CORDONED => {
                format!("run `{kubectl} uncordon {node}`")
            }
            Self::Placement(Obstacle::Taint(taint)) if placement::is_of_silence(taint) => {
                node_health::wake(facts, node)
            }
            Self::Placement(Obstacle::Taint(taint)) if is_of_health(taint) => {
                node_health::relieve(facts, node)
            }
            Self::Placement(Obstacle::Taint(taint)) => {
                format!("run `{kubectl} taint nodes {node} {}:{}-`", taint.key, taint.effect)
            }
            Self::Placement(Obstacle::Label(key, value)) => relief::label(facts, node, key, value),
            Self::Placement(Obstacle::Affinity(missed)) => relief::affinity(facts, node, missed),
            Self::Short(_) => relief::request_less(facts, node, &short_amounts(facts, on)),
            Self::Port => relief::step_aside(facts)
                .unwrap_or_else(|| cure::by_hand(facts, "take `hostPort` out of")),
            Self::Pods(words) => relief::stand_alone(facts, node, words, fitting(facts)),
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
            Self::Short(resource) => {
                write!(f, "too little {resource} is left for what it requests")
            }
            Self::Port => f.write_str("the host port that the pod asks for is taken"),
            Self::Pods(words) => f.write_str(plainly(words)),
            Self::Other(words) => f.write_str(words),
        }
    }
}

/// What the scheduler says of other pods, in plain words.
fn plainly(words: &str) -> &str {
    const WORDS: [(&str, &str); 5] = [
        ("existing pods anti-affinity", "a pod runs there that must not be near this one"),
        ("anti-affinity", "a pod runs there that this one must not be near"),
        ("affinity", "no pod runs there that this one must be near"),
        ("missing required label", "it has no label for the spread that the pod asks for"),
        ("topology spread", "one more pod there would break the spread that the pod asks for"),
    ];
    WORDS.iter().find(|(sign, _)| words.contains(sign)).map_or(words, |(_, plain)| plain)
}

/// Whether a node controller has set it, and takes it away when the node is well.
fn is_of_health(taint: &Taint) -> bool {
    taint.key.starts_with("node.kubernetes.io/") && taint.key != CORDONED
}

fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// What the node has for pods.
fn allocatable(facts: &Facts, node: &str, resource: &str) -> Option<i128> {
    let node = facts.nodes.iter().find(|one| text(one, "/metadata/name") == node)?;
    taken::amounts(&node["status"]["allocatable"]).get(resource).copied()
}

/// How many nodes are right for the pod.
fn fitting(facts: &Facts) -> usize {
    let spec = PodSpec::deserialize(&facts.pod["spec"]).unwrap_or_default();
    let nodes = facts.nodes.iter().filter_map(cluster::node);
    nodes.filter(|node| placement::obstacles("Pod", &spec, node).is_empty()).count()
}

/// What is left of it.
fn room(facts: &Facts, node: &str, resource: &str) -> Option<i128> {
    let taken = facts.taken.get(node).and_then(|taken| taken.get(resource));
    let taken = taken.and_then(|taken| quantity::parse(taken)).unwrap_or_default();
    Some(allocatable(facts, node, resource)? - taken)
}

/// Whether the numbers say so; yes where they are not known.
fn is_short(facts: &Facts, node: &str, resource: &str) -> bool {
    let wants = taken::requests(&facts.pod["spec"]).get(resource).copied();
    match (room(facts, node, resource), wants) {
        (Some(room), Some(wants)) => room < wants || !facts.taken.contains_key(node),
        _ => true,
    }
}

/// What the node lacks: each resource with what is left of it.
fn short_amounts(facts: &Facts, on: &Judged) -> Vec<(String, i128)> {
    let short = on.hindrances.iter().filter_map(|one| match one {
        Hindrance::Short(resource) => {
            Some((resource.clone(), room(facts, &on.name, resource).unwrap_or_default()))
        }
        _ => None,
    });
    short.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedulers_reasons_are_told_apart() {
        let table: [(&str, &[&str]); 5] = [
            (
                "0/2 nodes are available: 2 Insufficient example.com/gpu, 2 Insufficient memory. no new claims to deallocate, preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.",
                &["Insufficient example.com/gpu", "Insufficient memory"],
            ),
            (
                "0/2 nodes are available: 1 node(s) had untolerated taint {a: b, c: d}, 1 Too many pods. preemption: 0/2 nodes",
                &["node(s) had untolerated taint {a: b, c: d}", "Too many pods"],
            ),
            (
                "0/2 nodes are available: 2 node(s) didn't match pod topology spread constraints (missing required label). no new claims to deallocate, preemption: x",
                &["node(s) didn't match pod topology spread constraints (missing required label)"],
            ),
            (
                "0/2 nodes are available: persistentvolumeclaim \"nope\" not found. not found",
                &["persistentvolumeclaim \"nope\" not found. not found"],
            ),
            ("no nodes available to schedule pods", &["no nodes available to schedule pods"]),
        ];
        for (message, expected) in table {
            assert_eq!(reasons(message), expected, "{message}");
        }
    }
}
