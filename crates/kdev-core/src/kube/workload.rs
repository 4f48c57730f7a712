//! The rollout state of workloads, and the pods of their current template.
//!
//! A rollout is complete under the same conditions as for `kubectl rollout status`: the
//! controller has observed the current generation, and every pod is updated and available.

use serde_json::Value;

use crate::kube::pod::Pod;

/// The revision, on a Deployment and on its ReplicaSets.
pub(crate) const REVISION: &str = "/metadata/annotations/deployment.kubernetes.io~1revision";

/// The rollout state of a workload.
#[derive(Debug, PartialEq, Eq)]
pub enum State {
    Ready(u64),
    Waiting {
        ready: u64,
        desired: u64,
    },
    Failed(String),
    /// It needs an action by the user; waiting longer does not help.
    Blocked {
        reason: String,
        action: UnblockAction,
    },
    /// Failed if the state persists.
    Degraded {
        reason: String,
        desired: u64,
    },
}

/// The action that continues a blocked rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnblockAction {
    /// `kubectl rollout resume`.
    Resume,
    /// Delete its pods.
    DeletePods,
    /// Remove `suspend`.
    Unsuspend,
    /// Set `partition` to 0.
    RemovePartition,
}

/// Returns the pods among `items` that belong to the workload's current template: by owner,
/// and by the label with which each controller marks its current revision.
pub fn new_pods(kind: &str, live: &Value, items: &[Value]) -> Vec<Pod> {
    if kind == "Pod" {
        return pods([live]);
    }
    // Until the controller has observed the new template, all pods are old.
    if !is_observed(live) {
        return Vec::new();
    }
    let (owner, label) = match kind {
        "Deployment" => (newest_replica_set(live, items), None),
        "StatefulSet" => {
            let revision = text(live, "/status/updateRevision");
            (Some(live), Some(("controller-revision-hash", revision)))
        }
        "DaemonSet" => {
            let path = "/metadata/annotations/deprecated.daemonset.template.generation";
            (Some(live), Some(("pod-template-generation", text(live, path))))
        }
        _ => (Some(live), None),
    };
    let Some(owner) = owner else { return Vec::new() };
    let is_new = |pod: &&Value| {
        pod["kind"] == "Pod"
            && owns(owner, pod)
            && label.as_ref().is_none_or(|(label, value)| {
                value.is_some() && pod["metadata"]["labels"][label].as_str() == value.as_deref()
            })
    };
    pods(counted(kind, items.iter().filter(is_new).collect()))
}

/// Removes pods that have ended and were replaced, such as evicted pods, which stay until
/// they are deleted. The pods of a Job are expected to end.
pub fn counted<'a>(kind: &str, mut pods: Vec<&'a Value>) -> Vec<&'a Value> {
    let is_over =
        |pod: &Value| ["Succeeded", "Failed"].iter().any(|&phase| is(pod, "/status/phase", phase));
    let is_meant_to_last = !["Job", "CronJob", "Pod"].contains(&kind);
    if is_meant_to_last && pods.iter().any(|pod| !is_over(pod)) {
        pods.retain(|pod| !is_over(pod));
    }
    pods
}

fn newest_replica_set<'a>(live: &Value, items: &'a [Value]) -> Option<&'a Value> {
    let revision = text(live, REVISION);
    items.iter().find(|item| {
        item["kind"] == "ReplicaSet" && owns(live, item) && text(item, REVISION) == revision
    })
}

pub fn owns(owner: &Value, item: &Value) -> bool {
    let uid = &owner["metadata"]["uid"];
    let owners = item.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    uid.is_string() && owners.into_iter().flatten().any(|reference| reference["uid"] == *uid)
}

fn pods<'a>(items: impl IntoIterator<Item = &'a Value>) -> Vec<Pod> {
    let read = |item: &Value| serde_json::from_value::<Pod>(item.clone()).ok();
    items.into_iter().filter_map(read).filter(|pod| !pod.is_terminating()).collect()
}

fn text(value: &Value, path: &str) -> Option<String> {
    Some(value.pointer(path)?.as_str()?.to_owned())
}

fn number(live: &Value, path: &str) -> u64 {
    live.pointer(path).and_then(Value::as_u64).unwrap_or(0)
}

fn is(live: &Value, path: &str, value: &str) -> bool {
    live.pointer(path).and_then(Value::as_str) == Some(value)
}

fn is_set(live: &Value, path: &str) -> bool {
    live.pointer(path).and_then(Value::as_bool).unwrap_or(false)
}

/// Whether the controller has observed the current template. Jobs have no generation to
/// compare, because their template is immutable.
pub(crate) fn is_observed(live: &Value) -> bool {
    live["kind"] == "Job"
        || number(live, "/status/observedGeneration") >= number(live, "/metadata/generation")
}

/// Returns the rollout state from the workload's own status.
pub fn state(kind: &str, live: &Value) -> State {
    match kind {
        "Pod" => pod_state(live),
        "Job" => job_state(live),
        _ => controller_state(kind, live),
    }
}

/// The first ordinal of a StatefulSet whose pod is updated.
const PARTITION: &str = "/spec/updateStrategy/rollingUpdate/partition";

/// Pod counts of a controller.
struct Counts {
    desired: u64,
    updated: u64,
    available: u64,
    all: u64,
}

impl Counts {
    fn new(kind: &str, live: &Value) -> Self {
        let number = |path| number(live, path);
        if kind == "DaemonSet" {
            return Self {
                desired: number("/status/desiredNumberScheduled"),
                updated: number("/status/updatedNumberScheduled"),
                available: number("/status/numberAvailable"),
                all: number("/status/currentNumberScheduled"),
            };
        }
        let all = number("/status/replicas");
        // These kinds have no revisions, so the status does not count new pods.
        let uncounted = ["ReplicaSet", "ReplicationController"].contains(&kind);
        Self {
            // An autoscaler may own the replica count, so the live one counts.
            desired: live.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(1),
            updated: if uncounted { all } else { number("/status/updatedReplicas") },
            available: number("/status/availableReplicas"),
            all,
        }
    }
}

fn controller_state(kind: &str, live: &Value) -> State {
    let counts = Counts::new(kind, live);
    let Counts { desired, updated, available, all } = counts;
    if !is_observed(live) {
        return State::Waiting { ready: 0, desired };
    }
    if let Some(reason) = condition(live, "Progressing", "ProgressDeadlineExceeded") {
        return State::Failed(reason);
    }
    if let Some(reason) = condition(live, "ReplicaFailure", "FailedCreate") {
        return State::Degraded { reason, desired };
    }
    let new = desired.saturating_sub(number(live, PARTITION));
    if let Some(held) = blocked(live, &counts, new) {
        return held;
    }
    if updated >= new && available >= desired && all <= desired {
        return State::Ready(desired);
    }
    // Old pods that still exist may be among the available ones.
    let ready = updated.min(available).min(desired.saturating_sub(1));
    State::Waiting { ready, desired }
}

/// Returns how many pods of a StatefulSet keep the previous revision, because their ordinals are
/// below the partition.
pub fn kept_by_partition(live: &Value) -> u64 {
    if number(live, PARTITION) == 0 {
        return 0;
    }
    number(live, "/status/replicas").saturating_sub(number(live, "/status/updatedReplicas"))
}

/// Returns why the controller does not replace pods by itself.
fn blocked(live: &Value, counts: &Counts, new: u64) -> Option<State> {
    if new == 0 && counts.all > 0 && kept_by_partition(live) == counts.all {
        let partition = number(live, PARTITION);
        let reason =
            format!("its `partition` of {partition} keeps the previous revision of all pods");
        return Some(State::Blocked { reason, action: UnblockAction::RemovePartition });
    }
    let old = new.checked_sub(counts.updated).filter(|old| *old > 0)?;
    let (reason, action) = if is_set(live, "/spec/paused") {
        let reason = "it is paused, and some pods do not use its current template";
        (format!("{reason}: {old} of {new}"), UnblockAction::Resume)
    } else if is(live, "/spec/updateStrategy/type", "OnDelete") && counts.all >= new {
        let reason = "its strategy `OnDelete` replaces pods only after they are deleted, and";
        (format!("{reason} {old} of {new} are outdated"), UnblockAction::DeletePods)
    } else {
        return None;
    };
    Some(State::Blocked { reason, action })
}

fn job_state(live: &Value) -> State {
    let succeeded = number(live, "/status/succeeded");
    if true_condition(live, "Complete").is_some() {
        return State::Ready(succeeded);
    }
    if let Some(condition) = true_condition(live, "Failed") {
        return State::Failed(condition_message(condition));
    }
    if is_set(live, "/spec/suspend") {
        let reason = "it is suspended and runs no pods".to_owned();
        return State::Blocked { reason, action: UnblockAction::Unsuspend };
    }
    let desired = live.pointer("/spec/completions").or(live.pointer("/spec/parallelism"));
    State::Waiting { ready: succeeded, desired: desired.and_then(Value::as_u64).unwrap_or(1) }
}

/// Returns the state of a pod without a controller.
fn pod_state(live: &Value) -> State {
    match live.pointer("/status/phase").and_then(Value::as_str).unwrap_or_default() {
        "Succeeded" => State::Ready(1),
        "Failed" => State::Failed("its containers failed".to_owned()),
        _ if true_condition(live, "Ready").is_some() => State::Ready(1),
        _ => State::Waiting { ready: 0, desired: 1 },
    }
}

fn conditions(live: &Value) -> impl Iterator<Item = &Value> {
    live.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten()
}

/// Returns a condition whose status is `True`.
fn true_condition<'a>(live: &'a Value, kind: &str) -> Option<&'a Value> {
    conditions(live).find(|condition| condition["type"] == kind && condition["status"] == "True")
}

fn condition(live: &Value, kind: &str, reason: &str) -> Option<String> {
    let found = conditions(live).find(|c| c["type"] == kind && c["reason"] == reason)?;
    Some(condition_message(found))
}

fn condition_message(condition: &Value) -> String {
    let text = |key: &str| condition[key].as_str().unwrap_or_default().to_owned();
    format!("{}: {}", text("reason"), text("message"))
}

#[cfg(test)]
#[path = "workload_tests.rs"]
mod tests;
