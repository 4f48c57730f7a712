//! Tables of workload states.

use serde_json::json;

use super::*;

fn deployment(generation: u64, status: &Value) -> Value {
    json!({"metadata": {"generation": generation}, "spec": {"replicas": 2}, "status": status})
}

#[test]
fn deployment_is_ready_when_pods_are_updated_and_available() {
    let status = |observed: u64, all: u64, updated: u64, available: u64| {
        json!({"observedGeneration": observed, "replicas": all,
            "updatedReplicas": updated, "availableReplicas": available})
    };
    let waiting = |ready| State::Waiting { ready, desired: 2 };
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
fn current_failure_condition_counts() {
    let condition = |kind, reason| json!([{"type": kind, "reason": reason, "message": "m"}]);
    let status = |observed: u64, conditions| json!({"observedGeneration": observed, "conditions": conditions});
    let deadline = condition("Progressing", "ProgressDeadlineExceeded");
    let failed = State::Failed("ProgressDeadlineExceeded: m".into());
    assert_eq!(state("Deployment", &deployment(2, &status(2, deadline.clone()))), failed);
    let past = State::Waiting { ready: 0, desired: 2 };
    assert_eq!(state("Deployment", &deployment(2, &status(1, deadline))), past);
    let quota = condition("ReplicaFailure", "FailedCreate");
    let doubtful = State::Degraded { reason: "FailedCreate: m".into(), desired: 2 };
    assert_eq!(state("Deployment", &deployment(1, &status(1, quota))), doubtful);
}

#[test]
fn zero_replicas_are_ready() {
    let metadata = json!({"generation": 1});
    let status = json!({"observedGeneration": 1});
    let set = json!({"metadata": metadata, "spec": {"replicas": 0}, "status": status});
    assert_eq!(state("StatefulSet", &set), State::Ready(0));
    let daemon = json!({"metadata": metadata, "status": status});
    assert_eq!(state("DaemonSet", &daemon), State::Ready(0));
}

#[test]
fn partition_keeps_old_pods() {
    let set = |partition: u64, updated: u64| {
        json!({"metadata": {"generation": 1},
            "spec": {"replicas": 3, "updateStrategy": {"rollingUpdate": {"partition": partition}}},
            "status": {"observedGeneration": 1, "replicas": 3, "updatedReplicas": updated, "availableReplicas": 3}})
    };
    let table = [(2, 1, 2), (2, 3, 0), (3, 3, 0), (0, 3, 0)];
    for (partition, updated, kept) in table {
        let set = set(partition, updated);
        assert_eq!(state("StatefulSet", &set), State::Ready(3), "{set}");
        assert_eq!(kept_by_partition(&set), kept, "{set}");
    }
    let reason = "its `partition` of 5 keeps the previous revision of all pods".to_owned();
    let action = UnblockAction::RemovePartition;
    assert_eq!(state("StatefulSet", &set(5, 0)), State::Blocked { reason, action });
}

#[test]
fn on_delete_strategy_is_blocked() {
    let daemon = json!({"metadata": {"generation": 1}, "spec": {"updateStrategy": {"type": "OnDelete"}},
        "status": {"observedGeneration": 1, "desiredNumberScheduled": 2, "currentNumberScheduled": 2,
            "updatedNumberScheduled": 0, "numberAvailable": 2}});
    let reason = "its strategy `OnDelete` replaces pods only after they are deleted, and 2 of 2 are outdated".to_owned();
    assert_eq!(
        state("DaemonSet", &daemon),
        State::Blocked { reason, action: UnblockAction::DeletePods }
    );
}

#[test]
fn paused_deployment_is_blocked_unless_complete() {
    let paused = |updated: u64| {
        json!({"metadata": {"generation": 2}, "spec": {"replicas": 2, "paused": true},
            "status": {"observedGeneration": 2, "replicas": 2, "updatedReplicas": updated, "availableReplicas": 2}})
    };
    let reason = "it is paused, and some pods do not use its current template: 2 of 2".to_owned();
    assert_eq!(
        state("Deployment", &paused(0)),
        State::Blocked { reason, action: UnblockAction::Resume }
    );
    assert_eq!(state("Deployment", &paused(2)), State::Ready(2));
}

#[test]
fn live_replica_count_is_used() {
    let live = json!({"metadata": {"generation": 1}, "spec": {"replicas": 5},
        "status": {"observedGeneration": 1, "replicas": 5, "updatedReplicas": 5, "availableReplicas": 4}});
    assert_eq!(state("Deployment", &live), State::Waiting { ready: 4, desired: 5 });
}

#[test]
fn job_is_ready_when_complete() {
    let job = |spec: Value, status: Value| {
        state("Job", &json!({"kind": "Job", "spec": spec, "status": status}))
    };
    let ended = |kind: &str| json!({"succeeded": 1, "conditions": [{"type": kind, "status": "True", "reason": "r", "message": "m"}]});
    assert_eq!(job(json!({}), ended("Complete")), State::Ready(1));
    assert_eq!(job(json!({}), ended("Failed")), State::Failed("r: m".into()));
    let waiting = State::Waiting { ready: 1, desired: 3 };
    assert_eq!(job(json!({"completions": 3}), json!({"succeeded": 1})), waiting);
    let held = job(json!({"suspend": true}), json!({}));
    assert!(matches!(held, State::Blocked { action: UnblockAction::Unsuspend, .. }));
}

#[test]
fn bare_pod_is_ready_or_succeeded() {
    let pod = |phase: &str, ready: &str| {
        state(
            "Pod",
            &json!({"status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]}}),
        )
    };
    assert_eq!(pod("Running", "True"), State::Ready(1));
    assert_eq!(pod("Running", "False"), State::Waiting { ready: 0, desired: 1 });
    assert_eq!(pod("Succeeded", "False"), State::Ready(1));
    assert!(matches!(pod("Failed", "False"), State::Failed(_)));
}

fn owned(kind: &str, name: &str, owner: &str, label: (&str, &str)) -> Value {
    json!({"kind": kind, "metadata": {"name": name, "uid": name,
        "ownerReferences": [{"uid": owner}], "labels": {label.0: label.1}}})
}

#[test]
fn new_pods_match_owner_and_revision() {
    let set = |revision: &str, name: &str, owner: &str| {
        let mut set = owned("ReplicaSet", name, owner, ("a", "b"));
        set["metadata"]["annotations"] = json!({"deployment.kubernetes.io/revision": revision});
        set
    };
    let pod = |name: &str, owner: &str, label| owned("Pod", name, owner, label);
    let names = |kind, live: &Value, items: &[Value]| {
        let pods = new_pods(kind, live, items);
        pods.into_iter().map(|pod| pod.metadata.name).collect::<Vec<_>>()
    };
    let none = ("a", "b");
    let items = [
        set("1", "old", "u"),
        set("2", "foreign", "v"),
        set("2", "new", "u"),
        pod("a", "old", none),
        pod("b", "new", none),
        pod("c", "foreign", none),
    ];
    let mut live = json!({"metadata": {"uid": "u", "annotations": {"deployment.kubernetes.io/revision": "2"}}});
    assert_eq!(names("Deployment", &live, &items), ["b"]);
    assert_eq!(names("Deployment", &live, &items[..1]), [""; 0]);
    live["metadata"]["generation"] = json!(2);
    assert_eq!(names("Deployment", &live, &items), [""; 0], "the controller has not seen it");

    let with_phase = |mut pod: Value, phase: &str| {
        pod["status"] = json!({"phase": phase});
        pod
    };
    live["metadata"]["generation"] = json!(1);
    live["status"] = json!({"observedGeneration": 1});
    let evicted = with_phase(pod("d", "new", none), "Failed");
    let items = [set("2", "new", "u"), evicted, with_phase(pod("e", "new", none), "Running")];
    assert_eq!(names("Deployment", &live, &items), ["e"], "it is over, and was replaced");
    assert_eq!(names("Deployment", &live, &items[..2]), ["d"], "there is no other");

    let hash = "controller-revision-hash";
    let live = json!({"metadata": {"uid": "u"}, "status": {"updateRevision": "r2"}});
    let items =
        [pod("a", "u", (hash, "r1")), pod("b", "u", (hash, "r2")), pod("c", "v", (hash, "r2"))];
    assert_eq!(names("StatefulSet", &live, &items), ["b"]);

    let label = "pod-template-generation";
    let live = json!({"metadata": {"uid": "u",
        "annotations": {"deprecated.daemonset.template.generation": "3"}}});
    let items = [pod("a", "u", (label, "2")), pod("b", "u", (label, "3"))];
    assert_eq!(names("DaemonSet", &live, &items), ["b"]);

    let job = json!({"kind": "Job", "metadata": {"uid": "u", "generation": 1}});
    assert_eq!(names("Job", &job, &items), ["a", "b"]);
}
