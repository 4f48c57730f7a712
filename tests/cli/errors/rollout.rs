//! Errors of a rollout.

use super::*;
use crate::project::{CONFIG, pod};

/// The output before a rollout with one node.
const APPLIED: &str = "     Loading n1 (4.00 KiB)
      Loaded n1: sent [..] in [TIME]
     Applied deployment.apps/app to kind-test, namespace default\n";

/// A Deployment whose rollout is not complete.
const WAITING: &str = r#"{"kind":"Deployment","metadata":{"name":"app","generation":1,"uid":"u","annotations":{"deployment.kubernetes.io/revision":"1"}},
    "spec":{"replicas":1},"status":{"observedGeneration":1,"updatedReplicas":1,"replicas":1}}"#;

/// A project whose pod has a container with this status.
fn project_with_status(status: &str) -> Project {
    let project = Project::new();
    project.write("fake/deployment.json", WAITING);
    project.pods(&[pod("app-1", "n1", "app", IMAGE, status)]);
    project
}

#[track_caller]
fn assert_rollout_fails(project: &Project, code: i32, stderr: &str) {
    let ran = project.run(&["up", "--node", "n1", "--timeout", "1"]);
    ran.code(code).stderr(&format!("{BUILT}{APPLIED}{stderr}"));
}

#[test]
fn pod_that_cannot_start_stops_wait() {
    let project = project_with_status(
        r#"{"name":"app","state":{"waiting":{"reason":"CreateContainerConfigError","message":"configmap \"c\" not found"}}}"#,
    );
    assert_rollout_fails(
        &project,
        95,
        "error: deployment/app failed to roll out: pod `app-1` on node `n1` did not start
  caused by: container `app`: CreateContainerConfigError: configmap \"c\" not found
  help: run `kubectl --context kind-test --namespace default describe pod app-1` to see its events\n",
    );
}

#[test]
fn crash_shows_end_of_log() {
    let project = project_with_status(
        r#"{"name":"app","restartCount":3,"state":{"waiting":{"reason":"CrashLoopBackOff"}},"lastState":{"terminated":{"exitCode":101,"reason":"Error"}}}"#,
    );
    project.write("fake/pod-log", "listening\nthread 'main' panicked: no database\n");
    assert_rollout_fails(
        &project,
        95,
        "error: deployment/app failed to roll out: pod `app-1` on node `n1` did not start
  caused by: container `app`: CrashLoopBackOff (last exit code 101, Error); its log ends with
    listening
    thread 'main' panicked: no database
  help: run `kubectl --context kind-test --namespace default describe pod app-1` to see its events\n",
    );
}

/// The container may restart after its pod was read and before its log is read.
#[test]
fn crash_shows_log_of_crashed_run() {
    let table = [
        ("", "panicked: no database\n", "; its log ends with\n    panicked: no database"),
        (
            "unable to retrieve container logs for containerd://3f",
            "panicked: no database\n",
            "; its log ends with\n    panicked: no database",
        ),
        ("second run\n", "first run\n", "; its log ends with\n    second run"),
    ];
    for (present, previous, shown) in table {
        let project = project_with_status(
            r#"{"name":"app","restartCount":3,"state":{"waiting":{"reason":"CrashLoopBackOff"}},"lastState":{"terminated":{"exitCode":101,"reason":"Error"}}}"#,
        );
        project.write("fake/pod-log", present);
        project.write("fake/pod-log-previous", previous);
        assert_rollout_fails(
            &project,
            95,
            &format!(
                "error: deployment/app failed to roll out: pod `app-1` on node `n1` did not start
  caused by: container `app`: CrashLoopBackOff (last exit code 101, Error){shown}
  help: run `kubectl --context kind-test --namespace default describe pod app-1` to see its events\n"
            ),
        );
    }
}

#[test]
fn exec_format_error_stops_wait_at_first_crash() {
    let project = project_with_status(
        r#"{"name":"app","restartCount":0,"state":{"terminated":{"exitCode":255,"reason":"Error"}}}"#,
    );
    project.write("fake/pod-log", "exec /app: exec format error\n");
    assert_rollout_fails(
        &project,
        95,
        "error: deployment/app failed to roll out: pod `app-1` on node `n1` did not start
  caused by: container `app`: Error, exit code 255; its log ends with
    exec /app: exec format error
  help: run `kubectl --context kind-test --namespace default describe pod app-1` to see its events\n",
    );
}

#[test]
fn pod_with_other_build_is_error() {
    let project = Project::new();
    let old = r#"{"name":"app","imageID":"sha256:0ld"}"#;
    project.pods(&[pod("app-1", "n1", "app", IMAGE, old)]);
    assert_rollout_fails(
        &project,
        95,
        &format!(
            "error: deployment/app failed to roll out: pod `app-1` on node `n1` did not start
  caused by: container `app` runs `sha256:0ld`, not this build (`{CONFIG}`)
  help: run `kubectl --context kind-test --namespace default describe pod app-1` to see its events\n"
        ),
    );
}

#[test]
fn superseded_build_is_reported() {
    let project = project_with_status(r#"{"name":"app","imageID":"sha256:0ther"}"#);
    let template = r#""spec":{"replicas":1,"template":{"spec":{"containers":[{"name":"app","image":"app:kdev-0ther"}]}}}"#;
    project.write("fake/deployment.json", &WAITING.replace(r#""spec":{"replicas":1}"#, template));
    assert_rollout_fails(
        &project,
        95,
        "error: another build of deployment/app was applied in the meantime: `app:kdev-0ther` replaced `app:kdev-0123456789ab`
  help: run the command again to deploy this build\n",
    );
}

#[test]
fn pod_changed_by_admission_is_reported() {
    let waiting = r#"{"name":"app","state":{"waiting":{"reason":"ErrImagePull","message":"m"}}}"#;
    let project = project_with_status(waiting);
    let always = |status| pod("app-1", "n1", "app", IMAGE, status).replace("Never", "Always");
    project.pods(&[always(waiting)]);
    assert_rollout_fails(&project, 95, "error: admission control modified pod `app-1` of deployment/app
  caused by: `imagePullPolicy` of container `app` was changed from `Never` to `Always`; the API server's admission plugin `AlwaysPullImages` does this
  help: start the API server with `--disable-admission-plugins=AlwaysPullImages`; this plugin only allows images from a registry\n");

    // If the pod is ready, the change is only a note.
    let project = Project::new();
    project.pods(&[always(&format!(r#"{{"name":"app","imageID":"{CONFIG}"}}"#))]);
    let ran = project.run(&["up", "--node", "n1"]);
    ran.code(0).stderr(&format!("{BUILT}{APPLIED}        Note pod `app-1` differs from what was applied: `imagePullPolicy` of container `app` was changed from `Never` to `Always`; the API server's admission plugin `AlwaysPullImages` does this
       Ready deployment/app: 2 pods in [TIME]
    Finished {IMAGE} in [TIME]\n"));
}

#[test]
fn paused_deployment_is_error() {
    let project = Project::new();
    let paused = WAITING.replace("\"replicas\":1}", "\"replicas\":1,\"paused\":true}");
    let paused = paused.replace("\"updatedReplicas\":1", "\"updatedReplicas\":0");
    project.write("fake/deployment.json", &paused);
    assert_rollout_fails(
        &project,
        95,
        "error: the rollout of deployment/app is blocked
  caused by: it is paused, and some pods do not use its current template: 1 of 1
  help: run `kubectl --context kind-test --namespace default rollout resume deployment/app`\n",
    );
}

#[test]
fn rollout_times_out() {
    let project =
        project_with_status(r#"{"name":"app","state":{"waiting":{"reason":"ContainerCreating"}}}"#);
    assert_rollout_fails(&project, 96, "     Waiting deployment/app: 0 of 1 pod ready (n1: ContainerCreating)
error: timed out after 1 s waiting for deployment/app: 0 of 1 new pods are ready
  caused by: pod `app-1`: container `app`: ContainerCreating
  help: run `kubectl --context kind-test --namespace default describe deployment/app` to see the cause, or pass `--timeout SECONDS` to wait longer\n");
    // `kubectl rollout status` watches the controller, so the wait polls rarely.
    let calls = project.calls();
    assert_eq!(calls.matches(" rollout status deployment/app").count(), 1, "{calls}");
    project.write("fake/pods.json", "");
    let ran = project.run(&["up", "--node", "n1", "--timeout", "1"]);
    ran.code(96).error("error: timed out after 1 s waiting for deployment/app: 0 of 1 new pods are ready
  caused by: no pod exists yet
  help: run `kubectl --context kind-test --namespace default describe deployment/app` to see the cause, or pass `--timeout SECONDS` to wait longer\n");
}
