//! Allocatable and remaining resources of nodes.

use kdev_core::kube::object::text;
use kdev_core::kube::{quantity, resources};

use crate::facts::Facts;

/// Returns the allocatable amount of a resource on a node.
pub(crate) fn allocatable(facts: &Facts, node: &str, resource: &str) -> Option<i128> {
    let node = facts.nodes.iter().find(|one| text(one, "/metadata/name") == node)?;
    resources::amounts(&node["status"]["allocatable"]).get(resource).copied()
}

/// Returns the largest allocatable amount of a resource on any node.
pub(crate) fn max_allocatable(facts: &Facts, resource: &str) -> i128 {
    let names = facts.nodes.iter().map(|node| text(node, "/metadata/name"));
    names.filter_map(|name| allocatable(facts, name, resource)).max().unwrap_or_default()
}

/// Returns how much of a resource is not requested by the pods on a node.
pub(crate) fn remaining(facts: &Facts, node: &str, resource: &str) -> Option<i128> {
    let requested = facts.requests.get(node).and_then(|requests| requests.get(resource));
    let requested = requested.and_then(|amount| quantity::parse(amount)).unwrap_or_default();
    Some(allocatable(facts, node, resource)? - requested)
}

/// Whether a node has too little of a resource for the pod; true if that is unknown.
pub(crate) fn is_insufficient(facts: &Facts, node: &str, resource: &str) -> bool {
    let needed = resources::requests(&facts.pod["spec"]).get(resource).copied();
    match (remaining(facts, node, resource), needed) {
        (Some(remaining), Some(needed)) => remaining < needed || !facts.requests.contains_key(node),
        _ => true,
    }
}
