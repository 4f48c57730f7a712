//! Errors of reading the Cargo project.

use std::io;
use std::path::PathBuf;

use kdev_core::text::list;

use crate::process::{self, Failure};
use crate::tools;

/// The result of reading the Cargo project.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// The Cargo project could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// `cargo metadata` failed.
    #[error("failed to read the Cargo project")]
    Metadata(#[source] Failure),
    /// `git` was terminated.
    #[error("failed to read the git repository")]
    Git(#[source] Failure),
    /// The machine has no ID, and one could not be stored.
    #[error("cannot identify this machine: failed to write `{}`", path.display())]
    MachineIdNotStored {
        /// The file.
        path: PathBuf,
        /// Why it was not written.
        #[source]
        source: io::Error,
    },
    /// The workspace does not contain the selected package.
    #[error("package `{package}` not found in the workspace")]
    PackageNotFound {
        /// The selected package.
        package: String,
        /// The packages of the workspace.
        available: Vec<String>,
    },
    /// The name of a package is an invalid pattern.
    #[error("invalid package pattern `{pattern}`: {reason}")]
    InvalidPattern {
        /// The name.
        pattern: String,
        /// Why it is invalid.
        reason: String,
    },
    /// None of the packages can be deployed.
    #[error("no service found in the workspace")]
    NoService {
        /// The packages of the workspace.
        available: Vec<String>,
        /// Whether some of them are excluded.
        has_excluded: bool,
    },
    /// The workspace has no package.
    #[error("the workspace has no packages")]
    NoPackage,
    /// No package is selected, and the workspace has several.
    #[error("the workspace has several packages: {}", list(available))]
    AmbiguousPackage {
        /// The packages of the workspace.
        available: Vec<String>,
        /// Whether the command can act on several packages.
        allows_several: bool,
    },
    /// A command that acts on one package has several.
    #[error("several packages are selected: {}", list(selected))]
    SeveralSelected {
        /// The selected packages.
        selected: Vec<String>,
    },
    /// One program is selected of several packages.
    #[error("cannot use `--bin` with several packages: {}", list(selected))]
    ProgramOfSeveral {
        /// The selected packages.
        selected: Vec<String>,
    },
    /// A setting names the image of several packages.
    #[error("the packages {} cannot have the same image", list(selected))]
    SharedImage {
        /// The selected packages.
        selected: Vec<String>,
    },
    /// cargo is missing, or its output is unexpected.
    #[error(transparent)]
    Tool(#[from] tools::Error),
    /// cargo could not be started.
    #[error(transparent)]
    Process(#[from] process::Error),
}

impl Error {
    /// Returns one action that fixes the error.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Metadata(failure) => Some(metadata_help(&failure.stderr)),
            Self::Git(_) => Some(
                "set `project-id` in `[package.metadata.kdev]` to identify the project without git"
                    .to_owned(),
            ),
            Self::MachineIdNotStored { .. } => Some(
                "set `project-id` in `[package.metadata.kdev]` to identify the project on each machine, or set XDG_STATE_HOME to a folder that you can write to"
                    .to_owned(),
            ),
            Self::PackageNotFound { available, .. } => {
                Some(format!("pass one of these to `--package`: {}", list(available)))
            }
            Self::NoPackage => Some(
                "add one to `members` in `[workspace]`, for example with `cargo new`".to_owned(),
            ),
            Self::InvalidPattern { .. } => {
                Some("pass a name, or use the wildcards `*`, `?`, and `[]`".to_owned())
            }
            Self::NoService { has_excluded: true, .. } => {
                Some("pass `--exclude` for fewer packages".to_owned())
            }
            Self::NoService { available, .. } => Some(format!(
                "add a Dockerfile or `[package.metadata.kdev]` to one of {}",
                list(available)
            )),
            Self::AmbiguousPackage { allows_several: true, .. } => Some(
                "select one with `--package NAME`, or all services with `--workspace`".to_owned(),
            ),
            Self::AmbiguousPackage { .. }
            | Self::SeveralSelected { .. }
            | Self::ProgramOfSeveral { .. } => {
                Some("select one with `--package NAME`".to_owned())
            }
            Self::SharedImage { .. } => Some(
                "set `image` in `[package.metadata.kdev]` of each package, and remove `--image` and `KDEV_IMAGE`"
                    .to_owned(),
            ),
            Self::Tool(error) => error.help(),
            Self::Process(_) => None,
        }
    }
}

/// Returns help that names the file, and the line if cargo reports one.
fn metadata_help(stderr: &str) -> String {
    let location = stderr.lines().find_map(|line| line.trim().strip_prefix("--> "));
    let mut parts = location.unwrap_or_default().rsplitn(3, ':');
    if let (Some(_), Some(line), Some(path)) = (parts.next(), parts.next(), parts.next()) {
        return format!("fix line {line} of `{path}`");
    }
    let path = stderr.split("parse manifest at `").nth(1).and_then(|rest| rest.split('`').next());
    match path {
        Some(path) => format!("fix `{path}`"),
        None if stderr.contains("could not find `Cargo.toml`") => {
            "run the command in a directory with a Cargo.toml, or pass `--manifest-path PATH`"
                .to_owned()
        }
        None => "run `cargo metadata --no-deps` to see the full error".to_owned(),
    }
}
