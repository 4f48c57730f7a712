//! The problems of the pods of one workload: those that time cannot fix end the rollout, the
//! others are reported once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use kdev_core::kube::kubelet_policy;
use kdev_core::kube::outlook::{Outlook, creation_outlook};
use kdev_core::kube::pod::{self, Pod, PodProblem, Severity};
use kdev_manifest::objects::Object;
use serde_json::Value;

use crate::cluster::kubelet_config;
use crate::details::Details;
use crate::event::Event;
use crate::rollout::error::{Error, Failure, Result};
use crate::rollout::failure::Failures;
use crate::rollout::request::Rollout;

/// How long a problem must persist that the next retry often fixes.
const PERSISTENT_AFTER: Duration = Duration::from_secs(10);
/// The same for an image that the kubelet has not seen yet. It notices a loaded image within
/// 15 s.
const IMAGE_NOT_SEEN_AFTER: Duration = Duration::from_secs(20);

/// A pod, a container, and a reason. The pod is empty for the controller.
type Key = (String, String, String);

/// The problems of one workload.
pub(crate) struct Problems<'a> {
    rollout: &'a Rollout<'a>,
    object: &'a Object,
    failures: Failures<'a>,
    /// The names of the containers with the project's image.
    containers: Vec<&'a str>,
    started: Instant,
    /// Since when the problems of the latest check exist.
    since: BTreeMap<Key, Instant>,
    /// The problems that were reported, by container and reason.
    reported: BTreeSet<(String, String)>,
    /// The problem because of which the rollout fails if it times out.
    latest: Option<(Option<Pod>, String)>,
    /// The logs that were read: pod, container, and number of restarts.
    logs: BTreeSet<(String, String, u64)>,
    /// The nodes whose image policy was already fetched.
    queried_nodes: BTreeSet<String>,
}

impl<'a> Problems<'a> {
    pub(crate) fn new(
        rollout: &'a Rollout<'a>,
        object: &'a Object,
        containers: Vec<&'a str>,
        started: Instant,
    ) -> Self {
        Self {
            rollout,
            object,
            failures: Failures::new(rollout, object),
            containers,
            started,
            since: BTreeMap::new(),
            reported: BTreeSet::new(),
            latest: None,
            logs: BTreeSet::new(),
            queried_nodes: BTreeSet::new(),
        }
    }

    /// Fails if time cannot fix a problem of the pods, or of the controller that creates them.
    pub(crate) fn check(&mut self, pods: &[Pod], creation_failure: Option<String>) -> Result<()> {
        let before = std::mem::take(&mut self.since);
        self.latest = None;
        if let Some(reason) = creation_failure {
            self.check_creation(&before, reason)?;
        }
        for pod in pods {
            self.check_pod(&before, pod)?;
        }
        Ok(())
    }

    /// Forgets the problems, because the pods are ready.
    pub(crate) fn clear(&mut self) {
        self.since.clear();
        self.latest = None;
    }

    /// Returns the error of the problem that has persisted until the timeout, if there is one.
    pub(crate) fn persistent(&self) -> Option<Error> {
        let (pod, reason) = self.latest.as_ref()?;
        let failure = Failure::NotInTime(self.rollout.limit);
        Some(self.failures.failed(pod.as_ref(), failure, reason.clone()))
    }

    fn check_creation(&mut self, before: &BTreeMap<Key, Instant>, reason: String) -> Result<()> {
        let age = self.age(before, ("", "", ""));
        match creation_outlook(&reason) {
            Outlook::CannotRecover(why) if age > PERSISTENT_AFTER => {
                let reason = format!("{reason}; {why}");
                return Err(self.failures.failed(None, Failure::CannotRecover, reason));
            }
            Outlook::MayRecover(why) if age > PERSISTENT_AFTER => {
                self.report(None, ("", ""), &reason, why);
            }
            Outlook::CannotRecover(_) | Outlook::MayRecover(_) => {}
        }
        self.latest = Some((None, reason));
        Ok(())
    }

    fn check_pod(&mut self, before: &BTreeMap<Key, Instant>, pod: &Pod) -> Result<()> {
        if let Some(message) = self.exec_format_failure(pod) {
            return Err(self.failures.failed(Some(pod), Failure::CannotRecover, message));
        }
        if let Some(message) = self.image_not_seen(pod)? {
            let age = self.age(before, (&pod.metadata.name, "", "image"));
            if age > IMAGE_NOT_SEEN_AFTER {
                return Err(self.failures.failed(Some(pod), Failure::CannotRecover, message));
            }
            return Ok(());
        }
        let Some(problem) = pod.problem() else { return Ok(()) };
        let PodProblem { container, message, reason, outlook, severity } = problem;
        let why = match outlook {
            Outlook::CannotRecover(why) => {
                let message = format!("{message}; {why}");
                return Err(self.failures.failed(Some(pod), Failure::CannotRecover, message));
            }
            Outlook::MayRecover(why) => why,
        };
        let age = self.age(before, (&pod.metadata.name, &container, &reason));
        let is_due = match severity {
            Severity::Low => false,
            Severity::Medium => age > PERSISTENT_AFTER,
            Severity::High => true,
        };
        if is_due {
            self.report(Some(pod), (&container, &reason), &message, why);
        }
        if self.latest.is_none() {
            self.latest = Some((Some(pod.clone()), message));
        }
        Ok(())
    }

    /// Returns how long a problem has existed.
    fn age(&mut self, before: &BTreeMap<Key, Instant>, key: (&str, &str, &str)) -> Duration {
        let key = (key.0.to_owned(), key.1.to_owned(), key.2.to_owned());
        let since = before.get(&key).copied().unwrap_or_else(Instant::now);
        self.since.insert(key, since);
        since.elapsed()
    }

    /// Reports a problem that time may fix, once for all pods.
    fn report(&mut self, pod: Option<&Pod>, key: (&str, &str), message: &str, why: &str) {
        if !self.reported.insert((key.0.to_owned(), key.1.to_owned())) {
            return;
        }
        let crashed = pod.and_then(|pod| Some((pod, pod.crashed()?)));
        let log = crashed.and_then(|(pod, (container, _))| self.failures.crash_log(pod, container));
        self.rollout.cx.emit(Event::Problem {
            workload: self.object.id(),
            pod: pod.map(|pod| pod.metadata.name.clone()),
            node: pod.and_then(|pod| pod.spec.node_name.clone()),
            message: message.to_owned(),
            outlook: why.to_owned(),
            log,
            remaining: self.rollout.limit.saturating_sub(self.started.elapsed()),
        });
    }

    /// Returns the message of a pod that is missing the image although its node has it: either
    /// the kubelet looked for it before the load, or its image policy rejects it.
    fn image_not_seen(&mut self, pod: &Pod) -> Result<Option<String>> {
        let Some(message) = pod.missing_image(&self.containers) else { return Ok(None) };
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

    /// Returns the error of a pod whose program cannot be executed. Some runtimes report this
    /// only in the container's log.
    fn exec_format_failure(&mut self, pod: &Pod) -> Option<String> {
        let (container, restarts) = pod.crashed()?;
        let key = (pod.metadata.name.clone(), container.to_owned(), restarts);
        if !self.logs.insert(key) {
            return None;
        }
        let log = self.failures.crash_log(pod, container)?;
        if pod::is_exec_format_error(&log) { pod.problem_message() } else { None }
    }
}
