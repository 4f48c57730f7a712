//! Pods as the API shows them, and what their state says. Pure.

use serde::Deserialize;
use std::collections::BTreeMap;

/// Reasons of a waiting container that no time will cure.
const HOPELESS: [&str; 3] = ["ErrImageNeverPull", "InvalidImageName", "CreateContainerConfigError"];
/// Reasons that the kubelet retries, often with success.
const RETRIED: [&str; 2] = ["CreateContainerError", "RunContainerError"];
/// How often a container may crash before the wait ends: what it waits for,
/// a database say, may just be starting.
const CRASHES: u64 = 3;

/// A pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Pod {
    pub(crate) metadata: Metadata,
    pub(crate) spec: Spec,
    status: Status,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Metadata {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    deletion_timestamp: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Spec {
    pub(crate) node_name: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    phase: String,
    conditions: Vec<Condition>,
    container_statuses: Vec<Container>,
    init_container_statuses: Vec<Container>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    reason: String,
    message: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Container {
    name: String,
    #[serde(rename = "imageID")]
    image_id: String,
    restart_count: u64,
    state: State,
    last_state: State,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct State {
    waiting: Option<Waiting>,
    terminated: Option<Terminated>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Waiting {
    reason: String,
    message: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Terminated {
    exit_code: i64,
    reason: String,
    message: String,
}

/// How sure it is that a pod will never be ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// It is certain.
    None(String),
    /// Only if it stays so for a while.
    Some(String),
}

impl Pod {
    pub(crate) fn is_leaving(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    fn containers(&self) -> impl Iterator<Item = &Container> {
        self.status.init_container_statuses.iter().chain(&self.status.container_statuses)
    }

    /// Why this pod will not be ready.
    pub(crate) fn trouble(&self) -> Option<Doubt> {
        self.containers().find_map(Container::trouble)
    }

    /// Whether a container runs the image with this configuration: the CRI's
    /// image ID is the configuration's digest, or ends with it.
    pub(crate) fn runs(&self, config_digest: &str) -> bool {
        self.containers().any(|container| container.image_id.ends_with(config_digest))
    }

    /// What it waits for.
    pub(crate) fn in_words(&self) -> String {
        let unscheduled =
            self.status.conditions.iter().find(|c| c.kind == "PodScheduled" && c.status == "False");
        let words = unscheduled.map(|c| format!("{}: {}", c.reason, c.message));
        let words = words.or_else(|| self.containers().find_map(Container::in_words));
        let words = words.unwrap_or_else(|| format!("{}, not ready", self.status.phase));
        format!("pod `{}`: {words}", self.metadata.name)
    }
}

impl Container {
    fn trouble(&self) -> Option<Doubt> {
        let reason = self.state.waiting.as_ref()?.reason.as_str();
        let crashes = reason == "CrashLoopBackOff" && self.restart_count >= CRASHES;
        if HOPELESS.contains(&reason) || crashes {
            self.in_words().map(Doubt::None)
        } else if RETRIED.contains(&reason) {
            self.in_words().map(Doubt::Some)
        } else {
            None
        }
    }

    fn in_words(&self) -> Option<String> {
        let waiting = self.state.waiting.as_ref()?;
        let mut words = format!("container `{}`: {}", self.name, waiting.reason);
        if !waiting.message.is_empty() {
            words = format!("{words}: {}", waiting.message);
        }
        if let Some(ended) = &self.last_state.terminated {
            words = format!("{words} (last exit code {}, {})", ended.exit_code, ended.reason);
            if !ended.message.is_empty() {
                words = format!("{words}: {}", ended.message);
            }
        }
        Some(words)
    }
}

/// What several pods wait for.
pub(crate) fn in_words(pods: &[Pod]) -> String {
    match pods {
        [] => "there is no pod yet".to_owned(),
        pods => pods.iter().map(Pod::in_words).collect::<Vec<_>>().join("; "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(reason: &str, restarts: u64) -> Pod {
        let container = json!({"name": "c", "restartCount": restarts,
            "state": {"waiting": {"reason": reason, "message": "m"}}});
        serde_json::from_value(json!({"metadata": {"name": "p"},
            "status": {"phase": "Pending", "containerStatuses": [container]}}))
        .unwrap()
    }

    #[test]
    fn only_certain_failures_are_certain() {
        let words = |reason: &str| format!("container `c`: {reason}: m");
        let certain = |reason: &str| Some(Doubt::None(words(reason)));
        assert_eq!(pod("ErrImageNeverPull", 0).trouble(), certain("ErrImageNeverPull"));
        assert_eq!(pod("CrashLoopBackOff", 3).trouble(), certain("CrashLoopBackOff"));
        assert_eq!(pod("CrashLoopBackOff", 2).trouble(), None);
        let retried = Some(Doubt::Some(words("RunContainerError")));
        assert_eq!(pod("RunContainerError", 0).trouble(), retried);
        assert_eq!(pod("ContainerCreating", 0).trouble(), None);
        assert_eq!(pod("ImagePullBackOff", 0).trouble(), None);
        let words = "pod `p`: container `c`: ImagePullBackOff: m";
        assert_eq!(pod("ImagePullBackOff", 0).in_words(), words);
    }

    #[test]
    fn the_image_is_known_by_its_configuration() {
        let json = json!({"status": {"containerStatuses": [{"imageID": "sha256:ab"}]}});
        let pod: Pod = serde_json::from_value(json).unwrap();
        assert!(pod.runs("sha256:ab"));
        assert!(!pod.runs("sha256:cd"));
    }
}
