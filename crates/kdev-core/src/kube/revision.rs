//! Revisions of workloads: which one a rollback restores, and which pod of an older one blocks
//! a rollout.

use serde_json::Value;

use crate::kube::object::{condition, text};
use crate::kube::pod::Pod;
use crate::kube::workload::{REVISION, is_observed, owns};

/// The label with the revision of a pod, on the pods of a StatefulSet.
const POD_REVISION: &str = "/metadata/labels/controller-revision-hash";

/// A pod of an older revision for which the controller of a StatefulSet waits, although it
/// cannot become ready (kubernetes/kubernetes#67250).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockingPod {
    pub name: String,
    pub uid: String,
    /// Why it cannot become ready.
    pub reason: String,
}

/// How to undo what a run has done to a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undo<'a> {
    /// Roll back to this revision; `None` for the previous one of a kind whose objects do not
    /// name theirs.
    ToRevision(Option<&'a str>),
    /// The run has created the workload.
    Created,
    /// The run has not changed the pods, so the previous revision is not what was there
    /// before.
    SamePods,
}

/// Compares a workload before and after the apply of a run.
pub fn undo<'a>(before: Option<&'a Value>, after: &Value) -> Undo<'a> {
    let Some(before) = before else { return Undo::Created };
    if before["metadata"]["uid"] != after["metadata"]["uid"] {
        return Undo::Created;
    }
    if before["spec"]["template"] == after["spec"]["template"] {
        return Undo::SamePods;
    }
    Undo::ToRevision(Some(text(before, REVISION)).filter(|revision| !revision.is_empty()))
}

/// Returns the pod of an older revision that blocks the rollout of a StatefulSet. Its
/// controller updates the pods in order, and waits for the first one that is not ready.
pub fn blocking_pod(live: &Value, items: &[Value]) -> Option<BlockingPod> {
    let spec = &live["spec"];
    let newest = text(live, "/status/updateRevision");
    let is_ordered = live["kind"] == "StatefulSet"
        && spec["podManagementPolicy"] != "Parallel"
        && spec["updateStrategy"]["type"] != "OnDelete";
    if !is_ordered || newest.is_empty() || !is_observed(live) {
        return None;
    }
    let is_pod = |item: &&Value| item["kind"] == "Pod" && owns(live, item);
    let unready = items.iter().filter(is_pod).filter(|pod| !is_ready(pod));
    let first = unready.min_by_key(|pod| ordinal(pod))?;
    let revision = text(first, POD_REVISION);
    if revision.is_empty() || revision == newest || !is_recreated_new(live, first) {
        return None;
    }
    let pod = Pod::read(first).filter(|pod| !pod.is_terminating())?;
    Some(BlockingPod {
        name: pod.metadata.name.clone(),
        uid: text(first, "/metadata/uid").to_owned(),
        reason: pod.obstacle()?,
    })
}

/// Whether the controller would create the pod again from the newest revision. It uses the
/// older one below the partition, and for as many pods as still have it.
fn is_recreated_new(live: &Value, pod: &Value) -> bool {
    let number = |path| live.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    let is_current = text(pod, POD_REVISION) == text(live, "/status/currentRevision");
    let kept = number("/status/currentReplicas").saturating_sub(u64::from(is_current));
    let partition = number("/spec/updateStrategy/rollingUpdate/partition");
    ordinal(pod) >= partition && ordinal(pod) >= number("/spec/ordinals/start") + kept
}

fn is_ready(pod: &Value) -> bool {
    condition(pod, "Ready").is_some_and(|condition| condition["status"] == "True")
}

fn ordinal(pod: &Value) -> u64 {
    let number = text(pod, "/metadata/name").rsplit('-').next().and_then(|n| n.parse().ok());
    number.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set(spec: &Value) -> Value {
        json!({"kind": "StatefulSet", "metadata": {"uid": "s", "generation": 3}, "spec": spec,
            "status": {"observedGeneration": 3, "updateRevision": "new"}})
    }

    fn pod(name: &str, revision: &str, status: &Value) -> Value {
        json!({"kind": "Pod", "status": status, "metadata": {"name": name, "uid": format!("u-{name}"),
            "ownerReferences": [{"uid": "s"}], "labels": {"controller-revision-hash": revision}}})
    }

    fn waiting(reason: &str) -> Value {
        json!({"containerStatuses": [{"name": "c", "state": {"waiting": {"reason": reason}}}]})
    }

    fn blocking(set: &Value, pods: &[Value]) -> Option<String> {
        blocking_pod(set, pods).map(|pod| format!("{} {}: {}", pod.name, pod.uid, pod.reason))
    }

    #[test]
    fn first_unready_pod_of_older_revision_blocks() {
        let live = set(&json!({}));
        let ready = json!({"conditions": [{"type": "Ready", "status": "True"}]});
        let crashed = waiting("CrashLoopBackOff");
        for reason in [
            "CrashLoopBackOff",
            "ImagePullBackOff",
            "ErrImagePull",
            "ErrImageNeverPull",
            "CreateContainerConfigError",
            "InvalidImageName",
        ] {
            let expected = Some(format!("a-1 u-a-1: container `c`: {reason}"));
            let pods = [pod("a-0", "old", &ready), pod("a-1", "old", &waiting(reason))];
            assert_eq!(blocking(&live, &pods), expected, "{reason}");
        }
        // The controller waits for a pod that may become ready, or is of the newest revision.
        let table = [
            vec![pod("a-1", "new", &crashed)],
            vec![pod("a-1", "", &crashed)],
            vec![pod("a-1", "old", &waiting("ContainerCreating"))],
            vec![pod("a-1", "old", &json!({"phase": "Pending"}))],
            vec![pod("a-1", "new", &waiting("ContainerCreating")), pod("a-2", "old", &crashed)],
            vec![pod("a-9", "new", &crashed), pod("a-10", "old", &crashed)],
        ];
        for pods in table {
            assert_eq!(blocking(&live, &pods), None, "{pods:?}");
        }
        let mut other = pod("a-0", "old", &crashed);
        other["metadata"]["ownerReferences"][0]["uid"] = json!("another");
        assert_eq!(blocking(&live, &[other]), None);
        let mut terminating = pod("a-0", "old", &crashed);
        terminating["metadata"]["deletionTimestamp"] = json!("2026-01-31T12:00:00Z");
        assert_eq!(blocking(&live, &[terminating]), None);
    }

    #[test]
    fn only_ordered_rollout_is_blocked() {
        let pods = [pod("a-0", "old", &waiting("CrashLoopBackOff"))];
        assert!(blocking(&set(&json!({})), &pods).is_some());
        let partition = json!({"updateStrategy": {"rollingUpdate": {"partition": 1}}});
        for spec in [
            json!({"podManagementPolicy": "Parallel"}),
            json!({"updateStrategy": {"type": "OnDelete"}}),
            partition,
        ] {
            assert_eq!(blocking(&set(&spec), &pods), None, "{spec}");
        }
        let mut unobserved = set(&json!({}));
        unobserved["metadata"]["generation"] = json!(4);
        assert_eq!(blocking(&unobserved, &pods), None);
    }

    /// With three pods of the older revision, the deleted one would have it again.
    #[test]
    fn pod_that_would_be_created_from_older_revision_stays() {
        let crashed = [pod("a-0", "old", &waiting("CrashLoopBackOff"))];
        for (current, replicas, expected) in
            [("old", 3, false), ("old", 1, true), ("older", 1, false), ("older", 0, true)]
        {
            let mut live = set(&json!({}));
            live["status"]["currentRevision"] = json!(current);
            live["status"]["currentReplicas"] = json!(replicas);
            assert_eq!(blocking(&live, &crashed).is_some(), expected, "{current} {replicas}");
        }
    }

    #[test]
    fn only_change_of_this_run_is_undone() {
        let live = |uid: &str, image: &str| {
            let annotations = json!({"deployment.kubernetes.io/revision": "7"});
            json!({"metadata": {"uid": uid, "annotations": annotations}, "spec": {"template": image}})
        };
        let before = live("u", "a");
        let undone = |before, after: &Value| undo(before, after);
        assert_eq!(undone(Some(&before), &live("u", "b")), Undo::ToRevision(Some("7")));
        assert_eq!(undone(Some(&before), &live("u", "a")), Undo::SamePods);
        assert_eq!(undone(Some(&before), &live("v", "b")), Undo::Created);
        assert_eq!(undone(None, &before), Undo::Created);
        let set = json!({"metadata": {"uid": "u"}, "spec": {"template": "a"}});
        assert_eq!(undone(Some(&set), &live("u", "b")), Undo::ToRevision(None));
    }
}
