//! What is wrong with an archive that a user brings.

use crate::details::Details;
use crate::process;

/// The result of reading an archive.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// What is wrong with an archive that a user brings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An archive that holds no image to load, or more than one.
    #[error("cannot load the archive `{archive}`")]
    InvalidArchive {
        /// Its path, or `-`.
        archive: String,
        /// What is wrong with it.
        #[source]
        reason: Details,
    },
    /// A folder could not be written.
    #[error(transparent)]
    Process(#[from] process::Error),
}

impl Error {
    /// One action that helps.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::InvalidArchive { .. } => {
                Some("write one with `docker save --output FILE.tar NAME:TAG`".to_owned())
            }
            Self::Process(_) => None,
        }
    }
}
