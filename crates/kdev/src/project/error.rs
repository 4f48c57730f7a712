//! What is wrong with the cargo project.

use crate::process::{self, Failure};
use crate::tools;

/// The result of reading a project.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// What is wrong with the cargo project.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// `cargo metadata` failed.
    #[error("cannot read the cargo project")]
    Metadata(#[source] Failure),
    /// No package, or several, could be meant.
    #[error("cannot tell which package is meant: {reason}")]
    AmbiguousPackage {
        /// What was found.
        reason: String,
    },
    /// cargo could not be understood.
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
            Self::Metadata(failure) => Some(metadata_help(&failure.stderr)),
            Self::AmbiguousPackage { .. } => Some("name one with `--package NAME`".to_owned()),
            Self::Tool(error) => error.help(),
            Self::Process(_) => None,
        }
    }
}

/// cargo names the file that is wrong, and as a rule the line.
fn metadata_help(stderr: &str) -> String {
    let place = stderr.lines().find_map(|line| line.trim().strip_prefix("--> "));
    let mut parts = place.unwrap_or_default().rsplitn(3, ':');
    if let (Some(_), Some(line), Some(path)) = (parts.next(), parts.next(), parts.next()) {
        return format!("correct line {line} of `{path}`");
    }
    let named = stderr.split("parse manifest at `").nth(1).and_then(|rest| rest.split('`').next());
    match named {
        Some(path) => format!("correct `{path}`"),
        None if stderr.contains("could not find `Cargo.toml`") => {
            "run it in a folder with a Cargo.toml, or name one with `--manifest-path`".to_owned()
        }
        None => "see `cargo metadata --no-deps`".to_owned(),
    }
}
