//! What prevents a pod from running on a node, according to the node object and the
//! scheduler's message.

use std::fmt;

use kdev_core::kube::node::{self, Taint};
use kdev_core::kube::object::text;
use kdev_core::kube::placement::{
    self, CORDONED, Obstacle, PodSpec, is_health_taint, is_transition_taint,
};
use kdev_core::kube::{quantity, resources};
use serde::Deserialize;
use serde_json::Value;

use crate::cause::Cause;
use crate::facts::Facts;
use crate::rules::volume::claims;
use crate::scheduler_message::{explain, is_placement, parse_reasons};
use crate::{capacity, fixes};

/// The maximum number of nodes whose labels are shown.
const MAX_LABELS: usize = 4;

/// One reason that prevents a pod from running on a node.
pub(crate) enum Blocker {
    /// The node's taints or labels exclude the pod.
    Placement(Obstacle),
    /// The node has too little of this resource.
    Insufficient(String),
    /// Another pod uses the host port.
    HostPort,
    /// The pods on the node conflict with an affinity or topology spread; the scheduler's
    /// reason.
    PodAffinity(String),
    /// Another pod uses a claim that permits only one pod.
    ClaimInUse,
    /// A reason that other rules explain, such as a volume.
    Other(String),
}

/// A node with all blockers of the pod.
pub(crate) struct NodeAssessment {
    pub(crate) name: String,
    pub(crate) blockers: Vec<Blocker>,
}

/// Returns the blockers of a `DaemonSet`'s pods for each node; empty if a node is suitable.
pub(crate) fn assess_nodes_for_daemon_set(facts: &Facts, spec: &Value) -> Vec<NodeAssessment> {
    let spec = PodSpec::deserialize(spec).unwrap_or_default();
    let assessments = facts.nodes.iter().filter_map(node::node).map(|node| {
        let obstacles = placement::obstacles("DaemonSet", &spec, &node);
        let blockers = obstacles.into_iter().map(Blocker::Placement).collect();
        NodeAssessment { name: node.name, blockers }
    });
    let assessments: Vec<NodeAssessment> = assessments.collect();
    if assessments.iter().all(NodeAssessment::has_only_known_blockers) {
        assessments
    } else {
        Vec::new()
    }
}

/// Returns the blockers of a pod for each node, from the node objects and the scheduler's
/// message about all nodes.
pub(crate) fn assess_nodes(facts: &Facts, message: &str) -> Vec<NodeAssessment> {
    let spec = PodSpec::deserialize(&facts.pod["spec"]).unwrap_or_default();
    let reasons: Vec<&str> =
        parse_reasons(message).into_iter().filter(|r| !is_placement(r)).collect();
    let assessments = facts.nodes.iter().filter_map(node::node).map(|node| {
        let obstacles = placement::obstacles("Pod", &spec, &node);
        let mut blockers: Vec<Blocker> = obstacles.into_iter().map(Blocker::Placement).collect();
        // The scheduler checks the rest only on nodes that pass these checks.
        if blockers.is_empty() {
            blockers = reasons.iter().map(|reason| Blocker::from_reason(reason)).collect();
            let can_be_insufficient = |one: &Blocker| match one {
                Blocker::Insufficient(resource) => {
                    capacity::is_insufficient(facts, &node.name, resource)
                }
                _ => true,
            };
            if blockers.iter().any(can_be_insufficient) {
                blockers.retain(can_be_insufficient);
            }
        }
        NodeAssessment { name: node.name, blockers }
    });
    let mut assessments: Vec<NodeAssessment> = assessments.collect();
    // A pod of a DaemonSet is for one node.
    if assessments.iter().any(|one| !one.is_for_other_node()) {
        assessments.retain(|one| !one.is_for_other_node());
    }
    assessments
}

/// Parses the blockers in the scheduler's message, whichever nodes they are about.
pub(crate) fn parse_blockers(message: &str) -> impl Iterator<Item = Blocker> {
    parse_reasons(message).into_iter().map(Blocker::from_reason)
}

/// Returns the cause of the first reason in the scheduler's message.
pub(crate) fn first_cause(message: &str) -> Cause {
    let reasons = parse_reasons(message);
    let first = reasons.first().copied().unwrap_or_default();
    match Blocker::from_reason(first).cause() {
        Cause::Unknown if is_placement(first) && first.contains("affinity/selector") => {
            Cause::NodeSelector
        }
        Cause::Unknown if is_placement(first) => Cause::UntoleratedTaints,
        Cause::Unknown => Cause::NotScheduled,
        known => known,
    }
}

impl NodeAssessment {
    /// Whether the pod's affinity selects a node with another name.
    fn is_for_other_node(&self) -> bool {
        self.blockers.iter().any(|one| match one {
            Blocker::Placement(Obstacle::Affinity(missed)) => {
                missed.iter().any(|one| one.key == "metadata.name")
            }
            _ => false,
        })
    }

    /// Whether there are blockers, and all of them are explained by this rule.
    pub(crate) fn has_only_known_blockers(&self) -> bool {
        let is_other = |one: &Blocker| matches!(one, Blocker::Other(_));
        !self.blockers.is_empty() && !self.blockers.iter().any(is_other)
    }

    /// Returns the taints that a pod may tolerate; the program that set the others must remove
    /// them.
    fn tolerable_taints(&self) -> Vec<&Taint> {
        let taints = self.blockers.iter().filter_map(|one| match one {
            Blocker::Placement(Obstacle::Taint(taint)) => Some(taint),
            _ => None,
        });
        let is_tolerable = |taint: &&Taint| {
            taint.key != CORDONED && !is_health_taint(taint) && !is_transition_taint(taint)
        };
        taints.filter(is_tolerable).collect()
    }

    /// Whether the pod's node selector and node affinity match the node.
    pub(crate) fn is_selected(&self) -> bool {
        let excludes = |one: &Blocker| {
            matches!(one, Blocker::Placement(Obstacle::Label(..) | Obstacle::Affinity(_)))
        };
        !self.blockers.iter().any(excludes)
    }

    /// Whether there are blockers, and none of them is explained by this rule.
    pub(crate) fn has_only_other_blockers(&self) -> bool {
        let is_other = |one: &Blocker| matches!(one, Blocker::Other(_));
        !self.blockers.is_empty() && self.blockers.iter().all(is_other)
    }

    /// Returns a sort key: how much must be changed to run the pod on the node.
    pub(crate) fn cost(&self, facts: &Facts) -> (usize, usize, i128) {
        let max_cost = self.blockers.iter().map(Blocker::cost).max().unwrap_or_default();
        let lacking = self.blockers.iter().map(|one| match one {
            Blocker::Insufficient(resource) => {
                -capacity::remaining(facts, &self.name, resource).unwrap_or(0)
            }
            _ => 0,
        });
        (max_cost, self.blockers.len(), lacking.max().unwrap_or_default())
    }
}

impl Blocker {
    fn from_reason(reason: &str) -> Self {
        if let Some(resource) = reason.strip_prefix("Insufficient ") {
            return Self::Insufficient(resource.to_owned());
        }
        match reason {
            "Too many pods" => Self::Insufficient("pods".to_owned()),
            _ if reason.contains("free ports") => Self::HostPort,
            _ if reason.contains(claims::ONE_POD) => Self::ClaimInUse,
            _ if reason.contains("affinity rules") || reason.contains("topology spread") => {
                Self::PodAffinity(reason.trim_start_matches("node(s) ").to_owned())
            }
            _ => Self::Other(reason.to_owned()),
        }
    }

    /// Changes that affect all pods, or undo an intended restriction, cost more.
    fn cost(&self) -> usize {
        match self {
            Self::Placement(Obstacle::Taint(taint)) if taint.key == CORDONED => 0,
            Self::Insufficient(resource) if !resource.contains('/') => 1,
            Self::HostPort | Self::PodAffinity(_) | Self::ClaimInUse => 1,
            Self::Placement(Obstacle::Label(..) | Obstacle::Affinity(_)) => 2,
            Self::Placement(Obstacle::Taint(taint))
                if is_health_taint(taint) || is_transition_taint(taint) =>
            {
                4
            }
            Self::Placement(Obstacle::Taint(_)) | Self::Insufficient(_) => 3,
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
            Self::Placement(Obstacle::Taint(taint)) if is_health_taint(taint) => {
                Cause::NodePressure
            }
            Self::Placement(Obstacle::Taint(_)) => Cause::UntoleratedTaints,
            Self::Placement(_) => Cause::NodeSelector,
            Self::Insufficient(_) => Cause::InsufficientResources,
            Self::HostPort => Cause::HostPortInUse,
            Self::PodAffinity(_) => Cause::PodAffinity,
            Self::ClaimInUse => Cause::ClaimInUse,
            Self::Other(_) => Cause::Unknown,
        }
    }

    /// Returns details that the message does not contain, such as amounts.
    pub(crate) fn evidence(&self, facts: &Facts, node: &str) -> Option<String> {
        match self {
            Self::Insufficient(resource) => {
                let needed = resources::requests(&facts.pod["spec"]).get(resource).copied()?;
                let allocatable = capacity::allocatable(facts, node, resource).unwrap_or_default();
                let format_amount = |amount| quantity::format(resource, amount);
                let requested = facts.requests.get(node).map(|requests| {
                    let requested = requests.get(resource).map_or("none", String::as_str);
                    format!(", of which its pods request {requested}")
                });
                Some(format!(
                    "{resource}: the pod requests {}; node `{node}` has {} allocatable{}",
                    format_amount(needed),
                    format_amount(allocatable),
                    requested.unwrap_or_default()
                ))
            }
            Self::Placement(Obstacle::Label(key, _)) => {
                let labels =
                    |node| text(node, &format!("/metadata/labels/{}", escape_json_pointer(key)));
                let labeled = facts.nodes.iter().filter(|node| !labels(node).is_empty());
                let labeled: Vec<String> = labeled
                    .take(MAX_LABELS)
                    .map(|node| {
                        format!("`{}` has `{key}={}`", text(node, "/metadata/name"), labels(node))
                    })
                    .collect();
                (!labeled.is_empty()).then(|| format!("node {}", labeled.join(", ")))
            }
            Self::Placement(Obstacle::Taint(taint)) if is_health_taint(taint) => {
                fixes::node::unhealthy_conditions(facts, node)
            }
            Self::ClaimInUse => claims::describe_one_pod_claims(facts),
            _ => None,
        }
    }

    pub(crate) fn help(&self, facts: &Facts, on: &NodeAssessment) -> String {
        let (kubectl, node) = (&facts.kubectl, &on.name);
        match self {
            Self::Placement(Obstacle::Taint(taint)) if taint.key == CORDONED => {
                format!("run `{kubectl} uncordon {node}`, which allows all pods on the node")
            }
            Self::Placement(Obstacle::Taint(taint))
                if placement::is_not_responding_taint(taint) =>
            {
                fixes::node::start_kubelet_help(facts, node)
            }
            Self::Placement(Obstacle::Taint(taint)) if is_health_taint(taint) => {
                fixes::node::relieve_pressure_help(facts, node)
            }
            Self::Placement(Obstacle::Taint(taint)) if is_transition_taint(taint) => format!(
                "wait until the program that set `{}` on node `{node}` removes it; check its pods with `{kubectl} get pods --all-namespaces --field-selector spec.nodeName={node}`",
                taint.key
            ),
            Self::Placement(Obstacle::Taint(_)) => {
                fixes::placement::tolerate_taints_help(facts, node, &on.tolerable_taints())
            }
            Self::Placement(Obstacle::Label(key, value)) => {
                fixes::placement::label_node_help(facts, node, key, value)
            }
            Self::Placement(Obstacle::Affinity(missed)) => {
                fixes::placement::node_affinity_help(facts, node, missed)
            }
            Self::Insufficient(_) => {
                fixes::placement::reduce_requests_help(facts, node, &remaining_amounts(facts, on))
            }
            Self::HostPort => fixes::placement::replace_before_start(facts)
                .unwrap_or_else(|| fixes::edit_manifest_help(facts, "remove `hostPort` from")),
            Self::PodAffinity(reason) => fixes::placement::relax_pod_affinity(
                facts,
                node,
                reason,
                count_suitable_nodes(facts),
            ),
            Self::ClaimInUse => claims::release_help(facts, None),
            Self::Other(_) => fixes::describe_help(facts),
        }
    }
}

impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Placement(Obstacle::Affinity(missed)) => {
                let missed: Vec<String> = missed.iter().map(|one| format!("`{one}`")).collect();
                write!(f, "the pod's node affinity requires {}", missed.join(" and "))
            }
            Self::Placement(obstacle) => obstacle.fmt(f),
            Self::Insufficient(resource) if resource == "pods" => {
                f.write_str("it already runs its maximum number of pods")
            }
            Self::Insufficient(resource) => {
                write!(f, "it has too little {resource} left for the pod's request")
            }
            Self::HostPort => f.write_str("the host port is already in use"),
            Self::ClaimInUse => f.write_str(
                "another pod uses the PersistentVolumeClaim, which permits only one pod",
            ),
            Self::PodAffinity(reason) => f.write_str(explain(reason)),
            Self::Other(reason) => f.write_str(reason),
        }
    }
}

fn escape_json_pointer(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// Counts the nodes whose taints and labels allow the pod.
fn count_suitable_nodes(facts: &Facts) -> usize {
    let spec = PodSpec::deserialize(&facts.pod["spec"]).unwrap_or_default();
    let nodes = facts.nodes.iter().filter_map(node::node);
    nodes.filter(|node| placement::obstacles("Pod", &spec, node).is_empty()).count()
}

/// Returns each insufficient resource of the node with its remaining amount.
fn remaining_amounts(facts: &Facts, node: &NodeAssessment) -> Vec<(String, i128)> {
    let insufficient = node.blockers.iter().filter_map(|one| match one {
        Blocker::Insufficient(resource) => Some((
            resource.clone(),
            capacity::remaining(facts, &node.name, resource).unwrap_or_default(),
        )),
        _ => None,
    });
    insufficient.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Assesses a node with these taints.
    fn assess(facts: &mut Facts, taints: &[(&str, &str)]) -> NodeAssessment {
        let taint = |(key, value): &(&str, &str)| json!({"key": key, "value": value, "effect": "NoSchedule"});
        let taints: Vec<Value> = taints.iter().map(taint).collect();
        facts.nodes = vec![json!({"metadata": {"name": "n"}, "spec": {"taints": taints}})];
        assess_nodes(facts, "").remove(0)
    }

    #[test]
    fn taint_is_tolerated_before_removed() {
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
                "wait until the program that set `node.cilium.io/agent-not-ready` on node `n` removes it; check its pods with `kubectl get pods --all-namespaces --field-selector spec.nodeName=n`",
            ),
            (
                None,
                &[(CORDONED, "")],
                "run `kubectl uncordon n`, which allows all pods on the node",
            ),
        ];
        for (owner, taints, expected) in table {
            facts.owners = owner.into_iter().cloned().collect();
            let node = assess(&mut facts, taints);
            assert_eq!(node.blockers[0].help(&facts, &node), expected);
        }
        let node = assess(&mut facts, &[("team", "red")]);
        assert_eq!(node.blockers[0].to_string(), "it has the taint `team=red:NoSchedule`");
    }

    #[test]
    fn insufficient_resource_names_largest_amount_on_any_node() {
        let gpu = "nvidia.com/gpu";
        let delete_pods = "delete or scale down pods on node `n`: `kubectl get pods --all-namespaces --field-selector spec.nodeName=n` lists them";
        let message = format!("it has too little {gpu} left for the pod's request");
        let table = [
            (
                "1 Insufficient nvidia.com/gpu",
                "",
                message.as_str(),
                "remove the request for `nvidia.com/gpu`, which no node has, from the manifest of pod/p, and recreate it",
            ),
            (
                "1 Insufficient nvidia.com/gpu",
                "1",
                &message,
                "request at most 1 of `nvidia.com/gpu`, the largest amount on any node, in the manifest of pod/p, and recreate it",
            ),
            ("1 Insufficient nvidia.com/gpu", "2", &message, delete_pods),
            ("1 Too many pods", "2", "it already runs its maximum number of pods", delete_pods),
        ];
        for (reason, allocatable, message, help) in table {
            let container = json!({"name": "c", "resources": {"requests": {gpu: "2"}}});
            let facts = Facts {
                kubectl: "kubectl".into(),
                pod: json!({"kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [container]}}),
                nodes: vec![
                    json!({"metadata": {"name": "n"}, "status": {"allocatable": {gpu: allocatable}}}),
                ],
                ..Facts::default()
            };
            let assessments = assess_nodes(&facts, &format!("0/1 nodes are available: {reason}."));
            let node = &assessments[0];
            assert_eq!(node.blockers[0].to_string(), message);
            assert_eq!(node.blockers[0].help(&facts, node), help);
        }
    }
}
