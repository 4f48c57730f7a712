//! Commands that copy an image to a node without a registry.

use kdev_core::image::local::Engine;
use kdev_core::image::node_images::CRI_NAMESPACE;
use kdev_core::kube::container::Container;

use crate::facts::Facts;
use crate::fixes;
use crate::location::ImageLocations;

/// Returns the help that loads an image from Docker onto the node.
pub(crate) fn load_help(facts: &Facts, container: Container, locations: &ImageLocations) -> String {
    if is_project_image(facts, locations) {
        return fixes::load_help(facts, &locations.reference);
    }
    let load = fixes::load_command(facts, &locations.reference);
    format!("run {}", with_pull_policy_never(facts, container, &load))
}

/// Returns the help that builds and loads an image, with `up` if the project builds it.
pub(crate) fn build_help(
    facts: &Facts,
    container: Container,
    locations: &ImageLocations,
) -> String {
    if is_project_image(facts, locations) {
        return fixes::load_help(facts, &locations.reference);
    }
    let load = fixes::load_command(facts, &locations.reference);
    let program = facts.local_engine.program();
    let build = format!("{program} build --tag {} . && {load}", locations.name());
    format!("build and load the image: {}", with_pull_policy_never(facts, container, &build))
}

fn is_project_image(facts: &Facts, locations: &ImageLocations) -> bool {
    facts.project_image.as_deref() == Some(&locations.reference.name().to_string())
}

/// Returns the command that pulls an image with Docker or Podman and loads it, in backticks.
pub(crate) fn pull_command(
    facts: &Facts,
    container: Container,
    locations: &ImageLocations,
) -> String {
    let load = fixes::load_command(facts, &locations.reference);
    let pull = pull_command_line(facts, locations);
    with_pull_policy_never(facts, container, &format!("{pull} && {load}"))
}

/// Returns the command that pulls an image. Podman may know no registry for a short name.
pub(crate) fn pull_command_line(facts: &Facts, locations: &ImageLocations) -> String {
    match facts.local_engine {
        Engine::Docker | Engine::Buildx | Engine::Cargo => {
            format!("docker pull {}", locations.name())
        }
        Engine::Podman => format!("podman pull {}", locations.reference),
    }
}

/// Appends a change of the pull policy to a command if the policy is `Always`.
fn with_pull_policy_never(facts: &Facts, container: Container, command: &str) -> String {
    if container.policy() != "Always" {
        return format!("`{command}`");
    }
    let set = fixes::set_pull_policy_help(facts, container, "Never");
    match set.strip_prefix("run `") {
        Some(set) => format!("`{command} && {set}"),
        None => format!("`{command}`, and {set}"),
    }
}

/// Returns the help that copies an image to the pod's node, from Docker if it has the
/// image, else with the `ctr` command `from`.
pub(crate) fn copy_to_node_help(
    facts: &Facts,
    locations: &ImageLocations,
    from: &str,
) -> Option<String> {
    if locations.in_docker.is_some() {
        return Some(fixes::load_help(facts, &locations.reference));
    }
    let (to, image) = (&facts.images_on_pod_node()?.ctr, &locations.reference);
    Some(format!("run `{from} images export - {image} | {to} -n {CRI_NAMESPACE} images import -`"))
}
