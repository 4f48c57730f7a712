//! Why an image is not built.

use std::path::PathBuf;

use crate::process::{self, Failure, Outcome};
use crate::{docker, tools};

/// The result of a build.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an image is not built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// `cargo build` or `docker build` failed; its words were shown.
    #[error("failed to build `{name}`")]
    Failed {
        /// The image or the package.
        name: String,
        /// How it ended.
        #[source]
        source: Failure,
        /// Where cargo puts what the Dockerfile looks for in `target/`.
        target_outside_context: Option<PathBuf>,
    },
    /// docker has no build of this project.
    #[error("docker has no image `{image}`, and so no build of this project")]
    NotBuilt {
        /// The image's name.
        image: String,
        /// The command that builds it.
        build_command: String,
    },
    /// docker failed.
    #[error(transparent)]
    Docker(#[from] docker::Error),
    /// cargo is missing, or a builder could not be started.
    #[error(transparent)]
    Tool(#[from] tools::Error),
    /// Nothing could be run.
    #[error(transparent)]
    Process(#[from] process::Error),
}

impl Error {
    /// One action that helps.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Failed { target_outside_context: Some(target), .. } => Some(format!(
                "the Dockerfile copies from `target/`, and cargo builds into `{}`, which docker does not see: unset CARGO_TARGET_DIR, or set `context` in `[package.metadata.kdev]`",
                target.display()
            )),
            Self::Failed { source, .. } => matches!(source.outcome, Outcome::Code(_))
                .then(|| "see the build's own output above".to_owned()),
            Self::NotBuilt { build_command: by, .. } => Some(format!("run `{by}`, which builds it")),
            Self::Docker(error) => error.help(),
            Self::Tool(error) => error.help(),
            Self::Process(_) => None,
        }
    }

    /// The exit code of the build itself; 1 where it has none.
    pub(crate) fn builder_exit_code(source: &Failure) -> u8 {
        match source.outcome {
            Outcome::Code(code) => u8::try_from(code).unwrap_or(1),
            Outcome::Signal(_)
            | Outcome::TimedOut(_)
            | Outcome::Interrupted
            | Outcome::NotStarted(_) => 1,
        }
    }
}
