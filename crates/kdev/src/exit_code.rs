//! What the program tells a script.

use crate::cmd::{Failure, Outcome};
use crate::error::Error;
use crate::fault::NodeError;

/// What the process's exit code says. A failed build ends with the builder's
/// own code instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// All is done, and proven.
    Success = 0,
    /// The command line is wrong.
    Usage = 2,
    /// The project, its configuration or its manifests are wrong.
    Project = 90,
    /// A tool is missing or too old, or docker does not answer.
    Tool = 91,
    /// The context is unknown, not allowed or unreachable, or the API refused.
    Cluster = 92,
    /// A node cannot be reached or used.
    Node = 93,
    /// The image could not be loaded, or its presence not be proven.
    Load = 94,
    /// The new pods cannot become ready.
    Rollout = 95,
    /// The new pods were not ready in time.
    Timeout = 96,
    /// Interrupted by Ctrl-C or a signal.
    Interrupted = 130,
}

impl Error {
    /// The exit code that a program should end with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Build { source: Failure { outcome: Outcome::Code(code), .. }, .. } => {
                u8::try_from(*code).unwrap_or(1)
            }
            Self::Build { .. } => 1,
            Self::Nodes(failures) => {
                failures.first().map_or(ExitCode::Node, NodeError::exit_code) as u8
            }
            _ => self.class() as u8,
        }
    }

    fn class(&self) -> ExitCode {
        match self {
            Self::Interrupted => ExitCode::Interrupted,
            Self::Explained(explained) => explained.error.class(),
            Self::Tool { code, .. } => *code,
            Self::ToolMissing { .. }
            | Self::ToolOld { .. }
            | Self::DockerDown { .. }
            | Self::Answer { .. } => ExitCode::Tool,
            Self::NoContext { .. }
            | Self::UnknownContext { .. }
            | Self::ContextNotAllowed { .. }
            | Self::ClusterUnreachable { .. }
            | Self::Refused { .. }
            | Self::Conflicts { .. }
            | Self::Immutable { .. }
            | Self::NoNode { .. }
            | Self::NoNamespace { .. }
            | Self::UnknownWorkload { .. }
            | Self::UnknownNode { .. } => ExitCode::Cluster,
            Self::WrongPlatform { .. } => ExitCode::Load,
            Self::RolloutFailed { .. }
            | Self::RolloutHeld { .. }
            | Self::Superseded { .. }
            | Self::Unverified { .. }
            | Self::Altered { .. } => ExitCode::Rollout,
            Self::RolloutTimedOut { .. } => ExitCode::Timeout,
            _ => ExitCode::Project,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_build_keeps_its_exit_code() {
        let failure =
            |outcome| Failure { command: "docker build .".into(), outcome, stderr: String::new() };
        let error = |outcome| Error::Build {
            what: "app".into(),
            source: failure(outcome),
            elsewhere: None,
        };
        assert_eq!(error(Outcome::Code(7)).exit_code(), 7);
        assert_eq!(error(Outcome::Signal(9)).exit_code(), 1);
    }
}
