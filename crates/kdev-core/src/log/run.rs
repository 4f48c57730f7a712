//! The runs of a container that have a log, from the status of its pod.

use serde_json::Value;

use crate::kube::object::{list, text};

/// The state of a container, as far as its log depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogState {
    /// The container's name.
    pub name: String,
    pub image: String,
    /// Its current run or, if it does not run, its last one.
    pub run: Option<Run>,
    /// Why there is no run yet, such as `ContainerCreating`.
    pub waiting: String,
}

/// A run of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The runtime's ID of the container.
    pub id: String,
    /// The number of runs before this one.
    pub restarts: u64,
    pub is_running: bool,
}

/// Returns the containers of a pod in the order in which they start.
pub fn log_states(pod: &Value) -> Vec<LogState> {
    let lists = [
        ("/spec/initContainers", "initContainerStatuses"),
        ("/spec/containers", "containerStatuses"),
    ];
    lists
        .into_iter()
        .flat_map(|(specs, statuses)| {
            let specs = pod.pointer(specs).unwrap_or(&Value::Null);
            list(specs).map(move |spec| {
                let name = text(spec, "/name");
                let status = list(&pod["status"][statuses]).find(|status| status["name"] == *name);
                read(spec, status.unwrap_or(&Value::Null))
            })
        })
        .collect()
}

fn read(spec: &Value, status: &Value) -> LogState {
    // While a container waits for its restart, this is the ID of its last run.
    let id = text(status, "/containerID");
    let run = (!id.is_empty()).then(|| Run {
        id: id.to_owned(),
        restarts: status["restartCount"].as_u64().unwrap_or_default(),
        is_running: status.pointer("/state/running").is_some(),
    });
    LogState {
        name: text(spec, "/name").to_owned(),
        image: text(spec, "/image").to_owned(),
        run,
        waiting: text(status, "/state/waiting/reason").to_owned(),
    }
}

/// Whether no container of the pod will run again.
pub fn has_ended(pod: &Value) -> bool {
    ["Succeeded", "Failed"].contains(&text(pod, "/status/phase"))
}

/// Whether the kubelet may stop to follow a log when it rotates its file, before 1.29
/// (<https://github.com/kubernetes/kubernetes/pull/115702>). An unknown version counts as old.
pub fn may_stop_at_rotation(kubelet_version: &str) -> bool {
    let mut parts = kubelet_version.trim_start_matches('v').split(['.', '-', '+']);
    let mut number = || parts.next().and_then(|part| part.parse::<u64>().ok());
    match (number(), number()) {
        (Some(major), Some(minor)) => (major, minor) < (1, 29),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn run_is_read_from_status() {
        let pod = |status: Value| {
            json!({"spec": {"initContainers": [{"name": "init", "image": "i"}],
                "containers": [{"name": "web", "image": "app:1"}]},
                "status": {"containerStatuses": [status]}})
        };
        let run = |status: Value| log_states(&pod(status)).remove(1).run;
        let expected = |restarts, is_running| {
            Some(Run { id: "containerd://a".to_owned(), restarts, is_running })
        };
        let table = [
            (json!({"name": "web", "state": {"waiting": {"reason": "ContainerCreating"}}}), None),
            (
                json!({"name": "web", "containerID": "containerd://a", "state": {"running": {}}}),
                expected(0, true),
            ),
            (
                json!({"name": "web", "containerID": "containerd://a", "restartCount": 2,
                    "state": {"waiting": {"reason": "CrashLoopBackOff"}}}),
                expected(2, false),
            ),
            (json!({"name": "other"}), None),
        ];
        for (status, expected) in table {
            assert_eq!(run(status.clone()), expected, "{status}");
        }
        let waiting = json!({"name": "web", "state": {"waiting": {"reason": "ErrImagePull"}}});
        let states = log_states(&pod(waiting));
        assert_eq!(states.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["init", "web"]);
        assert_eq!(states[1].waiting, "ErrImagePull");
    }

    #[test]
    fn old_kubelets_may_stop_at_rotation() {
        let table = [
            ("v1.28.15", true),
            ("v1.29.0", false),
            ("v1.34.4+k3s1", false),
            ("v1.27.3-gke.100", true),
            ("v2.0.0", false),
            ("", true),
        ];
        for (version, expected) in table {
            assert_eq!(may_stop_at_rotation(version), expected, "{version}");
        }
    }
}
