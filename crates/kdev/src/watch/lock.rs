//! One watch per package: two of them would deploy the same saves twice, and in any order.

use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::process;
use crate::watch::{Error, Result};

/// The lock of a package. The kernel releases it when the process ends.
pub(crate) struct WatchLock(#[expect(dead_code, reason = "holds the lock")] Option<Flock<File>>);

impl WatchLock {
    /// Locks a package in its target directory.
    pub(crate) fn acquire(target_dir: &Path, package: &str) -> Result<Self> {
        let dir = target_dir.join("kdev");
        let path = dir.join(format!("watch-{package}.lock"));
        fs::create_dir_all(&dir).map_err(process::Error::write(&dir))?;
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(process::Error::write(&path))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut lock) => {
                // Best effort: the number is only for the error of another watch.
                let _ = lock.set_len(0);
                let _ = write!(lock, "{}", std::process::id());
                Ok(Self(Some(lock)))
            }
            Err((mut other, Errno::EWOULDBLOCK)) => {
                let mut text = String::new();
                let _ = other.rewind().and_then(|()| other.read_to_string(&mut text));
                let package = package.to_owned();
                Err(Error::AlreadyWatched { package, process: text.trim().parse().ok() })
            }
            // Some network file systems have no locks.
            Err(_) => Ok(Self(None)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_is_locked_once() {
        let dir = tempfile::tempdir().unwrap();
        let first = WatchLock::acquire(dir.path(), "app").unwrap();
        assert!(WatchLock::acquire(dir.path(), "other").is_ok());
        let own = std::process::id();
        match WatchLock::acquire(dir.path(), "app") {
            Err(Error::AlreadyWatched { process, .. }) => assert_eq!(process, Some(own)),
            _ => panic!("locked twice"),
        }
        drop(first);
        assert!(WatchLock::acquire(dir.path(), "app").is_ok());
    }
}
