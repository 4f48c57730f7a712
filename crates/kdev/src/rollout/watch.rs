//! Rings when a controller is content: kubectl watches its rollout, so that looks
//! need not be so frequent that they slow the pods down.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use kdev_core::kube::kinds;
use kdev_manifest::objects::Object;

use crate::cluster::Cluster;
use crate::cx::Cx;
use crate::process::Task;

/// The pause between two looks, with a watch beside them and without.
const WATCHED: Duration = Duration::from_secs(1);
const UNWATCHED: Duration = Duration::from_millis(100);

/// Hung up while something is waited for.
#[derive(Default)]
pub(crate) struct Bell {
    watches: Mutex<Watches>,
    rung: Condvar,
}

#[derive(Default)]
struct Watches {
    under_way: usize,
    rung: bool,
}

impl Bell {
    /// Whether the workload's rollout will be watched, if kubectl can: from now on,
    /// so that nobody looks just because the watch has yet to begin.
    pub(crate) fn hang(&self, object: &Object) -> bool {
        let is_watched = kinds::BUILT_IN.find(&object.kind).is_some_and(|kind| kind.has_rollout);
        self.watches(|watches| watches.under_way += usize::from(is_watched));
        is_watched
    }

    /// Watches a rollout, and rings at its end, whatever that is: only a look tells.
    pub(crate) fn watch(&self, cx: &Cx, cluster: &Cluster, object: &Object) {
        if let Ok(sh) = cx.shell() {
            let cmd = cluster.cmd(&sh, object.namespace.as_deref());
            let _ = Task::new(cmd.args(["rollout", "status", &object.id()])).output(cx);
        }
        self.watches(|watches| {
            watches.under_way -= 1;
            watches.rung = true;
        });
        self.rung.notify_all();
    }

    /// Waits until it rings, or it is time for a look all the same.
    pub(crate) fn wait(&self) {
        let watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        let pause = if watches.under_way > 0 { WATCHED } else { UNWATCHED };
        let waited = self.rung.wait_timeout_while(watches, pause, |watches| !watches.rung);
        let (mut watches, _) = waited.unwrap_or_else(PoisonError::into_inner);
        watches.rung = false;
    }

    fn watches(&self, change: impl FnOnce(&mut Watches)) {
        change(&mut self.watches.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
