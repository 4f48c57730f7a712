//! The error of a command: one variant per stage, and the table of exit codes.
//!
//! The messages and help texts are in the `error.rs` of each stage. Messages are shown after
//! `error: ` and `caused by: `, help texts after `help: `.

use std::fmt;

use kdev_diagnosis::diagnosis::Diagnosis;

use crate::exit_code::ExitCode;
use crate::{
    apply, build, cluster, config, docker, facts, forward, init, layers, load, logs, manifests,
    process, project, rollout, tools, watch,
};

/// The result of a command.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of a command.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The run was interrupted, or a file or directory could not be used.
    #[error(transparent)]
    Process(process::Error),
    /// The Cargo project could not be read.
    #[error(transparent)]
    Project(project::Error),
    /// The settings are invalid.
    #[error(transparent)]
    Config(config::Error),
    /// A program is missing or too old, or its output is unexpected.
    #[error(transparent)]
    Tool(tools::Error),
    /// Docker cannot be used, or does not have an image.
    #[error(transparent)]
    Docker(docker::Error),
    /// An image archive could not be read.
    #[error(transparent)]
    Layers(layers::Error),
    /// The image could not be built, or is not built yet.
    #[error(transparent)]
    Build(build::Error),
    /// The manifests are invalid.
    #[error(transparent)]
    Manifests(manifests::Error),
    /// The cluster cannot be used, or rejected a request.
    #[error(transparent)]
    Cluster(cluster::Error),
    /// The first files of a project could not be written.
    #[error(transparent)]
    Init(init::Error),
    /// The image could not be loaded onto the nodes.
    #[error(transparent)]
    Load(load::Error),
    /// The manifests could not be applied.
    #[error(transparent)]
    Apply(apply::Error),
    /// The rollout failed.
    #[error(transparent)]
    Rollout(rollout::Error),
    /// The facts for a diagnosis could not be collected.
    #[error(transparent)]
    Facts(facts::Error),
    /// The logs could not be read.
    #[error(transparent)]
    Logs(logs::Error),
    /// No port could be forwarded.
    #[error(transparent)]
    Forward(forward::Error),
    /// The package cannot be watched.
    #[error(transparent)]
    Watch(watch::Error),
    /// One of the above, with its root cause.
    #[error(transparent)]
    Diagnosed(Box<Diagnosed>),
    /// Services of a workspace failed, in this order; never empty.
    #[error("{}", describe_services(.0))]
    Services(Vec<ServiceError>),
}

/// The error of one service of a workspace.
#[derive(Debug)]
#[non_exhaustive]
pub struct ServiceError {
    /// The package.
    pub package: String,
    /// The error.
    pub error: Error,
}

fn describe_services(failures: &[ServiceError]) -> String {
    let describe = |failure: &ServiceError| format!("`{}`: {}", failure.package, failure.error);
    failures.iter().map(describe).collect::<Vec<_>>().join("; ")
}

/// An error with its root cause.
#[derive(Debug)]
#[non_exhaustive]
pub struct Diagnosed {
    /// The error.
    pub error: Error,
    /// The diagnoses; never empty.
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

/// Converts the error of a stage. Errors of earlier stages keep the variant of the stage
/// that raised them.
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
from_stage!(manifests => Manifests: Config, Cluster, Tool, Process);
from_stage!(cluster => Cluster: Tool, Process);
from_stage!(init => Init: Project, Tool, Process);
from_stage!(load => Load: Cluster, Tool, Process);
from_stage!(apply => Apply: Cluster, Process);
from_stage!(rollout => Rollout: Cluster, Process);
from_stage!(facts => Facts: Cluster, Process);
from_stage!(logs => Logs: Cluster, Process);
from_stage!(forward => Forward: Cluster, Process);
from_stage!(watch => Watch: Process);

impl Error {
    /// Returns whether the error was caused by an interrupt.
    pub fn is_interrupt(&self) -> bool {
        process::is_interrupt(self)
    }

    /// Returns one action that fixes the error, if possible a command.
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
            Self::Init(error) => error.help(),
            Self::Load(error) => error.help(),
            Self::Apply(error) => error.help(),
            Self::Rollout(error) => error.help(),
            Self::Facts(error) => error.help(),
            Self::Logs(error) => error.help(),
            Self::Forward(error) => error.help(),
            Self::Watch(error) => error.help(),
            Self::Diagnosed(diagnosed) => diagnosed.diagnoses.first().map(|one| one.help.clone()),
            Self::Services(failures) => failures.first().and_then(|failure| failure.error.help()),
        }
    }

    /// Returns the exit code for this error. For a failed build it is the exit code of the
    /// build tool.
    pub fn exit_code(&self) -> u8 {
        if self.is_interrupt() {
            return ExitCode::Interrupted as u8;
        }
        let code = match self {
            Self::Build(build::Error::Failed { source, .. }) => {
                return build::Error::builder_exit_code(source);
            }
            Self::Diagnosed(diagnosed) => return diagnosed.error.exit_code(),
            Self::Services(failures) => {
                let first = failures.first().map(|failure| failure.error.exit_code());
                return first.unwrap_or(ExitCode::Project as u8);
            }
            Self::Manifests(manifests::Error::Lookup { .. })
            | Self::Init(init::Error::UnknownContext { .. }) => ExitCode::Cluster,
            Self::Init(init::Error::NotConfirmed | init::Error::PortNotFound) => ExitCode::Usage,
            Self::Process(_)
            | Self::Init(_)
            | Self::Project(_)
            | Self::Config(_)
            | Self::Watch(_)
            | Self::Layers(_)
            | Self::Manifests(_)
            | Self::Build(_)
            | Self::Docker(docker::Error::ImageNotFound { .. })
            | Self::Load(
                load::Error::InvalidReference { .. }
                | load::Error::BaseNotFound { .. }
                | load::Error::BaseDiffers { .. },
            )
            | Self::Forward(forward::Error::InvalidSpec(_))
            | Self::Facts(facts::Error::InvalidRecord { .. }) => ExitCode::Project,
            Self::Tool(_) | Self::Docker(_) | Self::Forward(forward::Error::Listen { .. }) => {
                ExitCode::Tool
            }
            Self::Cluster(_)
            | Self::Apply(_)
            | Self::Facts(_)
            | Self::Logs(_)
            | Self::Forward(_) => ExitCode::Cluster,
            Self::Load(load::Error::Nodes(failures)) => {
                failures.first().map_or(ExitCode::Node, |failure| failure.kind.exit_code())
            }
            Self::Load(_) => ExitCode::Load,
            Self::Rollout(rollout::Error::TimedOut { .. }) => ExitCode::Timeout,
            Self::Rollout(_) => ExitCode::Rollout,
        };
        code as u8
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
    fn failed_build_keeps_exit_code() {
        let code = |outcome| {
            let (name, source) = ("app".to_owned(), failure(outcome));
            Error::Build(build::Error::Failed { name, source, hint: None }).exit_code()
        };
        assert_eq!(code(Outcome::Code(7)), 7);
        assert_eq!(code(Outcome::Signal(9)), 1);
    }

    #[test]
    fn interrupt_in_any_stage_exits_with_130() {
        let source = failure(Outcome::Interrupted);
        let errors: [Error; 4] = [
            process::Error::Interrupted(process::Interrupted).into(),
            load::Error::Process(process::Interrupted.into()).into(),
            docker::Error::Command { action: "tag".into(), source: source.clone() }.into(),
            build::Error::Failed { name: "app".into(), source, hint: None }.into(),
        ];
        for error in errors {
            assert_eq!((error.is_interrupt(), error.exit_code()), (true, 130), "{error:?}");
        }
    }

    #[test]
    fn wrapped_error_keeps_variant_and_exit_code() {
        let missing = || tools::Error::NotFound { tool: "docker", install_help: "install it" };
        let error = Error::from(build::Error::Docker(docker::Error::Tool(missing())));
        assert!(matches!(error, Error::Tool(_)), "{error:?}");
        assert_eq!(Error::from(load::Error::Cluster(missing().into())).exit_code(), 91);
    }
}
