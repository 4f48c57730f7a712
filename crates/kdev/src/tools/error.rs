//! What is wrong with a program that kdev calls.

use crate::details::Reason;
use crate::process::{self, Failure};

/// The result of asking a program.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// What is wrong with a program that kdev calls.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A program is not on PATH.
    #[error("`{tool}` is not installed, or not on PATH")]
    NotFound {
        /// Which program.
        tool: &'static str,
        /// How to get it.
        install: &'static str,
    },
    /// A program is too old.
    #[error("`{tool}` {found} is too old: kdev needs {needed} or newer")]
    TooOld {
        /// Which program.
        tool: &'static str,
        /// The version that was found.
        found: String,
        /// The oldest version that will do.
        needed: &'static str,
        /// How to get a newer one.
        install: &'static str,
    },
    /// A program's answer is not what it documents.
    #[error("cannot understand what `{tool}` answered")]
    UnexpectedOutput {
        /// Which program.
        tool: &'static str,
        /// What is wrong with it.
        #[source]
        reason: Reason,
    },
    /// A program ran, and failed.
    #[error("cannot {action}")]
    Command {
        /// A verb phrase.
        action: String,
        /// Its own words.
        #[source]
        source: Failure,
    },
    /// Nothing could be run.
    #[error(transparent)]
    Process(#[from] process::Error),
}

impl Error {
    /// The error for an answer that cannot be read.
    pub(crate) fn unexpected(tool: &'static str, reason: impl std::fmt::Display) -> Self {
        Self::UnexpectedOutput { tool, reason: Reason(reason.to_string()) }
    }

    /// One action that helps.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::NotFound { install, .. } | Self::TooOld { install, .. } => {
                Some((*install).to_owned())
            }
            Self::UnexpectedOutput { .. } | Self::Command { .. } | Self::Process(_) => None,
        }
    }
}
