//! The pod is not scheduled, or not accepted by its node.
//!
//! - `blockers.rs`: what prevents a pod from running on a node
//! - `rejected.rs`: the kubelet rejected the pod, or the node no longer exists

pub(crate) mod blockers;
pub(crate) mod rejected;

use kdev_core::kube::container::Container;
use kdev_core::kube::object::{list, text};
use kdev_core::text;

use crate::cause::Cause;
use crate::diagnosis::{Confidence, Diagnosis};
use crate::facts::Facts;
use crate::fixes::{self, placement};
use crate::rules::scheduling::blockers::{Blocker, NodeAssessment};
use crate::rules::volume::claims;
use crate::{location, scheduler_message};

/// The scheduler of pods without a `schedulerName`.
const DEFAULT_SCHEDULER: &str = "default-scheduler";
/// The seconds after which a custom scheduler should have processed the pod.
const CUSTOM_SCHEDULER_TIMEOUT: u64 = 5;
/// The seconds after which the default scheduler should have processed the pod.
const DEFAULT_SCHEDULER_TIMEOUT: u64 = 20;
/// The maximum number of nodes that are listed by name.
const MAX_NODES: usize = 6;

pub(crate) fn diagnose(facts: &Facts) -> Vec<Diagnosis> {
    if !facts.is_pod() {
        return daemon_set_without_nodes(facts).into_iter().collect();
    }
    if let Some(node) = facts.node_name() {
        return rejected::diagnose(facts, node).into_iter().collect();
    }
    let Some(scheduled) = facts.condition("PodScheduled") else {
        return no_scheduler(facts).into_iter().collect();
    };
    match text(scheduled, "/reason") {
        "SchedulingGated" => vec![scheduling_gate(facts, text(scheduled, "/message"))],
        "Unschedulable" => unschedulable(facts, text(scheduled, "/message")),
        _ => Vec::new(),
    }
}

/// No scheduler has processed the pod.
fn no_scheduler(facts: &Facts) -> Option<Diagnosis> {
    let name = text(&facts.pod, "/spec/schedulerName");
    let age = facts.age_seconds?;
    if facts.events.iter().any(|event| event.reason == "FailedScheduling") {
        return None;
    }
    let evidence =
        vec![format!("after {age} s, the pod has no node and no event from scheduler `{name}`")];
    let is_custom = !name.is_empty() && name != DEFAULT_SCHEDULER;
    if age < if is_custom { CUSTOM_SCHEDULER_TIMEOUT } else { DEFAULT_SCHEDULER_TIMEOUT } {
        return None;
    }
    let (message, help) = if is_custom {
        (
            format!("no scheduler with the pod's `schedulerName` `{name}` is running"),
            placement::set_pod_field_help(facts, "schedulerName", name, DEFAULT_SCHEDULER),
        )
    } else {
        (
            "the cluster's scheduler is not running".to_owned(),
            format!(
                "start the scheduler; check its pod with `{} get pods --namespace kube-system --selector component=kube-scheduler`",
                facts.kubectl
            ),
        )
    };
    Some(Diagnosis {
        cause: Cause::NotScheduled,
        confidence: Confidence::Likely,
        message,
        evidence,
        help,
    })
}

/// A scheduling gate holds the pod.
fn scheduling_gate(facts: &Facts, message: &str) -> Diagnosis {
    let gates: Vec<&str> =
        list(&facts.pod["spec"]["schedulingGates"]).map(|gate| text(gate, "/name")).collect();
    let gates = text::list(&gates);
    Diagnosis {
        cause: Cause::NotScheduled,
        confidence: Confidence::Certain,
        message: format!(
            "the pod is not scheduled until a controller removes its scheduling gate {gates}"
        ),
        evidence: vec![format!("the API server: {message}")],
        help: format!(
            "check the controller that removes {gates}, or skip its decision with `{} patch pod/{} --type json --patch '[{{\"op\":\"remove\",\"path\":\"/spec/schedulingGates\"}}]'`",
            facts.kubectl,
            facts.pod_name()
        ),
    }
}

/// No node can run the pod: explains the blockers of the node where the least must be
/// changed.
fn unschedulable(facts: &Facts, status_message: &str) -> Vec<Diagnosis> {
    let assessments = blockers::assess_nodes(facts, status_message);
    let images = location::nodes_with_images(facts);
    // Such a node is suitable except for something else, usually a volume.
    let is_other_cause = assessments.iter().any(NodeAssessment::has_only_other_blockers);
    let Some(cheapest) = cheapest_node(facts, &assessments, &images).filter(|_| !is_other_cause)
    else {
        let is_claim_problem = !claims::diagnose(facts).is_empty();
        return if is_claim_problem {
            Vec::new()
        } else {
            vec![from_scheduler_message(facts, status_message)]
        };
    };
    let mut found: Vec<Diagnosis> = Vec::new();
    let mut blockers: Vec<_> = cheapest.blockers.iter().collect();
    blockers.sort_by_key(|blocker| blocker.cause());
    for blocker in blockers {
        if found.iter().any(|one| one.cause == blocker.cause()) {
            continue;
        }
        let message = if found.is_empty() {
            describe_blockers(&assessments)
        } else {
            format!("node `{}` cannot run the pod: {blocker}", cheapest.name)
        };
        let mut evidence = vec![format!(
            "the scheduler: {}",
            scheduler_message::without_preemption(status_message)
        )];
        evidence.extend(blocker.evidence(facts, &cheapest.name));
        found.push(Diagnosis {
            cause: blocker.cause(),
            confidence: Confidence::Certain,
            message,
            evidence,
            help: blocker.help(facts, cheapest),
        });
    }
    if let Some(first) = found.first_mut() {
        first.evidence.extend(image_evidence(facts, &images));
    }
    found
}

/// Only the scheduler's message is known, not the nodes.
fn from_scheduler_message(facts: &Facts, message: &str) -> Diagnosis {
    let first = blockers::parse_blockers(message).next();
    let help = match &first {
        Some(Blocker::Insufficient(resource)) => {
            fixes::edit_manifest_help(facts, &format!("reduce the request for {resource} in"))
        }
        _ => fixes::describe_help(facts),
    };
    Diagnosis {
        cause: blockers::first_cause(message),
        confidence: Confidence::Certain,
        message: format!(
            "no node can run the pod: {}",
            scheduler_message::without_preemption(message)
        ),
        evidence: vec!["PodScheduled is False: Unschedulable".to_owned()],
        help,
    }
}

/// Returns the node where the least must be changed to run the pod. If the pod selects nodes that
/// exist, the others are not meant.
fn cheapest_node<'a>(
    facts: &Facts,
    assessments: &'a [NodeAssessment],
    images: &[String],
) -> Option<&'a NodeAssessment> {
    let is_any_selected = assessments.iter().any(NodeAssessment::is_selected);
    assessments
        .iter()
        .filter(|one| one.has_only_known_blockers())
        .filter(|one| !is_any_selected || one.is_selected())
        .min_by_key(|one| (one.cost(facts), !images.contains(&one.name), &one.name))
}

/// A `DaemonSet` has no pods because no node matches. That is often intended: the cluster
/// has none of the nodes that it is for.
fn daemon_set_without_nodes(facts: &Facts) -> Option<Diagnosis> {
    let daemon_set = facts.owners.first().filter(|owner| owner["kind"] == "DaemonSet")?;
    let status = &daemon_set["status"];
    let is_observed = status["observedGeneration"] == daemon_set["metadata"]["generation"];
    if !is_observed || status["desiredNumberScheduled"] != 0 {
        return None;
    }
    let assessments =
        blockers::assess_nodes_for_daemon_set(facts, daemon_set.pointer("/spec/template/spec")?);
    let cheapest = cheapest_node(facts, &assessments, &[])?;
    let blocker = cheapest.blockers.iter().min_by_key(|one| one.cause())?;
    let mut evidence = vec!["`status.desiredNumberScheduled` is 0".to_owned()];
    evidence.extend(blocker.evidence(facts, &cheapest.name));
    Some(Diagnosis {
        cause: Cause::Inactive,
        confidence: Confidence::Certain,
        message: format!(
            "{} has no pods: {}",
            facts.controller_id(),
            describe_blockers(&assessments)
        ),
        evidence,
        help: blocker.help(facts, cheapest),
    })
}

/// Lists the blockers of all nodes, grouped by equal blockers.
fn describe_blockers(assessments: &[NodeAssessment]) -> String {
    let mut groups: Vec<(String, Vec<&str>)> = Vec::new();
    for one in assessments {
        let blockers: Vec<String> = one.blockers.iter().map(ToString::to_string).collect();
        let blockers = blockers.join(", ");
        match groups.iter_mut().find(|(other, _)| *other == blockers) {
            Some((_, nodes)) => nodes.push(&one.name),
            None => groups.push((blockers, vec![&one.name])),
        }
    }
    let list_nodes = |nodes: &[&str]| match nodes.len() {
        ..=MAX_NODES => text::list(nodes),
        many => format!("{many} nodes"),
    };
    let groups: Vec<String> = groups
        .iter()
        .map(|(blockers, nodes)| format!("{}: {blockers}", list_nodes(nodes)))
        .collect();
    format!("no node can run the pod; {}", groups.join("; "))
}

/// Returns which nodes have the pod's images, if not all do.
fn image_evidence(facts: &Facts, images: &[String]) -> Option<String> {
    let known =
        facts.node_images.keys().filter(|node| facts.images_on_node(node).is_some()).count();
    if images.is_empty() || images.len() == known {
        return None;
    }
    let names: Vec<&str> = facts.containers().iter().map(Container::image).collect();
    let (verb, noun) = (
        if images.len() == 1 { "has" } else { "have" },
        if names.len() == 1 { "image" } else { "images" },
    );
    Some(format!("only {} {verb} the {noun} {}", text::list(images), text::list(&names)))
}

#[cfg(test)]
#[path = "help_tests.rs"]
mod help_tests;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn node(name: &str, taint: &str) -> Value {
        json!({"metadata": {"name": name}, "spec": {"taints": [{"key": taint, "effect": "NoSchedule"}]}})
    }

    #[test]
    fn daemon_set_pod_reports_only_its_node() {
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
            "no node can run the pod; `n2`: it has the taint `team:NoSchedule`"
        );
        assert_eq!(
            found[0].help,
            "run `kubectl patch pod/p --type json --patch '[{\"op\":\"add\",\"path\":\"/spec/tolerations\",\"value\":[{\"effect\":\"NoSchedule\",\"key\":\"team\",\"operator\":\"Exists\"}]}]'`"
        );
    }

    #[test]
    fn missing_scheduler_is_reported_after_timeout() {
        let pod = |scheduler: &str| json!({"metadata": {"name": "p"}, "spec": {"schedulerName": scheduler}});
        let table = [
            (DEFAULT_SCHEDULER, 1, false),
            (DEFAULT_SCHEDULER, 60, true),
            ("mine", 1, false),
            ("mine", 10, true),
        ];
        for (scheduler, age, expected) in table {
            let facts = Facts { pod: pod(scheduler), age_seconds: Some(age), ..Facts::default() };
            assert_eq!(!diagnose(&facts).is_empty(), expected, "{scheduler} {age}");
        }
    }

    #[test]
    fn claim_for_one_pod_is_in_use() {
        let message = "0/1 nodes are available: 1 node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod. no new claims to deallocate, preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.";
        let older = "0/1 nodes are available: 1 node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode.";
        let deployment = |replicas: u64, pods: u64, strategy: &str| {
            json!({"kind": "Deployment", "metadata": {"name": "web"},
                "spec": {"replicas": replicas, "strategy": {"type": strategy}},
                "status": {"replicas": pods, "updatedReplicas": 1}})
        };
        let daemon_set = json!({"kind": "DaemonSet", "metadata": {"name": "web"}, "spec":
            {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}},
            "status": {"desiredNumberScheduled": 1, "updatedNumberScheduled": 0}});
        let other = "and apply it; `kubectl describe pvc files` lists the pod that uses this one";
        let table = [
            (
                deployment(1, 2, "RollingUpdate"),
                "run `kubectl patch deployment/web --patch '{\"spec\":{\"strategy\":{\"rollingUpdate\":null,\"type\":\"Recreate\"}}}'` to stop the old pod before the new one starts".to_owned(),
            ),
            (
                daemon_set,
                "run `kubectl patch daemonset/web --patch '{\"spec\":{\"updateStrategy\":{\"rollingUpdate\":{\"maxSurge\":0,\"maxUnavailable\":1}}}}'` to stop an old pod before a new one starts".to_owned(),
            ),
            (
                deployment(2, 2, "Recreate"),
                "run `kubectl scale deployment/web --replicas=1`, or use a claim with the access mode `ReadWriteOnce`".to_owned(),
            ),
            // The other pod belongs to another workload.
            (
                deployment(1, 1, "RollingUpdate"),
                format!("use another claim in the manifest of deployment/web, {other}"),
            ),
            (
                json!({"kind": "Job", "metadata": {"name": "load"}}),
                "use another claim in the manifest of job/load, and recreate it; `kubectl describe pvc files` lists the pod that uses this one".to_owned(),
            ),
        ];
        for (owner, help) in table {
            for message in [message, older] {
                let volume =
                    json!({"name": "data", "persistentVolumeClaim": {"claimName": "files"}});
                let facts = Facts {
                    subject: "pod/p".into(),
                    kubectl: "kubectl".into(),
                    pod: json!({"kind": "Pod", "metadata": {"name": "p"}, "spec": {"volumes": [volume]},
                        "status": {"conditions": [{"type": "PodScheduled", "status": "False",
                            "reason": "Unschedulable", "message": message}]}}),
                    owners: vec![owner.clone()],
                    claims: vec![
                        json!({"metadata": {"name": "files"}, "status": {"phase": "Bound"},
                        "spec": {"volumeName": "pv", "accessModes": ["ReadWriteOncePod"]}}),
                    ],
                    nodes: vec![json!({"metadata": {"name": "n"}})],
                    ..Facts::default()
                };
                let found = diagnose(&facts);
                assert_eq!(found[0].cause, Cause::ClaimInUse, "{message}");
                assert_eq!(found[0].help, help);
                let evidence = "PersistentVolumeClaim `files`: access mode `ReadWriteOncePod`";
                assert_eq!(found[0].evidence[1], evidence);
                assert_eq!(
                    found[0].message,
                    "no node can run the pod; `n`: another pod uses the PersistentVolumeClaim, which permits only one pod"
                );
            }
        }
    }

    #[test]
    fn claim_problem_replaces_scheduler_message() {
        let conflict = "0/1 nodes are available: 1 node(s) had volume node affinity conflict. x";
        let count = "0/1 nodes are available: 1 node(s) exceed max volume count. preemption: x";
        let volume = json!({"name": "data", "persistentVolumeClaim": {"claimName": "files"}});
        let table = [
            (conflict, None),
            (
                count,
                Some(
                    "no node can run the pod: 0/1 nodes are available: 1 node(s) exceed max volume count",
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
    fn unknown_nodes_leave_scheduler_message() {
        let describe = "run `kubectl describe pod/p` for details";
        let table = [
            (
                "0/3 nodes are available: 3 Insufficient cpu. preemption: x",
                Cause::InsufficientResources,
                "no node can run the pod: 0/3 nodes are available: 3 Insufficient cpu",
                "reduce the request for cpu in the manifest of pod/p, and recreate it",
            ),
            (
                "0/3 nodes are available: 3 node(s) had untolerated taint {team: red}. preemption: x",
                Cause::UntoleratedTaints,
                "no node can run the pod: 0/3 nodes are available: 3 node(s) had untolerated taint {team: red}",
                describe,
            ),
            (
                "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector.",
                Cause::NodeSelector,
                "no node can run the pod: 0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector",
                describe,
            ),
            (
                "no nodes available to schedule pods",
                Cause::NotScheduled,
                "no node can run the pod: no nodes available to schedule pods",
                describe,
            ),
        ];
        for (reason, cause, message, help) in table {
            let status = json!({"conditions": [{"type": "PodScheduled", "status": "False",
                "reason": "Unschedulable", "message": reason}]});
            let facts = Facts {
                subject: "pod/p".into(),
                kubectl: "kubectl".into(),
                pod: json!({"kind": "Pod", "metadata": {"name": "p"}, "status": status}),
                ..Facts::default()
            };
            let found = diagnose(&facts);
            assert_eq!(
                (found[0].cause, found[0].message.as_str(), found[0].help.as_str()),
                (cause, message, help)
            );
        }
    }
}
