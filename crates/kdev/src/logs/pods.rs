//! The state of the pods, as far as their logs depend on it.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kdev_core::kube::ancestry::is_terminating;
use kdev_core::log::run::{LogState, Run, has_ended, log_states};
use serde_json::Value;

use crate::cx::Cx;

/// How often a wait checks for an interrupt.
const INTERRUPT_INTERVAL: Duration = Duration::from_millis(200);

/// The pods by their UIDs.
#[derive(Default)]
pub(crate) struct Pods {
    pods: Mutex<HashMap<String, PodState>>,
    changed: Condvar,
}

#[derive(Clone, Debug, Default)]
struct PodState {
    containers: Vec<LogState>,
    is_terminating: bool,
    /// No container of the pod will run again.
    is_over: bool,
}

/// Whether a container has a log that was not read yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Run(Run),
    Deleted,
    /// No other run will follow.
    Over,
    Interrupted,
}

impl Pods {
    /// Records the state of a pod.
    pub(crate) fn update(&self, uid: &str, pod: &Value, is_deleted: bool) {
        let mut pods = self.lock();
        if is_deleted {
            // A watch has any number of them.
            pods.remove(uid);
        } else {
            let state = PodState {
                containers: log_states(pod),
                is_terminating: is_terminating(pod),
                is_over: has_ended(pod),
            };
            pods.insert(uid.to_owned(), state);
        }
        drop(pods);
        self.changed.notify_all();
    }

    /// Records that a pod no longer exists.
    pub(crate) fn remove(&self, uid: &str) {
        self.lock().remove(uid);
        self.changed.notify_all();
    }

    pub(crate) fn is_terminating(&self, uid: &str) -> bool {
        self.lock().get(uid).is_none_or(|pod| pod.is_terminating)
    }

    /// Waits until the container has a run other than the one with the ID `read`.
    pub(crate) fn wait_for_run(&self, cx: &Cx, uid: &str, name: &str, read: Option<&str>) -> Next {
        let mut pods = self.lock();
        loop {
            let Some(pod) = pods.get(uid) else {
                return Next::Deleted;
            };
            let run = pod.run(name).filter(|run| Some(run.id.as_str()) != read);
            if cx.interrupt().is_raised() {
                return Next::Interrupted;
            } else if let Some(run) = run {
                return Next::Run(run.clone());
            } else if pod.is_over {
                return Next::Over;
            }
            let waited = self.changed.wait_timeout(pods, INTERRUPT_INTERVAL);
            pods = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until the state of the container differs from this run, at most for this time.
    pub(crate) fn wait_for_change(
        &self,
        cx: &Cx,
        uid: &str,
        name: &str,
        run: &Run,
        limit: Duration,
    ) {
        self.wait_while(cx, uid, limit, |pod| pod.run(name) == Some(run));
    }

    /// Waits until the state of the container differs from this run, at most for this time.
    /// Returns whether it differs. Containers of a pod that is being deleted are not started again,
    /// so their state does not matter.
    pub(crate) fn wait_for_end(
        &self,
        cx: &Cx,
        uid: &str,
        name: &str,
        run: &Run,
        limit: Duration,
    ) -> bool {
        let is_same = |pod: &PodState| pod.run(name) == Some(run);
        self.wait_while(cx, uid, limit, |pod| !pod.is_terminating && is_same(pod));
        !self.lock().get(uid).is_some_and(is_same)
    }

    /// Waits as long as this is true for the pod and it exists, at most for this time.
    fn wait_while(&self, cx: &Cx, uid: &str, limit: Duration, is_true: impl Fn(&PodState) -> bool) {
        let started = Instant::now();
        let mut pods = self.lock();
        while pods.get(uid).is_some_and(&is_true) {
            let rest = limit.saturating_sub(started.elapsed());
            if rest.is_zero() || cx.interrupt().is_raised() {
                return;
            }
            let waited = self.changed.wait_timeout(pods, rest.min(INTERRUPT_INTERVAL));
            pods = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, PodState>> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PodState {
    fn run(&self, name: &str) -> Option<&Run> {
        self.containers.iter().find(|state| state.name == name)?.run.as_ref()
    }
}
