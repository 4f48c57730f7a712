//! Rows of each kind of workload, with and without pods.

use kdev_core::image::local::LocalImage;
use serde_json::json;

use super::*;

const NEW: &str = "sha256:aaaaaaaaaaaa0000";
const OLD: &str = "sha256:bbbbbbbbbbbb0000";
const TAG: &str = "app:kdev-aaaaaaaaaaaa";

fn wanted(kind: &str) -> ExpectedWorkload {
    let container =
        expected::Container { name: "c".into(), image: "app".into(), ..Default::default() };
    ExpectedWorkload {
        kind: kind.into(),
        name: "x".into(),
        namespace: None,
        containers: vec![container],
    }
}

fn builds() -> Builds {
    let local = LocalImage {
        name: "docker.io/library/app:latest".into(),
        id: NEW.into(),
        ..LocalImage::default()
    };
    Builds::from_images(&Reference::parse("app").unwrap(), vec![local], true)
}

fn object(kind: &str, name: &str, owner: &str, more: &Value) -> Value {
    let mut object = json!({"kind": kind, "metadata": {"name": name, "uid": name, "namespace": "n",
        "creationTimestamp": "2026-01-01T00:00:00Z", "ownerReferences": [{"uid": owner}]}});
    object.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    object
}

/// A pod with a container with the image and the status.
fn pod(name: &str, owner: &str, image: &str, mut status: Value) -> Value {
    status["name"] = "c".into();
    let spec = json!({"nodeName": "n1", "containers": [
        {"name": "c", "image": image, "imagePullPolicy": "Never"}, {"name": "other", "image": "redis:7"}]});
    object(
        "Pod",
        name,
        owner,
        &json!({"spec": spec,
        "status": {"phase": "Running", "containerStatuses": [status]}}),
    )
}

fn template() -> Value {
    json!({"spec": {"containers": [{"name": "c", "image": TAG}]}})
}

/// The pod, state and build status of each row.
fn lines(kind: &str, items: &[Value]) -> Vec<(String, String, Option<BuildStatus>)> {
    let rows = workload_rows(&wanted(kind), "n", items, Some(&builds()));
    rows.into_iter().map(|row| (row.pod.unwrap_or_default(), row.state, row.build)).collect()
}

fn line(pod: &str, state: &str, build: BuildStatus) -> (String, String, Option<BuildStatus>) {
    (pod.to_owned(), state.to_owned(), Some(build))
}

#[test]
fn terminating_pods_of_older_templates_are_listed() {
    let deployment = object(
        "Deployment",
        "x",
        "",
        &json!({"spec": {"replicas": 3},
        "status": {"readyReplicas": 2}}),
    );
    let mut terminating = pod("p1", "r1", "app:kdev-bbbbbbbbbbbb", json!({"imageID": OLD}));
    terminating["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    let waiting = json!({"imageID": "", "state": {"waiting": {"reason": "ErrImageNeverPull"}}});
    let items = [
        deployment,
        object("ReplicaSet", "r1", "x", &json!({})),
        object("ReplicaSet", "r2", "x", &json!({})),
        terminating,
        pod("p2", "r2", TAG, json!({"imageID": NEW, "restartCount": 3})),
        pod(
            "p3",
            "r2",
            TAG,
            json!({"imageID": "", "state": {"waiting": {"reason": "ContainerCreating"}}}),
        ),
        pod("p4", "r2", TAG, waiting),
        pod("p5", "elsewhere", TAG, json!({"imageID": NEW})),
    ];
    assert_eq!(
        lines("Deployment", &items),
        [
            line("p1", "Terminating", BuildStatus::Outdated),
            line("p2", "Running", BuildStatus::Latest),
            line("p3", "ContainerCreating", BuildStatus::NotStarted),
            line("p4", "ErrImageNeverPull", BuildStatus::Missing),
        ]
    );
    let rows = workload_rows(&wanted("Deployment"), "n", &items, Some(&builds()));
    let row = &rows[1];
    assert_eq!((row.ready, row.desired, row.restarts), (Some(2), Some(3), 3));
    assert_eq!(row.pull_policy.as_deref(), Some("Never"));
    assert_eq!((row.node.as_deref(), row.image.as_deref()), (Some("n1"), Some(TAG)));
}

#[test]
fn workload_without_pods_has_cause_and_applied_build() {
    let spec = |more: Value| {
        let mut spec =
            json!({"template": template(), "jobTemplate": {"spec": {"template": template()}}});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"spec": spec})
    };
    let table = [
        ("Deployment", json!({"replicas": 0}), "scaled to zero"),
        ("Deployment", json!({"replicas": 1}), "no pod yet"),
        ("StatefulSet", json!({}), "no pod yet"),
        ("DaemonSet", json!({}), "no eligible node"),
        ("CronJob", json!({}), "no run yet"),
        ("CronJob", json!({"suspend": true}), "suspended"),
        ("Job", json!({"suspend": true}), "suspended"),
        ("Job", json!({}), "no pod yet"),
    ];
    for (kind, more, cause) in table {
        let items = [object(kind, "x", "", &spec(more))];
        assert_eq!(lines(kind, &items), [line("", cause, BuildStatus::Latest)], "{kind}");
    }
    let done =
        [object("Job", "x", "", &json!({"status": {"completionTime": "t", "succeeded": 1}}))];
    assert_eq!(lines("Job", &done), [(String::new(), "pods deleted".to_owned(), None)]);
    assert_eq!(lines("Job", &[]), [(String::new(), "not applied".to_owned(), None)]);
    let unknown = (String::new(), "<unsupported kind>".to_owned(), None);
    assert_eq!(lines("Rollout", &[]), [unknown]);
}

#[test]
fn cron_job_shows_pods_of_last_run() {
    let mut later = object("Job", "later", "x", &json!({}));
    later["metadata"]["creationTimestamp"] = "2026-01-02T00:00:00Z".into();
    let mut done = pod("p2", "later", TAG, json!({"imageID": NEW}));
    done["status"]["phase"] = "Succeeded".into();
    let items = [
        object("CronJob", "x", "", &json!({})),
        later,
        object("Job", "early", "x", &json!({})),
        pod("p1", "early", TAG, json!({"imageID": OLD})),
        done,
    ];
    assert_eq!(lines("CronJob", &items), [line("p2", "Completed", BuildStatus::Latest)]);
}

#[test]
fn bare_pod_has_one_row() {
    let killed = json!({"imageID": NEW, "state": {"terminated": {"reason": "OOMKilled"}}});
    let items = [pod("x", "", TAG, killed)];
    assert_eq!(lines("Pod", &items), [line("x", "OOMKilled", BuildStatus::Latest)]);
    let items = [pod("x", "", "mirror/app:1", json!({"imageID": "sha256:ffffffffffff"}))];
    assert_eq!(lines("Pod", &items), [line("x", "Running", BuildStatus::NotThisProject)]);
}

#[test]
fn worst_container_decides_build_status() {
    let mut two = wanted("Pod");
    two.containers.push(expected::Container {
        name: "first".into(),
        image: "app".into(),
        ..Default::default()
    });
    let mut pod = pod("x", "", TAG, json!({"imageID": NEW, "restartCount": 1}));
    pod["spec"]["initContainers"] = json!([{"name": "first", "image": "app:kdev-bbbbbbbbbbbb"}]);
    pod["status"]["initContainerStatuses"] =
        json!([{"name": "first", "imageID": OLD, "restartCount": 2}]);
    let rows = workload_rows(&two, "n", &[pod], Some(&builds()));
    assert_eq!((rows[0].build, rows[0].restarts), (Some(BuildStatus::Outdated), 3));
    assert_eq!(rows[0].image.as_deref(), Some("app:kdev-bbbbbbbbbbbb"));
}

#[test]
fn workload_in_other_namespace_is_ignored() {
    let items = [object("Job", "x", "", &json!({}))];
    let rows = workload_rows(&wanted("Job"), "m", &items, None);
    assert_eq!(rows[0].state, "not applied");
}

#[test]
fn replaced_terminated_pods_are_hidden() {
    let spec = json!({"spec": {"replicas": 1, "template": template()}});
    let terminated = |name: &str, phase: &str| {
        let mut pod = pod(name, "r1", "app:kdev-bbbbbbbbbbbb", json!({"imageID": OLD}));
        pod["status"]["phase"] = phase.into();
        pod
    };
    let mut items = vec![
        object("Deployment", "x", "", &spec),
        object("ReplicaSet", "r1", "x", &json!({})),
        object("ReplicaSet", "r2", "x", &json!({})),
        terminated("p1", "Succeeded"),
        terminated("p2", "Failed"),
    ];
    let left = [
        line("p1", "Completed", BuildStatus::Outdated),
        line("p2", "Failed", BuildStatus::Outdated),
    ];
    assert_eq!(lines("Deployment", &items), left);
    items.push(pod("p3", "r2", TAG, json!({"imageID": NEW})));
    assert_eq!(lines("Deployment", &items), [line("p3", "Running", BuildStatus::Latest)]);
    items[5] = pod("p4", "r1", "app:kdev-bbbbbbbbbbbb", json!({"imageID": OLD}));
    let rows = workload_rows(&wanted("Deployment"), "n", &items, Some(&builds()));
    assert_eq!(
        (rows[0].build, rows[0].applied),
        (Some(BuildStatus::Outdated), Some(BuildStatus::Latest))
    );
}
