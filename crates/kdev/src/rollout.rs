//! Waits until the new pods are ready, and fails at once where they cannot
//! become so.
//!
//! What counts as done is what `kubectl rollout status` counts: the
//! controller has seen this generation, and every pod is of it and available.
//! Kinds that replace no pod by themselves are done only if all pods are new.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::build::BuiltImage;
use crate::cluster::Cluster;
use crate::cx::Cx;
use crate::error::{Error, Reason, Result};
use crate::event::Event;
use crate::manifest::Object;
use crate::pod::{self, Doubt, Pod};

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(150);
/// How long a trouble that may pass must last to end the wait.
const LASTING: Duration = Duration::from_secs(10);
/// Kinds that keep pods running, and can so be awaited.
const KINDS: [&str; 5] = ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Pod"];
/// The revision of a Deployment's pods, on itself and on its `ReplicaSet`s.
const REVISION: &str = "/metadata/annotations/deployment.kubernetes.io~1revision";

/// How far a workload is.
#[derive(Debug, PartialEq, Eq)]
enum State {
    Ready(u64),
    Waiting {
        ready: u64,
        wanted: u64,
    },
    Failed(String),
    /// Failed, if it stays so for a while.
    Doubtful {
        reason: String,
        wanted: u64,
    },
}

/// Waits for every workload among the objects.
pub(crate) fn wait(
    cx: &Cx,
    cluster: &Cluster,
    objects: &[Object],
    image: &BuiltImage,
    limit: Duration,
) -> Result<()> {
    let begun = Instant::now();
    for object in objects {
        if KINDS.contains(&object.kind.as_str()) {
            Wait { cx, cluster, object, image, begun, limit }.until_ready()?;
        } else if object.pod.is_some() {
            let text = format!("{} is applied, but not awaited", object.id());
            cx.emit(Event::Note { text });
        }
    }
    Ok(())
}

/// The wait for one workload.
struct Wait<'a> {
    cx: &'a Cx<'a>,
    cluster: &'a Cluster,
    object: &'a Object,
    image: &'a BuiltImage,
    begun: Instant,
    limit: Duration,
}

impl Wait<'_> {
    fn until_ready(&self) -> Result<()> {
        let workload = self.object.id();
        let mut shown = None;
        let mut doubtful_since = None;
        loop {
            let live: Value = self.get(&[&workload])?;
            let state = self.state(&live);
            if let State::Ready(pods) = state {
                self.refuse_old_pods(&live)?;
                let took = self.begun.elapsed();
                self.cx.emit(Event::Ready { workload, pods, took });
                return Ok(());
            }
            let pods = self.new_pods(&live)?;
            let (doubt, ready, wanted) = self.judge(state, &pods)?;
            match doubt {
                None => doubtful_since = None,
                Some(error) => {
                    let since = doubtful_since.get_or_insert_with(Instant::now);
                    if since.elapsed() > LASTING {
                        return Err(error);
                    }
                }
            }
            if shown.replace((ready, wanted)) != Some((ready, wanted)) {
                let workload = workload.clone();
                self.cx.emit(Event::Waiting { workload, ready, wanted });
            }
            if self.begun.elapsed() > self.limit {
                return Err(self.timed_out(ready, wanted, &pods));
            }
            thread::sleep(PAUSE);
        }
    }

    /// Fails if it is certain that the pods will not be ready; else gives the
    /// error for the case that a doubt lasts, and how many are ready.
    fn judge(&self, state: State, pods: &[Pod]) -> Result<(Option<Error>, u64, u64)> {
        let (mut doubt, ready, wanted) = match state {
            State::Failed(reason) => return Err(self.failed(None, reason)),
            State::Doubtful { reason, wanted } => (Some(self.failed(None, reason)), 0, wanted),
            State::Waiting { ready, wanted } => (None, ready, wanted),
            State::Ready(pods) => (None, pods, pods),
        };
        for pod in pods {
            match pod.trouble() {
                Some(Doubt::None(reason)) => return Err(self.failed(Some(pod), reason)),
                Some(Doubt::Some(reason)) => doubt = Some(self.failed(Some(pod), reason)),
                None => {}
            }
        }
        Ok((doubt, ready, wanted))
    }

    /// A `ReplicaSet` is content with any pods: whether they are new, only
    /// their image tells.
    fn refuse_old_pods(&self, live: &Value) -> Result<()> {
        if self.object.kind != "ReplicaSet" || !self.needs_our_image() {
            return Ok(());
        }
        let pods = self.new_pods(live)?;
        match pods.iter().find(|pod| !pod.runs(&self.image.config_digest)) {
            None => Ok(()),
            Some(old) => {
                let reason = "it still runs an older image, and a ReplicaSet replaces no pod";
                Err(self.failed(Some(old), reason.to_owned()))
            }
        }
    }

    fn state(&self, live: &Value) -> State {
        match self.object.kind.as_str() {
            "Pod" => pod_state(live, self.needs_our_image().then_some(&self.image.config_digest)),
            kind => state(kind, live),
        }
    }

    /// A running pod's image may be changed in place, and is then restarted
    /// some time later; only then it runs ours.
    fn needs_our_image(&self) -> bool {
        self.object.uses(self.image.reference.name())
    }

    /// The pods that are made from the workload's present template.
    fn new_pods(&self, live: &Value) -> Result<Vec<Pod>> {
        if self.object.kind == "Pod" {
            return Ok(pods([live]));
        }
        let Some(labels) = live.pointer("/spec/selector/matchLabels").and_then(Value::as_object)
        else {
            return Ok(Vec::new());
        };
        let label = |(key, value): (&String, &Value)| {
            format!("{key}={}", value.as_str().unwrap_or_default())
        };
        let selector = labels.iter().map(label).collect::<Vec<_>>().join(",");
        let list: Value = self.get(&["replicasets,pods", "--selector", &selector])?;
        let items = list.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
        Ok(of_template(&self.object.kind, live, &items))
    }

    fn get(&self, args: &[&str]) -> Result<Value> {
        let sh = self.cx.shell()?;
        let cmd = self.cluster.cmd(&sh, self.object.namespace.as_deref()).arg("get").args(args);
        let what = format!("show {}", self.object.id());
        self.cluster.json(self.cx, cmd.arg("--output=json"), &what)
    }

    fn failed(&self, pod: Option<&Pod>, reason: String) -> Error {
        Error::RolloutFailed {
            workload: self.object.id(),
            pod: pod.map(|pod| pod.metadata.name.clone()),
            node: pod.and_then(|pod| pod.spec.node_name.clone()),
            kubectl: self.cluster.by_hand(self.object.namespace.as_deref()),
            reason: Reason(reason),
        }
    }

    fn timed_out(&self, ready: u64, wanted: u64, pods: &[Pod]) -> Error {
        Error::RolloutTimedOut {
            workload: self.object.id(),
            ready,
            wanted,
            limit: self.limit,
            kubectl: self.cluster.by_hand(self.object.namespace.as_deref()),
            reason: Reason(pod::in_words(pods)),
        }
    }
}

fn pods<'a>(items: impl IntoIterator<Item = &'a Value>) -> Vec<Pod> {
    let read = |item: &Value| serde_json::from_value::<Pod>(item.clone()).ok();
    items.into_iter().filter_map(read).filter(|pod| !pod.is_leaving()).collect()
}

/// The pods among `items` that carry the label of the workload's newest
/// revision, by which each controller knows its own.
fn of_template(kind: &str, live: &Value, items: &[Value]) -> Vec<Pod> {
    let text = |value: &Value, path: &str| Some(value.pointer(path)?.as_str()?.to_owned());
    let (label, value) = match kind {
        "Deployment" => {
            let revision = text(live, REVISION);
            let newest = items.iter().find(|item| {
                item["kind"] == "ReplicaSet"
                    && item.pointer("/metadata/ownerReferences/0/uid")
                        == live.pointer("/metadata/uid")
                    && text(item, REVISION) == revision
            });
            let hash = newest.and_then(|set| text(set, "/metadata/labels/pod-template-hash"));
            ("pod-template-hash", hash)
        }
        "StatefulSet" => ("controller-revision-hash", text(live, "/status/updateRevision")),
        "DaemonSet" => {
            let path = "/metadata/annotations/deprecated.daemonset.template.generation";
            ("pod-template-generation", text(live, path))
        }
        _ => return pods(items.iter().filter(|item| item["kind"] == "Pod")),
    };
    let mut pods = pods(items.iter().filter(|item| item["kind"] == "Pod"));
    // No revision yet: the controller has made none of the new pods.
    pods.retain(|pod| value.is_some() && pod.metadata.labels.get(label) == value.as_ref());
    pods
}

/// How far a workload is, by its own status.
fn state(kind: &str, live: &Value) -> State {
    let number = |path: &str| live.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    let is = |path: &str, value: &str| live.pointer(path).and_then(Value::as_str) == Some(value);
    let replicas = live.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(1);
    let (wanted, updated, available, all) = match kind {
        "DaemonSet" => (
            number("/status/desiredNumberScheduled"),
            number("/status/updatedNumberScheduled"),
            number("/status/numberAvailable"),
            number("/status/currentNumberScheduled"),
        ),
        // It has no revisions: whether its pods are new, nobody counts.
        "ReplicaSet" => {
            let all = number("/status/replicas");
            (replicas, all, number("/status/availableReplicas"), all)
        }
        _ => (
            replicas,
            number("/status/updatedReplicas"),
            number("/status/availableReplicas"),
            number("/status/replicas"),
        ),
    };
    if number("/status/observedGeneration") < number("/metadata/generation") {
        return State::Waiting { ready: 0, wanted };
    }
    if let Some(reason) = condition(live, "Progressing", "ProgressDeadlineExceeded") {
        return State::Failed(reason);
    }
    if let Some(reason) = condition(live, "ReplicaFailure", "FailedCreate") {
        return State::Doubtful { reason, wanted };
    }
    if is("/spec/updateStrategy/type", "OnDelete") && updated < wanted {
        let old = wanted - updated;
        return State::Failed(format!(
            "it replaces a pod only once that is deleted, and {old} of {wanted} are old"
        ));
    }
    let kept_old = number("/spec/updateStrategy/rollingUpdate/partition");
    let new = wanted.saturating_sub(kept_old);
    if updated >= new && available >= wanted && all <= wanted {
        return State::Ready(wanted);
    }
    // Old pods that are still there may be among the available ones.
    let ready = updated.min(available).min(wanted.saturating_sub(1));
    State::Waiting { ready, wanted }
}

/// How far a bare pod is; with a digest, only one that runs that image counts.
fn pod_state(live: &Value, config_digest: Option<&String>) -> State {
    let phase = live.pointer("/status/phase").and_then(Value::as_str).unwrap_or_default();
    let conditions = live.pointer("/status/conditions").and_then(Value::as_array);
    let is_ready = |c: &Value| c["type"] == "Ready" && c["status"] == "True";
    let runs = |digest: &String| pods([live]).iter().all(|pod| pod.runs(digest));
    match phase {
        _ if !config_digest.is_none_or(runs) => State::Waiting { ready: 0, wanted: 1 },
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

#[cfg(test)]
#[path = "rollout_tests.rs"]
mod tests;
