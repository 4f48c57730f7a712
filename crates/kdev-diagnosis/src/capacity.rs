//! What nodes have of resources, and what is left of it for a pod.

use kdev_core::kube::object::text;
use kdev_core::kube::{quantity, resources};

use crate::facts::Facts;

/// What the node has for pods.
pub(crate) fn allocatable(facts: &Facts, node: &str, resource: &str) -> Option<i128> {
    let node = facts.nodes.iter().find(|one| text(one, "/metadata/name") == node)?;
    resources::amounts(&node["status"]["allocatable"]).get(resource).copied()
}

/// The most that any node has of it for pods.
pub(crate) fn most(facts: &Facts, resource: &str) -> i128 {
    let names = facts.nodes.iter().map(|node| text(node, "/metadata/name"));
    names.filter_map(|name| allocatable(facts, name, resource)).max().unwrap_or_default()
}

/// What is left of it.
pub(crate) fn left(facts: &Facts, node: &str, resource: &str) -> Option<i128> {
    let taken = facts.requests.get(node).and_then(|taken| taken.get(resource));
    let taken = taken.and_then(|taken| quantity::parse(taken)).unwrap_or_default();
    Some(allocatable(facts, node, resource)? - taken)
}

/// Whether the numbers say so; yes where they are not known.
pub(crate) fn is_short(facts: &Facts, node: &str, resource: &str) -> bool {
    let wants = resources::requests(&facts.pod["spec"]).get(resource).copied();
    match (left(facts, node, resource), wants) {
        (Some(room), Some(wants)) => room < wants || !facts.requests.contains_key(node),
        _ => true,
    }
}
