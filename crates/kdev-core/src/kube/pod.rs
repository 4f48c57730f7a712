//! Pods of the API and the problems that their status shows.

use serde::Deserialize;

/// Waiting reasons that do not resolve over time.
const FINAL_REASONS: [&str; 3] = [NEVER_PULLED, "InvalidImageName", "CreateContainerConfigError"];
/// Waiting reason of a container whose image is missing and must not be pulled.
const NEVER_PULLED: &str = "ErrImageNeverPull";
/// Waiting reasons that the kubelet retries, often successfully.
const RETRIED_REASONS: [&str; 2] = ["CreateContainerError", "RunContainerError"];
/// Waiting reasons of a container whose image cannot be pulled.
const PULL_REASONS: [&str; 2] = ["ErrImagePull", "ImagePullBackOff"];
/// Number of crashes after which the wait ends. A dependency, such as a database, may still
/// be starting.
const CRASH_LIMIT: u64 = 3;

/// A pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Pod {
    pub metadata: Metadata,
    pub spec: Spec,
    status: Status,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    pub name: String,
    uid: String,
    deletion_timestamp: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    pub node_name: Option<String>,
    readiness_gates: Vec<Gate>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Gate {
    condition_type: String,
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
    running: Option<Running>,
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
struct Running {
    started_at: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Terminated {
    exit_code: i64,
    reason: String,
    message: String,
}

/// A problem that keeps a pod from becoming ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodProblem {
    /// The container with the problem.
    pub container: String,
    pub message: String,
    /// Whether the problem does not resolve over time.
    pub is_certain: bool,
}

/// One run of a container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Run {
    pod_uid: String,
    container: String,
    restarts: u64,
    /// In the API's format.
    pub started_at: String,
}

/// The image that a pod's containers run, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Runs {
    Expected,
    NotYet,
    /// Another image; the text describes it.
    Other(String),
}

impl Pod {
    /// Parses a pod of the API.
    pub fn read(pod: &serde_json::Value) -> Option<Self> {
        Self::deserialize(pod).ok()
    }

    pub fn is_terminating(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    fn containers(&self) -> impl Iterator<Item = &Container> {
        self.status.init_container_statuses.iter().chain(&self.status.container_statuses)
    }

    /// Returns the problem that keeps the pod from becoming ready; certain problems come
    /// first.
    pub fn problem(&self) -> Option<PodProblem> {
        let mut problems: Vec<PodProblem> =
            self.containers().filter_map(Container::problem).collect();
        problems.sort_by_key(|problem| !problem.is_certain);
        problems.into_iter().next()
    }

    /// Checks whether the containers with these names run the image with this
    /// configuration. The CRI's image ID is the config digest, but an image that also came
    /// from a registry has the registry's digest as its ID, which shows nothing.
    pub fn runs(&self, names: &[&str], config_digest: &str) -> Runs {
        let mut runs = Runs::Expected;
        for name in names {
            let Some(container) = self.containers().find(|c| c.name == *name) else {
                return Runs::NotYet;
            };
            match container.image_id.as_str() {
                "" if self.is_main(name) => runs = Runs::NotYet,
                id if id.is_empty() || id.contains('@') || id.ends_with(config_digest) => {}
                id => return Runs::Other(format!("container `{name}` runs `{id}`")),
            }
        }
        runs
    }

    /// Returns the current run of a container; `None` if it does not run.
    pub fn run(&self, name: &str) -> Option<Run> {
        let container = self.containers().find(|container| container.name == name)?;
        let running = container.state.running.as_ref()?;
        Some(Run {
            pod_uid: self.metadata.uid.clone(),
            container: container.name.clone(),
            restarts: container.restart_count,
            started_at: running.started_at.clone(),
        })
    }

    fn is_main(&self, name: &str) -> bool {
        self.status.container_statuses.iter().any(|container| container.name == name)
    }

    /// Returns the container that has crashed and its number of restarts. The log is
    /// unchanged while both stay the same.
    pub fn crashed(&self) -> Option<(&str, u64)> {
        let crashed = self.containers().find(|container| {
            let ended = [&container.state.terminated, &container.last_state.terminated];
            ended.into_iter().flatten().any(|ended| ended.exit_code != 0)
        })?;
        Some((&crashed.name, crashed.restart_count))
    }

    /// Whether pulling its image fails.
    pub fn is_failing_to_pull(&self) -> bool {
        let reasons = self.containers().filter_map(|c| c.state.waiting.as_ref());
        reasons.into_iter().any(|waiting| PULL_REASONS.contains(&waiting.reason.as_str()))
    }

    /// Returns the message of the first of these containers whose image the kubelet does
    /// not find on its node.
    pub fn missing_image(&self, names: &[&str]) -> Option<String> {
        let is_missing_image = |container: &&Container| {
            let waiting = container.state.waiting.as_ref();
            let reason = waiting.map_or("", |waiting| waiting.reason.as_str());
            names.contains(&container.name.as_str())
                && (reason == NEVER_PULLED || PULL_REASONS.contains(&reason))
        };
        self.containers().find(is_missing_image)?.describe()
    }

    /// Returns one word for its state, as `kubectl get pods` prints it.
    pub fn state(&self) -> String {
        if self.is_terminating() {
            return "Terminating".to_owned();
        }
        let waiting = self.containers().filter_map(|c| c.state.waiting.as_ref());
        let reason = waiting.map(|w| w.reason.clone()).find(|reason| !reason.is_empty());
        let is = |kind: &str, status: &str| {
            self.status.conditions.iter().any(|c| c.kind == kind && c.status == status)
        };
        match reason {
            Some(reason) if reason == "PodInitializing" => "Initializing".to_owned(),
            Some(reason) => reason,
            None if is("PodScheduled", "False") => "Unschedulable".to_owned(),
            None if is("Ready", "True") => "Ready".to_owned(),
            None => self.status.phase.clone(),
        }
    }

    /// Describes what the pod waits for.
    pub fn describe(&self) -> String {
        let unscheduled =
            self.status.conditions.iter().find(|c| c.kind == "PodScheduled" && c.status == "False");
        let message = unscheduled.map(|c| format!("{}: {}", c.reason, c.message));
        let message = message.or_else(|| self.problem_message());
        let message = message.or_else(|| self.closed_gate());
        let message = message.unwrap_or_else(|| format!("{}, not ready", self.status.phase));
        format!("pod `{}`: {message}", self.metadata.name)
    }

    /// Returns the message of its first container that does not run.
    pub fn problem_message(&self) -> Option<String> {
        self.containers().find_map(Container::describe)
    }

    /// Returns a readiness gate whose condition is not true.
    fn closed_gate(&self) -> Option<String> {
        let is_open = |gate: &&Gate| {
            self.status
                .conditions
                .iter()
                .any(|c| c.kind == gate.condition_type && c.status == "True")
        };
        let gate = self.spec.readiness_gates.iter().find(|gate| !is_open(gate))?;
        let gate = &gate.condition_type;
        Some(format!("its readiness gate `{gate}` is not true; a controller must set it"))
    }
}

impl Container {
    fn problem(&self) -> Option<PodProblem> {
        let reason = self.state.waiting.as_ref().map(|waiting| waiting.reason.as_str());
        let crashes = reason == Some("CrashLoopBackOff") && self.restart_count >= CRASH_LIMIT;
        let is_certain = crashes
            || reason.is_some_and(|reason| FINAL_REASONS.contains(&reason))
            || self.cannot_be_executed();
        let is_doubtful = reason.is_some_and(|reason| RETRIED_REASONS.contains(&reason));
        (is_certain || is_doubtful).then(|| PodProblem {
            container: self.name.clone(),
            message: self.describe().unwrap_or_default(),
            is_certain,
        })
    }

    /// Whether the kernel or the runtime cannot execute the program, so that every start
    /// fails.
    fn cannot_be_executed(&self) -> bool {
        let ended = [&self.state.terminated, &self.last_state.terminated];
        let ended = ended.into_iter().flatten().map(|ended| ended.message.as_str());
        let waiting = self.state.waiting.iter().map(|waiting| waiting.message.as_str());
        ended.chain(waiting).any(is_missing_entrypoint)
    }

    fn describe(&self) -> Option<String> {
        let ended = self.state.terminated.as_ref().filter(|ended| ended.exit_code != 0);
        let mut message = match (&self.state.waiting, ended) {
            (Some(waiting), _) if waiting.message.is_empty() => waiting.reason.clone(),
            (Some(waiting), _) => format!("{}: {}", waiting.reason, waiting.message),
            (None, Some(ended)) => format!("{}, exit code {}", ended.reason, ended.exit_code),
            (None, None) => return None,
        };
        message = format!("container `{}`: {message}", self.name);
        if let Some(ended) = &self.last_state.terminated {
            message = format!("{message} (last exit code {}, {})", ended.exit_code, ended.reason);
        }
        let ended = ended.or(self.last_state.terminated.as_ref());
        let termination = ended.map(|ended| ended.message.trim()).unwrap_or_default();
        Some(if termination.is_empty() { message } else { format!("{message}: {termination}") })
    }
}

/// Whether the message of a runtime says that a program can never be started.
pub fn is_missing_entrypoint(message: &str) -> bool {
    const SIGNS: [&str; 3] = [
        "exec format error",
        "executable file not found",
        "unable to start container process: exec",
    ];
    SIGNS.iter().any(|sign| message.contains(sign))
}

/// Describes what several pods wait for.
pub fn describe_all(pods: &[Pod]) -> String {
    match pods {
        [] => "no pod exists yet".to_owned(),
        pods => pods.iter().map(Pod::describe).collect::<Vec<_>>().join("; "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(reason: &str, restarts: u64) -> Pod {
        with(&json!({"name": "c", "restartCount": restarts,
            "state": {"waiting": {"reason": reason, "message": "m"}}}))
    }

    fn with(container: &Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p"},
            "status": {"phase": "Pending", "containerStatuses": [container]}}))
        .unwrap()
    }

    #[test]
    fn only_final_reasons_are_certain() {
        let is_certain = |reason, restarts| pod(reason, restarts).problem().map(|t| t.is_certain);
        for reason in FINAL_REASONS {
            assert_eq!(is_certain(reason, 0), Some(true), "{reason}");
        }
        assert_eq!(is_certain("CrashLoopBackOff", 3), Some(true));
        assert_eq!(is_certain("CrashLoopBackOff", 2), None);
        assert_eq!(is_certain("RunContainerError", 0), Some(false));
        assert_eq!(is_certain("ContainerCreating", 0), None);
        assert_eq!(is_certain("ImagePullBackOff", 0), None);
        assert!(pod("ImagePullBackOff", 0).is_failing_to_pull());
        let message = "pod `p`: container `c`: ImagePullBackOff: m";
        assert_eq!(pod("ImagePullBackOff", 0).describe(), message);
    }

    #[test]
    fn exec_failure_is_certain_at_first_start() {
        let ended = json!({"exitCode": 128, "reason": "StartError",
            "message": "exec: \"/absent\": stat /absent: no such file or directory: unable to start container process: exec"});
        let problem = with(&json!({"name": "c", "state": {"terminated": ended}})).problem();
        let problem = problem.unwrap();
        assert!(problem.is_certain);
        let expected = "container `c`: StartError, exit code 128: exec: \"/absent\": stat";
        assert!(problem.message.starts_with(expected), "{}", problem.message);
        let failed = json!({"exitCode": 1, "reason": "Error"});
        let pod = with(&json!({"name": "c", "state": {"terminated": failed}}));
        assert_eq!((pod.problem(), pod.crashed()), (None, Some(("c", 0))));
    }

    #[test]
    fn image_is_matched_by_config_digest() {
        let runs = |id: &str| with(&json!({"name": "c", "imageID": id})).runs(&["c"], "sha256:ab");
        assert_eq!(runs("sha256:ab"), Runs::Expected);
        assert_eq!(runs(""), Runs::NotYet);
        assert_eq!(runs("registry/app@sha256:ff"), Runs::Expected);
        assert_eq!(runs("sha256:cd"), Runs::Other("container `c` runs `sha256:cd`".into()));
        assert_eq!(pod("x", 0).runs(&["absent"], "sha256:ab"), Runs::NotYet);
    }

    #[test]
    fn init_containers_and_sidecars_are_checked() {
        let sidecar = json!({"name": "s", "imageID": "sha256:old", "restartCount": 3,
            "state": {"waiting": {"reason": "CrashLoopBackOff"}}});
        let pod: Pod = serde_json::from_value(
            json!({"status": {"initContainerStatuses": [{"name": "i", "imageID": ""}, sidecar],
                "containerStatuses": [{"name": "c", "imageID": "sha256:ab"}]}}),
        )
        .unwrap();
        assert_eq!(pod.runs(&["i", "c"], "sha256:ab"), Runs::Expected);
        assert!(matches!(pod.runs(&["s", "c"], "sha256:ab"), Runs::Other(_)));
        assert_eq!(pod.problem().unwrap().container, "s");
    }

    #[test]
    fn closed_readiness_gate_is_reported() {
        let pod: Pod = serde_json::from_value(
            json!({"metadata": {"name": "p"}, "spec": {"readinessGates": [{"conditionType": "lb"}]},
                "status": {"phase": "Running", "containerStatuses": [{"name": "c"}]}}),
        )
        .unwrap();
        let message = "pod `p`: its readiness gate `lb` is not true; a controller must set it";
        assert_eq!((pod.describe().as_str(), pod.state().as_str()), (message, "Running"));
    }
}
