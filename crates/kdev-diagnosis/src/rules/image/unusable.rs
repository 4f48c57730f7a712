//! Images that are on the node, but that the kubelet cannot use, or does not use.

use kdev_core::image::node_images::{CRI_NAMESPACE, StoredImage};
use kdev_core::image::reference::Reference;
use kdev_core::kube::container::Container;
use kdev_core::kube::kubelet_policy;
use kdev_core::kube::object::{list, text};
use serde_json::Value;

use crate::cause::Cause;
use crate::diagnosis::{Confidence, Diagnosis};
use crate::facts::Facts;
use crate::fixes;
use crate::location::{ImageLocations, describe_node, familiar_name, waiting_evidence};
use crate::rules::image::pull;

pub(crate) fn diagnose(facts: &Facts) -> Vec<Diagnosis> {
    let of_container = |container| {
        [
            pinned_by_digest(facts, container),
            incomplete_or_damaged(facts, container),
            pull_policy_always(facts, container),
            ignored_by_kubelet(facts, container),
        ]
    };
    facts.containers().into_iter().flat_map(of_container).flatten().collect()
}

/// Diagnoses an image that the pod references by digest. The digest is known only of
/// images that were pulled, because an import keeps the name in the archive.
fn pinned_by_digest(facts: &Facts, container: Container) -> Option<Diagnosis> {
    if !container.waits_for_image() {
        return None;
    }
    let locations = ImageLocations::new(facts, container.reference()?);
    let digest = locations.reference.digest().filter(|_| locations.on_node.is_none())?;
    let (name, node) = (locations.name(), describe_node(facts));
    let diagnosis = |confidence, message, image: &StoredImage, help| Diagnosis {
        cause: Cause::PinnedByDigest,
        confidence,
        message,
        evidence: vec![
            waiting_evidence(container),
            format!("the node has `{}` with digest {}", image.name, image.digest),
        ],
        help,
    };
    if let Some(image) = locations.same_digest() {
        let other = familiar_name(&image.name);
        let message = format!(
            "`{name}` is pinned by digest, which identifies only pulled images; {node} has the same image as `{other}`"
        );
        let help = fixes::set_image_help(facts, container, &other);
        return Some(diagnosis(Confidence::Certain, message, image, help));
    }
    // An error of the registry explains more.
    if pull::pull_error_cause(facts, container).is_some() {
        return None;
    }
    let of_name = format!("{}:", locations.reference.name());
    let image = locations.similar_names.iter().find(|image| image.name.starts_with(&of_name))?;
    let other = familiar_name(&image.name);
    let message = format!(
        "`{name}` is pinned by a digest that is not on {node}, which has another build as `{other}`"
    );
    let set = |image: &str| fixes::set_image_help(facts, container, image);
    let locals = locations.similar_in_docker.iter().find(|local| local.id == digest);
    let help = match locals.and_then(|local| Reference::parse(&local.name).ok()) {
        Some(local) => {
            let (load, set) = (fixes::load_command(facts, &local), set(&local.familiar()));
            match set.strip_prefix("run `") {
                Some(set) => format!("run `{load} && {set}"),
                None => format!("run `{load}`, and {set}"),
            }
        }
        None if container.policy() == "Never" && !locations.has_no_registry() => format!(
            "let the kubelet pull it: {}; to use `{other}` instead, {}",
            fixes::set_pull_policy_help(facts, container, "IfNotPresent"),
            set(&other)
        ),
        None => format!(
            "to use `{other}` instead, {}, or load the image with that digest and reference it by tag",
            set(&other)
        ),
    };
    Some(diagnosis(Confidence::Likely, message, image, help))
}

/// Diagnoses an image on the node that is incomplete or damaged.
fn incomplete_or_damaged(facts: &Facts, container: Container) -> Option<Diagnosis> {
    let (reason, message) = container.waiting()?;
    let locations = ImageLocations::new(facts, container.reference()?);
    let image = locations.on_node?;
    let (cause, problem) =
        if message.contains("unpack") && message.contains("no space left on device") {
            (Cause::NodePressure, "cannot be unpacked: the disk is full")
        } else if image.complete == Some(false) {
            (Cause::ImageIncomplete, "is missing some of its layers")
        // A complete image is unpacked when it is needed, so only a failed attempt counts.
        } else if image.unpacked == Some(false) && message.contains("unpack") {
            let is_damaged = message.contains("wrong diff id");
            let damage = if is_damaged { "a layer is damaged" } else { "a layer may be damaged" };
            (Cause::ImageNotUnpacked, &*format!("cannot be unpacked: {damage}"))
        } else {
            return None;
        };
    let name = locations.name();
    let help = match locations.in_docker {
        _ if cause == Cause::NodePressure => {
            fixes::node::relieve_pressure_help(facts, facts.node_name().unwrap_or_default())
        }
        Some(_) => fixes::load_help(facts, &locations.reference),
        None => format!("rebuild `{name}`, then {}", fixes::load_help(facts, &locations.reference)),
    };
    Some(Diagnosis {
        cause,
        confidence: Confidence::Certain,
        message: format!("`{name}` on node `{}` {problem}", facts.node_name().unwrap_or_default()),
        evidence: vec![
            format!("container `{}` is waiting: {reason}: {message}", container.name()),
            format!(
                "`ctr -n {CRI_NAMESPACE} images check` on the node: complete: {}, unpacked: {}",
                describe_check(image.complete),
                describe_check(image.unpacked)
            ),
        ],
        help,
    })
}

fn describe_check(is: Option<bool>) -> &'static str {
    match is {
        Some(true) => "yes",
        Some(false) => "no",
        None => "unknown",
    }
}

/// Diagnoses the pull policy `Always` for an image that is on the node, or could be.
fn pull_policy_always(facts: &Facts, container: Container) -> Option<Diagnosis> {
    if container.policy() != "Always" || !container.waits_for_image() {
        return None;
    }
    let locations = ImageLocations::new(facts, container.reference()?);
    let is_on_node = locations.on_node.is_some();
    let error = pull::pull_error_cause(facts, container);
    let is_only_in_docker = locations.in_docker.is_some() && error == Some(Cause::TagNotFound);
    // An image that is neither on a node nor in Docker is meant to be pulled.
    let is_local = is_on_node
        || is_only_in_docker
        || (locations.is_found_anywhere() && locations.has_no_registry());
    if !is_local {
        return None;
    }
    // The node's copy of a registry's image may be outdated.
    let may_be_outdated = is_on_node && !locations.has_no_registry() && error.is_some();
    let name = locations.name();
    let mut evidence = vec![waiting_evidence(container)];
    if is_on_node {
        evidence.push(format!(
            "containerd on node `{}` has `{}` in namespace `{CRI_NAMESPACE}`",
            facts.node_name().unwrap_or_default(),
            locations.reference
        ));
    }
    if let Some(policy) = template_policy(facts, container.name()).filter(|p| *p != "Always") {
        evidence.push(format!(
            "the manifest sets the pull policy `{policy}`, but the pod has `Always`"
        ));
        return Some(Diagnosis {
            cause: Cause::AlwaysPullImages,
            confidence: Confidence::Certain,
            message: format!(
                "admission on the API server sets the pull policy `Always`, so `{name}` must be in a registry"
            ),
            evidence,
            help: "start the API server without `AlwaysPullImages` in `--enable-admission-plugins`, or exclude this namespace from the webhook that sets the policy".to_owned(),
        });
    }
    let reference = container.reference()?;
    let message = match reference.tag() {
        Some("latest") => format!(
            "the pull policy is `Always` (the default for `:latest` or no tag), so the kubelet queries a registry for `{name}` even if the node has it"
        ),
        _ => format!(
            "the pull policy is `Always`, so the kubelet queries a registry for `{name}` even if the node has it"
        ),
    };
    let set = if facts.project_image.as_deref() == Some(&reference.name().to_string()) {
        format!("{}, which also sets the pull policy", fixes::load_help(facts, &reference))
    } else {
        fixes::set_pull_policy_help(facts, container, "Never")
    };
    let (confidence, help) = if may_be_outdated {
        (Confidence::Likely, format!("to use the image on the node, {set}"))
    } else {
        (Confidence::Certain, set)
    };
    Some(Diagnosis { cause: Cause::PullPolicyAlways, confidence, message, evidence, help })
}

/// Diagnoses a complete image on the node that the kubelet does not use yet.
fn ignored_by_kubelet(facts: &Facts, container: Container) -> Option<Diagnosis> {
    if container.policy() == "Always" || !container.waits_for_image() {
        return None;
    }
    let locations = ImageLocations::new(facts, container.reference()?);
    locations.on_node.filter(|image| image.complete == Some(true))?;
    let (name, node) = (locations.name(), facts.node_name()?);
    let mut evidence = vec![
        waiting_evidence(container),
        format!(
            "containerd on node `{node}` has `{}` in namespace `{CRI_NAMESPACE}`",
            locations.reference
        ),
    ];
    if let Some(policy) = kubelet_policy::rejecting_policy(&facts.kubelet_image_policy, &name) {
        evidence
            .push(format!("the kubelet's `imagePullCredentialsVerificationPolicy` is `{policy}`"));
        return Some(Diagnosis {
            cause: Cause::ImageCredentialsUnverified,
            confidence: Confidence::Certain,
            message: format!(
                "`{name}` is on node `{node}`, but the kubelet allows only images that it has pulled itself"
            ),
            evidence,
            help: format!(
                "set `imagePullCredentialsVerificationPolicy: NeverVerifyPreloadedImages` (the default) in the kubelet's configuration on node `{node}`, and restart the kubelet"
            ),
        });
    }
    Some(Diagnosis {
        cause: Cause::ImageJustArrived,
        confidence: Confidence::Likely,
        message: format!(
            "`{name}` is now on node `{node}`; the kubelet will retry, after a delay that grows with each attempt"
        ),
        evidence,
        help: format!("wait for the retry: `{} get {} --watch`", facts.kubectl, facts.subject),
    })
}

/// Returns the pull policy in the template of the pod's owner, or in the manifest.
fn template_policy<'a>(facts: &'a Facts, container: &str) -> Option<&'a str> {
    let Some(owner) = facts.owners.first() else {
        return facts.applied_policies.get(container).map(String::as_str);
    };
    if !is_from_current_template(facts, owner) {
        return None;
    }
    let spec = owner.pointer("/spec/template/spec")?;
    let containers = list(&spec["initContainers"]).chain(list(&spec["containers"]));
    let policies = containers.filter(|one| one["name"] == container);
    policies.map(|one| text(one, "/imagePullPolicy")).find(|policy| !policy.is_empty())
}

/// Returns whether the pod was created from its owner's present template, as far as its
/// labels and owners show it.
fn is_from_current_template(facts: &Facts, owner: &Value) -> bool {
    match text(owner, "/kind") {
        "StatefulSet" => {
            let revision = text(&facts.pod, "/metadata/labels/controller-revision-hash");
            revision == text(owner, "/status/updateRevision")
        }
        // Without an owner, it keeps its pods unchanged when its template changes.
        "ReplicaSet" | "ReplicationController" => facts.owners.len() > 1,
        _ => true,
    }
}

#[cfg(test)]
#[path = "unusable_tests.rs"]
mod tests;
