//! The image is not where the kubelet looks for it.

use kdev_core::image::node_images::CRI_NAMESPACE;
use kdev_core::image::reference::{Reference, split_tag};
use kdev_core::kube::container::Container;

use crate::cause::Cause;
use crate::diagnosis::{Confidence, Diagnosis};
use crate::facts::Facts;
use crate::fixes::{self, image};
use crate::location::{Whereabouts, familiar, node, waits};
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
    let seen = Whereabouts::of(facts, container.reference()?);
    if seen.here.is_some() || seen.wanted.digest().is_some() {
        return None;
    }
    let mut diagnosis = in_other_namespace(facts, &seen)
        .or_else(|| garbage_collected(facts, container, &seen))
        .or_else(|| on_other_node(facts, &seen))
        .or_else(|| not_loaded(facts, container, &seen))
        .or_else(|| similar_name(facts, container, &seen))
        .or_else(|| not_found(facts, container, &seen))?;
    diagnosis.evidence.insert(0, waits(container));
    Some(diagnosis)
}

/// What the pod's node said of the image.
fn node_evidence(facts: &Facts, seen: &Whereabouts) -> String {
    let there = node(facts);
    match seen.unseen {
        Some(why) => format!("whether {there} has it is not known: {why}"),
        None if seen.is_missed(facts) => {
            format!(
                "containerd on {there} has no `{}` in its namespace `{CRI_NAMESPACE}`",
                seen.wanted
            )
        }
        None => format!("whether {there} has it is not known"),
    }
}

fn docker_evidence(seen: &Whereabouts) -> Option<String> {
    seen.local.map(|local| format!("docker here has `{}`, made {}", seen.name(), local.age))
}

fn in_other_namespace(facts: &Facts, seen: &Whereabouts) -> Option<Diagnosis> {
    let other = &seen.misplaced?.namespace;
    let ctr = &facts.stock()?.ctr;
    let (name, there) = (seen.name(), node(facts));
    let help = image::bring(facts, seen, &format!("{ctr} -n {other}"))?;
    Some(Diagnosis {
        cause: Cause::ImageInOtherNamespace,
        confidence: Confidence::Certain,
        message: format!(
            "`{name}` is on {there} in containerd's namespace `{other}`, and the kubelet looks into `{CRI_NAMESPACE}` only"
        ),
        evidence: [Some(node_evidence(facts, seen)), docker_evidence(seen)]
            .into_iter()
            .flatten()
            .collect(),
        help,
    })
}

fn on_other_node(facts: &Facts, seen: &Whereabouts) -> Option<Diagnosis> {
    let others: Vec<String> = seen.others.iter().map(|name| format!("`{name}`")).collect();
    let first = seen.others.first()?;
    if !seen.is_missed(facts) {
        return None;
    }
    let (name, there) = (seen.name(), node(facts));
    let from = &facts.stock_of(first)?.ctr;
    let help = image::bring(facts, seen, &format!("{from} -n {CRI_NAMESPACE}"))?;
    Some(Diagnosis {
        cause: Cause::ImageOnOtherNode,
        confidence: Confidence::Certain,
        message: format!("`{name}` is on node {}, but the pod is on {there}", others.join(", ")),
        evidence: [Some(node_evidence(facts, seen)), docker_evidence(seen)]
            .into_iter()
            .flatten()
            .collect(),
        help,
    })
}

/// The kubelet has run it before on this very node.
fn garbage_collected(facts: &Facts, container: Container, seen: &Whereabouts) -> Option<Diagnosis> {
    let ran = container.restarts() > 0 || container.ended().is_some();
    let had = format!("Container image \"{}\" already present", container.image());
    let event = facts.events.iter().find(|event| event.message.starts_with(&had));
    if !(ran || event.is_some()) || !seen.is_missed(facts) {
        return None;
    }
    let was = match event {
        Some(event) => format!("at {} the kubelet reported: {}", event.time, event.message),
        None => format!("container `{}` has run on this node before", container.name()),
    };
    let help = match seen.local {
        Some(_) => fixes::load(facts, &seen.wanted),
        None => {
            format!("build `{}` again, and then {}", seen.name(), fixes::load(facts, &seen.wanted))
        }
    };
    Some(Diagnosis {
        cause: Cause::ImageGarbageCollected,
        confidence: Confidence::Likely,
        message: format!(
            "`{}` was on {}, and is not any more: the kubelet deletes images when its disk fills",
            seen.name(),
            node(facts)
        ),
        evidence: [Some(was), Some(node_evidence(facts, seen)), docker_evidence(seen)]
            .into_iter()
            .flatten()
            .collect(),
        help,
    })
}

fn not_loaded(facts: &Facts, container: Container, seen: &Whereabouts) -> Option<Diagnosis> {
    let docker = docker_evidence(seen)?;
    // A registry that does not answer is a better explanation of why something
    // did not come that has a registry's name.
    let refusal =
        pull::pull_error_cause(facts, container).filter(|cause| *cause != Cause::TagNotFound);
    if refusal.is_some() && !seen.is_homely() {
        return None;
    }
    // What docker has pulled itself may well be missing for another reason.
    let is_sure = seen.is_missed(facts) && (seen.is_homely() || container.policy() == "Never");
    Some(Diagnosis {
        cause: Cause::ImageNotLoaded,
        confidence: if is_sure { Confidence::Certain } else { Confidence::Likely },
        message: format!("`{}` is in docker here, but not on {}", seen.name(), node(facts)),
        evidence: vec![node_evidence(facts, seen), docker],
        help: fixes::load(facts, &seen.wanted),
    })
}

/// Something that is called alike is on the node, or in docker.
fn similar_name(facts: &Facts, container: Container, seen: &Whereabouts) -> Option<Diagnosis> {
    if !is_probably_local(container, seen) {
        return None;
    }
    let has_tag = |name: &str| split_tag(name).1 == seen.wanted.tag();
    let (name, there) = (seen.name(), node(facts));
    let on_node = seen.alike.first();
    let in_docker = seen.local_alike.first().filter(|image| {
        on_node.is_none_or(|on_node| has_tag(&image.name) && !has_tag(&on_node.name))
    });
    if let Some(image) = in_docker {
        let other = familiar(&image.name);
        let nobody = if seen.is_missed(facts) {
            format!("neither {there} nor docker here has `{name}`")
        } else {
            format!("docker here has no `{name}`")
        };
        return Some(Diagnosis {
            cause: Cause::LocalImageUnderOtherName,
            confidence: Confidence::Likely,
            message: format!("{nobody}, but docker has `{other}`"),
            evidence: vec![
                node_evidence(facts, seen),
                format!("docker here has `{other}`, made {}", image.age),
            ],
            help: format!(
                "run `docker tag {other} {name} && {}`",
                fixes::load_command(facts, &seen.wanted)
            ),
        });
    }
    let other = familiar(&on_node?.name);
    Some(Diagnosis {
        cause: Cause::ImageUnderOtherName,
        confidence: Confidence::Likely,
        message: format!("{there} has no `{name}`, but has `{other}`"),
        evidence: vec![node_evidence(facts, seen), format!("it has `{}`", on_node?.name)],
        help: fixes::set_image(facts, container, &other),
    })
}

/// Whether the image is likely to be one of ours that is only called otherwise,
/// and not one that some registry has.
fn is_probably_local(container: Container, seen: &Whereabouts) -> bool {
    container.policy() == "Never" || seen.is_homely()
}

fn not_found(facts: &Facts, container: Container, seen: &Whereabouts) -> Option<Diagnosis> {
    let is_forbidden = container.policy() == "Never";
    if !is_forbidden && !pull::is_in_no_registry(facts, container, seen) {
        return None;
    }
    let (name, there) = (seen.name(), node(facts));
    let docker = match facts.local_images {
        Some(_) => format!("docker here has no `{name}` either"),
        None => "docker here does not answer".to_owned(),
    };
    let (confidence, words) = if is_forbidden {
        let is_sure = seen.is_missed(facts);
        let confidence = if is_sure { Confidence::Certain } else { Confidence::Likely };
        (confidence, format!("`{name}` is not on {there}, and its pull policy forbids to pull it"))
    } else {
        let near = match (seen.is_missed(facts), facts.local_images.is_some()) {
            (true, true) => format!("`{name}` is neither on {there} nor in docker here, and "),
            (true, false) => format!("`{name}` is not on {there}, and "),
            (false, true) => format!("`{name}` is not in docker here, and "),
            (false, false) => String::new(),
        };
        let registry = match seen.wanted.name().to_string() {
            name if name.starts_with("localhost/") => "no registry has it: `localhost` is none",
            _ if near.is_empty() => &format!("`docker.io` has no `{name}` that everybody may pull"),
            _ => "`docker.io` has none that everybody may pull",
        };
        (Confidence::Likely, format!("{near}{registry}"))
    };
    let said = pull::pull_error(facts, container).filter(|_| !is_forbidden).map(str::to_owned);
    Some(Diagnosis {
        cause: Cause::ImageNotFound,
        confidence,
        message: words,
        evidence: [node_evidence(facts, seen), docker].into_iter().chain(said).collect(),
        help: image::build(facts, container, seen),
    })
}

fn invalid_name(facts: &Facts, container: Container, message: &str) -> Diagnosis {
    let image = container.image();
    let rule = Reference::parse(image).err().map(|error| error.to_string());
    let valid = with_lowercase_name(image);
    let help = match Reference::parse(&valid) {
        Ok(_) => fixes::set_image(facts, container, &valid),
        Err(_) => format!(
            "write the image's right name for container `{}` into the manifest of {}",
            container.name(),
            facts.keeper_id()
        ),
    };
    Diagnosis {
        cause: Cause::InvalidImageName,
        confidence: Confidence::Certain,
        message: rule.unwrap_or_else(|| format!("`{image}` is not a valid image reference")),
        evidence: vec![format!("container `{}` waits: {message}", container.name())],
        help,
    }
}

/// An image with its name in lower case; capitals mean something in a tag.
fn with_lowercase_name(image: &str) -> String {
    let before_digest = image.split('@').next().unwrap_or_default();
    let (name, _) = split_tag(before_digest);
    format!("{}{}", name.to_lowercase(), &image[name.len()..])
}

#[cfg(test)]
#[path = "missing_tests.rs"]
mod tests;
