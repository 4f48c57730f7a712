//! Images that are not where the kubelet looks for them.

use kdev_core::image::node_images::CRI_NAMESPACE;
use kdev_core::image::reference::{Reference, split_tag};
use kdev_core::kube::container::Container;
use kdev_core::text::list;

use crate::cause::Cause;
use crate::diagnosis::{Confidence, Diagnosis};
use crate::facts::Facts;
use crate::fixes::{self, image};
use crate::location::{ImageLocations, describe_node, familiar_name, waiting_evidence};
use crate::rules::image::pull;

pub(crate) fn diagnose(facts: &Facts) -> Vec<Diagnosis> {
    facts
        .containers()
        .into_iter()
        .filter_map(|container| diagnose_container(facts, container))
        .collect()
}

fn diagnose_container(facts: &Facts, container: Container) -> Option<Diagnosis> {
    let (reason, message) = container.waiting()?;
    if reason == "InvalidImageName" {
        return Some(invalid_name(facts, container, message));
    }
    if !container.waits_for_image() {
        return None;
    }
    let locations = ImageLocations::new(facts, container.reference()?);
    if locations.on_node.is_some() || locations.reference.digest().is_some() {
        return None;
    }
    let mut diagnosis = in_other_namespace(facts, &locations)
        .or_else(|| garbage_collected(facts, container, &locations))
        .or_else(|| on_other_node(facts, &locations))
        .or_else(|| not_loaded(facts, container, &locations))
        .or_else(|| similar_name(facts, container, &locations))
        .or_else(|| not_found(facts, container, &locations))?;
    diagnosis.evidence.insert(0, waiting_evidence(container));
    Some(diagnosis)
}

/// Describes what is known about the image on the pod's node.
fn node_evidence(facts: &Facts, locations: &ImageLocations) -> String {
    let node = describe_node(facts);
    match locations.node_error {
        Some(error) => format!("unknown whether {node} has the image: {error}"),
        None if locations.is_missing_on_node(facts) => {
            format!(
                "containerd on {node} has no `{}` in namespace `{CRI_NAMESPACE}`",
                locations.reference
            )
        }
        None => format!("unknown whether {node} has the image"),
    }
}

/// Describes the image in Docker or Podman, if there is one.
fn docker_evidence(facts: &Facts, locations: &ImageLocations) -> Option<String> {
    let engine = facts.local_engine;
    locations
        .in_docker
        .map(|local| format!("{engine} has `{}`, created {}", locations.name(), local.age))
}

fn in_other_namespace(facts: &Facts, locations: &ImageLocations) -> Option<Diagnosis> {
    let other = &locations.in_other_namespace?.namespace;
    let ctr = &facts.images_on_pod_node()?.ctr;
    let (name, node) = (locations.name(), describe_node(facts));
    let help = image::copy_to_node_help(facts, locations, &format!("{ctr} -n {other}"))?;
    Some(Diagnosis {
        cause: Cause::ImageInOtherNamespace,
        confidence: Confidence::Certain,
        message: format!(
            "`{name}` is on {node} in the containerd namespace `{other}`, but the kubelet uses only `{CRI_NAMESPACE}`"
        ),
        evidence: [Some(node_evidence(facts, locations)), docker_evidence(facts, locations)]
            .into_iter()
            .flatten()
            .collect(),
        help,
    })
}

fn on_other_node(facts: &Facts, locations: &ImageLocations) -> Option<Diagnosis> {
    let nodes = if locations.other_nodes.len() == 1 { "node" } else { "nodes" };
    let first = locations.other_nodes.first()?;
    if !locations.is_missing_on_node(facts) {
        return None;
    }
    let (name, node) = (locations.name(), describe_node(facts));
    let from = &facts.images_on_node(first)?.ctr;
    let help = image::copy_to_node_help(facts, locations, &format!("{from} -n {CRI_NAMESPACE}"))?;
    Some(Diagnosis {
        cause: Cause::ImageOnOtherNode,
        confidence: Confidence::Certain,
        message: format!(
            "`{name}` is on {nodes} {}, but the pod is on {node}",
            list(&locations.other_nodes)
        ),
        evidence: [Some(node_evidence(facts, locations)), docker_evidence(facts, locations)]
            .into_iter()
            .flatten()
            .collect(),
        help,
    })
}

/// Diagnoses an image that was on the node before.
fn garbage_collected(
    facts: &Facts,
    container: Container,
    locations: &ImageLocations,
) -> Option<Diagnosis> {
    let has_run = container.restarts() > 0 || container.ended().is_some();
    let present = format!("Container image \"{}\" already present", container.image());
    let event = facts.events.iter().find(|event| event.message.starts_with(&present));
    if !(has_run || event.is_some()) || !locations.is_missing_on_node(facts) {
        return None;
    }
    let earlier = match event {
        Some(event) => format!("at {} the kubelet reported: {}", event.time, event.message),
        None => format!("container `{}` has run on this node before", container.name()),
    };
    let help = match locations.in_docker {
        Some(_) => fixes::load_help(facts, &locations.reference),
        None => {
            format!(
                "rebuild `{}`, then {}",
                locations.name(),
                fixes::load_help(facts, &locations.reference)
            )
        }
    };
    Some(Diagnosis {
        cause: Cause::ImageGarbageCollected,
        confidence: Confidence::Likely,
        message: format!(
            "image `{}` was removed from {} by the kubelet's image garbage collection",
            locations.name(),
            describe_node(facts)
        ),
        evidence: [
            Some(earlier),
            Some(node_evidence(facts, locations)),
            docker_evidence(facts, locations),
        ]
        .into_iter()
        .flatten()
        .collect(),
        help,
    })
}

fn not_loaded(
    facts: &Facts,
    container: Container,
    locations: &ImageLocations,
) -> Option<Diagnosis> {
    let docker = docker_evidence(facts, locations)?;
    // If the name contains a registry, an error of that registry explains more.
    let error =
        pull::pull_error_cause(facts, container).filter(|cause| *cause != Cause::TagNotFound);
    if error.is_some() && !locations.has_no_registry() {
        return None;
    }
    // An image that Docker has pulled may be missing for another reason.
    let is_sure = locations.is_missing_on_node(facts)
        && (locations.has_no_registry() || container.policy() == "Never");
    Some(Diagnosis {
        cause: Cause::ImageNotLoaded,
        confidence: if is_sure { Confidence::Certain } else { Confidence::Likely },
        message: format!(
            "`{}` is in {}, but not on {}",
            locations.name(),
            facts.local_engine,
            describe_node(facts)
        ),
        evidence: vec![node_evidence(facts, locations), docker],
        help: fixes::load_help(facts, &locations.reference),
    })
}

/// Diagnoses an image with a similar name on the node or in Docker.
fn similar_name(
    facts: &Facts,
    container: Container,
    locations: &ImageLocations,
) -> Option<Diagnosis> {
    if !is_probably_local(container, locations) {
        return None;
    }
    let has_tag = |name: &str| split_tag(name).1 == locations.reference.tag();
    let (name, node) = (locations.name(), describe_node(facts));
    let on_node = locations.similar_names.first();
    let in_docker = locations.similar_in_docker.first();
    let in_docker = in_docker.filter(|_| facts.local_engine.can_tag()).filter(|image| {
        on_node.is_none_or(|on_node| has_tag(&image.name) && !has_tag(&on_node.name))
    });
    if let Some(image) = in_docker {
        let (other, engine) = (familiar_name(&image.name), facts.local_engine);
        let missing = if locations.is_missing_on_node(facts) {
            format!("`{name}` is neither on {node} nor in {engine}")
        } else {
            format!("`{name}` is not in {engine}")
        };
        return Some(Diagnosis {
            cause: Cause::LocalImageUnderOtherName,
            confidence: Confidence::Likely,
            message: format!("{missing}, but {engine} has `{other}`"),
            evidence: vec![
                node_evidence(facts, locations),
                format!("{engine} has `{other}`, created {}", image.age),
            ],
            help: format!(
                "run `{} tag {other} {name} && {}`",
                engine.program(),
                fixes::load_command(facts, &locations.reference)
            ),
        });
    }
    let other = familiar_name(&on_node?.name);
    Some(Diagnosis {
        cause: Cause::ImageUnderOtherName,
        confidence: Confidence::Likely,
        message: format!("{node} has no `{name}`, but has `{other}`"),
        evidence: vec![node_evidence(facts, locations), format!("{node} has `{}`", on_node?.name)],
        help: fixes::set_image_help(facts, container, &other),
    })
}

/// Returns whether the image is probably a local one with another name, and not one
/// from a registry.
fn is_probably_local(container: Container, locations: &ImageLocations) -> bool {
    container.policy() == "Never" || locations.has_no_registry()
}

/// Diagnoses an image that is neither on the node, nor in Docker, nor in a registry.
fn not_found(facts: &Facts, container: Container, locations: &ImageLocations) -> Option<Diagnosis> {
    let is_forbidden = container.policy() == "Never";
    if !is_forbidden && !pull::is_in_no_registry(facts, container, locations) {
        return None;
    }
    let (name, node) = (locations.name(), describe_node(facts));
    let engine = facts.local_engine;
    let docker = match facts.local_images {
        Some(_) => format!("{engine} has no `{name}`"),
        None => "Docker is not responding".to_owned(),
    };
    let (confidence, message) = if is_forbidden {
        let is_sure = locations.is_missing_on_node(facts);
        let confidence = if is_sure { Confidence::Certain } else { Confidence::Likely };
        (
            confidence,
            format!("`{name}` is not on {node}, and the pull policy `Never` prevents a pull"),
        )
    } else {
        let missing = match (locations.is_missing_on_node(facts), facts.local_images.is_some()) {
            (true, true) => format!("`{name}` is neither on {node} nor in {engine}, and "),
            (true, false) => format!("`{name}` is not on {node}, and "),
            (false, true) => format!("`{name}` is not in {engine}, and "),
            (false, false) => String::new(),
        };
        let registry = match locations.reference.name().to_string() {
            name if name.starts_with("localhost/") => "`localhost` in its name is not a registry",
            _ if missing.is_empty() => &format!("`docker.io` has no public image `{name}`"),
            _ => "`docker.io` has no public image with that name",
        };
        (Confidence::Likely, format!("{missing}{registry}"))
    };
    let error = pull::pull_error(facts, container).filter(|_| !is_forbidden).map(str::to_owned);
    Some(Diagnosis {
        cause: Cause::ImageNotFound,
        confidence,
        message,
        evidence: [node_evidence(facts, locations), docker].into_iter().chain(error).collect(),
        help: image::build_help(facts, container, locations),
    })
}

fn invalid_name(facts: &Facts, container: Container, message: &str) -> Diagnosis {
    let image = container.image();
    let error = Reference::parse(image).err().map(|error| error.to_string());
    let valid = with_lowercase_name(image);
    let help = match Reference::parse(&valid) {
        Ok(_) => fixes::set_image_help(facts, container, &valid),
        Err(_) => format!(
            "correct the image name of container `{}` in the manifest of {}",
            container.name(),
            facts.controller_id()
        ),
    };
    Diagnosis {
        cause: Cause::InvalidImageName,
        confidence: Confidence::Certain,
        message: error.unwrap_or_else(|| format!("`{image}` is not a valid image reference")),
        evidence: vec![format!("container `{}` is waiting: {message}", container.name())],
        help,
    }
}

/// Returns the image with its name in lower case. Its tag is case-sensitive and stays.
fn with_lowercase_name(image: &str) -> String {
    let before_digest = image.split('@').next().unwrap_or_default();
    let (name, _) = split_tag(before_digest);
    format!("{}{}", name.to_lowercase(), &image[name.len()..])
}

#[cfg(test)]
#[path = "missing_tests.rs"]
mod tests;
