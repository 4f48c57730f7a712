//! What fails before a child runs, or beside it.

use std::path::PathBuf;
use std::{io, iter};

use super::Failure;

/// The result of starting something.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// What fails before a child runs, or beside it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Ctrl-C, SIGTERM or SIGHUP.
    #[error("interrupted")]
    Interrupted(#[from] Interrupted),
    /// The current folder has gone or may not be read.
    #[error("cannot use the current folder: {reason}")]
    CurrentDir {
        /// The operating system's words.
        reason: String,
    },
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Ctrl-C, SIGTERM or SIGHUP.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// Whether an interrupt is what an error comes from: it ended the work itself, or a
/// child.
pub(crate) fn is_interrupt(error: &(dyn std::error::Error + 'static)) -> bool {
    iter::successors(Some(error), |error| error.source()).any(|error| {
        let failure = error.downcast_ref::<Failure>();
        error.is::<Interrupted>() || failure.is_some_and(Failure::is_interrupt)
    })
}

/// A file or folder that could not be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} `{}`", path.display())]
pub struct FileError {
    /// A verb: read, write.
    pub action: &'static str,
    /// Which file or folder.
    pub path: PathBuf,
    /// The operating system's words.
    #[source]
    pub source: io::Error,
}

impl Error {
    /// A file that could not be read.
    pub(crate) fn read(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        Self::file("read", path)
    }

    /// A file that could not be written.
    pub(crate) fn write(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        Self::file("write", path)
    }

    fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File(FileError { action, path, source })
    }
}
