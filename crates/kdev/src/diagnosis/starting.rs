//! Nothing is wrong yet: it is on its way. Pure.

use super::{Cause, Confidence, Diagnosis};
use crate::container::Container;
use crate::facts::Facts;

/// What takes longer than this is no longer certain to come, in seconds.
const SOON: u64 = 60;
/// How long controllers may take to make the first pod, in seconds.
const PATIENCE: u64 = 15;

/// For a pod, or a workload, of which no rule knows that anything is wrong.
pub(super) fn diagnose(facts: &Facts) -> Option<Diagnosis> {
    let age = facts.age_seconds?;
    let words = if facts.is_pod() {
        if facts.containers().iter().any(|container| !is_on_its_way(container))
            || facts.pod_events().any(|event| event.warning && event.reason != "FailedScheduling")
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
        cause: Cause::Starting,
        confidence: if age < SOON { Confidence::Certain } else { Confidence::Likely },
        words: format!("nothing is wrong yet: {words}"),
        evidence: std::iter::once(format!("it was created {age} s ago")).chain(last).collect(),
        help: format!("wait: `{} get {} --watch`", facts.kubectl, facts.subject),
    })
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
    let containers = facts.containers();
    if let Some(running) = containers.iter().find(|one| one.is_running() && !one.is_ready()) {
        return format!("container `{}` runs, and is not ready yet", running.name());
    }
    match facts.pod_events().next_back() {
        Some(event) if event.reason == "Pulling" => "its image is being pulled".to_owned(),
        _ => "its containers are being made".to_owned(),
    }
}
