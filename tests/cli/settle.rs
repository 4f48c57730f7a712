//! Readiness of containers without a readiness probe.

use std::time::{Duration, Instant};

use crate::project::{CONFIG, IMAGE, Project, REPLICA_SET, pod};

/// A Deployment that is complete according to its status, with this spec.
fn deployment(spec: &str) -> String {
    format!(
        r#"{{"kind":"Deployment","metadata":{{"name":"app","uid":"u","generation":1,"annotations":{{"deployment.kubernetes.io/revision":"1"}}}},
        "spec":{{{spec}}},"status":{{"observedGeneration":1,"replicas":1,"updatedReplicas":1,"availableReplicas":1}}}}"#
    )
}

const UNPROBED: &str = r#""replicas":1,"template":{"spec":{"containers":[{"name":"app"}]}}"#;
const PROBED: &str = r#""replicas":1,"template":{"spec":{"containers":[{"name":"app","readinessProbe":{"httpGet":{}}}]}}"#;
const LONG_AGO: &str = "2001-01-01T00:00:00Z";
const IN_FUTURE: &str = "2901-01-01T00:00:00Z";

/// A pod whose container runs.
fn running(restarts: u64, started: &str) -> String {
    let status = format!(
        r#"{{"name":"app","imageID":"{CONFIG}","restartCount":{restarts},"state":{{"running":{{"startedAt":"{started}"}}}}}}"#
    );
    pod("app-1", "n1", "app", IMAGE, &status)
}

/// A pod whose container has exited again and again.
fn crashed() -> String {
    let status = format!(
        r#"{{"name":"app","imageID":"{CONFIG}","restartCount":3,"state":{{"waiting":{{"reason":"CrashLoopBackOff"}}}},"lastState":{{"terminated":{{"exitCode":7,"reason":"Error"}}}}}}"#
    );
    pod("app-1", "n1", "app", IMAGE, &status)
}

/// A project with this Deployment and pod.
fn project(spec: &str, pod: String) -> Project {
    let project = Project::new();
    project.write("fake/deployment.json", &deployment(spec));
    project.pods(&[pod]);
    project
}

const SETTLE: [&str; 5] = ["up", "--node", "n1", "--settle", "1"];

#[test]
fn container_without_probe_must_keep_running() {
    let project = project(UNPROBED, running(0, LONG_AGO));
    let start = Instant::now();
    let ran = project.run(&SETTLE);
    assert!(start.elapsed() > Duration::from_secs(1));
    let stderr = ran.code(0).err();
    let end = format!(
        "    Settling deployment/app: 1 pod must run for 1 s, because container `app` has no readiness probe
       Ready deployment/app: 1 pod in [TIME]
        Note deployment/app has a container without a readiness probe, so kdev waited 1 s to see it run; a `readinessProbe` makes this wait unnecessary
    Finished {IMAGE} in [TIME]\n"
    );
    assert!(stderr.ends_with(&end), "{stderr}");
}

#[test]
fn settling_is_json_message() {
    let project = project(UNPROBED, running(0, LONG_AGO));
    let ran = project.run(&[&SETTLE[..], &["--message-format", "json"]].concat());
    let message = r#"{"version":1,"reason":"settling","workload":"deployment/app","pods":1,"containers":["app"],"seconds":1.0}"#;
    let lines: Vec<&str> = ran.code(0).out().lines().collect();
    let at = |line: &str| lines.iter().position(|known| known.starts_with(line));
    let ready = at(r#"{"version":1,"reason":"ready","workload":"deployment/app""#);
    assert!(at(message).is_some() && at(message) < ready, "{lines:?}");
}

#[test]
fn only_container_without_probe_settles() {
    let min_ready = format!(r#""minReadySeconds":1,{UNPROBED}"#);
    for spec in [PROBED, &min_ready] {
        let project = project(spec, running(0, LONG_AGO));
        let ran = project.run(&SETTLE);
        let stderr = ran.code(0).err();
        assert!(!stderr.contains("Settling") && !stderr.contains("Note"), "{spec}: {stderr}");
    }
    let project = project(UNPROBED, running(0, LONG_AGO));
    project.config("settle = 900");
    let ran = project.run_with(&[("KDEV_SETTLE", "0")], &["up", "--node", "n1"]);
    assert!(!ran.code(0).err().contains("Settling"));
}

/// The clock of the node may be ahead.
#[test]
fn unchanged_workload_settles_only_if_its_containers_are_new() {
    for (started, settles) in [(LONG_AGO, false), (IN_FUTURE, true), ("", true)] {
        let project = project(UNPROBED, running(0, started));
        project.run(&["up", "--node", "n1"]).code(0);
        let ran = project.run(&SETTLE);
        let stderr = ran.code(0).err();
        assert!(stderr.contains("Unchanged"), "{stderr}");
        assert_eq!(stderr.contains("Settling"), settles, "{started}: {stderr}");
    }
}

#[test]
fn exit_while_settling_is_failure() {
    let project = project(UNPROBED, running(0, LONG_AGO));
    project.write("fake/pods-next.json", &format!("{REPLICA_SET},{}", crashed()));
    // The Deployment's controller may not have noticed it yet.
    let ran = project.run(&[&SETTLE[..4], &["30", "--timeout", "3"]].concat());
    ran.code(95).error("error: deployment/app failed to roll out: pod `app-1` on node `n1` did not start within 3 s
  caused by: container `app`: CrashLoopBackOff (last exit code 7, Error)
  help: run `kubectl --context kind-test --namespace default describe pod app-1` to see its events, or pass `--timeout SECONDS` to wait longer\n");
}

#[test]
fn restart_while_settling_begins_again_until_timeout() {
    let project = project(UNPROBED, running(0, LONG_AGO));
    project.write("fake/pods-next.json", &format!("{REPLICA_SET},{}", running(1, LONG_AGO)));
    let stderr = project.run(&SETTLE).code(0).err().to_owned();
    assert_eq!(stderr.matches("Settling").count(), 2, "{stderr}");

    // The time to settle may exceed the timeout, but only once.
    let limited = ["up", "--node", "n1", "--timeout", "1", "--settle", "2"];
    let project = self::project(UNPROBED, running(0, LONG_AGO));
    let stderr = project.run(&limited).code(0).err().to_owned();
    assert_eq!(stderr.matches("Settling").count(), 1, "{stderr}");
    let project = self::project(UNPROBED, running(0, LONG_AGO));
    project.write("fake/pods-next.json", &format!("{REPLICA_SET},{}", running(1, LONG_AGO)));
    project.run(&limited).code(96);
}
