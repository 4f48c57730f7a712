//! Errors around child processes: interrupts, the current directory, files.

use std::path::PathBuf;
use std::{io, iter};

use super::Failure;

/// The result of an operation around a child process.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// An interrupt, or a directory or file that could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Ctrl-C, SIGTERM or SIGHUP.
    #[error("interrupted")]
    Interrupted(#[from] Interrupted),
    /// The current directory no longer exists or cannot be read.
    #[error("failed to determine the current directory: {reason}")]
    CurrentDir {
        /// The operating system's message.
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

/// Returns whether an error was caused by an interrupt, of kdev itself or of a child.
pub(crate) fn is_interrupt(error: &(dyn std::error::Error + 'static)) -> bool {
    iter::successors(Some(error), |error| error.source()).any(|error| {
        let failure = error.downcast_ref::<Failure>();
        error.is::<Interrupted>() || failure.is_some_and(Failure::is_interrupt)
    })
}

/// A file or directory could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("failed to {action} `{}`", path.display())]
pub struct FileError {
    /// A verb: read, write.
    pub action: &'static str,
    /// The file or directory.
    pub path: PathBuf,
    /// The operating system's error.
    #[source]
    pub source: io::Error,
}

impl Error {
    /// Returns a function that wraps the error of reading `path`.
    pub(crate) fn read(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        Self::file("read", path)
    }

    /// Returns a function that wraps the error of writing `path`.
    pub(crate) fn write(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        Self::file("write", path)
    }

    fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File(FileError { action, path, source })
    }
}
