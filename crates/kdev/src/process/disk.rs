//! Keeps free space on a disk, so that a transfer of unknown size does not fill it: other programs
//! would fail, too.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::statvfs;

/// How much space stays free.
const RESERVED_BYTES: u64 = 64 << 20;
/// The part of a small disk that stays free.
const RESERVED_PART: u64 = 16;
/// How much is written between two checks.
const CHECK_INTERVAL: u64 = 256 << 10;

/// The disk of a directory.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    dir: PathBuf,
    reserved: u64,
}

impl Disk {
    /// Returns the disk of an existing directory.
    pub(crate) fn of(dir: &Path) -> Self {
        let size = statvfs(dir).map_or(0, |disk| disk.f_blocks.saturating_mul(disk.f_frsize));
        Self { dir: dir.to_owned(), reserved: RESERVED_BYTES.min(size / RESERVED_PART) }
    }

    /// Returns a disk that is always almost full.
    #[cfg(test)]
    pub(crate) fn full(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), reserved: u64::MAX }
    }

    /// Returns an error if too little space is free. A disk that does not report its space counts
    /// as large enough.
    pub(crate) fn check(&self) -> io::Result<()> {
        let Ok(disk) = statvfs(&self.dir) else { return Ok(()) };
        if disk.f_bavail.saturating_mul(disk.f_frsize) >= self.reserved {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::StorageFull, self.full_message()))
    }

    /// Returns the message for a disk without enough free space.
    pub(crate) fn full_message(&self) -> String {
        format!("the disk of `{}` is almost full", self.dir.display())
    }

    /// Returns a writer that fails instead of filling the disk.
    pub(crate) fn writer<W: Write>(&self, to: W) -> DiskWriter<'_, W> {
        DiskWriter { disk: self, to, unchecked: CHECK_INTERVAL }
    }
}

/// Looks at a disk while a command runs. A command that fails on a full disk usually removes what
/// it has written, so the disk must be looked at before that.
#[derive(Clone, Debug)]
pub(crate) struct DiskWatch {
    disk: Disk,
    was_full: Arc<AtomicBool>,
}

impl DiskWatch {
    pub(crate) fn new(disk: Disk) -> Self {
        Self { disk, was_full: Arc::default() }
    }

    pub(super) fn look(&self) {
        if self.disk.check().is_err() {
            self.was_full.store(true, Ordering::Relaxed);
        }
    }

    /// Returns the directory of the disk, if it was almost full at some time.
    pub(crate) fn full_dir(&self) -> Option<&Path> {
        self.look();
        self.was_full.load(Ordering::Relaxed).then_some(&*self.disk.dir)
    }
}

/// Writes to a file of a disk.
pub(crate) struct DiskWriter<'a, W> {
    disk: &'a Disk,
    to: W,
    /// How much was written since the last check.
    unchecked: u64,
}

impl<W: Write> Write for DiskWriter<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.unchecked >= CHECK_INTERVAL {
            self.disk.check()?;
            self.unchecked = 0;
        }
        let count = self.to.write(bytes)?;
        self.unchecked += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
