//! The image is on the node, and still the container does not get it.

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
use crate::location::{Whereabouts, familiar, node, waits};
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

/// Digests are found only of what was pulled: an import keeps the name that the
/// archive gives.
fn pinned_by_digest(facts: &Facts, container: Container) -> Option<Diagnosis> {
    if !container.waits_for_image() {
        return None;
    }
    let seen = Whereabouts::of(facts, container.reference()?);
    let digest = seen.wanted.digest().filter(|_| seen.here.is_none())?;
    let (name, there) = (seen.name(), node(facts));
    let diagnosis = |confidence, words, image: &StoredImage, help| Diagnosis {
        cause: Cause::PinnedByDigest,
        confidence,
        message: words,
        evidence: vec![
            waits(container),
            format!("the node has `{}` with digest {}", image.name, image.digest),
        ],
        help,
    };
    if let Some(image) = seen.twin() {
        let other = familiar(&image.name);
        let words = format!(
            "`{name}` is pinned by a digest, under which only a pulled image is found; {there} has this very image as `{other}`"
        );
        let help = fixes::set_image(facts, container, &other);
        return Some(diagnosis(Confidence::Certain, words, image, help));
    }
    // A registry that was asked has the better explanation.
    if pull::pull_error_cause(facts, container).is_some() {
        return None;
    }
    let of_name = format!("{}:", seen.wanted.name());
    let image = seen.alike.iter().find(|image| image.name.starts_with(&of_name))?;
    let other = familiar(&image.name);
    let words = format!(
        "`{name}` is pinned by a digest that {there} does not have; it has another build as `{other}`"
    );
    let set = |image: &str| fixes::set_image(facts, container, image);
    let locals = seen.local_alike.iter().find(|local| local.id == digest);
    let help = match locals.and_then(|local| Reference::parse(&local.name).ok()) {
        Some(local) => {
            let (load, set) = (fixes::load_command(facts, &local), set(&local.familiar()));
            match set.strip_prefix("run `") {
                Some(set) => format!("run `{load} && {set}"),
                None => format!("run `{load}`, and {set}"),
            }
        }
        None if container.policy() == "Never" && !seen.is_homely() => format!(
            "let the kubelet pull it: {}, or, if `{other}` will do, {}",
            fixes::set_policy(facts, container, "IfNotPresent"),
            set(&other)
        ),
        None => format!(
            "if `{other}` will do, {}, or load the image with that digest, and name it by its tag",
            set(&other)
        ),
    };
    Some(diagnosis(Confidence::Likely, words, image, help))
}

/// What is there cannot be used.
fn incomplete_or_damaged(facts: &Facts, container: Container) -> Option<Diagnosis> {
    let (reason, message) = container.waiting()?;
    let seen = Whereabouts::of(facts, container.reference()?);
    let image = seen.here?;
    let (cause, words) = if message.contains("unpack")
        && message.contains("no space left on device")
    {
        (Cause::NodePressure, "has no room to be unpacked: the disk is full")
    } else if image.complete == Some(false) {
        (Cause::ImageIncomplete, "lacks some of its layers")
    // What is complete is unpacked when it is needed, so that only a failure counts.
    } else if image.unpacked == Some(false) && message.contains("unpack") {
        let is_damaged = message.contains("wrong diff id");
        let why =
            if is_damaged { "a layer of it is damaged" } else { "a layer of it may be damaged" };
        (Cause::ImageNotUnpacked, &*format!("cannot be unpacked: {why}"))
    } else {
        return None;
    };
    let name = seen.name();
    let help = match seen.local {
        _ if cause == Cause::NodePressure => {
            fixes::node::relieve(facts, facts.node_name().unwrap_or_default())
        }
        Some(_) => fixes::load(facts, &seen.wanted),
        None => format!("build `{name}` again, and {}", fixes::load(facts, &seen.wanted)),
    };
    Some(Diagnosis {
        cause,
        confidence: Confidence::Certain,
        message: format!("`{name}` on node `{}` {words}", facts.node_name().unwrap_or_default()),
        evidence: vec![
            format!("container `{}` waits: {reason}: {message}", container.name()),
            format!(
                "`ctr -n {CRI_NAMESPACE} images check` there: complete: {}, unpacked: {}",
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
        None => "not known",
    }
}

/// The kubelet pulls, whatever is there, or there to be loaded.
fn pull_policy_always(facts: &Facts, container: Container) -> Option<Diagnosis> {
    if container.policy() != "Always" || !container.waits_for_image() {
        return None;
    }
    let seen = Whereabouts::of(facts, container.reference()?);
    let is_on_node = seen.here.is_some();
    let refusal = pull::pull_error_cause(facts, container);
    let is_only_here = seen.local.is_some() && refusal == Some(Cause::TagNotFound);
    // What is nowhere near was meant to be pulled.
    let is_ours = is_on_node || is_only_here || (seen.is_near() && seen.is_homely());
    if !is_ours {
        return None;
    }
    // What the node has of a registry's may be an old copy.
    let may_be_old = is_on_node && !seen.is_homely() && refusal.is_some();
    let name = seen.name();
    let mut evidence = vec![waits(container)];
    if is_on_node {
        evidence.push(format!(
            "node `{}` has `{}` where the kubelet looks",
            facts.node_name().unwrap_or_default(),
            seen.wanted
        ));
    }
    if let Some(wanted) = template_policy(facts, container.name()).filter(|p| *p != "Always") {
        evidence.push(format!("its manifest says `{wanted}`, and the pod has `Always`"));
        return Some(Diagnosis {
            cause: Cause::AlwaysPullImages,
            confidence: Confidence::Certain,
            message: format!(
                "the API server makes each pod pull its images, so that `{name}` would have to be in a registry"
            ),
            evidence,
            help: "start the API server without `AlwaysPullImages` in `--enable-admission-plugins`, or let the webhook that does it leave this namespace alone".to_owned(),
        });
    }
    let reference = container.reference()?;
    let words = match reference.tag() {
        Some("latest") => format!(
            "the pull policy is `Always`, which is the default for `:latest` and for no tag: the kubelet asks a registry for `{name}`, whatever the node has"
        ),
        _ => format!(
            "the pull policy is `Always`: the kubelet asks a registry for `{name}`, whatever the node has"
        ),
    };
    let set = if facts.project_image.as_deref() == Some(&reference.name().to_string()) {
        format!("{}, which sets the policy, too", fixes::load(facts, &reference))
    } else {
        fixes::set_policy(facts, container, "Never")
    };
    let (confidence, help) = if may_be_old {
        (Confidence::Likely, format!("if what the node has is the build that you want, {set}"))
    } else {
        (Confidence::Certain, set)
    };
    Some(Diagnosis { cause: Cause::PullPolicyAlways, confidence, message: words, evidence, help })
}

/// The image is there, unhurt, and need not be pulled.
fn ignored_by_kubelet(facts: &Facts, container: Container) -> Option<Diagnosis> {
    if container.policy() == "Always" || !container.waits_for_image() {
        return None;
    }
    let seen = Whereabouts::of(facts, container.reference()?);
    seen.here.filter(|image| image.complete == Some(true))?;
    let (name, node) = (seen.name(), facts.node_name()?);
    let mut evidence = vec![
        waits(container),
        format!("node `{node}` has `{}` where the kubelet looks", seen.wanted),
    ];
    if let Some(policy) = kubelet_policy::rejecting_policy(&facts.kubelet_image_policy, &name) {
        evidence
            .push(format!("`imagePullCredentialsVerificationPolicy` of its kubelet is `{policy}`"));
        return Some(Diagnosis {
            cause: Cause::ImageCredentialsUnverified,
            confidence: Confidence::Certain,
            message: format!(
                "`{name}` is on node `{node}`, but its kubelet lets pods have only what it has pulled itself"
            ),
            evidence,
            help: format!(
                "set `imagePullCredentialsVerificationPolicy: NeverVerifyPreloadedImages`, its default, in the configuration of the kubelet on node `{node}`, and restart that"
            ),
        });
    }
    Some(Diagnosis {
        cause: Cause::ImageJustArrived,
        confidence: Confidence::Likely,
        message: format!(
            "`{name}` is on node `{node}` now; the kubelet looks again by itself, the more rarely the longer it has waited"
        ),
        evidence,
        help: format!("wait for it: `{} get {} --watch`", facts.kubectl, facts.subject),
    })
}

/// The policy that whoever made the pod wanted.
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

/// Whether the pod was made from what its owner's template says now, as far as that
/// is told.
fn is_from_current_template(facts: &Facts, owner: &Value) -> bool {
    match text(owner, "/kind") {
        "StatefulSet" => {
            let made = text(&facts.pod, "/metadata/labels/controller-revision-hash");
            made == text(owner, "/status/updateRevision")
        }
        // One without a keeper leaves its pods as they are when it is changed.
        "ReplicaSet" | "ReplicationController" => facts.owners.len() > 1,
        _ => true,
    }
}

#[cfg(test)]
#[path = "unusable_tests.rs"]
mod tests;
