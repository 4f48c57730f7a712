//! Errors of a watch.

use crate::process;

/// The result of a watch.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of a watch.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another process watches the same package.
    #[error("another `cargo kdev up --watch` already watches package `{package}`{}", by(*.process))]
    AlreadyWatched {
        /// The package.
        package: String,
        /// The ID of the other process, if it is known.
        process: Option<u32>,
    },
    /// A file could not be read or written.
    #[error(transparent)]
    Process(#[from] process::Error),
}

fn by(process: Option<u32>) -> String {
    process.map(|id| format!(" (process {id})")).unwrap_or_default()
}

impl Error {
    /// Returns one action that fixes the error.
    pub(crate) fn help(&self) -> Option<String> {
        match self {
            Self::AlreadyWatched { process: Some(id), .. } => {
                Some(format!("end the other one with Ctrl-C or `kill {id}`"))
            }
            Self::AlreadyWatched { .. } => Some("end the other one with Ctrl-C".to_owned()),
            Self::Process(_) => None,
        }
    }
}
