//! Recognizes a program whose layer is already in the cache, so that it is not read again.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use kdev_core::program::Needs;
use serde::{Deserialize, Serialize};

use crate::process::json_file::{self, file_name};

/// The time stamps of files have the resolution of the kernel's clock tick.
const CLOCK_TICK: Duration = Duration::from_millis(20);

/// The identity of a file. Each write changes the last one, which programs cannot set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileVersion {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    status_changed: (i64, i64),
}

impl FileVersion {
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        let data = fs::metadata(path)?;
        Ok(Self {
            device: data.dev(),
            inode: data.ino(),
            size: data.size(),
            modified: (data.mtime(), data.mtime_nsec()),
            status_changed: (data.ctime(), data.ctime_nsec()),
        })
    }

    /// Returns whether a write at this time would give another version. Two writes within a clock
    /// tick have the same time stamp.
    pub(super) fn is_older_than(&self, time: SystemTime) -> bool {
        let (seconds, nanoseconds) = self.status_changed;
        let changed = Duration::new(
            u64::try_from(seconds).unwrap_or_default(),
            u32::try_from(nanoseconds).unwrap_or_default(),
        );
        SystemTime::UNIX_EPOCH + changed + CLOCK_TICK < time
    }
}

/// What was found in a program, and its layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredProgram {
    pub(super) diff_id: String,
    pub(super) size: u64,
    /// Whether debug information was removed.
    pub(super) is_stripped: bool,
    pub(super) loads_name_services: bool,
    pub(super) needs: Needs,
}

#[derive(Serialize, Deserialize)]
struct Record {
    version: FileVersion,
    /// Everything else that the layer and its checks depend on.
    settings: String,
    stored: StoredProgram,
}

/// The record of a program.
pub(super) struct ProgramRecord {
    path: PathBuf,
    settings: String,
}

impl ProgramRecord {
    /// Returns the record of a program for these settings.
    pub(super) fn new(cache_dir: &Path, program: &Path, settings: &str) -> Self {
        let name = file_name(&program.to_string_lossy());
        // Another kdev may write another layer.
        let settings = format!("{} {settings}", env!("CARGO_PKG_VERSION"));
        Self { path: cache_dir.join("records/programs").join(format!("{name}.json")), settings }
    }

    /// Returns what was stored for this version of the program.
    pub(super) fn find(&self, version: &FileVersion) -> Option<StoredProgram> {
        let record: Record = json_file::read(&self.path)?;
        let is_same = record.version == *version && record.settings == self.settings;
        is_same.then_some(record.stored)
    }

    /// Records what was stored for a version that was read before the program was, at this time.
    /// If this fails, the next run reads the program again.
    pub(super) fn put(&self, version: FileVersion, read_at: SystemTime, stored: &StoredProgram) {
        if version.is_older_than(read_at) {
            let (settings, stored) = (self.settings.clone(), stored.clone());
            let _ = json_file::write_limited(&self.path, &Record { version, settings, stored });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_is_recognized_until_file_or_settings_change() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("program");
        fs::write(&program, "one").unwrap();
        let stored = StoredProgram {
            diff_id: "sha256:1".to_owned(),
            size: 1,
            is_stripped: true,
            loads_name_services: false,
            needs: Needs::default(),
        };
        let record = ProgramRecord::new(dir.path(), &program, "linux/amd64");
        let version = || FileVersion::read(&program).unwrap();
        let written = fs::metadata(&program).unwrap().modified().unwrap();
        let later = || written + 2 * CLOCK_TICK;
        // A write in the same clock tick would not change the version.
        record.put(version(), written, &stored);
        assert_eq!(record.find(&version()), None);
        record.put(version(), later(), &stored);
        assert_eq!(record.find(&version()), Some(stored));
        let other = ProgramRecord::new(dir.path(), &program, "linux/arm64");
        assert_eq!(other.find(&version()), None);
        // With the size and the modification time of before.
        let modified = fs::metadata(&program).unwrap().modified().unwrap();
        std::thread::sleep(2 * CLOCK_TICK);
        fs::write(&program, "two").unwrap();
        fs::File::open(&program).unwrap().set_modified(modified).unwrap();
        assert_eq!(record.find(&version()), None);
    }
}
