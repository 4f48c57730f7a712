//! Wakes the wait as soon as `kubectl rollout status` returns, so that polling can be slow
//! and the node has less load.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use kdev_core::kube::kinds;
use kdev_manifest::objects::Object;

use crate::cluster::Cluster;
use crate::cx::Cx;
use crate::process::Command;

/// The interval between two snapshots while `kubectl rollout status` runs.
const POLL_WITH_WATCH: Duration = Duration::from_secs(1);
/// The interval between two snapshots without it.
const POLL_WITHOUT_WATCH: Duration = Duration::from_millis(100);
/// The interval between two snapshots while ready workloads have to keep running.
const POLL_WHILE_SETTLING: Duration = Duration::from_secs(1);

/// Notifies the wait when a rollout is finished.
#[derive(Default)]
pub(crate) struct RolloutWatcher {
    watches: Mutex<Watches>,
    finished: Condvar,
}

#[derive(Default)]
struct Watches {
    active: usize,
    has_finished: bool,
}

impl RolloutWatcher {
    /// Registers a workload whose rollout will be watched. Returns false if `kubectl` cannot
    /// watch its kind. The watch counts from now on, not only after `kubectl` has started.
    pub(crate) fn register(&self, object: &Object) -> bool {
        let is_watched = kinds::BUILT_IN.find(&object.kind).is_some_and(|kind| kind.has_rollout);
        self.update(|watches| watches.active += usize::from(is_watched));
        is_watched
    }

    /// Watches a rollout and notifies the wait at its end. Only a snapshot shows the result.
    pub(crate) fn watch(&self, cx: &Cx, cluster: &Cluster, object: &Object) {
        if let Ok(sh) = cx.shell() {
            let cmd = cluster.cmd(&sh, object.namespace.as_deref());
            let _ = Command::new(cmd.args(["rollout", "status", &object.id()])).output(cx);
        }
        self.update(|watches| {
            watches.active -= 1;
            watches.has_finished = true;
        });
        self.finished.notify_all();
    }

    /// Waits until a rollout is finished, at most for the polling interval. If all workloads
    /// are ready and only have to keep running, `settle_rest` is the time that is left.
    pub(crate) fn wait(&self, settle_rest: Option<Duration>) {
        let watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        let pause = match settle_rest {
            Some(rest) => rest.min(POLL_WHILE_SETTLING),
            None if watches.active > 0 => POLL_WITH_WATCH,
            None => POLL_WITHOUT_WATCH,
        };
        let waited =
            self.finished.wait_timeout_while(watches, pause, |watches| !watches.has_finished);
        let (mut watches, _) = waited.unwrap_or_else(PoisonError::into_inner);
        watches.has_finished = false;
    }

    fn update(&self, change: impl FnOnce(&mut Watches)) {
        change(&mut self.watches.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
