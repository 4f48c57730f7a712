//! Events of the file system. They only say when to look: a comparison of the inputs decides
//! whether something has changed, and finds a change without an event later.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, SystemTime};

use notify::{ErrorKind, EventKind, RecommendedWatcher, RecursiveMode, Watcher};

/// The events of the watched folders.
pub(crate) struct FileEvents {
    watcher: Option<RecommendedWatcher>,
    folders: BTreeMap<PathBuf, Identity>,
    events: Receiver<()>,
    problem: Option<String>,
}

/// A folder that was created again is another one, although it can have the inode of the last one.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Identity {
    inode: u64,
    /// `None` if the file system does not record it.
    created: Option<SystemTime>,
}

impl Identity {
    fn of(folder: &Path) -> Option<Self> {
        let metadata = fs::metadata(folder).ok()?;
        Some(Self { inode: metadata.ino(), created: metadata.created().ok() })
    }
}

impl FileEvents {
    pub(crate) fn new() -> Self {
        let (send, events) = mpsc::channel();
        let on_event = move |event: notify::Result<notify::Event>| {
            // An error or an overflow of the queue counts as an event. So does a change of the
            // permissions, but not that a file was read.
            if !event.is_ok_and(|event| matches!(event.kind, EventKind::Access(_))) {
                // The watch may have ended.
                let _ = send.send(());
            }
        };
        let (watcher, problem) = match notify::recommended_watcher(on_event) {
            Ok(watcher) => (Some(watcher), None),
            Err(error) => (None, Some(describe(&error))),
        };
        Self { watcher, folders: BTreeMap::new(), events, problem }
    }

    /// Watches these folders, without the folders in them, and no others.
    pub(crate) fn watch(&mut self, folders: &BTreeSet<PathBuf>) {
        let Some(watcher) = &mut self.watcher else { return };
        let identify = |path: &PathBuf| Some((path.clone(), Identity::of(path)?));
        let wanted: BTreeMap<PathBuf, Identity> = folders.iter().filter_map(identify).collect();
        for (path, identity) in &self.folders {
            if wanted.get(path) != Some(identity) {
                // The folder may be gone.
                let _ = watcher.unwatch(path);
            }
        }
        for (path, identity) in &wanted {
            if self.folders.get(path) == Some(identity) {
                continue;
            }
            if let Err(error) = watcher.watch(path, RecursiveMode::NonRecursive) {
                self.problem = Some(describe(&error));
            }
        }
        self.folders = wanted;
    }

    /// Returns why changes are noticed later than usual, once.
    pub(crate) fn take_problem(&mut self) -> Option<String> {
        self.problem.take()
    }

    /// Waits for an event. Returns whether there was one.
    pub(crate) fn wait(&self, limit: Duration) -> bool {
        match self.events.recv_timeout(limit) {
            Ok(()) => {
                while self.events.try_recv().is_ok() {}
                true
            }
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => {
                thread::sleep(limit);
                false
            }
        }
    }
}

fn describe(error: &notify::Error) -> String {
    let advice = match error.kind {
        ErrorKind::MaxFilesWatch => "; increase `fs.inotify.max_user_watches` with `sysctl`",
        _ => "",
    };
    format!(
        "failed to watch folders for changes, so a change is noticed after up to 2 s: {error}{advice}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recreated_folder_is_watched_again() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("src");
        let mut events = FileEvents::new();
        let long = Duration::from_secs(10);
        for _ in 0..2 {
            fs::create_dir(&folder).unwrap();
            events.watch(&[folder.clone()].into());
            while events.wait(Duration::from_millis(50)) {}
            fs::write(folder.join("main.rs"), "").unwrap();
            assert!(events.wait(long));
            fs::remove_dir_all(&folder).unwrap();
        }
        assert_eq!(events.take_problem(), None);
    }
}
