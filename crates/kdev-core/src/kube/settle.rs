//! Whether ready pods must keep running for a while before their rollout is complete.
//!
//! Without a readiness probe, the kubelet reports a container as ready as soon as it runs,
//! even if its program exits a moment later.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::kube::kinds;
use crate::kube::object::{list, text};
use crate::kube::pod::{Pod, Run};
use crate::kube::time;

/// The current runs of containers. A restart or a replaced pod changes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runs(BTreeSet<Run>);

/// Returns the containers of a workload whose readiness no probe checks, sidecars included.
/// None count if their pods are meant to end, or if the controller itself waits at least for
/// the duration `settle`.
pub fn unprobed_containers<'a>(kind: &str, live: &'a Value, settle: Duration) -> Vec<&'a str> {
    let is_over = kind == "Pod" && text(live, "/status/phase") == "Succeeded";
    let min_ready = live.pointer("/spec/minReadySeconds").and_then(Value::as_u64).unwrap_or(0);
    if kind == "Job" || is_over || Duration::from_secs(min_ready) >= settle {
        return Vec::new();
    }
    let Some(spec) = pod_spec(kind, live) else { return Vec::new() };
    let sidecars = list(&spec["initContainers"]).filter(|c| c["restartPolicy"] == "Always");
    let running = sidecars.chain(list(&spec["containers"]));
    let unprobed = running.filter(|container| !container["readinessProbe"].is_object());
    unprobed.map(|container| text(container, "/name")).collect()
}

fn pod_spec<'a>(kind: &str, live: &'a Value) -> Option<&'a Value> {
    let path = kinds::BUILT_IN.find(kind)?.pod_specs.first()?;
    path.iter().try_fold(live, |value, key| value.get(key))
}

impl Runs {
    /// Returns the current runs of the containers with these names; `None` if one of them
    /// does not run.
    pub fn find(pods: &[Pod], names: &[&str]) -> Option<Self> {
        let runs = pods.iter().flat_map(|pod| names.iter().map(|name| pod.run(name)));
        runs.collect::<Option<BTreeSet<Run>>>().map(Self)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether all of them began more than this duration before `now`, which is in seconds
    /// since 1970. The times are whole seconds of the node's clock.
    pub fn are_older(&self, duration: Duration, now: i64) -> bool {
        let newest = self.0.iter().map(|run| time::seconds(&run.started_at));
        let age = |started: i64| now.saturating_sub(started).try_into().unwrap_or(0_u64);
        newest
            .map(|started| started.map(age))
            .all(|age| age.is_some_and(|age| age > duration.as_secs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const SETTLE: Duration = Duration::from_secs(3);

    fn unprobed(kind: &str, live: &Value) -> Vec<String> {
        unprobed_containers(kind, live, SETTLE).into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn only_readiness_probe_shows_that_container_runs() {
        let containers = json!([
            {"name": "ready", "readinessProbe": {}},
            {"name": "bare"},
            {"name": "started", "startupProbe": {}, "livenessProbe": {}},
        ]);
        let sidecars = json!([
            {"name": "init"},
            {"name": "probed", "restartPolicy": "Always", "readinessProbe": {}},
            {"name": "sidecar", "restartPolicy": "Always"},
        ]);
        let spec = json!({"containers": containers, "initContainers": sidecars});
        let expected = ["sidecar", "bare", "started"];
        let template = json!({"spec": {"template": {"spec": spec}}});
        for kind in
            ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController"]
        {
            assert_eq!(unprobed(kind, &template), expected, "{kind}");
        }
        assert_eq!(unprobed("Pod", &json!({"spec": spec})), expected);
        let done = json!({"spec": spec, "status": {"phase": "Succeeded"}});
        assert!(unprobed("Pod", &done).is_empty());
        assert!(unprobed("Job", &template).is_empty());
        assert!(unprobed_containers("Deployment", &template, Duration::ZERO).is_empty());
    }

    #[test]
    fn min_ready_seconds_replace_settle_time() {
        let live = |seconds: u64| json!({"spec": {"minReadySeconds": seconds, "template": {"spec": {"containers": [{"name": "c"}]}}}});
        for (seconds, expected) in [(0, vec!["c"]), (2, vec!["c"]), (3, vec![]), (9, vec![])] {
            assert_eq!(unprobed("Deployment", &live(seconds)), expected, "{seconds}");
        }
    }

    fn pod(uid: &str, statuses: &Value) -> Pod {
        let status = json!({"containerStatuses": statuses});
        Pod::read(&json!({"metadata": {"uid": uid}, "status": status})).unwrap()
    }

    fn running(restarts: u64, started: &str) -> Value {
        json!([{"name": "c", "restartCount": restarts, "state": {"running": {"startedAt": started}}}])
    }

    #[test]
    fn runs_change_with_each_restart_and_pod() {
        let early = "2026-01-31T12:00:00Z";
        let find = |uid, statuses: &Value| Runs::find(&[pod(uid, statuses)], &["c"]);
        let first = find("u", &running(0, early));
        assert!(first.is_some());
        assert_eq!(first, find("u", &running(0, early)));
        assert_ne!(first, find("u", &running(1, early)));
        assert_ne!(first, find("u", &running(0, "2026-01-31T12:00:01Z")));
        assert_ne!(first, find("v", &running(0, early)));
        let ended = json!([{"name": "c", "state": {"terminated": {"exitCode": 0}}}]);
        for statuses in [ended, json!([{"name": "c", "state": {"waiting": {}}}]), json!([])] {
            assert_eq!(find("u", &statuses), None, "{statuses}");
        }
        assert!(Runs::find(&[], &["c"]).unwrap().is_empty());
    }

    #[test]
    fn runs_are_older_if_newest_is() {
        let pods = [
            pod("u", &running(0, "2026-01-31T11:00:00Z")),
            pod("v", &running(0, "2026-01-31T12:00:00Z")),
        ];
        let runs = Runs::find(&pods, &["c"]).unwrap();
        let noon = time::seconds("2026-01-31T12:00:00Z").unwrap();
        // A node's clock may be ahead.
        for (now, expected) in [(-60, false), (0, false), (3, false), (4, true), (60, true)] {
            assert_eq!(runs.are_older(SETTLE, noon + now), expected, "{now}");
        }
        let unknown = Runs::find(&[pod("u", &running(0, ""))], &["c"]).unwrap();
        assert!(!unknown.are_older(SETTLE, noon));
    }
}
