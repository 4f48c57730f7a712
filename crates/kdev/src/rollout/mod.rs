//! Takes the applied workloads and waits until the new pods are ready and run this build;
//! fails as soon as they cannot.
//!
//! - `rollback.rs`: puts the previous revision back
//! - `watch.rs`: wakes the wait when `kubectl rollout status` returns

mod error;
pub(crate) mod rollback;
mod watch;

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use kdev_core::image::built::BuiltImage;
use kdev_core::kube::kinds;
use kdev_core::kube::kubelet_policy;
use kdev_core::kube::pod::{self, Pod, Runs};
use kdev_core::kube::workload::{self, State};
use kdev_manifest::expected::{self, ExpectedWorkload};
use kdev_manifest::objects::Object;
use serde_json::Value;

use crate::cluster::snapshot::{self, Snapshot};
use crate::cluster::{Cluster, kubelet_config};
use crate::cx::Cx;
use crate::details::Details;
use crate::event::{Event, PodState};
use crate::load::Loaded;
use crate::rollout::watch::RolloutWatcher;

pub use error::Error;
pub(crate) use error::Result;

/// How long a trouble that may pass must last to end the wait.
const PERSISTENT_FAILURE_AFTER: Duration = Duration::from_secs(10);
/// The same for an image that the kubelet does not see: that it has come, it finds
/// within 15 s.
const IMAGE_NOT_SEEN_AFTER: Duration = Duration::from_secs(20);

/// What is waited for, and for how long.
pub(crate) struct Rollout<'a> {
    pub(crate) cx: &'a Cx<'a>,
    pub(crate) cluster: &'a Cluster,
    pub(crate) image: &'a BuiltImage,
    /// Where the image is.
    pub(crate) loaded: Loaded,
    /// What the containers of the image were given.
    pub(crate) wanted: &'a [ExpectedWorkload],
    pub(crate) limit: Duration,
}

impl Rollout<'_> {
    /// Waits for every workload among the objects. Where nothing was applied they may
    /// all be ready, and a look is worth while before anything else.
    pub(crate) fn wait(&self, objects: &[Object], is_unchanged: bool) -> Result<()> {
        let begun = Instant::now();
        let mut waits: Vec<Wait> = Vec::new();
        for object in objects {
            match kinds::awaited(&object.kind) {
                Some(_) => waits.push(Wait::new(self, object, begun)),
                None => self.note_not_awaited(object),
            }
        }
        if is_unchanged {
            self.poll_once(&mut waits)?;
        }
        let over = self.cx.interrupt().child();
        let watching = self.cx.clone().with_interrupt(over.clone());
        let bell = RolloutWatcher::default();
        thread::scope(|scope| {
            for object in waits.iter().map(|wait| wait.object).filter(|o| bell.register(o)) {
                let (bell, watching) = (&bell, &watching);
                scope.spawn(move || bell.watch(watching, self.cluster, object));
            }
            let done = self.poll(&mut waits, &bell, begun);
            over.raise();
            done
        })
    }

    fn poll(&self, waits: &mut Vec<Wait>, bell: &RolloutWatcher, begun: Instant) -> Result<()> {
        while let Some(first) = waits.first() {
            if begun.elapsed() > self.limit {
                return Err(first.timed_out());
            }
            bell.wait();
            self.poll_once(waits)?;
        }
        Ok(())
    }

    /// One look at each namespace; whatever is ready is waited for no longer.
    fn poll_once(&self, waits: &mut Vec<Wait>) -> Result<()> {
        let namespaces: BTreeSet<Option<String>> =
            waits.iter().map(|wait| wait.object.namespace.clone()).collect();
        for namespace in namespaces {
            let of_it = |wait: &&mut Wait| wait.object.namespace == namespace;
            let kinds = waits.iter().filter(|wait| wait.object.namespace == namespace);
            let kinds: Vec<&str> = kinds.map(|wait| wait.object.kind.as_str()).collect();
            let look = Snapshot::fetch(self.cx, self.cluster, namespace.as_deref(), kinds)?;
            waits.iter_mut().filter(of_it).try_for_each(|wait| wait.step(&look))?;
        }
        waits.retain(|wait| !wait.is_done);
        Ok(())
    }

    fn note_not_awaited(&self, object: &Object) {
        let text = match object.kind.as_str() {
            "CronJob" => format!("{} is applied; its next run uses this build", object.id()),
            _ if object.pod.is_some() => format!("{} is applied, but not awaited", object.id()),
            _ => return,
        };
        self.cx.emit(Event::Note { text });
    }
}

/// The wait for one workload.
struct Wait<'a> {
    rollout: &'a Rollout<'a>,
    object: &'a Object,
    wanted: Option<&'a ExpectedWorkload>,
    begun: Instant,
    failing_since: Option<Instant>,
    /// What was seen last: how many are ready, of how many, and the new pods.
    latest: (u64, u64, Vec<Pod>),
    reported: Option<(u64, u64, Vec<PodState>)>,
    /// Logs that were read: pod, container, and how often it had restarted.
    logs: BTreeSet<(String, String, u64)>,
    /// Nodes whose kubelets were asked why they do not see the image.
    queried_nodes: BTreeSet<String>,
    is_mutation_reported: bool,
    is_done: bool,
}

/// An error for the case that what it tells of lasts so long.
type PendingFailure = (Error, Duration);

impl<'a> Wait<'a> {
    fn new(rollout: &'a Rollout<'a>, object: &'a Object, begun: Instant) -> Self {
        let is_it = |wanted: &&ExpectedWorkload| {
            let ExpectedWorkload { kind, name, namespace, .. } = wanted;
            (kind, name, namespace) == (&object.kind, &object.name, &object.namespace)
        };
        Self {
            rollout,
            object,
            wanted: rollout.wanted.iter().find(is_it),
            begun,
            failing_since: None,
            latest: (0, 0, Vec::new()),
            reported: None,
            logs: BTreeSet::new(),
            queried_nodes: BTreeSet::new(),
            is_mutation_reported: false,
            is_done: false,
        }
    }

    fn step(&mut self, look: &Snapshot) -> Result<()> {
        let kind = &self.object.kind;
        let Some(live) = look.workload(kind, &self.object.name) else {
            return Err(self.failed(None, "it has been deleted".to_owned()));
        };
        if let Some(change) = self.wanted.and_then(|wanted| wanted.superseded(live)) {
            let (ours, theirs) = (change.applied, change.live);
            return Err(Error::Superseded { workload: self.object.id(), applied: ours, live: theirs });
        }
        let pods = look.new_pods(kind, live);
        self.check_admission(look, live, &pods)?;
        let (ready, wanted, doubt) = match workload::state(kind, live) {
            State::Ready(count) if self.is_confirmed_by_pods(count, &pods)? => {
                self.finish(count, live);
                return Ok(());
            }
            State::Ready(wanted) => (0, wanted, None),
            State::Waiting { ready, desired: wanted } => (ready, wanted, None),
            State::Degraded { reason, desired: wanted } => {
                (0, wanted, Some((self.failed(None, reason), PERSISTENT_FAILURE_AFTER)))
            }
            State::Blocked { reason, action: cure } => return Err(self.blocked(reason, cure)),
            State::Failed(reason) => return Err(self.failed(newest_crash(&pods), reason)),
        };
        let doubt = self.pod_failure(&pods)?.or(doubt);
        self.latest = (ready, wanted, pods);
        self.report_progress();
        self.fail_if_persistent(doubt)
    }

    fn finish(&mut self, pods: u64, live: &Value) {
        let (workload, took) = (self.object.id(), self.begun.elapsed());
        self.rollout.cx.emit(Event::Ready { workload, pods, duration: took });
        if live["spec"]["replicas"] == 0 {
            let text = format!("{} has `replicas: 0`: nothing runs", self.object.id());
            self.rollout.cx.emit(Event::Note { text });
        }
        self.is_done = true;
    }

    /// Whether the pods bear the controller out. A Job's pods may be gone, and a
    /// `StatefulSet` may be told to keep its old ones.
    fn is_confirmed_by_pods(&self, count: u64, pods: &[Pod]) -> Result<bool> {
        let may_have_none = ["Job", "StatefulSet"].contains(&self.object.kind.as_str());
        Ok(self.all_run_build(pods)? && (count == 0 || may_have_none || !pods.is_empty()))
    }

    /// Whether all new pods run this build. One that runs something else will
    /// go on to do so, but for a bare pod, whose image is changed in place and
    /// which is restarted some time later.
    fn all_run_build(&self, pods: &[Pod]) -> Result<bool> {
        let names = self.container_names();
        let mut all = true;
        for pod in pods {
            match pod.runs(&names, &self.rollout.image.config_digest) {
                Runs::Ours => {}
                Runs::Other(words) if self.object.kind != "Pod" => {
                    return Err(self.failed(Some(pod), self.explain_old_pods(&words)));
                }
                Runs::NotYet | Runs::Other(_) => all = false,
            }
        }
        Ok(all)
    }

    fn explain_old_pods(&self, words: &str) -> String {
        let digest = &self.rollout.image.config_digest;
        match self.object.kind.as_str() {
            kind @ ("ReplicaSet" | "ReplicationController") => {
                format!("{words}, not this build, `{digest}`, and a {kind} replaces no pod")
            }
            _ => format!("{words}, not this build, `{digest}`"),
        }
    }

    /// Fails if it is certain that a pod will not be ready; else gives the
    /// error for the case that a doubt lasts.
    fn pod_failure(&mut self, pods: &[Pod]) -> Result<Option<PendingFailure>> {
        let mut doubt = None;
        for pod in pods {
            if let Some(words) = self.exec_format_failure(pod) {
                return Err(self.failed(Some(pod), words));
            }
            if let Some(words) = self.image_not_seen(pod)? {
                doubt = Some((self.failed(Some(pod), words), IMAGE_NOT_SEEN_AFTER));
                continue;
            }
            match pod.problem() {
                Some(trouble) if trouble.is_certain => {
                    return Err(self.failed(Some(pod), trouble.message));
                }
                Some(trouble) => {
                    doubt = Some((self.failed(Some(pod), trouble.message), PERSISTENT_FAILURE_AFTER));
                }
                None => {}
            }
        }
        Ok(doubt)
    }

    /// What a pod says that misses the image on a node that has it: either it was
    /// looked for before it came, or the kubelet does not let the pod have it.
    fn image_not_seen(&mut self, pod: &Pod) -> Result<Option<String>> {
        let names: Vec<&str> = self.container_names();
        let Some(words) = pod.missing_image(&names) else { return Ok(None) };
        let loaded = |node: &&String| self.rollout.loaded.is_on(node);
        let Some(node) = pod.spec.node_name.as_ref().filter(loaded) else { return Ok(None) };
        let Rollout { cx, cluster, image, .. } = self.rollout;
        let told = if self.queried_nodes.insert(node.clone()) {
            kubelet_config::fetch_image_policy(cx, cluster, node)
        } else {
            Value::Null
        };
        if let Some(policy) = kubelet_policy::rejecting_policy(&told, &image.reference.familiar()) {
            return Err(Error::ImageRejected {
                workload: self.object.id(),
                node: node.clone(),
                reason: Details(format!(
                    "the image is there, but `imagePullCredentialsVerificationPolicy` is `{policy}`: {words}"
                )),
            });
        }
        Ok(Some(words))
    }

    /// The containers that run the project's image.
    fn container_names(&self) -> Vec<&'a str> {
        let containers = self.wanted.map(|wanted| wanted.containers.iter());
        containers.into_iter().flatten().map(|container| container.name.as_str()).collect()
    }

    /// Some runtimes tell only in the container's log that its program is none
    /// for this machine.
    fn exec_format_failure(&mut self, pod: &Pod) -> Option<String> {
        let (container, restarts) = pod.crashed()?;
        let key = (pod.metadata.name.clone(), container.to_owned(), restarts);
        if !self.logs.insert(key) {
            return None;
        }
        let log = self.crash_log(pod, container)?;
        if pod::is_missing_entrypoint(&log) { pod.problem_message() } else { None }
    }

    /// Says once what admission has made of a pod; fails where the pod waits
    /// for a pull because of it.
    fn check_admission(&mut self, look: &Snapshot, live: &Value, pods: &[Pod]) -> Result<()> {
        let Some(wanted) = self.wanted else { return Ok(()) };
        // What the template says, too, was said when it was applied.
        let is_of_pod = self.object.kind == "Pod" || wanted.drift(live).is_empty();
        for pod in pods {
            let name = &pod.metadata.name;
            let changes = look.pod(name).map(|live| wanted.drift(live)).unwrap_or_default();
            if changes.is_empty() {
                continue;
            }
            let reason = expected::describe(&changes, is_of_pod);
            if pod.is_failing_to_pull() {
                return Err(Error::Mutated {
                    workload: self.object.id(),
                    pod: Some(name.clone()),
                    changes,
                    kubectl: self.kubectl(),
                    reason: Details(reason),
                });
            }
            if is_of_pod && !std::mem::replace(&mut self.is_mutation_reported, true) {
                let text = format!("pod `{name}` is not as it was applied: {reason}");
                self.rollout.cx.emit(Event::Note { text });
            }
        }
        Ok(())
    }

    /// Fails if the doubt has lasted.
    fn fail_if_persistent(&mut self, doubt: Option<PendingFailure>) -> Result<()> {
        let Some((error, lasting)) = doubt else {
            self.failing_since = None;
            return Ok(());
        };
        let since = self.failing_since.get_or_insert_with(Instant::now);
        if since.elapsed() > lasting { Err(error) } else { Ok(()) }
    }

    fn report_progress(&mut self) {
        let (ready, wanted, pods) = &self.latest;
        let state = |pod: &Pod| PodState {
            pod: pod.metadata.name.clone(),
            node: pod.spec.node_name.clone(),
            state: pod.state(),
        };
        let mut pods: Vec<PodState> = pods.iter().map(state).collect();
        pods.sort();
        let now = (*ready, *wanted, pods);
        if self.reported.as_ref() != Some(&now) {
            let (ready, wanted, pods) = now.clone();
            let workload = self.object.id();
            self.rollout.cx.emit(Event::Waiting { workload, ready, desired: wanted, pods });
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

    /// With the last words of what has crashed.
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

    fn blocked(&self, reason: String, cure: workload::UnblockAction) -> Error {
        let (workload, kubectl) = (self.object.id(), self.kubectl());
        Error::Blocked { workload, action: cure, kubectl, reason: Details(reason) }
    }

    fn timed_out(&self) -> Error {
        let (ready, wanted, pods) = &self.latest;
        Error::TimedOut {
            workload: self.object.id(),
            ready: *ready,
            desired: *wanted,
            limit: self.rollout.limit,
            kubectl: self.kubectl(),
            reason: self.with_log(pod::describe_all(pods), newest_crash(pods)),
        }
    }
}

fn newest_crash(pods: &[Pod]) -> Option<&Pod> {
    pods.iter().rev().find(|pod| pod.crashed().is_some())
}
