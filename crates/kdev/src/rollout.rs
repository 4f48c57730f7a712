//! Waits until the new pods are ready, and fails at once where they cannot
//! become so.
//!
//! What counts as done is what `kubectl rollout status` counts: the
//! controller has seen this generation, and every pod is of it and available.

use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::cx::Cx;
use crate::error::{Error, Reason, Result};
use crate::event::Event;
use crate::manifest::Object;

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(150);
/// Kinds that keep pods running, and can so be awaited.
const KINDS: [&str; 5] = ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Pod"];
/// Reasons of a waiting container that no time will cure.
const HOPELESS: [&str; 6] = [
    "ErrImageNeverPull",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "CrashLoopBackOff",
];

/// How far a workload is.
#[derive(Debug, PartialEq, Eq)]
enum State {
    Ready(u64),
    Waiting { ready: u64, wanted: u64 },
    Failed(String),
}

/// Waits for every workload among the objects.
pub(crate) fn wait(cx: &Cx, cluster: &Cluster, objects: &[Object], limit: Duration) -> Result<()> {
    let begun = Instant::now();
    for object in objects {
        if KINDS.contains(&object.kind.as_str()) {
            wait_for(cx, cluster, object, begun, limit)?;
        } else if object.pod.is_some() {
            let text = format!("{} is applied, but not awaited", object.id());
            cx.emit(Event::Note { text });
        }
    }
    Ok(())
}

fn wait_for(
    cx: &Cx,
    cluster: &Cluster,
    object: &Object,
    begun: Instant,
    limit: Duration,
) -> Result<()> {
    let workload = object.id();
    let kubectl = cluster.by_hand(object.namespace.as_deref());
    let mut shown = None;
    loop {
        let live: Value = get(cx, cluster, object, &[&workload])?;
        let state = state(&object.kind, &live);
        if let State::Ready(pods) = state {
            cx.emit(Event::Ready { workload, pods, took: begun.elapsed() });
            return Ok(());
        }
        let pods = pods(cx, cluster, object, &live)?;
        if let Some((pod, reason)) = pods.iter().find_map(|pod| Some((pod, pod.hopeless()?))) {
            let (name, node) = (Some(pod.metadata.name.clone()), pod.spec.node_name.clone());
            return Err(Error::RolloutFailed {
                workload,
                pod: name,
                node,
                kubectl,
                reason: Reason(reason),
            });
        }
        let (ready, wanted) = match state {
            State::Failed(reason) => {
                return Err(Error::RolloutFailed {
                    workload,
                    pod: None,
                    node: None,
                    kubectl,
                    reason: Reason(reason),
                });
            }
            State::Waiting { ready, wanted } => (ready, wanted),
            State::Ready(pods) => (pods, pods),
        };
        if shown.replace((ready, wanted)) != Some((ready, wanted)) {
            cx.emit(Event::Waiting { workload: workload.clone(), ready, wanted });
        }
        if begun.elapsed() > limit {
            let reason = Reason(pods_in_words(&pods));
            return Err(Error::RolloutTimedOut { workload, ready, wanted, limit, kubectl, reason });
        }
        thread::sleep(PAUSE);
    }
}

fn get(cx: &Cx, cluster: &Cluster, object: &Object, args: &[&str]) -> Result<Value> {
    let sh = cx.shell()?;
    let mut cmd = cluster.cmd(&sh).arg("get").args(args);
    if let Some(namespace) = &object.namespace {
        // The last one counts.
        cmd = cmd.args(["--namespace", namespace]);
    }
    cluster.json(cx, cmd.arg("--output=json"), &format!("show {}", object.id()))
}

/// The pods of a workload that are made from its present template.
fn pods(cx: &Cx, cluster: &Cluster, object: &Object, live: &Value) -> Result<Vec<Pod>> {
    let read = |value: Value| serde_json::from_value::<Pod>(value).ok();
    if object.kind == "Pod" {
        return Ok(read(live.clone()).into_iter().collect());
    }
    let Some(labels) = live.pointer("/spec/selector/matchLabels").and_then(Value::as_object) else {
        return Ok(Vec::new());
    };
    let label =
        |(key, value): (&String, &Value)| format!("{key}={}", value.as_str().unwrap_or_default());
    let selector: Vec<String> = labels.iter().map(label).collect();
    let list = get(cx, cluster, object, &["pods", "--selector", &selector.join(",")])?;
    let images = images(live.pointer("/spec/template/spec"));
    let items = list.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
    let of_template = |pod: &Value| self::images(pod.get("spec")) == images;
    Ok(items
        .into_iter()
        .filter(of_template)
        .filter_map(read)
        .filter(|pod| !pod.is_leaving())
        .collect())
}

fn images(spec: Option<&Value>) -> Vec<String> {
    let containers = spec.and_then(|spec| spec.get("containers")).and_then(Value::as_array);
    let image =
        |container: &Value| container.get("image").and_then(Value::as_str).map(str::to_owned);
    containers.into_iter().flatten().filter_map(image).collect()
}

/// How far a workload is, by its own status.
fn state(kind: &str, live: &Value) -> State {
    let number = |path: &str| live.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    let seen = number("/status/observedGeneration") >= number("/metadata/generation");
    let wanted = match kind {
        "DaemonSet" => number("/status/desiredNumberScheduled"),
        "Pod" => 1,
        _ => live.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(1),
    };
    let (updated, available, all) = match kind {
        "Pod" => return pod_state(live),
        "DaemonSet" => (
            number("/status/updatedNumberScheduled"),
            number("/status/numberAvailable"),
            number("/status/currentNumberScheduled"),
        ),
        "ReplicaSet" => {
            let all = number("/status/replicas");
            (all, number("/status/availableReplicas"), all)
        }
        _ => (
            number("/status/updatedReplicas"),
            number("/status/availableReplicas"),
            number("/status/replicas"),
        ),
    };
    if let Some(reason) = condition(live, "Progressing", "ProgressDeadlineExceeded") {
        return State::Failed(reason);
    }
    if let Some(reason) = condition(live, "ReplicaFailure", "FailedCreate") {
        return State::Failed(reason);
    }
    // A set that updates on deletion only never replaces its pods by itself.
    let by_hand =
        live.pointer("/spec/updateStrategy/type").and_then(Value::as_str) == Some("OnDelete");
    let done = updated >= wanted || by_hand;
    if seen && done && available >= wanted && all <= wanted.max(updated) {
        return State::Ready(wanted);
    }
    let ready = if seen { updated.min(available).min(wanted) } else { 0 };
    State::Waiting { ready: if ready == wanted { wanted.saturating_sub(1) } else { ready }, wanted }
}

fn pod_state(live: &Value) -> State {
    let phase = live.pointer("/status/phase").and_then(Value::as_str).unwrap_or_default();
    let conditions = live.pointer("/status/conditions").and_then(Value::as_array);
    let is_ready = |c: &Value| c["type"] == "Ready" && c["status"] == "True";
    match phase {
        "Succeeded" => State::Ready(1),
        "Failed" => State::Failed("its containers ended with an error".to_owned()),
        _ if conditions.into_iter().flatten().any(is_ready) => State::Ready(1),
        _ => State::Waiting { ready: 0, wanted: 1 },
    }
}

fn condition(live: &Value, kind: &str, reason: &str) -> Option<String> {
    let conditions = live.pointer("/status/conditions")?.as_array()?;
    let found = conditions.iter().find(|c| c["type"] == kind && c["reason"] == reason)?;
    Some(format!("{reason}: {}", found["message"].as_str().unwrap_or_default()))
}

#[derive(Debug, Deserialize)]
struct Pod {
    metadata: PodMetadata,
    #[serde(default)]
    spec: PodSpec,
    #[serde(default)]
    status: PodStatus,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodMetadata {
    name: String,
    deletion_timestamp: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodSpec {
    node_name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodStatus {
    phase: String,
    conditions: Vec<Condition>,
    container_statuses: Vec<ContainerStatus>,
    init_container_statuses: Vec<ContainerStatus>,
}

#[derive(Debug, Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    message: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ContainerStatus {
    name: String,
    #[serde(default)]
    state: ContainerState,
    #[serde(default)]
    last_state: ContainerState,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ContainerState {
    waiting: Option<Waiting>,
    terminated: Option<Terminated>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Waiting {
    reason: String,
    message: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Terminated {
    exit_code: i64,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    message: String,
}

impl Pod {
    fn is_leaving(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    fn containers(&self) -> impl Iterator<Item = &ContainerStatus> {
        self.status.init_container_statuses.iter().chain(&self.status.container_statuses)
    }

    /// Why no time will make this pod ready, if that is certain.
    fn hopeless(&self) -> Option<String> {
        self.containers().find_map(|container| {
            let waiting = container.state.waiting.as_ref()?;
            HOPELESS.contains(&waiting.reason.as_str()).then(|| container.in_words(waiting))
        })
    }

    /// What it waits for.
    fn in_words(&self) -> String {
        let name = &self.metadata.name;
        let waiting = |c: &ContainerStatus| Some(c.in_words(c.state.waiting.as_ref()?));
        let unscheduled =
            self.status.conditions.iter().find(|c| c.kind == "PodScheduled" && c.status == "False");
        let words = unscheduled.map(|c| format!("{}: {}", c.reason, c.message));
        let words = words.or_else(|| self.containers().find_map(waiting));
        format!(
            "pod `{name}`: {}",
            words.unwrap_or_else(|| format!("{}, not ready", self.status.phase))
        )
    }
}

impl ContainerStatus {
    fn in_words(&self, waiting: &Waiting) -> String {
        let mut words = format!("container `{}`: {}", self.name, waiting.reason);
        if !waiting.message.is_empty() {
            words = format!("{words}: {}", waiting.message);
        }
        if let Some(ended) = &self.last_state.terminated {
            words = format!("{words} (last exit code {}, {})", ended.exit_code, ended.reason);
            if !ended.message.is_empty() {
                words = format!("{words}: {}", ended.message);
            }
        }
        words
    }
}

fn pods_in_words(pods: &[Pod]) -> String {
    match pods {
        [] => "there is no pod yet".to_owned(),
        pods => pods.iter().map(Pod::in_words).collect::<Vec<_>>().join("; "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn deployment(generation: u64, status: &Value) -> Value {
        json!({"metadata": {"generation": generation}, "spec": {"replicas": 2}, "status": status})
    }

    #[test]
    fn a_deployment_is_ready_when_all_pods_are_new_and_available() {
        let status = |observed: u64, all: u64, updated: u64, available: u64| json!({"observedGeneration": observed, "replicas": all, "updatedReplicas": updated, "availableReplicas": available});
        let table = [
            (status(2, 2, 2, 2), State::Ready(2)),
            (status(1, 2, 2, 2), State::Waiting { ready: 0, wanted: 2 }),
            (status(2, 3, 2, 3), State::Waiting { ready: 1, wanted: 2 }),
            (status(2, 3, 1, 2), State::Waiting { ready: 1, wanted: 2 }),
            (json!({}), State::Waiting { ready: 0, wanted: 2 }),
        ];
        for (status, expected) in table {
            assert_eq!(state("Deployment", &deployment(2, &status)), expected, "{status}");
        }
    }

    #[test]
    fn controllers_that_gave_up_are_heard() {
        let status = json!({"observedGeneration": 1, "conditions": [
            {"type": "ReplicaFailure", "reason": "FailedCreate", "message": "exceeded quota"}]});
        assert_eq!(
            state("Deployment", &deployment(1, &status)),
            State::Failed("FailedCreate: exceeded quota".into())
        );
    }

    #[test]
    fn zero_pods_are_ready_pods() {
        let live = json!({"metadata": {"generation": 1}, "spec": {"replicas": 0}, "status": {"observedGeneration": 1}});
        assert_eq!(state("StatefulSet", &live), State::Ready(0));
        let live = json!({"metadata": {"generation": 1}, "status": {"observedGeneration": 1}});
        assert_eq!(state("DaemonSet", &live), State::Ready(0));
    }

    #[test]
    fn only_certain_failures_end_the_wait() {
        let pod = |reason: &str| -> Pod {
            serde_json::from_value(json!({"metadata": {"name": "p"}, "status": {"phase": "Pending", "containerStatuses":
                [{"name": "c", "state": {"waiting": {"reason": reason, "message": "m"}}}]}})).unwrap()
        };
        assert_eq!(
            pod("ErrImageNeverPull").hopeless().as_deref(),
            Some("container `c`: ErrImageNeverPull: m")
        );
        assert!(pod("ContainerCreating").hopeless().is_none());
        assert!(pod("ImagePullBackOff").hopeless().is_none());
        assert_eq!(
            pod("ImagePullBackOff").in_words(),
            "pod `p`: container `c`: ImagePullBackOff: m"
        );
    }
}
