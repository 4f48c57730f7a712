//! Commands that bring an image to a node without a registry. Pure.

use super::cure;
use super::whereabouts::Whereabouts;
use crate::container::Container;
use crate::facts::Facts;

/// What docker here has.
pub(super) fn load(facts: &Facts, container: Container, seen: &Whereabouts) -> String {
    if is_of_project(facts, seen) {
        return cure::load(facts, &seen.wanted);
    }
    let load = cure::load_command(facts, &seen.wanted);
    format!("run {}", unpulled(facts, container, &load))
}

/// What nobody has: by the project that builds it, where that is at hand.
pub(super) fn build(facts: &Facts, container: Container, seen: &Whereabouts) -> String {
    if is_of_project(facts, seen) {
        return cure::load(facts, &seen.wanted);
    }
    let load = cure::load_command(facts, &seen.wanted);
    let build = format!("docker build --tag {} . && {load}", seen.name());
    format!("build it and load it: {}", unpulled(facts, container, &build))
}

fn is_of_project(facts: &Facts, seen: &Whereabouts) -> bool {
    facts.project_image.as_deref() == Some(&seen.wanted.name().to_string())
}

/// What docker here can pull, as a command in backticks.
pub(super) fn pull(facts: &Facts, container: Container, seen: &Whereabouts) -> String {
    let load = cure::load_command(facts, &seen.wanted);
    unpulled(facts, container, &format!("docker pull {} && {load}", seen.name()))
}

/// A command, and what keeps the kubelet from pulling all the same.
fn unpulled(facts: &Facts, container: Container, command: &str) -> String {
    if container.policy() != "Always" {
        return format!("`{command}`");
    }
    let set = cure::set_policy(facts, container, "Never");
    match set.strip_prefix("run `") {
        Some(set) => format!("`{command} && {set}"),
        None => format!("`{command}`, and {set}"),
    }
}
