//! All that may fail: one variant for each stage, and the table of exit codes.
//!
//! What failed, its words and what helps stand in the `error.rs` of the stage. The
//! words fit after `error: ` and `caused by: `, those of `help` after `help: `.

use std::fmt;

use kdev_diagnosis::diagnosis::Diagnosis;

use crate::exit_code::ExitCode;
use crate::node::error::{NodeErrorKind, NodeError};
use crate::{
    apply, build, cluster, config, docker, facts, layers, load, manifests, process, project,
    rollout, tools,
};

/// The result of a command.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It was interrupted, or a file or folder could not be used.
    #[error(transparent)]
    Process(process::Error),
    /// The cargo project is wrong.
    #[error(transparent)]
    Project(project::Error),
    /// The settings are wrong.
    #[error(transparent)]
    Config(config::Error),
    /// A program is missing or too old, or cannot be understood.
    #[error(transparent)]
    Tool(tools::Error),
    /// docker cannot be used, or lacks an image.
    #[error(transparent)]
    Docker(docker::Error),
    /// An archive is wrong.
    #[error(transparent)]
    Layers(layers::Error),
    /// The image is not built.
    #[error(transparent)]
    Build(build::Error),
    /// The manifests are wrong.
    #[error(transparent)]
    Manifests(manifests::Error),
    /// The cluster cannot be used, or refuses.
    #[error(transparent)]
    Cluster(cluster::Error),
    /// The image is not on the nodes.
    #[error(transparent)]
    Load(load::Error),
    /// The manifests are not applied.
    #[error(transparent)]
    Apply(apply::Error),
    /// The new pods are not ready.
    #[error(transparent)]
    Rollout(rollout::Error),
    /// There is nothing to judge.
    #[error(transparent)]
    Facts(facts::Error),
    /// One of these, of which the root cause was found.
    #[error(transparent)]
    Diagnosed(Box<Diagnosed>),
}

/// An error of which the root cause was found.
#[derive(Debug)]
#[non_exhaustive]
pub struct Diagnosed {
    /// What failed.
    pub error: Error,
    /// Why; never empty.
    pub diagnoses: Vec<Diagnosis>,
}

impl fmt::Display for Diagnosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for Diagnosed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

impl From<Diagnosed> for Error {
    fn from(diagnosed: Diagnosed) -> Self {
        Self::Diagnosed(Box::new(diagnosed))
    }
}

/// An error of a stage. What a stage only passes on keeps the variant of the stage in
/// which it arose.
macro_rules! from_stage {
    ($stage:ident => $variant:ident: $($lower:ident),*) => {
        impl From<$stage::Error> for Error {
            fn from(error: $stage::Error) -> Self {
                match error {
                    $($stage::Error::$lower(lower) => lower.into(),)*
                    error => Self::$variant(error),
                }
            }
        }
    };
}

impl From<process::Error> for Error {
    fn from(error: process::Error) -> Self {
        Self::Process(error)
    }
}

from_stage!(tools => Tool: Process);
from_stage!(project => Project: Tool, Process);
from_stage!(config => Config: Process);
from_stage!(docker => Docker: Tool, Process);
from_stage!(layers => Layers: Process);
from_stage!(build => Build: Docker, Tool, Process);
from_stage!(manifests => Manifests: Config, Tool, Process);
from_stage!(cluster => Cluster: Tool, Process);
from_stage!(load => Load: Cluster, Tool, Process);
from_stage!(apply => Apply: Cluster, Process);
from_stage!(rollout => Rollout: Cluster, Process);
from_stage!(facts => Facts: Cluster, Process);

impl Error {
    /// Whether it is Ctrl-C or a signal, wherever that was noticed.
    pub fn is_interrupt(&self) -> bool {
        process::is_interrupt(self)
    }

    /// One action that helps, to copy where that is possible.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Process(_) => None,
            Self::Project(error) => error.help(),
            Self::Config(error) => error.help(),
            Self::Tool(error) => error.help(),
            Self::Docker(error) => error.help(),
            Self::Layers(error) => error.help(),
            Self::Build(error) => error.help(),
            Self::Manifests(error) => error.help(),
            Self::Cluster(error) => error.help(),
            Self::Load(error) => error.help(),
            Self::Apply(error) => error.help(),
            Self::Rollout(error) => error.help(),
            Self::Facts(error) => error.help(),
            Self::Diagnosed(diagnosed) => diagnosed.diagnoses.first().map(|one| one.help.clone()),
        }
    }

    /// The exit code that a program should end with: that of a failed build is the
    /// builder's own.
    pub fn exit_code(&self) -> u8 {
        if self.is_interrupt() {
            return ExitCode::Interrupted as u8;
        }
        let code = match self {
            Self::Build(build::Error::Failed { source, .. }) => {
                return build::Error::builder_exit_code(source);
            }
            Self::Diagnosed(diagnosed) => return diagnosed.error.exit_code(),
            Self::Process(_)
            | Self::Project(_)
            | Self::Config(_)
            | Self::Layers(_)
            | Self::Manifests(_)
            | Self::Build(_)
            | Self::Docker(docker::Error::ImageNotFound { .. })
            | Self::Load(load::Error::InvalidReference { .. })
            | Self::Facts(facts::Error::InvalidRecord { .. }) => ExitCode::Project,
            Self::Tool(_) | Self::Docker(_) => ExitCode::Tool,
            Self::Cluster(_) | Self::Apply(_) | Self::Facts(_) => ExitCode::Cluster,
            Self::Load(load::Error::Nodes(failures)) => {
                failures.first().map_or(ExitCode::Node, NodeError::exit_code)
            }
            Self::Load(_) => ExitCode::Load,
            Self::Rollout(rollout::Error::TimedOut { .. }) => ExitCode::Timeout,
            Self::Rollout(_) => ExitCode::Rollout,
        };
        code as u8
    }
}

impl NodeError {
    /// Whether the node, or the load onto it, failed.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self.kind {
            NodeErrorKind::Export(_)
            | NodeErrorKind::DiskFull(_)
            | NodeErrorKind::ConnectionLost(_)
            | NodeErrorKind::ContainerdStopped(_)
            | NodeErrorKind::Import(_) => ExitCode::Load,
            NodeErrorKind::Interrupted => ExitCode::Interrupted,
            NodeErrorKind::NoAddress
            | NodeErrorKind::InvalidSshTarget(_)
            | NodeErrorKind::InvalidContainerName(_)
            | NodeErrorKind::WrongMachine
            | NodeErrorKind::Unreachable(_)
            | NodeErrorKind::HostKeyUnknown(_)
            | NodeErrorKind::HostKeyChanged(_)
            | NodeErrorKind::LoginDenied(_)
            | NodeErrorKind::NoShell(_)
            | NodeErrorKind::CtrNotFound(_)
            | NodeErrorKind::SudoPassword(_)
            | NodeErrorKind::SudoTerminal
            | NodeErrorKind::SudoNotFound
            | NodeErrorKind::SudoNotAllowed(..)
            | NodeErrorKind::ContainerdUnreachable { .. }
            | NodeErrorKind::UnsupportedRuntime(_) => ExitCode::Node,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::{Failure, Outcome};

    fn failure(outcome: Outcome) -> Failure {
        Failure { command: "docker build .".into(), outcome, stderr: String::new() }
    }

    #[test]
    fn a_failed_build_keeps_its_exit_code() {
        let code = |outcome| {
            let (what, source) = ("app".to_owned(), failure(outcome));
            Error::Build(build::Error::Failed { name: what, source, target_outside_context: None }).exit_code()
        };
        assert_eq!(code(Outcome::Code(7)), 7);
        assert_eq!(code(Outcome::Signal(9)), 1);
    }

    #[test]
    fn an_interrupt_is_one_wherever_it_was_noticed() {
        let source = failure(Outcome::Interrupted);
        let errors: [Error; 4] = [
            process::Error::Interrupted(process::Interrupted).into(),
            load::Error::Process(process::Interrupted.into()).into(),
            docker::Error::Command { action: "tag".into(), source: source.clone() }.into(),
            build::Error::Failed { name: "app".into(), source, target_outside_context: None }.into(),
        ];
        for error in errors {
            assert_eq!((error.is_interrupt(), error.exit_code()), (true, 130), "{error:?}");
        }
    }

    #[test]
    fn what_a_stage_passes_on_keeps_its_code() {
        let missing = || tools::Error::NotFound { tool: "docker", install_help: "it" };
        let error = Error::from(build::Error::Docker(docker::Error::Tool(missing())));
        assert!(matches!(error, Error::Tool(_)), "{error:?}");
        assert_eq!(Error::from(load::Error::Cluster(missing().into())).exit_code(), 91);
    }
}
