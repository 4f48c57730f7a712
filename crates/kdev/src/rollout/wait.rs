//! The wait for one workload.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use kdev_core::kube::completed_jobs::Completion;
use kdev_core::kube::job::{self, JobResult};
use kdev_core::kube::pod::{Pod, Runs};
use kdev_core::kube::settle;
use kdev_core::kube::workload::{self, State};
use kdev_manifest::expected::{self, ExpectedWorkload};
use kdev_manifest::objects::Object;
use serde_json::Value;

use crate::cluster::snapshot::Snapshot;
use crate::details::Details;
use crate::event::{Event, PodState};
use crate::rollout::deleted_job;
use crate::rollout::error::{Error, Failure, Result};
use crate::rollout::failure::{Failures, newest_crash};
use crate::rollout::problems::Problems;
use crate::rollout::request::Rollout;
use crate::rollout::settle::{SettleTimer, Settled};
use crate::rollout::unblock::Unblocker;

/// The wait for one workload.
pub(crate) struct Wait<'a> {
    rollout: &'a Rollout<'a>,
    pub(crate) object: &'a Object,
    expected: Option<&'a ExpectedWorkload>,
    /// Whether this run has changed the workload.
    has_changed: bool,
    started: Instant,
    failures: Failures<'a>,
    problems: Problems<'a>,
    unblocker: Unblocker<'a>,
    /// The latest state: the number of ready and of desired pods, and the new pods.
    latest: (u64, u64, Vec<Pod>),
    reported: Option<(u64, u64, Vec<PodState>)>,
    is_mutation_reported: bool,
    /// The latest state of a Job, which may be deleted after it has finished.
    job: Option<Value>,
    settle_timer: SettleTimer,
    /// How a Job that Kubernetes will delete has completed.
    pub(crate) completion: Option<Completion>,
    pub(crate) is_done: bool,
}

impl<'a> Wait<'a> {
    pub(crate) fn new(rollout: &'a Rollout<'a>, object: &'a Object, started: Instant) -> Self {
        let is_same = |expected: &&ExpectedWorkload| {
            let ExpectedWorkload { kind, name, namespace, .. } = expected;
            (kind, name, namespace) == (&object.kind, &object.name, &object.namespace)
        };
        let expected = rollout.expected_workloads.iter().find(is_same);
        let containers = expected.into_iter().flat_map(|expected| &expected.containers);
        let containers = containers.map(|container| container.name.as_str()).collect();
        Self {
            rollout,
            object,
            has_changed: rollout.has_changed(object),
            expected,
            started,
            failures: Failures::new(rollout, object),
            problems: Problems::new(rollout, object, containers, started),
            unblocker: Unblocker::new(rollout, object),
            latest: (0, 0, Vec::new()),
            reported: None,
            is_mutation_reported: false,
            // It may be gone before it is seen.
            job: rollout.applied_job(object).cloned(),
            settle_timer: SettleTimer::default(),
            completion: None,
            is_done: false,
        }
    }

    pub(crate) fn step(&mut self, snapshot: &Snapshot) -> Result<()> {
        let kind = &self.object.kind;
        let Some(live) = snapshot.workload(kind, &self.object.name) else {
            return self.finish_deleted();
        };
        if kind == "Job" {
            self.job = Some(live.clone());
        }
        if let Some(change) = self.expected.and_then(|expected| expected.superseded(live)) {
            let workload = self.object.id();
            return Err(Error::Superseded { workload, applied: change.applied, live: change.live });
        }
        let (pods, state) = (snapshot.new_pods(kind, live), workload::state(kind, live));
        // The pods of a paused workload are those of an older template.
        if !matches!(state, State::Blocked { .. }) {
            self.check_admission(snapshot, live, &pods)?;
        }
        let (ready, desired, creation_failure) = match state {
            State::Ready(count)
                if self.is_confirmed_by_pods(count, &pods)?
                    && self.settle(count, live, &pods) != Settled::No =>
            {
                self.problems.clear();
                return Ok(());
            }
            State::Ready(desired) => (0, desired, None),
            State::Waiting { ready, desired } => (ready, desired, None),
            State::Degraded { reason, desired } => (0, desired, Some(reason)),
            State::Blocked { reason, action } => return Err(self.failures.blocked(reason, action)),
            State::Failed(reason) => {
                let crashed = newest_crash(&pods);
                return Err(self.failures.failed(crashed, Failure::Reported, reason));
            }
        };
        self.settle_timer.stop();
        self.unblocker.unblock(snapshot, live)?;
        self.problems.check(&pods, creation_failure)?;
        self.latest = (ready, desired, pods);
        self.report_progress();
        Ok(())
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

    /// Finishes the wait for a Job that has completed and was deleted since the last snapshot.
    /// Any other deletion is an error.
    fn finish_deleted(&mut self) -> Result<()> {
        let namespace = self.object.namespace.as_deref();
        let job = self.job.take();
        let result = match &job {
            Some(job) => deleted_job::find_result(self.rollout, namespace, job)?,
            None => None,
        };
        let ttl = job.as_ref().and_then(job::short_ttl);
        let reason = match (result, ttl) {
            (Some(JobResult::Completed), _) => {
                let live = job.unwrap_or_default();
                let completions = live.pointer("/spec/completions").and_then(Value::as_u64);
                self.finish(completions.unwrap_or(1), &live);
                return Ok(());
            }
            (Some(JobResult::Failed(reason)), _) => reason,
            (None, Some(ttl)) => {
                format!("`ttlSecondsAfterFinished` is {ttl}, and no event has its result")
            }
            (None, None) => "this run has not deleted it".to_owned(),
        };
        Err(self.failures.failed(None, Failure::Deleted, reason))
    }

    fn finish(&mut self, pods: u64, live: &Value) {
        let (workload, duration) = (self.object.id(), self.started.elapsed());
        self.rollout.cx.emit(Event::Ready { workload, pods, duration });
        if live["spec"]["replicas"] == 0 {
            let text = format!("{} has `replicas: 0`, so no pods run", self.object.id());
            self.rollout.cx.emit(Event::Note { text });
        }
        let kept = workload::kept_by_partition(live);
        if kept > 0 {
            let text = format!(
                "the `partition` of {} keeps the previous revision of {kept} of {pods} pods",
                self.object.id()
            );
            self.rollout.cx.emit(Event::Note { text });
        }
        if self.object.kind == "Job" {
            let namespace = self.object.namespace.as_deref();
            self.completion = Completion::of(namespace, live, Timestamp::now().as_second());
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
                    let reason = self.explain_old_pods(&message);
                    return Err(self.failures.failed(Some(pod), Failure::OtherImage, reason));
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

    /// Returns the names of the containers with the project's image.
    fn container_names(&self) -> Vec<&'a str> {
        let containers = self.expected.map(|expected| expected.containers.iter());
        containers.into_iter().flatten().map(|container| container.name.as_str()).collect()
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
                    kubectl: self.failures.kubectl(),
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

    pub(crate) fn timed_out(&self) -> Error {
        let (ready, desired, pods) = &self.latest;
        let persistent = self.problems.persistent();
        persistent.unwrap_or_else(|| self.failures.timed_out(*ready, *desired, pods))
    }
}
