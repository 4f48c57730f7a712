//! Nothing is wrong yet: it is on its way.

use kdev_core::kube::container::Container;
use kdev_core::kube::object::{condition, text};

use crate::cause::Cause;
use crate::diagnosis::{Confidence, Diagnosis};
use crate::facts::{ApiEvent, Facts};
use crate::transient;

/// What takes longer than this is no longer certain to come, in seconds.
const SOON: u64 = 60;
/// How long controllers may take to make the first pod, in seconds.
const PATIENCE: u64 = 15;
/// Whatever has not come after this many seconds is not on its way any more.
const LATE: u64 = 600;

/// For a pod, or a workload, of which no rule knows that anything is wrong.
pub(crate) fn diagnose(facts: &Facts) -> Option<Diagnosis> {
    let age = facts.age_seconds.filter(|age| *age <= LATE || preparing(facts).is_some())?;
    if has_failed(facts) || is_turned_down(facts) {
        return None;
    }
    let words = if facts.is_pod() {
        if facts.containers().iter().any(|container| !is_on_its_way(container))
            || facts.pod_events().any(|event| is_ill(facts, event))
        {
            return None;
        }
        stage(facts)
    } else {
        if age > PATIENCE {
            return None;
        }
        "its first pod has not been made yet".to_owned()
    };
    let last = facts.pod_events().next_back();
    let last = last.map(|event| format!("{}: {}", event.reason, event.message));
    Some(Diagnosis {
        cause: Cause::InProgress,
        confidence: if age < SOON { Confidence::Certain } else { Confidence::Likely },
        message: format!("nothing is wrong yet: {words}"),
        evidence: std::iter::once(format!("it was created {age} s ago")).chain(last).collect(),
        help: format!("wait: `{} get {} --watch`", facts.kubectl, facts.subject),
    })
}

/// Whether it is all over, for the pod or for the Job that would make it.
fn has_failed(facts: &Facts) -> bool {
    let is_failed_job =
        |owner| condition(owner, "Failed").is_some_and(|one| one["status"] == "True");
    text(&facts.pod, "/status/phase") == "Failed" || facts.owners.iter().any(is_failed_job)
}

/// Whether the scheduler has looked for a node, and found none.
fn is_turned_down(facts: &Facts) -> bool {
    facts.condition("PodScheduled").is_some_and(|one| one["status"] == "False")
}

/// Whether an event tells of something that is wrong still.
fn is_ill(facts: &Facts, event: &ApiEvent) -> bool {
    event.warning
        && event.reason != "FailedScheduling"
        && !transient::is_over(facts, event)
        && !transient::is_transient(event)
}

fn is_on_its_way(container: &Container) -> bool {
    let is_early =
        |(reason, _): (&str, &str)| matches!(reason, "ContainerCreating" | "PodInitializing" | "");
    container.restarts() == 0
        && container.exit_code().is_none_or(|code| code == 0)
        && container.waiting().is_none_or(is_early)
}

/// How far the pod is.
fn stage(facts: &Facts) -> String {
    if facts.node_name().is_none() {
        return "the scheduler is about to choose a node".to_owned();
    }
    if let Some(preparing) = preparing(facts) {
        let runs = facts.runs_for(preparing).unwrap_or_default();
        return format!(
            "init container `{}` has run for {runs} s, and the others start when it ends",
            preparing.name()
        );
    }
    let containers = facts.containers();
    if let Some(running) = containers.iter().find(|one| one.is_running() && !one.is_ready()) {
        return format!("container `{}` runs, and is not ready yet", running.name());
    }
    match facts.pod_events().next_back() {
        Some(event) if event.reason == "Pulling" => "its image is being pulled".to_owned(),
        _ => "its containers are being made".to_owned(),
    }
}

/// The init container that runs; it may take as long as it likes.
fn preparing(facts: &Facts) -> Option<Container<'_>> {
    facts.containers().into_iter().find(|one| one.is_init() && one.is_running())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn said(facts: &Facts) -> Option<String> {
        diagnose(facts)?.message.strip_prefix("nothing is wrong yet: ").map(str::to_owned)
    }

    #[test]
    fn only_what_may_still_come_is_waited_for() {
        let pod = |spec: Value, status: Value| json!({"metadata": {"name": "p"}, "spec": spec, "status": status});
        let unschedulable = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled",
            "status": "False", "reason": "Unschedulable",
            "message": "0/1 nodes are available: 1 node(s) had volume node affinity conflict."}]});
        let terminated = json!({"phase": "Failed", "reason": "Terminated",
            "message": "Pod was terminated in response to imminent node shutdown."});
        let pending = json!({"phase": "Pending"});
        let (new, placed) = (json!({}), json!({"nodeName": "n"}));
        let table = [
            (&new, &pending, 5, Some("the scheduler is about to choose a node")),
            (&new, &unschedulable, 5, None),
            (&new, &unschedulable, 7200, None),
            (&placed, &pending, 500, Some("its containers are being made")),
            (&placed, &pending, 601, None),
            (&placed, &terminated, 5, None),
        ];
        for (spec, status, age, expected) in table {
            let facts = Facts {
                pod: pod(spec.clone(), status.clone()),
                age_seconds: Some(age),
                ..Facts::default()
            };
            assert_eq!(said(&facts).as_deref(), expected, "{status} {age}");
        }
    }

    #[test]
    fn a_failed_job_makes_no_first_pod() {
        for (status, expected) in
            [("True", None), ("False", Some("its first pod has not been made yet"))]
        {
            let job = json!({"kind": "Job", "metadata": {"name": "j"},
                "status": {"conditions": [{"type": "Failed", "status": status}]}});
            let facts = Facts { owners: vec![job], age_seconds: Some(3), ..Facts::default() };
            assert_eq!(said(&facts).as_deref(), expected);
        }
    }

    #[test]
    fn a_mount_that_is_only_tried_again_is_waited_for() {
        let table = [
            ("failed to sync configmap cache: timed out waiting for the condition", true),
            ("object \"n\"/\"kube-root-ca.crt\" not registered", true),
            ("configmap \"settings\" not found", false),
        ];
        for (why, expected) in table {
            let event = ApiEvent {
                regarding: "Pod/p".into(),
                reason: "FailedMount".into(),
                message: format!("MountVolume.SetUp failed for volume \"data\" : {why}"),
                warning: true,
                ..ApiEvent::default()
            };
            let facts = Facts {
                pod: json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n"}}),
                events: vec![event],
                age_seconds: Some(3),
                ..Facts::default()
            };
            assert_eq!(said(&facts).is_some(), expected, "{why}");
        }
    }

    #[test]
    fn an_init_container_may_take_its_time() {
        let run = json!({"startedAt": "2026-01-01T00:00:10Z"});
        let facts = Facts {
            pod: json!({"metadata": {"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z"},
                "spec": {"nodeName": "n", "initContainers": [{"name": "db"}]},
                "status": {"initContainerStatuses": [{"name": "db", "state": {"running": run}}]}}),
            age_seconds: Some(1010),
            ..Facts::default()
        };
        let expected = "init container `db` has run for 1000 s, and the others start when it ends";
        assert_eq!(said(&facts).as_deref(), Some(expected));
    }
}
