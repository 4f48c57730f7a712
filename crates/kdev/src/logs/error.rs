//! Errors of logs.

use kdev_core::text::list;

use crate::{cluster, process};

/// The result of reading logs.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of reading logs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No pod has a container with the name.
    #[error("container `{container}` not found in {pods}")]
    ContainerNotFound {
        /// The requested name.
        container: String,
        /// The pods, as text.
        pods: String,
        /// The containers of the pods.
        known: Vec<String>,
    },
    /// No container has a previous run.
    #[error("no container of {pods} has a previous run")]
    NoPreviousRun {
        /// The pods, as text.
        pods: String,
    },
    /// The cluster cannot be used, or rejected a request.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    /// The run was interrupted.
    #[error(transparent)]
    Process(#[from] process::Error),
}

impl Error {
    /// Returns one action that fixes the error.
    pub(crate) fn help(&self) -> Option<String> {
        match self {
            Self::ContainerNotFound { known, .. } => {
                Some(format!("pass `--container` with one of {}", list(known)))
            }
            Self::NoPreviousRun { .. } => {
                Some("omit `--previous` to see the current run".to_owned())
            }
            Self::Cluster(error) => error.help(),
            Self::Process(_) => None,
        }
    }
}
