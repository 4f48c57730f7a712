//! What is wrong with the settings.

use std::path::PathBuf;

use kdev_core::image::reference::ReferenceError;

use crate::details::Reason;
use crate::process;

/// The result of reading settings.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// What is wrong with the settings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A key that kdev does not know.
    #[error("unknown key `{key}` in {place}")]
    UnknownKey {
        /// The key, with the tables around it.
        key: String,
        /// The file and table.
        place: String,
        /// The known key that looks most like it.
        nearest: Option<String>,
    },
    /// A value that cannot be used.
    #[error("invalid value for `{key}` in {place}")]
    InvalidValue {
        /// The key, with the tables around it.
        key: String,
        /// The file and table, the variable or the flag.
        place: String,
        /// What is wrong with it.
        #[source]
        reason: Reason,
    },
    /// The image's name breaks the grammar of references.
    #[error("cannot use the image's name")]
    InvalidImageName(#[source] ReferenceError),
    /// There is no Dockerfile.
    #[error("no Dockerfile at `{}`", path.display())]
    DockerfileNotFound {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A file could not be read.
    #[error(transparent)]
    Process(#[from] process::Error),
}

impl Error {
    pub(crate) fn invalid(key: &str, place: &str, reason: impl Into<String>) -> Self {
        let (key, place, reason) = (key.to_owned(), place.to_owned(), Reason(reason.into()));
        Self::InvalidValue { key, place, reason }
    }

    /// One action that helps.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::UnknownKey { key, nearest: Some(nearest), .. } => {
                let table =
                    key.rsplit_once('.').map_or(String::new(), |(table, _)| format!("{table}."));
                format!("did you mean `{table}{nearest}`?")
            }
            Self::UnknownKey { .. } => "remove it; the README lists the known keys".to_owned(),
            Self::InvalidValue { place, reason, .. } => value_help(place, &reason.0),
            Self::InvalidImageName(_) => {
                "set another one: `image = \"name\"` in `[package.metadata.kdev]`".to_owned()
            }
            Self::DockerfileNotFound { .. } => {
                "write one there, as the README shows, or set `dockerfile = \"path\"` in `[package.metadata.kdev]`"
                    .to_owned()
            }
            Self::Process(_) => return None,
        })
    }
}

fn value_help(place: &str, reason: &str) -> String {
    let line = reason.strip_prefix("TOML parse error at line ").and_then(|r| r.split(',').next());
    match line {
        Some(line) => format!("correct line {line} of {place}"),
        None => "the README lists what each key takes".to_owned(),
    }
}
