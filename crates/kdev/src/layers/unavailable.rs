//! Why layers are unavailable, and what the user can do about it. A full disk is the disk of the
//! cache folder, or the one of the program that reads the image; each has its own help.

use std::{fmt, io};

use crate::docker;
use crate::process::Outcome;

/// How to get space for layers.
pub(super) const FREE_CACHE_DISK: &str =
    "free space on the disk of the cache folder, or set XDG_CACHE_HOME to a folder on another disk";

/// Why layers are unavailable, as a part of a sentence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unavailable {
    pub(crate) reason: String,
    /// One action that fixes it.
    pub(crate) help: Option<String>,
}

impl Unavailable {
    /// The disk of the cache folder has no space for the layers.
    pub(crate) fn cache_disk_full(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), help: Some(FREE_CACHE_DISK.to_owned()) }
    }

    /// Returns whether the disk of the cache folder has no space.
    pub(crate) fn is_cache_disk_full(&self) -> bool {
        self.help.as_deref() == Some(FREE_CACHE_DISK)
    }

    /// Another program has no space on its disk.
    pub(crate) fn disk_full(owner: &str, help: String) -> Self {
        Self { reason: format!("the disk of {owner} is full"), help: Some(help) }
    }
}

impl From<String> for Unavailable {
    fn from(reason: String) -> Self {
        Self { reason, help: None }
    }
}

impl From<&str> for Unavailable {
    fn from(reason: &str) -> Self {
        reason.to_owned().into()
    }
}

/// The error of writing to the cache folder.
impl From<io::Error> for Unavailable {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull => Self::cache_disk_full(error.to_string()),
            _ => error.to_string().into(),
        }
    }
}

impl From<docker::Error> for Unavailable {
    fn from(error: docker::Error) -> Self {
        match (error.failure().map(|failure| &failure.outcome), error.full_disk_owner()) {
            // kdev has ended it, because it was writing to the cache folder.
            (Some(Outcome::DiskFull(reason)), _) => Self::cache_disk_full(reason),
            (_, Some(owner)) => Self::disk_full(owner, error.help().unwrap_or_default()),
            _ => error.to_string().into(),
        }
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}
