//! The wait for one workload.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kdev_core::kube::kubelet_policy;
use kdev_core::kube::pod::{self, Pod, Runs};
use kdev_core::kube::settle;
use kdev_core::kube::workload::{self, State};
use kdev_manifest::expected::{self, ExpectedWorkload};
use kdev_manifest::objects::Object;
use serde_json::Value;

use crate::cluster::kubelet_config;
use crate::cluster::snapshot::{self, Snapshot};
use crate::details::Details;
use crate::event::{Event, PodState};
use crate::rollout::error::{Error, Result};
use crate::rollout::request::Rollout;
use crate::rollout::settle::{SettleTimer, Settled};

/// How long a possibly temporary failure must persist before the rollout fails.
const PERSISTENT_FAILURE_AFTER: Duration = Duration::from_secs(10);
/// The same for an image that the kubelet has not seen yet. It notices a loaded image within
/// 15 s.
const IMAGE_NOT_SEEN_AFTER: Duration = Duration::from_secs(20);

/// The wait for one workload.
pub(crate) struct Wait<'a> {
    rollout: &'a Rollout<'a>,
    pub(crate) object: &'a Object,
    expected: Option<&'a ExpectedWorkload>,
    /// Whether this run has changed the workload.
    has_changed: bool,
    started: Instant,
    failing_since: Option<Instant>,
    /// The latest state: the number of ready and of desired pods, and the new pods.
    latest: (u64, u64, Vec<Pod>),
    reported: Option<(u64, u64, Vec<PodState>)>,
    /// The logs that were read: pod, container, and number of restarts.
    logs: BTreeSet<(String, String, u64)>,
    /// The nodes whose image policy was already fetched.
    queried_nodes: BTreeSet<String>,
    is_mutation_reported: bool,
    settle_timer: SettleTimer,
    pub(crate) is_done: bool,
}

/// An error, and how long it must persist before the rollout fails.
type PendingFailure = (Error, Duration);

impl<'a> Wait<'a> {
    pub(crate) fn new(rollout: &'a Rollout<'a>, object: &'a Object, started: Instant) -> Self {
        let is_same = |expected: &&ExpectedWorkload| {
            let ExpectedWorkload { kind, name, namespace, .. } = expected;
            (kind, name, namespace) == (&object.kind, &object.name, &object.namespace)
        };
        Self {
            rollout,
            object,
            has_changed: rollout.has_changed(object),
            expected: rollout.expected_workloads.iter().find(is_same),
            started,
            failing_since: None,
            latest: (0, 0, Vec::new()),
            reported: None,
            logs: BTreeSet::new(),
            queried_nodes: BTreeSet::new(),
            is_mutation_reported: false,
            settle_timer: SettleTimer::default(),
            is_done: false,
        }
    }

    pub(crate) fn step(&mut self, snapshot: &Snapshot) -> Result<()> {
        let kind = &self.object.kind;
        let Some(live) = snapshot.workload(kind, &self.object.name) else {
            return Err(self.failed(None, "it was deleted".to_owned()));
        };
        if let Some(change) = self.expected.and_then(|expected| expected.superseded(live)) {
            let workload = self.object.id();
            return Err(Error::Superseded { workload, applied: change.applied, live: change.live });
        }
        let pods = snapshot.new_pods(kind, live);
        self.check_admission(snapshot, live, &pods)?;
        let (ready, desired, pending) = match workload::state(kind, live) {
            State::Ready(count)
                if self.is_confirmed_by_pods(count, &pods)?
                    && self.settle(count, live, &pods) != Settled::No =>
            {
                return Ok(());
            }
            State::Ready(desired) => (0, desired, None),
            State::Waiting { ready, desired } => (ready, desired, None),
            State::Degraded { reason, desired } => {
                (0, desired, Some((self.failed(None, reason), PERSISTENT_FAILURE_AFTER)))
            }
            State::Blocked { reason, action } => return Err(self.blocked(reason, action)),
            State::Failed(reason) => return Err(self.failed(newest_crash(&pods), reason)),
        };
        self.settle_timer.stop();
        let pending = self.pod_failure(&pods)?.or(pending);
        self.latest = (ready, desired, pods);
        self.report_progress();
        self.fail_if_persistent(pending)
    }

    /// Finishes the wait as soon as the containers without a readiness probe have run long
    /// enough.
    fn settle(&mut self, count: u64, live: &Value, pods: &[Pod]) -> Settled {
        let limit = self.rollout.settle;
        let containers = settle::unprobed_containers(&self.object.kind, live, limit);
        let Some(runs) = settle::Runs::find(pods, &containers) else { return Settled::No };
        // Pods that this run did not start may have run long enough already.
        let is_old = || runs.are_older(limit, Timestamp::now().as_second());
        let can_restart = self.started.elapsed() <= self.rollout.limit;
        let settled = if count == 0 || runs.is_empty() || !self.has_changed && is_old() {
            Settled::Yes
        } else {
            self.settle_timer.observe(runs, limit, can_restart)
        };
        match settled {
            Settled::Yes => self.finish(count, live),
            Settled::Begun => self.report_settling(count, &containers),
            Settled::NotYet | Settled::No => {}
        }
        settled
    }

    fn report_settling(&mut self, pods: u64, containers: &[&str]) {
        self.reported = None;
        self.rollout.cx.emit(Event::Settling {
            workload: self.object.id(),
            pods,
            containers: containers.iter().map(ToString::to_string).collect(),
            duration: self.rollout.settle,
        });
    }

    /// Whether it is not ready yet, so that the timeout applies. A workload that became ready
    /// in time may use up its time to settle.
    pub(crate) fn is_limited(&self) -> bool {
        !self.is_done && !self.settle_timer.is_running()
    }

    /// Whether its containers without a readiness probe had to keep running.
    pub(crate) fn is_settling(&self) -> bool {
        self.settle_timer.is_running()
    }

    /// Returns how long its containers have to keep running; `None` if they are not ready.
    pub(crate) fn settle_rest(&self) -> Option<Duration> {
        self.settle_timer.rest(self.rollout.settle)
    }

    fn finish(&mut self, pods: u64, live: &Value) {
        let (workload, duration) = (self.object.id(), self.started.elapsed());
        self.rollout.cx.emit(Event::Ready { workload, pods, duration });
        if live["spec"]["replicas"] == 0 {
            let text = format!("{} has `replicas: 0`, so no pods run", self.object.id());
            self.rollout.cx.emit(Event::Note { text });
        }
        self.is_done = true;
    }

    /// Returns whether the pods confirm the status of the workload. The pods of a Job may be
    /// gone, and a `StatefulSet` may be configured to keep its old pods.
    fn is_confirmed_by_pods(&self, count: u64, pods: &[Pod]) -> Result<bool> {
        let may_have_none = ["Job", "StatefulSet"].contains(&self.object.kind.as_str());
        Ok(self.all_run_build(pods)? && (count == 0 || may_have_none || !pods.is_empty()))
    }

    /// Returns whether all new pods run this build. It is an error if a pod runs another image,
    /// except for a bare pod, whose image is changed in place and which restarts later.
    fn all_run_build(&self, pods: &[Pod]) -> Result<bool> {
        let names = self.container_names();
        let mut all = true;
        for pod in pods {
            match pod.runs(&names, &self.rollout.image.config_digest) {
                Runs::Expected => {}
                Runs::Other(message) if self.object.kind != "Pod" => {
                    return Err(self.failed(Some(pod), self.explain_old_pods(&message)));
                }
                Runs::NotYet | Runs::Other(_) => all = false,
            }
        }
        Ok(all)
    }

    fn explain_old_pods(&self, message: &str) -> String {
        let digest = &self.rollout.image.config_digest;
        match self.object.kind.as_str() {
            kind @ ("ReplicaSet" | "ReplicationController") => {
                format!(
                    "{message}, not this build (`{digest}`), and a {kind} does not replace its pods"
                )
            }
            _ => format!("{message}, not this build (`{digest}`)"),
        }
    }

    /// Fails if a pod can certainly not become ready. Returns the error for a failure that may
    /// be temporary.
    fn pod_failure(&mut self, pods: &[Pod]) -> Result<Option<PendingFailure>> {
        let mut pending = None;
        for pod in pods {
            if let Some(message) = self.exec_format_failure(pod) {
                return Err(self.failed(Some(pod), message));
            }
            if let Some(message) = self.image_not_seen(pod)? {
                pending = Some((self.failed(Some(pod), message), IMAGE_NOT_SEEN_AFTER));
                continue;
            }
            match pod.problem() {
                Some(problem) if problem.is_certain => {
                    return Err(self.failed(Some(pod), problem.message));
                }
                Some(problem) => {
                    pending =
                        Some((self.failed(Some(pod), problem.message), PERSISTENT_FAILURE_AFTER));
                }
                None => {}
            }
        }
        Ok(pending)
    }

    /// Returns the message of a pod that is missing the image although its node has it: either
    /// the kubelet looked for it before the load, or its image policy rejects it.
    fn image_not_seen(&mut self, pod: &Pod) -> Result<Option<String>> {
        let names: Vec<&str> = self.container_names();
        let Some(message) = pod.missing_image(&names) else { return Ok(None) };
        let loaded = |node: &&String| self.rollout.loaded.is_on(node);
        let Some(node) = pod.spec.node_name.as_ref().filter(loaded) else { return Ok(None) };
        let Rollout { cx, cluster, image, .. } = self.rollout;
        let policy_config = if self.queried_nodes.insert(node.clone()) {
            kubelet_config::fetch_image_policy(cx, cluster, node)
        } else {
            Value::Null
        };
        if let Some(policy) =
            kubelet_policy::rejecting_policy(&policy_config, &image.reference.familiar())
        {
            return Err(Error::ImageRejected {
                workload: self.object.id(),
                node: node.clone(),
                reason: Details(format!(
                    "the image is on the node, but `imagePullCredentialsVerificationPolicy` is `{policy}`: {message}"
                )),
            });
        }
        Ok(Some(message))
    }

    /// Returns the names of the containers with the project's image.
    fn container_names(&self) -> Vec<&'a str> {
        let containers = self.expected.map(|expected| expected.containers.iter());
        containers.into_iter().flatten().map(|container| container.name.as_str()).collect()
    }

    /// Returns the error of a pod whose program cannot be executed. Some runtimes report this
    /// only in the container's log.
    fn exec_format_failure(&mut self, pod: &Pod) -> Option<String> {
        let (container, restarts) = pod.crashed()?;
        let key = (pod.metadata.name.clone(), container.to_owned(), restarts);
        if !self.logs.insert(key) {
            return None;
        }
        let log = self.crash_log(pod, container)?;
        if pod::is_missing_entrypoint(&log) { pod.problem_message() } else { None }
    }

    /// Reports once how admission control modified a pod; fails if the pod waits for a pull
    /// because of it.
    fn check_admission(&mut self, snapshot: &Snapshot, live: &Value, pods: &[Pod]) -> Result<()> {
        let Some(expected) = self.expected else { return Ok(()) };
        // A change of the template was already reported after the apply.
        let is_pod_only = self.object.kind == "Pod" || expected.drift(live).is_empty();
        for pod in pods {
            let name = &pod.metadata.name;
            let changes = snapshot.pod(name).map(|live| expected.drift(live)).unwrap_or_default();
            if changes.is_empty() {
                continue;
            }
            let reason = expected::describe(&changes, is_pod_only);
            if pod.is_failing_to_pull() {
                return Err(Error::Mutated {
                    workload: self.object.id(),
                    pod: Some(name.clone()),
                    changes,
                    kubectl: self.kubectl(),
                    reason: Details(reason),
                });
            }
            if is_pod_only && !std::mem::replace(&mut self.is_mutation_reported, true) {
                let text = format!("pod `{name}` differs from what was applied: {reason}");
                self.rollout.cx.emit(Event::Note { text });
            }
        }
        Ok(())
    }

    /// Fails if the failure has persisted long enough.
    fn fail_if_persistent(&mut self, pending: Option<PendingFailure>) -> Result<()> {
        let Some((error, duration)) = pending else {
            self.failing_since = None;
            return Ok(());
        };
        let since = self.failing_since.get_or_insert_with(Instant::now);
        if since.elapsed() > duration { Err(error) } else { Ok(()) }
    }

    fn report_progress(&mut self) {
        let (ready, desired, pods) = &self.latest;
        let state = |pod: &Pod| PodState {
            pod: pod.metadata.name.clone(),
            node: pod.spec.node_name.clone(),
            state: pod.state(),
        };
        let mut pods: Vec<PodState> = pods.iter().map(state).collect();
        pods.sort();
        let now = (*ready, *desired, pods);
        if self.reported.as_ref() != Some(&now) {
            let (ready, desired, pods) = now.clone();
            let workload = self.object.id();
            self.rollout.cx.emit(Event::Waiting { workload, ready, desired, pods });
            self.reported = Some(now);
        }
    }

    fn crash_log(&self, pod: &Pod, container: &str) -> Option<String> {
        let Rollout { cx, cluster, .. } = self.rollout;
        snapshot::fetch_log(cx, cluster, self.namespace(), &pod.metadata.name, container, false)
    }

    fn namespace(&self) -> Option<&str> {
        self.object.namespace.as_deref()
    }

    fn kubectl(&self) -> String {
        self.rollout.cluster.display_command(self.namespace())
    }

    /// Adds the last log lines of a crashed container.
    fn with_log(&self, reason: String, pod: Option<&Pod>) -> Details {
        let crashed = pod.and_then(|pod| Some((pod, pod.crashed()?)));
        let log = crashed.and_then(|(pod, (container, _))| self.crash_log(pod, container));
        Details(match log {
            Some(log) => format!("{reason}; its log ends with\n{log}"),
            None => reason,
        })
    }

    fn failed(&self, pod: Option<&Pod>, reason: String) -> Error {
        Error::Failed {
            workload: self.object.id(),
            pod: pod.map(|pod| pod.metadata.name.clone()),
            node: pod.and_then(|pod| pod.spec.node_name.clone()),
            kubectl: self.kubectl(),
            reason: self.with_log(reason, pod),
        }
    }

    fn blocked(&self, reason: String, action: workload::UnblockAction) -> Error {
        let (workload, kubectl) = (self.object.id(), self.kubectl());
        Error::Blocked { workload, action, kubectl, reason: Details(reason) }
    }

    pub(crate) fn timed_out(&self) -> Error {
        let (ready, desired, pods) = &self.latest;
        Error::TimedOut {
            workload: self.object.id(),
            ready: *ready,
            desired: *desired,
            limit: self.rollout.limit,
            kubectl: self.kubectl(),
            reason: self.with_log(pod::describe_all(pods), newest_crash(pods)),
        }
    }
}

fn newest_crash(pods: &[Pod]) -> Option<&Pod> {
    pods.iter().rev().find(|pod| pod.crashed().is_some())
}
