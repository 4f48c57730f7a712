//! Errors of `init`.

use std::path::PathBuf;

use kdev_core::text::list;

use crate::{process, project, tools};

/// The result of a step of `init`.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// The files could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The package has no program.
    #[error("package `{package}` has no binary, only a library")]
    NoBinary {
        /// The package.
        package: String,
    },
    /// The package has several programs, and none is the default.
    #[error("package `{package}` has several binaries: {}", list(binaries))]
    AmbiguousBinary {
        /// The package.
        package: String,
        /// Its binaries.
        binaries: Vec<String>,
    },
    /// The package is not in a repository.
    #[error("`{}` is not in a git repository", dir.display())]
    NoRepository {
        /// The directory of the package.
        dir: PathBuf,
    },
    /// The kubeconfig has no context of this name.
    #[error("context `{context}` not found in the kubeconfig")]
    UnknownContext {
        /// The context.
        context: String,
        /// The contexts of the kubeconfig.
        known: Vec<String>,
    },
    /// A table cannot be appended to the file.
    #[error("cannot append `[package.metadata.kdev]` to `{}`", path.display())]
    CannotAppend {
        /// The file.
        path: PathBuf,
        /// The lines of the table.
        lines: String,
    },
    /// A Service needs a port.
    #[error("no port found in the source files")]
    PortNotFound,
    /// The user could not be asked.
    #[error("refusing to write files without confirmation")]
    NotConfirmed,
    /// The Cargo project could not be read.
    #[error(transparent)]
    Project(#[from] project::Error),
    /// cargo is missing, or its output is unexpected.
    #[error(transparent)]
    Tool(#[from] tools::Error),
    /// A file could not be read or written.
    #[error(transparent)]
    Process(#[from] process::Error),
}

impl Error {
    /// Returns one action that fixes the error.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::NoBinary { .. } => {
                "add `src/main.rs`, or select another package with `--package NAME`".to_owned()
            }
            Self::AmbiguousBinary { binaries, .. } => {
                let first = binaries.first().map_or("NAME", String::as_str);
                format!("set `default-run = \"{first}\"` in `[package]`")
            }
            Self::NoRepository { .. } => {
                "run `git init` so that the new files can be reviewed, or pass `--allow-no-vcs`"
                    .to_owned()
            }
            Self::UnknownContext { known, .. } => {
                format!("pass one of these to `--context`: {}", list(known))
            }
            Self::CannotAppend { lines, .. } => {
                format!("add these lines to the `metadata` of the package:\n{}", lines.trim_end())
            }
            Self::PortNotFound => "pass `--port NUMBER`".to_owned(),
            Self::NotConfirmed => "pass `--yes` to write the files".to_owned(),
            Self::Project(error) => return error.help(),
            Self::Tool(error) => return error.help(),
            Self::Process(_) => return None,
        })
    }
}
