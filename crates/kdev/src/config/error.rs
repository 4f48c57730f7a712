//! Errors of the settings.

use std::path::PathBuf;

use kdev_core::image::reference::ReferenceError;
use kdev_core::text::list;

use crate::details::Details;
use crate::process;

/// The result of reading settings.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// The settings could not be read, or are invalid.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A table has an unknown key.
    #[error("unknown key `{key}` in {location}")]
    UnknownKey {
        /// The full path of the key.
        key: String,
        /// The file and table.
        location: String,
        /// The most similar known key.
        nearest: Option<String>,
    },
    /// A value is invalid.
    #[error("invalid value for `{key}` in {location}")]
    InvalidValue {
        /// The full path of the key.
        key: String,
        /// The file and table, the variable or the flag.
        location: String,
        /// Why it is invalid.
        #[source]
        reason: Details,
    },
    /// The image name is not a valid reference.
    #[error("invalid image name")]
    InvalidImageName(#[source] ReferenceError),
    /// Flags of cargo were passed, but the Dockerfile builds the program.
    #[error(
        "cannot pass {flags} to cargo: `cargo-build` is not set, so the Dockerfile of package `{package}` builds the program"
    )]
    CargoFlagsUnused {
        /// The flags.
        flags: String,
        /// The package.
        package: String,
    },
    /// The command line and the settings select different profiles.
    #[error(
        "the command line selects the profile `{flag}`, but `cargo-build` of package `{package}` selects `{setting}`"
    )]
    ConflictingProfile {
        /// The profile of the command line.
        flag: String,
        /// The profile of the settings.
        setting: String,
        /// The package.
        package: String,
    },
    /// The key `after` names a package that does not exist.
    #[error("package `{name}` in `after` of package `{package}` not found in the workspace")]
    UnknownAfter {
        /// The name.
        name: String,
        /// The package with the key.
        package: String,
        /// The other packages of the workspace.
        available: Vec<String>,
    },
    /// Packages must be deployed before each other.
    #[error("the keys `after` of the packages have a cycle: {}", format_cycle(cycle))]
    CyclicAfter {
        /// The packages. Each names the next one, and the last is the first.
        cycle: Vec<String>,
    },
    /// There is neither a `Containerfile` nor a Dockerfile for Podman.
    #[error("neither `Containerfile` nor `Dockerfile` found in `{}`", dir.display())]
    ContainerfileNotFound {
        /// The directory of the package.
        dir: PathBuf,
    },
    /// The Dockerfile does not exist.
    #[error("Dockerfile not found at `{}`", path.display())]
    DockerfileNotFound {
        /// The expected path.
        path: PathBuf,
    },
    /// A file could not be read.
    #[error(transparent)]
    Process(#[from] process::Error),
}

impl Error {
    pub(crate) fn invalid(key: &str, location: &str, reason: impl Into<String>) -> Self {
        let (key, location, reason) = (key.to_owned(), location.to_owned(), Details(reason.into()));
        Self::InvalidValue { key, location, reason }
    }

    /// Returns one action that fixes the error.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::UnknownKey { key, nearest: Some(nearest), .. } => {
                let table =
                    key.rsplit_once('.').map_or(String::new(), |(table, _)| format!("{table}."));
                format!("did you mean `{table}{nearest}`?")
            }
            Self::UnknownKey { .. } => {
                "remove it; `docs/configuration.md` lists the known keys".to_owned()
            }
            Self::InvalidValue { location, reason, .. } => value_help(location, &reason.0),
            Self::InvalidImageName(_) => {
                "set `image = \"name\"` in `[package.metadata.kdev]`".to_owned()
            }
            Self::CargoFlagsUnused { .. } => {
                "set `cargo-build = []` in `[package.metadata.kdev]` if the Dockerfile copies the program from `target/`"
                    .to_owned()
            }
            Self::ConflictingProfile { .. } => {
                "remove the profile from `cargo-build` in `[package.metadata.kdev]`, or from the command line"
                    .to_owned()
            }
            Self::UnknownAfter { available, .. } => match available.as_slice() {
                [] => "remove `after` from `[package.metadata.kdev]`".to_owned(),
                available => format!("use the names of other packages: {}", list(available)),
            },
            Self::CyclicAfter { cycle } => format!(
                "remove `{}` from `after` of package `{}`",
                cycle.get(1).map_or("", String::as_str),
                cycle.first().map_or("", String::as_str),
            ),
            Self::ContainerfileNotFound { .. } => {
                "create one of them, or set `dockerfile = \"path\"` in `[package.metadata.kdev]`"
                    .to_owned()
            }
            Self::DockerfileNotFound { .. } => {
                "create it, or set `dockerfile = \"path\"` in `[package.metadata.kdev]`".to_owned()
            }
            Self::Process(_) => return None,
        })
    }
}

/// Formats a cycle such as `web` after `db`, `db` after `web`.
fn format_cycle(cycle: &[String]) -> String {
    let pairs = cycle.windows(2).map(|pair| format!("`{}` after `{}`", pair[0], pair[1]));
    pairs.collect::<Vec<_>>().join(", ")
}

fn value_help(location: &str, reason: &str) -> String {
    let line = reason.strip_prefix("TOML parse error at line ").and_then(|r| r.split(',').next());
    match line {
        Some(line) => format!("fix line {line} of {location}"),
        None => "see `docs/configuration.md` for valid values".to_owned(),
    }
}
