//! Errors of a rollout.

use super::*;
use crate::project::{CONFIG, REPLICA_SET, pod};

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

/// The help of a pod that did not become ready in time.
const LONGER: &str = "run `kubectl --context kind-test --namespace default describe pod app-1` to see its events, or pass `--timeout SECONDS` to wait longer";

#[test]
fn missing_config_map_is_waited_for() {
    let project = project_with_status(
        r#"{"name":"app","state":{"waiting":{"reason":"CreateContainerConfigError","message":"configmap \"c\" not found"}}}"#,
    );
    assert_rollout_fails(
        &project,
        95,
        &format!("     Problem pod `app-1` on node `n1`: container `app`: CreateContainerConfigError: configmap \"c\" not found; it may recover, because the missing object may still be created: waiting up to [..] s
     Waiting deployment/app: 0 of 1 pod ready (n1: CreateContainerConfigError)
error: deployment/app failed to roll out: pod `app-1` on node `n1` did not start within 1 s
  caused by: container `app`: CreateContainerConfigError: configmap \"c\" not found
  help: {LONGER}\n"),
    );
}

#[test]
fn problem_that_time_fixes_does_not_fail_rollout() {
    let table = [
        (
            r#"{"name":"app","state":{"waiting":{"reason":"CreateContainerConfigError","message":"secret s not found"}}}"#,
            r#""message":"container `app`: CreateContainerConfigError: secret s not found","outlook":"the missing object may still be created","log":null"#,
        ),
        (
            r#"{"name":"app","restartCount":3,"state":{"waiting":{"reason":"CrashLoopBackOff"}},"lastState":{"terminated":{"exitCode":101,"reason":"Error"}}}"#,
            r#""message":"container `app`: CrashLoopBackOff (last exit code 101, Error)","outlook":"a dependency of the program may still be starting","log":"no database""#,
        ),
    ];
    for (status, problem) in table {
        let project = project_with_status(status);
        project.write("fake/pod-log", "no database\n");
        let running = format!(r#"{{"name":"app","imageID":"{CONFIG}"}}"#);
        let running = pod("app-1", "n1", "app", IMAGE, &running);
        project.write("fake/pods-next.json", &format!("{REPLICA_SET},{running}"));
        let ready = WAITING.replace(r#""replicas":1}}"#, r#""replicas":1,"availableReplicas":1}}"#);
        project.write("fake/deployment-next.json", &ready);
        let ran = project.run(&["up", "--node", "n1", "--message-format", "json"]);
        let start = r#"{"version":1,"reason":"problem","workload":"deployment/app","pod":"app-1","node":"n1","#;
        let expected = format!("{start}{problem},\"remaining_seconds\":1");
        let out = ran.code(0).out();
        assert!(out.contains(&expected) && out.contains(r#""reason":"ready""#), "{out}");
        assert_eq!(out.matches(r#""reason":"problem""#).count(), 1, "{out}");
    }
}

#[test]
fn pod_that_cannot_recover_stops_wait() {
    let table = [
        ("InvalidImageName", "couldn't parse image name", "the name of the image is invalid"),
        (
            "ErrImageNeverPull",
            "redis:7 is not present",
            "the image is not on the node, and `imagePullPolicy` forbids a pull",
        ),
        (
            "CreateContainerConfigError",
            "container has runAsNonRoot and image will run as root",
            "`runAsNonRoot` does not permit the user of the image",
        ),
    ];
    for (reason, message, why) in table {
        let project = project_with_status(&format!(
            r#"{{"name":"other","state":{{"waiting":{{"reason":"{reason}","message":"{message}"}}}}}}"#
        ));
        let ran = project.run(&["up", "--node", "n1", "--timeout", "60"]);
        ran.code(95).stderr(&format!(
            "{BUILT}{APPLIED}error: deployment/app failed to roll out: pod `app-1` on node `n1` cannot start
  caused by: container `other`: {reason}: {message}; {why}
  help: run `kubectl --context kind-test --namespace default describe pod app-1` to see its events\n"
        ));
    }
}

/// The lines before the error of a container that keeps crashing.
fn crash_problem(end_of_log: &str) -> String {
    let log = end_of_log.replace("\n    ", "\n             ");
    format!(
        "     Problem pod `app-1` on node `n1`: container `app`: CrashLoopBackOff (last exit code 101, Error); it may recover, because a dependency of the program may still be starting: waiting up to [..] s{log}
     Waiting deployment/app: 0 of 1 pod ready (n1: CrashLoopBackOff)\n"
    )
}

#[test]
fn crash_shows_end_of_log() {
    let project = project_with_status(
        r#"{"name":"app","restartCount":3,"state":{"waiting":{"reason":"CrashLoopBackOff"}},"lastState":{"terminated":{"exitCode":101,"reason":"Error"}}}"#,
    );
    project.write("fake/pod-log", "listening\nthread 'main' panicked: no database\n");
    let log = "; its log ends with\n    listening\n    thread 'main' panicked: no database";
    assert_rollout_fails(
        &project,
        95,
        &format!(
            "{}error: deployment/app failed to roll out: pod `app-1` on node `n1` did not start within 1 s
  caused by: container `app`: CrashLoopBackOff (last exit code 101, Error){log}
  help: {LONGER}\n",
            crash_problem(log)
        ),
    );
}

/// A crash is reported at the third restart, but at the timeout it is an error in any case.
#[test]
fn first_crashes_are_reported_at_timeout() {
    let project = project_with_status(
        r#"{"name":"app","restartCount":1,"state":{"waiting":{"reason":"CrashLoopBackOff"}},"lastState":{"terminated":{"exitCode":101,"reason":"Error"}}}"#,
    );
    assert_rollout_fails(
        &project,
        95,
        &format!(
            "     Waiting deployment/app: 0 of 1 pod ready (n1: CrashLoopBackOff)
error: deployment/app failed to roll out: pod `app-1` on node `n1` did not start within 1 s
  caused by: container `app`: CrashLoopBackOff (last exit code 101, Error)
  help: {LONGER}\n"
        ),
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
                "{}error: deployment/app failed to roll out: pod `app-1` on node `n1` did not start within 1 s
  caused by: container `app`: CrashLoopBackOff (last exit code 101, Error){shown}
  help: {LONGER}\n",
                crash_problem(shown)
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
        "error: deployment/app failed to roll out: pod `app-1` on node `n1` cannot start
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
            "error: deployment/app failed to roll out: pod `app-1` on node `n1` runs another image
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
  help: run `kubectl --context kind-test --namespace default rollout resume deployment/app`, and remove `paused` from the manifest if it is set there\n",
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

/// A Job with a time to live of zero is deleted as soon as it has finished.
#[test]
fn result_of_deleted_job_is_read_from_its_events() {
    let run_job = |events: &str, is_seen: bool| {
        let project = Project::new();
        project.write("k8s/app.yaml", "apiVersion: batch/v1\nkind: Job\nmetadata: {name: app}\nspec: {template: {spec: {containers: [{name: app, image: app}]}}}\n");
        let spec = r#""spec":{"ttlSecondsAfterFinished":0}"#;
        let labels = r#""labels":{"applyset.kubernetes.io/part-of":"x"}"#;
        project.write("fake/live.json", &format!(r#"{{"apiVersion":"batch/v1","kind":"Job","metadata":{{"name":"app","uid":"j","namespace":"default",{labels}}},{spec}}}"#));
        let job = format!(r#"{{"kind":"Job","metadata":{{"name":"app","uid":"j"}},{spec}}}"#);
        project.write("fake/events.json", events);
        if is_seen {
            project.write("fake/job.json", &job);
        }
        let ran = project.run(&["up", "--node", "n1"]);
        let asked = " get events --field-selector=involvedObject.uid=j --output=json";
        let records = project.calls().matches("--field-manager=kdev-jobs").count();
        assert_eq!(records, usize::from(events.contains("Completed")));
        assert!(project.calls().contains(asked), "{}", project.calls());
        ran
    };
    let run = |events: &str| run_job(events, true);
    let created = r#"{"reason":"SuccessfulCreate","message":"Created pod: app-1"}"#;
    let completed = format!(r#"{created},{{"reason":"Completed","message":"Job completed"}}"#);
    let ran = run(&completed);
    let end = format!(
        "       Ready job/app: 1 pod in [TIME]
    Finished {IMAGE} in [TIME]\n"
    );
    assert!(ran.code(0).err().ends_with(&end), "{}", ran.err());
    // It can be deleted before it is seen.
    let ran = run_job(&completed, false);
    assert!(ran.code(0).err().ends_with(&end), "{}", ran.err());
    let help = "run `kubectl --context kind-test --namespace default get events --field-selector involvedObject.name=app` to see its events";
    let error = |reason: &str| {
        format!(
            "error: job/app failed to roll out: it was deleted\n  caused by: {reason}\n  help: {help}\n"
        )
    };
    let failed = r#"{"reason":"BackoffLimitExceeded","message":"Job has reached the specified backoff limit"}"#;
    run(failed)
        .code(95)
        .error(&error("BackoffLimitExceeded: Job has reached the specified backoff limit"));
    run(created)
        .code(95)
        .error(&error("`ttlSecondsAfterFinished` is 0, and no event has its result"));
}
