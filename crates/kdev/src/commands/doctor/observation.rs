//! What is known of a node.

use std::ops::RangeInclusive;

use kdev_core::kube::node::Node;
use serde_json::Value;

use crate::node::error::NodeError;
use crate::node::report::NodeProbe;

/// All that is known of a node.
pub(crate) struct ObservedNode<'a> {
    pub(crate) node: &'a Node,
    /// As the API has it.
    pub(crate) object: &'a Value,
    /// kubectl, as a person would type it.
    pub(crate) kubectl: &'a str,
    pub(crate) visit: Result<NodeProbe, NodeError>,
    /// The time here while it was asked, in seconds since 1970.
    pub(crate) visited_at: RangeInclusive<i64>,
    /// What docker builds for.
    pub(crate) docker_platform: Option<&'a str>,
}
