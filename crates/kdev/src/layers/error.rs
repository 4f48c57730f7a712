//! Errors of reading an image archive.

use crate::details::Details;
use crate::layers::unavailable::FREE_CACHE_DISK;
use crate::process;

/// The result of reading an archive.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// An image archive could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The archive is unreadable, or does not contain exactly one image.
    #[error("cannot read image archive `{archive}`")]
    InvalidArchive {
        /// The path of the archive, or `-`.
        archive: String,
        /// Why it cannot be read.
        #[source]
        reason: Details,
    },
    /// The disk has no space for the layers of the archive.
    #[error("no space left for the layers of image archive `{archive}`")]
    DiskFull {
        /// The path of the archive, or `-`.
        archive: String,
        /// Which disk it is.
        #[source]
        reason: Details,
    },
    /// A temporary directory could not be written.
    #[error(transparent)]
    Process(#[from] process::Error),
}

impl Error {
    /// Returns one action that fixes the error.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::InvalidArchive { .. } => {
                Some("create an archive with `docker save --output FILE.tar NAME:TAG`".to_owned())
            }
            Self::DiskFull { .. } => Some(FREE_CACHE_DISK.to_owned()),
            Self::Process(_) => None,
        }
    }
}
