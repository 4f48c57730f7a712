//! The facts about a node that the checks use.

use std::ops::RangeInclusive;

use kdev_core::kube::node::Node;
use serde_json::Value;

use crate::commands::doctor::docker::BuilderPlatform;
use crate::node::error::NodeError;
use crate::node::report::NodeProbe;

/// The facts about a node.
pub(crate) struct ObservedNode<'a> {
    pub(crate) node: &'a Node,
    /// The object in the API.
    pub(crate) object: &'a Value,
    /// The `kubectl` command with context and namespace, for help texts.
    pub(crate) kubectl: &'a str,
    pub(crate) visit: Result<NodeProbe, NodeError>,
    /// The local time during the visit, in seconds since 1970.
    pub(crate) visited_at: RangeInclusive<i64>,
    pub(crate) builder: Option<&'a BuilderPlatform>,
}
