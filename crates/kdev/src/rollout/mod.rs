//! Waits until the new pods of the applied workloads are ready and run this build, and fails
//! as soon as they cannot become ready.
//!
//! - `deleted_job.rs`: the result of a Job that was deleted in the meantime
//! - `failure.rs`: the errors of one workload, with the logs that explain them
//! - `problems.rs`: which problems of the pods end the rollout
//! - `request.rs`: the workloads, and how long to wait for them
//! - `rollback.rs`: rolls back to the previous revision
//! - `settle.rs`: waits while containers without a readiness probe run
//! - `unblock.rs`: deletes a pod of an older revision that blocks a rollout
//! - `wait.rs`: the wait for one workload
//! - `watch.rs`: wakes the wait when `kubectl rollout status` returns

mod deleted_job;
mod error;
mod failure;
mod problems;
mod request;
pub(crate) mod rollback;
mod settle;
mod unblock;
mod wait;
mod watch;

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use kdev_core::kube::completed_jobs::Completion;
use kdev_core::kube::kinds;
use kdev_manifest::objects::Object;

use crate::cluster::snapshot::Snapshot;
use crate::event::Event;
use crate::rollout::wait::Wait;
use crate::rollout::watch::RolloutWatcher;

pub(crate) use error::Result;
pub use error::{Error, Failure};
pub(crate) use request::Rollout;

impl Rollout<'_> {
    /// Waits for all workloads among the objects. Returns also the Jobs that have completed, even
    /// if the rollout of another workload has failed.
    pub(crate) fn wait(&self, objects: &[Object]) -> (Vec<Completion>, Result<()>) {
        let started = Instant::now();
        let mut waits: Vec<Wait> = Vec::new();
        for object in objects {
            match kinds::awaited(&object.kind) {
                Some(_) => waits.push(Wait::new(self, object, started)),
                None => self.note_not_awaited(object),
            }
        }
        let result = self.wait_for_all(&mut waits, started);
        (waits.iter_mut().filter_map(|wait| wait.completion.take()).collect(), result)
    }

    /// If nothing was applied, the workloads may already be ready, so that is checked first.
    fn wait_for_all(&self, waits: &mut [Wait], started: Instant) -> Result<()> {
        if self.applied.is_empty() {
            self.poll_once(waits)?;
        }
        let done = self.cx.interrupt().child();
        let watching = self.cx.clone().with_interrupt(done.clone());
        let watcher = RolloutWatcher::default();
        thread::scope(|scope| {
            let useful = waits.iter().filter(|wait| wait.is_limited());
            for object in useful.map(|wait| wait.object).filter(|o| watcher.register(o)) {
                let (watcher, watching) = (&watcher, &watching);
                scope.spawn(move || watcher.watch(watching, self.cluster, object));
            }
            let _done = done.raise_at_end();
            self.poll(waits, &watcher, started)
        })?;
        self.note_settled(waits);
        Ok(())
    }

    fn poll(&self, waits: &mut [Wait], watcher: &RolloutWatcher, started: Instant) -> Result<()> {
        while waits.iter().any(|wait| !wait.is_done) {
            let late = waits.iter().find(|wait| wait.is_limited());
            if let Some(late) = late.filter(|_| started.elapsed() > self.limit) {
                return Err(late.timed_out());
            }
            watcher.wait(settle_rest(waits));
            self.poll_once(waits)?;
        }
        Ok(())
    }

    /// Fetches a snapshot of each namespace with workloads that are not ready.
    fn poll_once(&self, waits: &mut [Wait]) -> Result<()> {
        let pending = || waits.iter().filter(|wait| !wait.is_done);
        let namespaces: BTreeSet<Option<String>> =
            pending().map(|wait| wait.object.namespace.clone()).collect();
        for namespace in namespaces {
            let is_polled = |wait: &&mut Wait| !wait.is_done && wait.object.namespace == namespace;
            let kinds: Vec<&str> = waits
                .iter()
                .filter(|wait| !wait.is_done && wait.object.namespace == namespace)
                .map(|wait| wait.object.kind.as_str())
                .collect();
            let snapshot = Snapshot::fetch(self.cx, self.cluster, namespace.as_deref(), kinds)?;
            waits.iter_mut().filter(is_polled).try_for_each(|wait| wait.step(&snapshot))?;
        }
        Ok(())
    }

    /// Notes once how to avoid the wait for containers without a readiness probe.
    fn note_settled(&self, waits: &[Wait]) {
        let settled = waits.iter().filter(|wait| wait.is_settling());
        let settled: Vec<String> = settled.map(|wait| wait.object.id()).collect();
        if !settled.is_empty() {
            let text = format!(
                "{} has a container without a readiness probe, so kdev waited {} s to see it run; a `readinessProbe` makes this wait unnecessary",
                settled.join(", "),
                self.settle.as_secs(),
            );
            self.cx.emit(Event::Note { text });
        }
    }

    fn note_not_awaited(&self, object: &Object) {
        let text = match object.kind.as_str() {
            "CronJob" => format!("{} was applied; its next run uses this build", object.id()),
            _ if object.pod.is_some() => {
                format!("{} was applied, but kdev does not wait for it", object.id())
            }
            _ => return,
        };
        self.cx.emit(Event::Note { text });
    }
}

/// Returns how long to wait if all pending workloads only wait for their containers to keep
/// running.
fn settle_rest(waits: &[Wait]) -> Option<Duration> {
    let rests = waits.iter().filter(|wait| !wait.is_done).map(Wait::settle_rest);
    rests.collect::<Option<Vec<Duration>>>()?.into_iter().min()
}
