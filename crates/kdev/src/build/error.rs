//! Errors of building an image.

use std::path::PathBuf;

use crate::process::{self, Failure, Outcome};
use crate::{docker, tools};

/// The result of a build.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// An image could not be built or is not built yet.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// `cargo build` or `docker build` failed. Its output was already shown.
    #[error("failed to build `{name}`")]
    Failed {
        /// The name of the image or the package.
        name: String,
        /// How it failed.
        #[source]
        source: Failure,
        /// cargo's target directory, if the Dockerfile copies from `target/` and the build
        /// context does not contain it.
        target_outside_context: Option<PathBuf>,
    },
    /// Docker does not have an image of this project.
    #[error("image `{image}` has not been built yet")]
    NotBuilt {
        /// The image's name.
        image: String,
        /// The command that builds it.
        build_command: String,
    },
    /// Docker built an image, but did not write its ID.
    #[error("`docker build` did not write the image ID to `{}`", file.display())]
    NoImageId {
        /// The temporary file for the ID.
        file: PathBuf,
    },
    /// Docker failed.
    #[error(transparent)]
    Docker(#[from] docker::Error),
    /// cargo is missing, or a builder could not be started.
    #[error(transparent)]
    Tool(#[from] tools::Error),
    /// No program could be started.
    #[error(transparent)]
    Process(#[from] process::Error),
}

impl Error {
    /// Returns one action that fixes the error.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Failed { target_outside_context: Some(target), .. } => Some(format!(
                "unset CARGO_TARGET_DIR or set `context` in `[package.metadata.kdev]`: the Dockerfile copies from `target/`, but cargo builds into `{}`, which is outside the build context",
                target.display()
            )),
            Self::Failed { source, .. } => matches!(source.outcome, Outcome::Code(_))
                .then(|| "check the build output above".to_owned()),
            Self::NotBuilt { build_command: by, .. } => Some(format!("run `{by}` to build it")),
            Self::NoImageId { .. } => Some(
                "if Docker is installed as a snap, it cannot write there: run `mkdir -p ~/kdev-tmp`, and set `TMPDIR` to this folder"
                    .to_owned(),
            ),
            Self::Docker(error) => error.help(),
            Self::Tool(error) => error.help(),
            Self::Process(_) => None,
        }
    }

    /// Returns the exit code of the build, or 1 if it has none.
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
