//! Commands that bring an image to a node without a registry.

use kdev_core::image::node_images::CRI_NAMESPACE;
use kdev_core::kube::container::Container;

use crate::facts::Facts;
use crate::fixes;
use crate::location::Whereabouts;

/// What docker here has.
pub(crate) fn load(facts: &Facts, container: Container, seen: &Whereabouts) -> String {
    if is_of_project(facts, seen) {
        return fixes::load(facts, &seen.wanted);
    }
    let load = fixes::load_command(facts, &seen.wanted);
    format!("run {}", unpulled(facts, container, &load))
}

/// What nobody has: by the project that builds it, where that is at hand.
pub(crate) fn build(facts: &Facts, container: Container, seen: &Whereabouts) -> String {
    if is_of_project(facts, seen) {
        return fixes::load(facts, &seen.wanted);
    }
    let load = fixes::load_command(facts, &seen.wanted);
    let build = format!("docker build --tag {} . && {load}", seen.name());
    format!("build it and load it: {}", unpulled(facts, container, &build))
}

fn is_of_project(facts: &Facts, seen: &Whereabouts) -> bool {
    facts.project_image.as_deref() == Some(&seen.wanted.name().to_string())
}

/// What docker here can pull, as a command in backticks.
pub(crate) fn pull(facts: &Facts, container: Container, seen: &Whereabouts) -> String {
    let load = fixes::load_command(facts, &seen.wanted);
    unpulled(facts, container, &format!("docker pull {} && {load}", seen.name()))
}

/// A command, and what keeps the kubelet from pulling all the same.
fn unpulled(facts: &Facts, container: Container, command: &str) -> String {
    if container.policy() != "Always" {
        return format!("`{command}`");
    }
    let set = fixes::set_policy(facts, container, "Never");
    match set.strip_prefix("run `") {
        Some(set) => format!("`{command} && {set}"),
        None => format!("`{command}`, and {set}"),
    }
}

/// From docker here, or else from a containerd that has it, to the pod's node.
pub(crate) fn bring(facts: &Facts, seen: &Whereabouts, from: &str) -> Option<String> {
    if seen.local.is_some() {
        return Some(fixes::load(facts, &seen.wanted));
    }
    let (to, wanted) = (&facts.stock()?.ctr, &seen.wanted);
    Some(format!("run `{from} images export - {wanted} | {to} -n {CRI_NAMESPACE} images import -`"))
}
