//! Errors about the programs that kdev runs.

use crate::details::Details;
use crate::process::{self, Failure};

/// The result of running a program.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// A program that kdev runs is missing, too old or failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A program is not on PATH.
    #[error("`{tool}` not found on PATH")]
    NotFound {
        /// The program.
        tool: &'static str,
        /// How to install it.
        install_help: &'static str,
    },
    /// A program is too old.
    #[error("`{tool}` {found} is too old; {required} or newer is required")]
    TooOld {
        /// The program.
        tool: &'static str,
        /// The installed version.
        found: String,
        /// The oldest supported version.
        required: &'static str,
        /// How to install a newer one.
        install_help: &'static str,
    },
    /// `docker` is Podman, which accepts the same commands.
    #[error("`docker` is Podman, which is not supported")]
    Podman,
    /// The output of a program could not be parsed.
    #[error("unexpected output from `{tool}`")]
    UnexpectedOutput {
        /// The program.
        tool: &'static str,
        /// Why it could not be parsed.
        #[source]
        reason: Details,
    },
    /// A program ran and failed.
    #[error("failed to {action}")]
    Command {
        /// A verb phrase.
        action: String,
        /// How it failed.
        #[source]
        source: Failure,
    },
    /// No program could be started.
    #[error(transparent)]
    Process(#[from] process::Error),
}

impl Error {
    /// Returns the error for output that could not be parsed.
    pub(crate) fn unexpected(tool: &'static str, reason: impl std::fmt::Display) -> Self {
        Self::UnexpectedOutput { tool, reason: Details(reason.to_string()) }
    }

    /// Returns one action that fixes the error.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::NotFound { install_help: install, .. }
            | Self::TooOld { install_help: install, .. } => Some((*install).to_owned()),
            Self::Podman => Some(super::INSTALL_DOCKER.to_owned()),
            Self::UnexpectedOutput { .. } | Self::Command { .. } | Self::Process(_) => None,
        }
    }
}
