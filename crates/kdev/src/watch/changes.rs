//! Waits until inputs have changed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kdev_core::watch::own_writes::OwnWrites;
use kdev_core::watch::quiet::{MAX_GIT_DELAY, Quiet};

use crate::cluster::kubeconfig::ClusterTarget;
use crate::cx::{Cx, Interrupt};
use crate::event::Event;
use crate::watch::events::FileEvents;
use crate::watch::service::Service;

/// How often the inputs are compared without an event: there are no events on some file systems,
/// and while the machine sleeps.
const SWEEP_INTERVAL: Duration = Duration::from_secs(2);
/// A comparison of many inputs is less frequent, so that it uses at most 1 % of a processor.
const SWEEP_FACTOR: u32 = 100;
/// How often an interrupt is noticed.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The watched packages.
pub(crate) struct Changes {
    pub(crate) services: Vec<Service>,
    pub(crate) own_writes: OwnWrites,
    target: ClusterTarget,
    events: FileEvents,
    quiet: Quiet,
    started: Instant,
    next_sweep: Instant,
    noted: BTreeSet<String>,
}

impl Changes {
    pub(crate) fn new(cx: &Cx, target: &ClusterTarget, services: Vec<Service>) -> Self {
        let now = Instant::now();
        let mut changes = Self {
            services,
            own_writes: OwnWrites::default(),
            target: target.clone(),
            events: FileEvents::new(),
            quiet: Quiet::default(),
            started: now,
            next_sweep: now,
            noted: BTreeSet::new(),
        };
        changes.watch_folders(cx);
        changes
    }

    /// Replaces the packages, because the settings have changed.
    pub(crate) fn replace_services(&mut self, cx: &Cx, services: Vec<Service>) {
        self.services = services;
        self.watch_folders(cx);
    }

    /// Returns the time since the start of the watch.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Returns the number of input files.
    pub(crate) fn count_inputs(&self) -> usize {
        let files: BTreeSet<&PathBuf> =
            self.services.iter().flat_map(|service| service.inputs.files.keys()).collect();
        files.len()
    }

    /// Waits until an input has changed since the last comparison, or until the interrupt or the
    /// deadline. Returns the inputs that have changed.
    pub(crate) fn wait(
        &mut self,
        cx: &Cx,
        interrupt: &Interrupt,
        deadline: Option<Instant>,
    ) -> BTreeSet<PathBuf> {
        loop {
            let now = Instant::now();
            if interrupt.is_raised() || deadline.is_some_and(|deadline| deadline <= now) {
                return BTreeSet::new();
            }
            if now >= self.next_sweep {
                if self.services.iter().any(Service::may_be_outdated) {
                    self.quiet.record(self.elapsed());
                }
                self.next_sweep = now + (now.elapsed() * SWEEP_FACTOR).max(SWEEP_INTERVAL);
            }
            let remaining = self.quiet.remaining(self.elapsed(), || self.is_git_running());
            if remaining == Some(Duration::ZERO) {
                self.quiet = Quiet::default();
                if self.services.iter().any(Service::may_be_outdated) {
                    let changed = self.compare(cx);
                    if !changed.is_empty() {
                        return changed;
                    }
                }
                continue;
            }
            let until_sweep = self.next_sweep.saturating_duration_since(now);
            let limit = remaining.unwrap_or(POLL_INTERVAL).min(until_sweep).min(POLL_INTERVAL);
            if self.events.wait(limit) {
                self.quiet.record(self.elapsed());
            }
        }
    }

    /// Compares the inputs. Returns those that have changed since the last comparison.
    pub(crate) fn compare(&mut self, cx: &Cx) -> BTreeSet<PathBuf> {
        let mut changed = BTreeSet::new();
        for service in &mut self.services {
            changed.extend(service.compare(cx, &self.target));
        }
        self.watch_folders(cx);
        changed
    }

    fn watch_folders(&mut self, cx: &Cx) {
        let folders = self.services.iter().flat_map(Service::folders).cloned().collect();
        self.events.watch(&folders);
        let notes = self.services.iter().flat_map(|service| service.inputs.notes.clone());
        let notes: Vec<String> = notes.chain(self.events.take_problem()).collect();
        for text in notes {
            if self.noted.insert(text.clone()) {
                cx.emit(Event::Note { text });
            }
        }
    }

    /// Returns whether a Git command is changing files.
    fn is_git_running(&self) -> bool {
        self.services.iter().any(|service| service.config.dir.ancestors().any(has_git_lock))
    }
}

/// Returns whether a Git command is changing the index of a work tree.
fn has_git_lock(work_tree: &Path) -> bool {
    let git = work_tree.join(".git");
    // In a linked work tree or a submodule, it is a file with the path of the folder.
    let linked = fs::read_to_string(&git).ok();
    let linked = linked.as_deref().and_then(|text| text.strip_prefix("gitdir:"));
    let dir = linked.map_or(git, |path| work_tree.join(path.trim()));
    let lock = dir.join("index.lock").metadata().and_then(|lock| lock.modified());
    // A command that was killed leaves its lock.
    lock.is_ok_and(|time| time.elapsed().is_ok_and(|age| age < MAX_GIT_DELAY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lock_is_found_in_each_kind_of_work_tree() {
        let dir = tempfile::tempdir().unwrap();
        let absolute = format!("gitdir: {}/git\n", dir.path().display());
        for text in [None, Some("gitdir: ../git\n"), Some(absolute.as_str())] {
            let tree = dir.path().join("tree");
            fs::create_dir(&tree).unwrap();
            let git = if text.is_some() { dir.path().join("git") } else { tree.join(".git") };
            fs::create_dir_all(&git).unwrap();
            if let Some(text) = text {
                fs::write(tree.join(".git"), text).unwrap();
            }
            assert!(!has_git_lock(&tree), "{text:?}");
            fs::write(git.join("index.lock"), "").unwrap();
            assert!(has_git_lock(&tree), "{text:?}");
            fs::remove_dir_all(&tree).unwrap();
            fs::remove_dir_all(git).ok();
        }
    }
}
