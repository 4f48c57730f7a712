//! Why an image is not on the nodes.

use kdev_core::text::list;

use crate::details::Details;
use crate::node::error::NodeError;
use crate::{cluster, process, tools};

/// The result of a load.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an image is not on the nodes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What shall be loaded has no name that a node could know it by.
    #[error("cannot load `{image}`")]
    InvalidReference {
        /// As it was given.
        image: String,
        /// What is wrong with it.
        #[source]
        reason: Details,
    },
    /// The image cannot run on a node.
    #[error(
        "image `{image}` is built for {image_platform}, but node `{node}` runs {node_platform}"
    )]
    PlatformMismatch {
        /// The image.
        image: String,
        /// Its operating system and architecture.
        image_platform: String,
        /// The node.
        node: String,
        /// Its operating system and architecture.
        node_platform: String,
    },
    /// Some nodes failed.
    #[error("{}", nodes_failed(.0))]
    Nodes(Vec<NodeError>),
    /// The cluster has no node for it.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    /// ssh is missing or too old.
    #[error(transparent)]
    Tool(#[from] tools::Error),
    /// It was interrupted, or nothing could be run.
    #[error(transparent)]
    Process(#[from] process::Error),
}

impl Error {
    /// One action that helps.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::InvalidReference { .. } => {
                Some("pass an image that `docker image ls` lists, as `NAME:TAG`".to_owned())
            }
            Self::PlatformMismatch { node_platform, .. } => {
                Some(format!("build for the node: set DOCKER_DEFAULT_PLATFORM={node_platform}"))
            }
            Self::Nodes(failures) => failures.first().and_then(NodeError::help),
            Self::Cluster(error) => error.help(),
            Self::Tool(error) => error.help(),
            Self::Process(_) => None,
        }
    }
}

fn nodes_failed(failures: &[NodeError]) -> String {
    let names: Vec<&str> = failures.iter().map(|f| f.node.as_str()).collect();
    match names.as_slice() {
        [one] => format!("cannot use node `{one}`"),
        many => format!("cannot use nodes {}", list(many)),
    }
}
