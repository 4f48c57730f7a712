//! Workloads as the API shows them, and how far they are.

use super::*;
use serde_json::json;

fn deployment(generation: u64, status: &Value) -> Value {
    json!({"metadata": {"generation": generation}, "spec": {"replicas": 2}, "status": status})
}

#[test]
fn a_deployment_is_ready_when_all_pods_are_new_and_available() {
    let status = |observed: u64, all: u64, updated: u64, available: u64| {
        json!({"observedGeneration": observed, "replicas": all,
            "updatedReplicas": updated, "availableReplicas": available})
    };
    let waiting = |ready| State::Waiting { ready, wanted: 2 };
    let table = [
        (status(2, 2, 2, 2), State::Ready(2)),
        (status(1, 2, 2, 2), waiting(0)),
        (status(2, 3, 2, 3), waiting(1)),
        (status(2, 3, 1, 2), waiting(1)),
        (json!({}), waiting(0)),
    ];
    for (status, expected) in table {
        assert_eq!(state("Deployment", &deployment(2, &status)), expected, "{status}");
    }
}

#[test]
fn controllers_that_give_up_are_heard_but_not_their_past() {
    let condition = |kind, reason| json!([{"type": kind, "reason": reason, "message": "m"}]);
    let status = |observed: u64, conditions| json!({"observedGeneration": observed, "conditions": conditions});
    let deadline = condition("Progressing", "ProgressDeadlineExceeded");
    let failed = State::Failed("ProgressDeadlineExceeded: m".into());
    assert_eq!(state("Deployment", &deployment(2, &status(2, deadline.clone()))), failed);
    let past = State::Waiting { ready: 0, wanted: 2 };
    assert_eq!(state("Deployment", &deployment(2, &status(1, deadline))), past);
    let quota = condition("ReplicaFailure", "FailedCreate");
    let doubtful = State::Doubtful { reason: "FailedCreate: m".into(), wanted: 2 };
    assert_eq!(state("Deployment", &deployment(1, &status(1, quota))), doubtful);
}

#[test]
fn zero_pods_are_ready_pods() {
    let metadata = json!({"generation": 1});
    let status = json!({"observedGeneration": 1});
    let set = json!({"metadata": metadata, "spec": {"replicas": 0}, "status": status});
    assert_eq!(state("StatefulSet", &set), State::Ready(0));
    let daemon = json!({"metadata": metadata, "status": status});
    assert_eq!(state("DaemonSet", &daemon), State::Ready(0));
}

#[test]
fn a_partition_keeps_old_pods() {
    let set = json!({"metadata": {"generation": 1},
        "spec": {"replicas": 3, "updateStrategy": {"rollingUpdate": {"partition": 2}}},
        "status": {"observedGeneration": 1, "replicas": 3, "updatedReplicas": 1, "availableReplicas": 3}});
    assert_eq!(state("StatefulSet", &set), State::Ready(3));
}

#[test]
fn pods_that_are_replaced_by_hand_only_are_said() {
    let daemon = json!({"metadata": {"generation": 1}, "spec": {"updateStrategy": {"type": "OnDelete"}},
        "status": {"observedGeneration": 1, "desiredNumberScheduled": 2, "currentNumberScheduled": 2,
            "updatedNumberScheduled": 0, "numberAvailable": 2}});
    let reason = "it replaces a pod only once that is deleted, and 2 of 2 are old";
    assert_eq!(state("DaemonSet", &daemon), State::Failed(reason.into()));
}

#[test]
fn a_bare_pod_is_ready_once_it_runs_the_image() {
    let pod = |id: &str| {
        json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"imageID": id}]}})
    };
    let wanted = "sha256:new".to_owned();
    assert_eq!(pod_state(&pod("sha256:new"), Some(&wanted)), State::Ready(1));
    let waiting = State::Waiting { ready: 0, wanted: 1 };
    assert_eq!(pod_state(&pod("sha256:old"), Some(&wanted)), waiting);
    assert_eq!(pod_state(&pod("sha256:old"), None), State::Ready(1));
}

#[test]
fn new_pods_are_known_by_their_revision() {
    let set = |revision: &str, hash: &str, owner: &str| {
        json!({"kind": "ReplicaSet", "metadata": {"ownerReferences": [{"uid": owner}],
            "annotations": {"deployment.kubernetes.io/revision": revision},
            "labels": {"pod-template-hash": hash}}})
    };
    let pod = |name: &str, label: &str, value: &str| json!({"kind": "Pod", "metadata": {"name": name, "labels": {label: value}}});
    let names = |kind, live: &Value, items: &[Value]| {
        let pods = of_template(kind, live, items);
        pods.into_iter().map(|pod| pod.metadata.name).collect::<Vec<_>>()
    };
    let hash = "pod-template-hash";
    let items = [
        set("1", "old", "u"),
        set("2", "new", "u"),
        set("2", "foreign", "v"),
        pod("a", hash, "old"),
        pod("b", hash, "new"),
        pod("c", hash, "foreign"),
    ];
    let live = json!({"metadata": {"uid": "u", "annotations": {"deployment.kubernetes.io/revision": "2"}}});
    assert_eq!(names("Deployment", &live, &items), ["b"]);
    assert_eq!(names("Deployment", &live, &items[..1]), [""; 0]);

    let hash = "controller-revision-hash";
    let live = json!({"status": {"updateRevision": "r2"}});
    let items = [pod("a", hash, "r1"), pod("b", hash, "r2")];
    assert_eq!(names("StatefulSet", &live, &items), ["b"]);

    let label = "pod-template-generation";
    let live =
        json!({"metadata": {"annotations": {"deprecated.daemonset.template.generation": "3"}}});
    let items = [pod("a", label, "2"), pod("b", label, "3")];
    assert_eq!(names("DaemonSet", &live, &items), ["b"]);
}
