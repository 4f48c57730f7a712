//! Errors of a load.

use kdev_core::shell::quote;
use kdev_core::text::list;

use crate::details::Details;
use crate::node::error::NodeError;
use crate::{cluster, process, tools};

/// The result of a load.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of a load.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The image's name cannot be used on a node.
    #[error("cannot load `{image}`")]
    InvalidReference {
        /// The name that the user passed.
        image: String,
        /// Why it is invalid.
        #[source]
        reason: Details,
    },
    /// The image is built for another platform than the node's.
    #[error("image `{image}` is built for {image_platform}, but node `{node}` is {node_platform}")]
    PlatformMismatch {
        /// The image's name.
        image: String,
        /// Operating system and architecture.
        image_platform: String,
        /// The node's name.
        node: String,
        /// Operating system and architecture.
        node_platform: String,
    },
    /// No node has the base of the image.
    #[error("base `{base}` not found on {}", node_list(nodes))]
    BaseNotFound {
        /// The base.
        base: String,
        /// The nodes.
        nodes: Vec<String>,
    },
    /// Two nodes have different images under the name of the base.
    #[error("base `{base}` on {} is not the same image", node_list(nodes))]
    BaseDiffers {
        /// The base.
        base: String,
        /// The nodes.
        nodes: [String; 2],
    },
    /// The load failed on some nodes.
    #[error("{}", nodes_failed(.0))]
    Nodes(Vec<NodeError>),
    /// The nodes could not be selected.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    /// ssh or `docker` is missing or too old.
    #[error(transparent)]
    Tool(#[from] tools::Error),
    /// A process could not be started, or the run was interrupted.
    #[error(transparent)]
    Process(#[from] process::Error),
}

impl Error {
    /// Returns the text of the `help:` line, if there is one.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::InvalidReference { .. } => {
                Some("pass an image that `docker image ls` lists, as `NAME:TAG`".to_owned())
            }
            Self::PlatformMismatch { node_platform, .. } => {
                Some(format!("build for the node: set DOCKER_DEFAULT_PLATFORM={node_platform}"))
            }
            Self::BaseNotFound { base, .. } | Self::BaseDiffers { base, .. } => Some(format!(
                "run `cargo kdev load {}`, or set `base` to an image on this machine",
                quote(base)
            )),
            Self::Nodes(failures) => failures.first().and_then(NodeError::help),
            Self::Cluster(error) => error.help(),
            Self::Tool(error) => error.help(),
            Self::Process(_) => None,
        }
    }
}

fn nodes_failed(failures: &[NodeError]) -> String {
    let names: Vec<&str> = failures.iter().map(|f| f.node.as_str()).collect();
    format!("failed on {}", node_list(&names))
}

fn node_list(names: &[impl AsRef<str>]) -> String {
    match names {
        [one] => format!("node `{}`", one.as_ref()),
        many => format!("nodes {}", list(many)),
    }
}
