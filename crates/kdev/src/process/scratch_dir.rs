//! Temporary directories that a later run removes if this process is killed.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::unistd::geteuid;
use tempfile::TempDir;

/// A file that is locked as long as the process with the directory runs.
const LOCK: &str = ".kdev-lock";
/// The number of random characters in the name of a directory.
const RANDOM_CHARS: usize = 6;

/// A private directory. It is deleted on drop.
pub(crate) struct ScratchDir {
    directory: TempDir,
    /// `None` on a file system without locks: then no later run removes the directory.
    _lock: Option<Flock<File>>,
}

impl ScratchDir {
    /// Creates a directory, and removes those of killed processes with the same prefix.
    pub(crate) fn create_in(parent: &Path, prefix: &str) -> io::Result<Self> {
        remove_orphans(parent, prefix);
        let mut builder = tempfile::Builder::new();
        let directory = builder.prefix(prefix).rand_bytes(RANDOM_CHARS).tempdir_in(parent)?;
        // The file gets its name after it is locked, so that no other process sees it unlocked.
        let unnamed = directory.path().join(".kdev-new-lock");
        let lock = lock(File::create(&unnamed)?);
        if lock.is_some() {
            fs::rename(unnamed, directory.path().join(LOCK))?;
        }
        Ok(Self { directory, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }
}

/// Locks the file unless another process has locked it. The kernel releases the lock when the
/// process ends; child processes do not inherit it.
fn lock(file: File) -> Option<Flock<File>> {
    Flock::lock(file, FlockArg::LockExclusiveNonblock).ok()
}

/// Removes the directories of processes that have ended.
fn remove_orphans(parent: &Path, prefix: &str) {
    for directory in find_directories(parent, prefix) {
        let lock_file = File::open(directory.join(LOCK)).ok();
        if let Some(_lock) = lock_file.and_then(lock) {
            let _ = fs::remove_dir_all(directory);
        }
    }
}

/// Returns the directories with such a name that belong to this user.
fn find_directories(parent: &Path, prefix: &str) -> Vec<PathBuf> {
    let is_random =
        |rest: &str| rest.len() == RANDOM_CHARS && rest.chars().all(|c| c.is_ascii_alphanumeric());
    let is_own = |path: &Path| {
        fs::symlink_metadata(path)
            .is_ok_and(|data| data.is_dir() && data.uid() == geteuid().as_raw())
    };
    let entries = fs::read_dir(parent).into_iter().flatten().filter_map(Result::ok);
    let named = entries.filter(|entry| {
        entry.file_name().to_str().and_then(|name| name.strip_prefix(prefix)).is_some_and(is_random)
    });
    named.map(|entry| entry.path()).filter(|path| is_own(path)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn create_removes_only_directories_of_ended_processes() {
        let parent = tempfile::tempdir().unwrap();
        let path = |name: &str| parent.path().join(name);
        let directories = ["a-killed", "a-nolock", "a-killed7", "a-kil-ed", "b-killed"];
        for name in directories {
            fs::create_dir(path(name)).unwrap();
            if name != "a-nolock" {
                fs::write(path(name).join(LOCK), "").unwrap();
            }
        }
        std::os::unix::fs::symlink(path("b-killed"), path("a-linked")).unwrap();
        let running = ScratchDir::create_in(parent.path(), "a-").unwrap();
        let own = ScratchDir::create_in(parent.path(), "a-").unwrap();
        let exists: Vec<&str> =
            directories.into_iter().filter(|name| path(name).exists()).collect();
        assert_eq!(exists, ["a-nolock", "a-killed7", "a-kil-ed", "b-killed"]);
        assert!(running.path().exists() && own.path().exists() && path("a-linked").exists());
        let (old, kept) = (own.path().to_owned(), running.path().to_owned());
        drop(own);
        assert!(!old.exists() && kept.exists());
    }
}
