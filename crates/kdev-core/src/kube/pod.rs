//! Pods of the API and the problems that their status shows.

use serde::Deserialize;

use crate::kube::outlook::{self, CRASH_LOOP, Outlook};
use crate::text::pluralize;

/// Waiting reason of a container whose image is missing and must not be pulled.
const NEVER_PULLED: &str = "ErrImageNeverPull";
/// Waiting reasons of a container whose image cannot be pulled.
const PULL_REASONS: [&str; 2] = ["ErrImagePull", "ImagePullBackOff"];
/// Waiting reasons that the kubelet often resolves by its next retry.
const RETRIED_REASONS: [&str; 2] = ["CreateContainerError", "RunContainerError"];
/// Number of restarts from which a crash is worth a message. A dependency, such as a
/// database, may still be starting.
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
    ready: bool,
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
    /// The reason for which the container waits; empty if it has ended.
    pub reason: String,
    /// Whether time may fix it.
    pub outlook: Outlook,
    pub severity: Severity,
}

/// When a problem that time may fix is worth a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Not before the rollout times out.
    Low,
    /// As soon as it has persisted for a while.
    Medium,
    /// Immediately.
    High,
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

    /// Returns the problem that keeps the pod from becoming ready; those that time cannot fix
    /// come first.
    pub fn problem(&self) -> Option<PodProblem> {
        let problems = self.containers().filter_map(Container::problem);
        problems.min_by_key(|problem| matches!(problem.outlook, Outlook::MayRecover(_)))
    }

    /// Returns why it is not ready and will not be, unless something else changes: a problem,
    /// or an image that cannot be pulled.
    pub fn obstacle(&self) -> Option<String> {
        let pull = || self.is_failing_to_pull().then(|| self.problem_message()).flatten();
        self.problem().map(|problem| problem.message).or_else(pull)
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

    /// Returns the message of its first container that does not run, or has restarted.
    pub fn problem_message(&self) -> Option<String> {
        let mut containers: Vec<&Container> = self.containers().collect();
        containers.sort_by_key(|container| container.state.running.is_some());
        containers.into_iter().find_map(Container::describe)
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
        let waiting = self.state.waiting.as_ref();
        let ended = [&self.state.terminated, &self.last_state.terminated];
        let ended = ended.into_iter().flatten().filter(|ended| ended.is_message_of_runtime());
        let ended = ended.map(|ended| outlook::container_outlook("", &ended.message));
        let ended = ended.flatten().next().map(|outlook| ("", outlook));
        let waiting = waiting.and_then(|Waiting { reason, message }| {
            Some((reason.as_str(), outlook::container_outlook(reason, message)?))
        });
        let crash = outlook::container_outlook(CRASH_LOOP, "").filter(|_| self.is_crash_looping());
        let crash = crash.map(|outlook| (CRASH_LOOP, outlook));
        let (reason, outlook) = ended.or(waiting).or(crash)?;
        Some(PodProblem {
            container: self.name.clone(),
            message: self.describe().unwrap_or_default(),
            reason: reason.to_owned(),
            outlook,
            severity: self.severity(reason),
        })
    }

    fn severity(&self, reason: &str) -> Severity {
        match reason {
            CRASH_LOOP if self.restart_count < CRASH_LIMIT => Severity::Low,
            reason if RETRIED_REASONS.contains(&reason) => Severity::Medium,
            _ => Severity::High,
        }
    }

    /// Whether it has crashed more than once, also while it runs again or has just ended.
    fn is_crash_looping(&self) -> bool {
        let ended = self.last_state.terminated.is_some() && self.restart_count > 0;
        let runs = self.state.running.is_some();
        ended && !self.ready && (!runs || self.restart_count >= CRASH_LIMIT)
    }

    fn describe(&self) -> Option<String> {
        let ended = self.state.terminated.as_ref().filter(|ended| ended.exit_code != 0);
        let mut message = match (&self.state.waiting, ended) {
            (Some(waiting), _) if waiting.message.is_empty() => waiting.reason.clone(),
            (Some(waiting), _) => format!("{}: {}", waiting.reason, waiting.message),
            (None, Some(ended)) => format!("{}, exit code {}", ended.reason, ended.exit_code),
            (None, None) if self.is_crash_looping() => pluralize(self.restart_count, "restart"),
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

impl Terminated {
    /// Whether the runtime wrote the message, because it could not start the program. Other
    /// messages are those of the program.
    fn is_message_of_runtime(&self) -> bool {
        !["Error", "Completed", "OOMKilled"].contains(&self.reason.as_str())
    }
}

/// Whether the log of a container only shows that the kernel cannot execute its program.
/// Some runtimes report this in no other way.
pub fn is_exec_format_error(log: &str) -> bool {
    log.trim().lines().count() == 1 && log.contains("exec format error")
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
    fn severity_depends_on_reason_and_restarts() {
        let severity = |reason, restarts| pod(reason, restarts).problem().map(|p| p.severity);
        assert_eq!(severity("CrashLoopBackOff", 3), Some(Severity::High));
        assert_eq!(severity("CrashLoopBackOff", 2), Some(Severity::Low));
        assert_eq!(severity("RunContainerError", 0), Some(Severity::Medium));
        assert_eq!(severity("CreateContainerConfigError", 0), Some(Severity::High));
        assert_eq!(severity("ContainerCreating", 0), None);
        assert_eq!(severity("ImagePullBackOff", 0), None);
        assert!(pod("ImagePullBackOff", 0).is_failing_to_pull());
        let message = "pod `p`: container `c`: ImagePullBackOff: m";
        assert_eq!(pod("ImagePullBackOff", 0).describe(), message);
    }

    /// Between two crashes, the container runs or has just ended.
    #[test]
    fn crash_loop_is_problem_in_each_state() {
        let last = json!({"terminated": {"exitCode": 7, "reason": "Error"}});
        let problem = |restarts: u64, ready: bool, state: Value| {
            let container = json!({"name": "c", "restartCount": restarts, "ready": ready,
                "state": state, "lastState": last});
            with(&container).problem().map(|p| (p.message, p.severity))
        };
        let ended = json!({"terminated": {"exitCode": 7, "reason": "Error"}});
        let running = json!({"running": {}});
        let message = "container `c`: Error, exit code 7 (last exit code 7, Error)";
        assert_eq!(problem(1, false, ended), Some((message.to_owned(), Severity::Low)));
        let message = "container `c`: 3 restarts (last exit code 7, Error)";
        let expected = Some((message.to_owned(), Severity::High));
        assert_eq!(problem(3, false, running.clone()), expected);
        assert_eq!(problem(1, false, running.clone()), None);
        assert_eq!(problem(3, true, running), None);
        // An init container that succeeded at the second attempt.
        assert_eq!(problem(1, true, json!({"terminated": {"exitCode": 0}})), None);
    }

    #[test]
    fn message_of_program_is_no_sign_of_runtime() {
        let ended = |reason: &str| {
            json!({"exitCode": 1, "reason": reason,
            "message": "exec: \"git\": executable file not found in $PATH"})
        };
        let problem = |reason| {
            let state = json!({"terminated": ended(reason)});
            with(&json!({"name": "c", "state": state})).problem()
        };
        assert_eq!(problem("Error"), None);
        assert!(problem("StartError").is_some());
        assert!(is_exec_format_error("exec /app: exec format error\n"));
        assert!(!is_exec_format_error("cannot run helper: exec format error\ngiving up\n"));
    }

    #[test]
    fn exec_failure_is_certain_at_first_start() {
        let ended = json!({"exitCode": 128, "reason": "StartError",
            "message": "exec: \"/absent\": stat /absent: no such file or directory: unable to start container process: exec"});
        let problem = with(&json!({"name": "c", "state": {"terminated": ended}})).problem();
        let problem = problem.unwrap();
        assert!(matches!(problem.outlook, Outlook::CannotRecover(_)));
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
