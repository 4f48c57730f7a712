//! The pod is starting, and nothing is wrong yet.

use kdev_core::kube::container::Container;
use kdev_core::kube::object::{condition, text};

use crate::cause::Cause;
use crate::diagnosis::{Confidence, Diagnosis};
use crate::facts::{ApiEvent, Facts};
use crate::transient;

/// The age in seconds up to which the diagnosis is certain.
const CERTAIN_UNTIL: u64 = 60;
/// The seconds in which a controller should have created the first pod.
const FIRST_POD_TIMEOUT: u64 = 15;
/// The age in seconds after which a pod is no longer considered starting.
const MAX_AGE: u64 = 600;

/// Diagnoses a pod or workload for which no other rule matches.
pub(crate) fn diagnose(facts: &Facts) -> Option<Diagnosis> {
    let age = facts
        .age_seconds
        .filter(|age| *age <= MAX_AGE || running_init_container(facts).is_some())?;
    if has_failed(facts) || is_unschedulable(facts) {
        return None;
    }
    let stage = if facts.is_pod() {
        if facts.containers().iter().any(|container| !is_starting(container))
            || facts.pod_events().any(|event| is_unresolved_warning(facts, event))
        {
            return None;
        }
        describe_stage(facts)
    } else {
        if age > FIRST_POD_TIMEOUT {
            return None;
        }
        "its first pod has not been created yet".to_owned()
    };
    let last = facts.pod_events().next_back();
    let last = last.map(|event| format!("{}: {}", event.reason, event.message));
    Some(Diagnosis {
        cause: Cause::InProgress,
        confidence: if age < CERTAIN_UNTIL { Confidence::Certain } else { Confidence::Likely },
        message: format!("nothing is wrong yet: {stage}"),
        evidence: std::iter::once(format!("it was created {age} s ago")).chain(last).collect(),
        help: format!("wait: `{} get {} --watch`", facts.kubectl, facts.subject),
    })
}

/// Whether the pod, or the Job that would create it, has failed.
fn has_failed(facts: &Facts) -> bool {
    let is_failed_job =
        |owner| condition(owner, "Failed").is_some_and(|one| one["status"] == "True");
    text(&facts.pod, "/status/phase") == "Failed" || facts.owners.iter().any(is_failed_job)
}

/// Whether the scheduler has found no node for the pod.
fn is_unschedulable(facts: &Facts) -> bool {
    facts.condition("PodScheduled").is_some_and(|one| one["status"] == "False")
}

/// Whether an event is a warning about a problem that persists.
fn is_unresolved_warning(facts: &Facts, event: &ApiEvent) -> bool {
    event.warning
        && event.reason != "FailedScheduling"
        && !transient::has_passed(facts, event)
        && !transient::is_transient(event)
}

fn is_starting(container: &Container) -> bool {
    let is_early =
        |(reason, _): (&str, &str)| matches!(reason, "ContainerCreating" | "PodInitializing" | "");
    container.restarts() == 0
        && container.exit_code().is_none_or(|code| code == 0)
        && container.waiting().is_none_or(is_early)
}

/// Describes how far the pod has come.
fn describe_stage(facts: &Facts) -> String {
    if facts.node_name().is_none() {
        return "the scheduler has not chosen a node yet".to_owned();
    }
    if let Some(init_container) = running_init_container(facts) {
        let seconds = facts.running_seconds(init_container).unwrap_or_default();
        return format!(
            "init container `{}` has been running for {seconds} s, and the other containers start after it exits",
            init_container.name()
        );
    }
    let containers = facts.containers();
    if let Some(running) = containers.iter().find(|one| one.is_running() && !one.is_ready()) {
        return format!("container `{}` is running, but not ready yet", running.name());
    }
    match facts.pod_events().next_back() {
        Some(event) if event.reason == "Pulling" => "its image is being pulled".to_owned(),
        _ => "its containers are being created".to_owned(),
    }
}

/// Returns the running init container, if there is one. It has no time limit.
fn running_init_container(facts: &Facts) -> Option<Container<'_>> {
    facts.containers().into_iter().find(|one| one.is_init() && one.is_running())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn stage(facts: &Facts) -> Option<String> {
        diagnose(facts)?.message.strip_prefix("nothing is wrong yet: ").map(str::to_owned)
    }

    #[test]
    fn failed_or_late_pod_is_not_in_progress() {
        let pod = |spec: Value, status: Value| json!({"metadata": {"name": "p"}, "spec": spec, "status": status});
        let unschedulable = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled",
            "status": "False", "reason": "Unschedulable",
            "message": "0/1 nodes are available: 1 node(s) had volume node affinity conflict."}]});
        let terminated = json!({"phase": "Failed", "reason": "Terminated",
            "message": "Pod was terminated in response to imminent node shutdown."});
        let pending = json!({"phase": "Pending"});
        let (unscheduled, scheduled) = (json!({}), json!({"nodeName": "n"}));
        let table = [
            (&unscheduled, &pending, 5, Some("the scheduler has not chosen a node yet")),
            (&unscheduled, &unschedulable, 5, None),
            (&unscheduled, &unschedulable, 7200, None),
            (&scheduled, &pending, 500, Some("its containers are being created")),
            (&scheduled, &pending, 601, None),
            (&scheduled, &terminated, 5, None),
        ];
        for (spec, status, age, expected) in table {
            let facts = Facts {
                pod: pod(spec.clone(), status.clone()),
                age_seconds: Some(age),
                ..Facts::default()
            };
            assert_eq!(stage(&facts).as_deref(), expected, "{status} {age}");
        }
    }

    #[test]
    fn failed_job_is_not_in_progress() {
        for (status, expected) in
            [("True", None), ("False", Some("its first pod has not been created yet"))]
        {
            let job = json!({"kind": "Job", "metadata": {"name": "j"},
                "status": {"conditions": [{"type": "Failed", "status": status}]}});
            let facts = Facts { owners: vec![job], age_seconds: Some(3), ..Facts::default() };
            assert_eq!(stage(&facts).as_deref(), expected);
        }
    }

    #[test]
    fn transient_mount_error_is_in_progress() {
        let table = [
            ("failed to sync configmap cache: timed out waiting for the condition", true),
            ("object \"n\"/\"kube-root-ca.crt\" not registered", true),
            ("configmap \"settings\" not found", false),
        ];
        for (error, expected) in table {
            let event = ApiEvent {
                regarding: "Pod/p".into(),
                reason: "FailedMount".into(),
                message: format!("MountVolume.SetUp failed for volume \"data\" : {error}"),
                warning: true,
                ..ApiEvent::default()
            };
            let facts = Facts {
                pod: json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n"}}),
                events: vec![event],
                age_seconds: Some(3),
                ..Facts::default()
            };
            assert_eq!(stage(&facts).is_some(), expected, "{error}");
        }
    }

    #[test]
    fn long_running_init_container_is_in_progress() {
        let run = json!({"startedAt": "2026-01-01T00:00:10Z"});
        let facts = Facts {
            pod: json!({"metadata": {"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z"},
                "spec": {"nodeName": "n", "initContainers": [{"name": "db"}]},
                "status": {"initContainerStatuses": [{"name": "db", "state": {"running": run}}]}}),
            age_seconds: Some(1010),
            ..Facts::default()
        };
        let expected = "init container `db` has been running for 1000 s, and the other containers start after it exits";
        assert_eq!(stage(&facts).as_deref(), Some(expected));
    }
}
