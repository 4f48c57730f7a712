//! Errors of forwarded ports.

use std::io;

use crate::{cluster, process};

/// The result of forwarding ports.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// A port that cannot be forwarded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A port is invalid, or its workload does not have it.
    #[error(transparent)]
    InvalidSpec(#[from] InvalidSpec),
    /// The local port cannot be opened.
    #[error("cannot listen on port {port} of this machine")]
    Listen {
        /// The local port.
        port: u16,
        /// The flag that uses another port.
        alternative: String,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// The cluster cannot be used, or rejected a request.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    /// The run was interrupted.
    #[error(transparent)]
    Process(#[from] process::Error),
}

/// A port is invalid, or its workload does not have it.
#[derive(Debug, thiserror::Error)]
#[error("cannot forward `{spec}`: {reason}")]
pub struct InvalidSpec {
    /// The port as it was requested, or the workload.
    pub spec: String,
    /// Why it cannot be forwarded.
    pub reason: String,
    /// The fix.
    pub help: String,
}

impl Error {
    /// Returns whether a workload does not have a port.
    pub(crate) fn is_missing_port(&self) -> bool {
        matches!(self, Self::InvalidSpec(_))
    }

    /// Returns one action that fixes the error.
    pub(crate) fn help(&self) -> Option<String> {
        match self {
            Self::InvalidSpec(error) => Some(error.help.clone()),
            Self::Listen { alternative, .. } => {
                Some(format!("run `cargo kdev forward {alternative}` to use another port"))
            }
            Self::Cluster(error) => error.help(),
            Self::Process(_) => None,
        }
    }
}
