//! The errors of one workload, with the logs that explain them.

use kdev_core::kube::pod::{self, Pod};
use kdev_core::kube::workload::UnblockAction;
use kdev_manifest::objects::Object;

use crate::cluster::snapshot;
use crate::details::Details;
use crate::rollout::error::{Error, Failure};
use crate::rollout::request::Rollout;

/// Creates the errors of one workload.
#[derive(Clone, Copy)]
pub(crate) struct Failures<'a> {
    rollout: &'a Rollout<'a>,
    object: &'a Object,
}

impl<'a> Failures<'a> {
    pub(crate) fn new(rollout: &'a Rollout<'a>, object: &'a Object) -> Self {
        Self { rollout, object }
    }

    pub(crate) fn failed(&self, pod: Option<&Pod>, failure: Failure, reason: String) -> Error {
        Error::Failed {
            workload: self.object.id(),
            pod: pod.map(|pod| pod.metadata.name.clone()),
            node: pod.and_then(|pod| pod.spec.node_name.clone()),
            failure,
            kubectl: self.kubectl(),
            reason: self.with_log(reason, pod),
        }
    }

    pub(crate) fn blocked(&self, reason: String, action: UnblockAction) -> Error {
        let (workload, kubectl) = (self.object.id(), self.kubectl());
        Error::Blocked { workload, action, kubectl, reason: Details(reason) }
    }

    pub(crate) fn timed_out(&self, ready: u64, desired: u64, pods: &[Pod]) -> Error {
        Error::TimedOut {
            workload: self.object.id(),
            ready,
            desired,
            limit: self.rollout.limit,
            kubectl: self.kubectl(),
            reason: self.with_log(pod::describe_all(pods), newest_crash(pods)),
        }
    }

    /// Returns the last log lines of a container that has crashed.
    pub(crate) fn crash_log(&self, pod: &Pod, container: &str) -> Option<String> {
        let Rollout { cx, cluster, .. } = self.rollout;
        let namespace = self.object.namespace.as_deref();
        snapshot::fetch_log(cx, cluster, namespace, &pod.metadata.name, container, false)
    }

    pub(crate) fn kubectl(&self) -> String {
        self.rollout.cluster.display_command(self.object.namespace.as_deref())
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
}

pub(crate) fn newest_crash(pods: &[Pod]) -> Option<&Pod> {
    pods.iter().rev().find(|pod| pod.crashed().is_some())
}
