//! Which nodes can run a pod, from the pod spec and the node object.
//!
//! The rules are the scheduler's hard constraints (kubernetes.io, "Assigning Pods to Nodes"
//! and "Taints and Tolerations"). Resources and pod affinity are left out: they change from
//! minute to minute, and loading onto an unnecessary node only costs time.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use crate::kube::node::{Node, Taint};

/// The fields of a pod spec that select nodes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    node_name: Option<String>,
    node_selector: BTreeMap<String, String>,
    tolerations: Vec<Toleration>,
    affinity: Affinity,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Toleration {
    key: Option<String>,
    operator: Option<String>,
    value: Option<String>,
    effect: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Affinity {
    node_affinity: NodeAffinity,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct NodeAffinity {
    required_during_scheduling_ignored_during_execution: Option<NodeSelector>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct NodeSelector {
    node_selector_terms: Vec<Term>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Term {
    match_expressions: Vec<Expression>,
    match_fields: Vec<Expression>,
}

/// A label requirement of a node affinity.
#[derive(Clone, Debug, Deserialize)]
pub struct Expression {
    pub key: String,
    operator: String,
    #[serde(default)]
    pub values: Vec<String>,
}

/// Taints that the DaemonSet controller's pods tolerate.
const DAEMON_TOLERATES: [&str; 4] = [
    "node.kubernetes.io/disk-pressure",
    "node.kubernetes.io/memory-pressure",
    "node.kubernetes.io/pid-pressure",
    CORDONED,
];

/// The taint that `kubectl cordon` sets.
pub const CORDONED: &str = "node.kubernetes.io/unschedulable";
/// The description of that taint.
pub const IS_CORDONED: &str = "it is cordoned";

/// The start of the description of a missing label.
pub const MISSING_LABEL: &str = "it does not have the label ";
/// The start of the description of a taint.
pub const HAS_TAINT: &str = "it has the taint ";

/// The field of a node that a node affinity can match, which is not a label.
const NODE_NAME: &str = "metadata.name";

/// Taints of a node whose kubelet does not report, temporarily or permanently. When the
/// kubelet recovers, so do its pods.
const NOT_RESPONDING: [&str; 2] =
    ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

/// Whether the node's kubelet has stopped reporting.
pub fn is_not_responding(node: &Node) -> bool {
    node.taints.iter().any(is_not_responding_taint)
}

/// A reason why a node cannot run a pod.
#[derive(Clone, Debug)]
pub enum Obstacle {
    /// The pod's node selector requires a label that the node does not have.
    Label(String, String),
    /// The pod's node affinity excludes the node: the term with the fewest unmatched
    /// requirements.
    Affinity(Vec<Expression>),
    /// The node has a taint that the pod does not tolerate.
    Taint(Taint),
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Label(key, value) => write!(f, "{MISSING_LABEL}`{key}={value}`"),
            Self::Affinity(_) => f.write_str("the pods' node affinity excludes it"),
            Self::Taint(taint) if taint.key == CORDONED => f.write_str(IS_CORDONED),
            Self::Taint(taint) => write!(f, "{HAS_TAINT}`{taint}`"),
        }
    }
}

/// Checks whether pods of a workload of this kind can run on the node once its kubelet
/// reports again; returns the reason if not.
pub fn may_run(kind: &str, pod: &PodSpec, node: &Node) -> Result<(), String> {
    if let Some(name) = &pod.node_name {
        // Such a pod bypasses the scheduler, so `NoSchedule` taints do not apply.
        return if *name == node.name {
            Ok(())
        } else {
            Err(format!("its pods name node `{name}`"))
        };
    }
    let is_for_a_while = |obstacle: &Obstacle| matches!(obstacle, Obstacle::Taint(taint) if is_not_responding_taint(taint));
    match obstacles(kind, pod, node).into_iter().find(|obstacle| !is_for_a_while(obstacle)) {
        Some(obstacle) => Err(obstacle.to_string()),
        None => Ok(()),
    }
}

/// Returns all reasons why a pod without `nodeName` cannot run on this node now.
pub fn obstacles(kind: &str, pod: &PodSpec, node: &Node) -> Vec<Obstacle> {
    let lacks = |(key, value): &(&String, &String)| node.labels.get(*key) != Some(*value);
    let labels = pod.node_selector.iter().filter(lacks);
    let mut found: Vec<Obstacle> =
        labels.map(|(key, value)| Obstacle::Label(key.clone(), value.clone())).collect();
    if let Some(required) =
        &pod.affinity.node_affinity.required_during_scheduling_ignored_during_execution
        && !required.node_selector_terms.iter().any(|term| term.matches(node))
    {
        let missed = required.node_selector_terms.iter().map(|term| term.unmatched(node));
        let least = missed.min_by_key(Vec::len).unwrap_or_default();
        found.push(Obstacle::Affinity(least));
    }
    let taints = node.taints.iter().filter(|taint| !is_tolerated(kind, pod, taint));
    found.extend(taints.cloned().map(Obstacle::Taint));
    found
}

/// Whether Kubernetes or a cloud provider sets the label, so that a person must not: its value is a
/// fact about the node, such as its name or architecture.
pub fn is_managed_label(key: &str) -> bool {
    const DOMAINS: [&str; 7] = [
        "kubernetes.io",
        "k8s.io",
        "x-k8s.io",
        "karpenter.sh",
        "eks.amazonaws.com",
        "cloud.google.com",
        "kubernetes.azure.com",
    ];
    /// The domains of labels for administrators.
    const FREE: [&str; 2] = ["node-role.kubernetes.io", "node-restriction.kubernetes.io"];
    let is_in = |domain: &str, parent: &str| {
        domain.strip_suffix(parent).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    let Some((domain, _)) = key.split_once('/') else { return key == NODE_NAME };
    !FREE.iter().any(|free| is_in(domain, free)) && DOMAINS.iter().any(|one| is_in(domain, one))
}

/// Whether the node controller or the kubelet sets this taint, and removes it when the node is
/// healthy.
pub fn is_health_taint(taint: &Taint) -> bool {
    taint.key.starts_with("node.kubernetes.io/") && taint.key != CORDONED
}

/// Whether a program sets this taint while it prepares, replaces, or removes the node. It removes
/// the taint if the node stays.
pub fn is_transition_taint(taint: &Taint) -> bool {
    const PREFIXES: [&str; 9] = [
        "node.cilium.io/",
        "node.cloudprovider.kubernetes.io/",
        "node.cluster.x-k8s.io/",
        "startup-taint.cluster-autoscaler.kubernetes.io/",
        "ToBeDeletedByClusterAutoscaler",
        "DeletionCandidateOfClusterAutoscaler",
        "karpenter.sh/",
        "aws-node-termination-handler/",
        "cloud.google.com/impending-node-termination",
    ];
    PREFIXES.iter().any(|start| taint.key.starts_with(start))
        || taint.key.ends_with("/agent-not-ready")
}

/// Whether the node has this taint only because its kubelet does not report.
pub fn is_not_responding_taint(taint: &Taint) -> bool {
    NOT_RESPONDING.contains(&taint.key.as_str())
}

fn is_tolerated(kind: &str, pod: &PodSpec, taint: &Taint) -> bool {
    taint.effect == "PreferNoSchedule"
        || (kind == "DaemonSet"
            && (is_not_responding_taint(taint) || DAEMON_TOLERATES.contains(&taint.key.as_str())))
        || pod.tolerations.iter().any(|toleration| toleration.covers(taint))
}

impl Toleration {
    fn covers(&self, taint: &Taint) -> bool {
        let given = |field: &Option<String>| field.clone().filter(|text| !text.is_empty());
        let effect = given(&self.effect).is_none_or(|effect| effect == taint.effect);
        let exists = self.operator.as_deref() == Some("Exists");
        let key = match given(&self.key) {
            Some(key) => key == taint.key,
            None => exists,
        };
        effect && key && (exists || self.value.clone().unwrap_or_default() == taint.value)
    }
}

impl Term {
    /// An empty term matches nothing, as the API documents.
    fn matches(&self, node: &Node) -> bool {
        let some = !self.match_expressions.is_empty() || !self.match_fields.is_empty();
        let labels = self.match_expressions.iter().all(|e| e.matches(node.labels.get(&e.key)));
        let fields = self.match_fields.iter().all(|e| e.matches(Some(&node.name)));
        some && labels && fields
    }

    /// Returns the requirements that the node does not match.
    fn unmatched(&self, node: &Node) -> Vec<Expression> {
        let labels = self.match_expressions.iter().filter(|e| !e.matches(node.labels.get(&e.key)));
        let fields = self.match_fields.iter().filter(|e| !e.matches(Some(&node.name)));
        labels.chain(fields).cloned().collect()
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.key, self.operator)?;
        match self.values.as_slice() {
            [] => Ok(()),
            values => write!(f, " {}", values.join(", ")),
        }
    }
}

impl Expression {
    /// Returns a label that would match the requirement, if there is a unique one.
    pub fn label(&self) -> Option<(&str, &str)> {
        match self.operator.as_str() {
            "In" => Some((&self.key, self.values.first()?)),
            "Exists" => Some((&self.key, "true")),
            _ => None,
        }
    }

    fn matches(&self, value: Option<&String>) -> bool {
        let among = value.is_some_and(|value| self.values.contains(value));
        let number = |text: Option<&String>| text.and_then(|text| text.parse::<i64>().ok());
        let compared = number(value).zip(number(self.values.first()));
        match self.operator.as_str() {
            "In" => among,
            "NotIn" => !among,
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            "Gt" => compared.is_some_and(|(have, want)| have > want),
            "Lt" => compared.is_some_and(|(have, want)| have < want),
            // An operator of a later Kubernetes version: assume a match, since an
            // unnecessary load is harmless.
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(taints: &[(&str, &str, &str)]) -> Node {
        let taint = |(key, value, effect): &(&str, &str, &str)| Taint {
            key: (*key).into(),
            value: (*value).into(),
            effect: (*effect).into(),
        };
        Node {
            labels: [("disk", "ssd"), ("cores", "4")].map(|(k, v)| (k.into(), v.into())).into(),
            taints: taints.iter().map(taint).collect(),
            ..Node::named("n1")
        }
    }

    #[test]
    fn hard_constraints_exclude_nodes() {
        let affinity = |expression| {
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
                {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}}})
        };
        let table = [
            (json!({}), &[][..], true),
            (json!({"nodeName": "n1"}), &[("a", "", "NoSchedule")], true),
            (json!({"nodeName": "n2"}), &[], false),
            (json!({"nodeSelector": {"disk": "ssd"}}), &[], true),
            (json!({"nodeSelector": {"disk": "hdd"}}), &[], false),
            (json!({}), &[("a", "", "NoSchedule")], false),
            (json!({}), &[("a", "", "NoExecute")], false),
            (json!({}), &[("a", "", "PreferNoSchedule")], true),
            (json!({}), &[("node.kubernetes.io/unreachable", "", "NoExecute")], true),
            (json!({}), &[("node.kubernetes.io/disk-pressure", "", "NoSchedule")], false),
            (json!({"tolerations": [{"operator": "Exists"}]}), &[("a", "b", "NoSchedule")], true),
            (
                json!({"tolerations": [{"key": "a", "value": "b"}]}),
                &[("a", "b", "NoSchedule")],
                true,
            ),
            (
                json!({"tolerations": [{"key": "a", "value": "c"}]}),
                &[("a", "b", "NoSchedule")],
                false,
            ),
            (
                json!({"tolerations": [{"key": "a", "operator": "Exists", "effect": "NoExecute"}]}),
                &[("a", "b", "NoSchedule")],
                false,
            ),
            (
                affinity(json!({"key": "disk", "operator": "In", "values": ["ssd", "nvme"]})),
                &[],
                true,
            ),
            (affinity(json!({"key": "disk", "operator": "NotIn", "values": ["ssd"]})), &[], false),
            (affinity(json!({"key": "gpu", "operator": "Exists"})), &[], false),
            (affinity(json!({"key": "gpu", "operator": "DoesNotExist"})), &[], true),
            (affinity(json!({"key": "cores", "operator": "Gt", "values": ["2"]})), &[], true),
            (affinity(json!({"key": "cores", "operator": "Lt", "values": ["4"]})), &[], false),
        ];
        for (pod, taints, expected) in table {
            let spec: PodSpec = serde_json::from_value(pod.clone()).unwrap();
            let answer = may_run("Deployment", &spec, &node(taints));
            assert_eq!(answer.is_ok(), expected, "{pod} with {taints:?}: {answer:?}");
        }
    }

    #[test]
    fn labels_of_kubernetes_and_providers_are_managed() {
        let managed = [
            "kubernetes.io/hostname",
            "kubernetes.io/arch",
            "beta.kubernetes.io/os",
            "topology.kubernetes.io/zone",
            "node.kubernetes.io/instance-type",
            "feature.node.kubernetes.io/cpu-model.id",
            "node.cluster.x-k8s.io/name",
            "karpenter.sh/nodepool",
            "eks.amazonaws.com/nodegroup",
            "metadata.name",
        ];
        let free = [
            "disk",
            "example.com/kubernetes.io",
            "mykubernetes.io/team",
            "node-role.kubernetes.io/worker",
            "team.node-restriction.kubernetes.io/gpu",
        ];
        assert_eq!(managed.map(is_managed_label), [true; 10]);
        assert_eq!(free.map(is_managed_label), [false; 5]);
    }

    #[test]
    fn daemon_pods_run_on_cordoned_nodes() {
        let cordoned = node(&[("node.kubernetes.io/unschedulable", "", "NoSchedule")]);
        assert!(may_run("DaemonSet", &PodSpec::default(), &cordoned).is_ok());
        let why = may_run("Deployment", &PodSpec::default(), &cordoned).unwrap_err();
        assert_eq!(why, "it is cordoned");
    }
}
