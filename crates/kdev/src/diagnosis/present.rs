//! The image is on the node, and still the container does not get it. Pure.

use super::absent::waits;
use super::whereabouts::Whereabouts;
use super::{Cause, Confidence, Diagnosis, cure};
use crate::container::Container;
use crate::facts::{Facts, list, text};
use crate::stock::{CRI_NAMESPACE, Stored};
use crate::verification;

pub(super) fn diagnose(facts: &Facts) -> Vec<Diagnosis> {
    let of_container = |container| {
        [
            pinned(facts, container),
            broken(facts, container),
            policy(facts, container),
            unseen(facts, container),
        ]
    };
    facts.containers().into_iter().flat_map(of_container).flatten().collect()
}

/// Digests are found only of what was pulled: an import keeps the name that the
/// archive gives.
fn pinned(facts: &Facts, container: Container) -> Option<Diagnosis> {
    let reference = container.reference()?;
    let digest = reference.digest().filter(|_| container.waits_for_image())?;
    let name = reference.name().to_string();
    let has_name = |image: &&Stored| {
        image.namespace == CRI_NAMESPACE
            && image.name.strip_prefix(&name).is_some_and(|rest| rest.starts_with(':'))
    };
    let images = || facts.stock().into_iter().flat_map(|stock| &stock.images).filter(has_name);
    let same = images().find(|image| image.digest == digest || image.config == digest);
    let image = same.or_else(|| images().next())?;
    let tag = image.name.strip_prefix(&name).unwrap_or_default();
    let other = format!("{}{tag}", reference.name().familiar());
    let is = if same.is_some() { "this very image" } else { "another one" };
    Some(Diagnosis {
        cause: Cause::PinnedByDigest,
        confidence: if same.is_some() { Confidence::Certain } else { Confidence::Likely },
        words: format!(
            "it is pinned by a digest, under which only a pulled image is found; the node has {is} as `{other}`"
        ),
        evidence: vec![
            waits(container),
            format!("the node has `{}` with digest {}", image.name, image.digest),
        ],
        help: cure::set_image(facts, container, &other),
    })
}

/// What is there cannot be used.
fn broken(facts: &Facts, container: Container) -> Option<Diagnosis> {
    let (reason, message) = container.waiting()?;
    let seen = Whereabouts::of(facts, container.reference()?);
    let image = seen.here?;
    let (cause, words) = if image.complete == Some(false) {
        (Cause::ImageIncomplete, "lacks some of its layers")
    // What is complete is unpacked when it is needed, so that only a failure counts.
    } else if image.unpacked == Some(false) && message.contains("unpack") {
        (
            Cause::ImageNotUnpacked,
            "cannot be unpacked: a layer of it is damaged, or there is no room",
        )
    } else {
        return None;
    };
    let name = seen.name();
    let help = match seen.local {
        Some(_) => cure::load(facts, &seen.wanted),
        None => format!("build `{name}` again, and {}", cure::load(facts, &seen.wanted)),
    };
    Some(Diagnosis {
        cause,
        confidence: Confidence::Certain,
        words: format!("`{name}` on node `{}` {words}", facts.node_name().unwrap_or_default()),
        evidence: vec![
            format!("container `{}` waits: {reason}: {message}", container.name()),
            format!(
                "`ctr -n {CRI_NAMESPACE} images check` there: complete: {}, unpacked: {}",
                yes(image.complete),
                yes(image.unpacked)
            ),
        ],
        help,
    })
}

fn yes(is: Option<bool>) -> &'static str {
    match is {
        Some(true) => "yes",
        Some(false) => "no",
        None => "not known",
    }
}

/// The kubelet pulls, whatever is there, or there to be loaded.
fn policy(facts: &Facts, container: Container) -> Option<Diagnosis> {
    if container.policy() != "Always" || !container.waits_for_image() {
        return None;
    }
    let seen = Whereabouts::of(facts, container.reference()?);
    let is_on_node = seen.here.is_some();
    // What is nowhere near was meant to be pulled.
    let is_near = seen.local.is_some() || !seen.local_alike.is_empty();
    let is_ours = is_on_node || (is_near && seen.is_homely());
    if !is_ours {
        return None;
    }
    let name = seen.name();
    let mut evidence = vec![waits(container)];
    if is_on_node {
        evidence.push(format!(
            "node `{}` has `{}` where the kubelet looks",
            facts.node_name().unwrap_or_default(),
            seen.wanted
        ));
    }
    if let Some(wanted) = policy_of_template(facts, container.name()).filter(|p| *p != "Always") {
        evidence.push(format!("its manifest says `{wanted}`, and the pod has `Always`"));
        return Some(Diagnosis {
            cause: Cause::AlwaysPullImages,
            confidence: Confidence::Certain,
            words: format!(
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
    Some(Diagnosis {
        cause: Cause::PolicyAlways,
        confidence: Confidence::Certain,
        words,
        evidence,
        help: cure::set_policy(facts, container, "Never"),
    })
}

/// The image is there, unhurt, and need not be pulled.
fn unseen(facts: &Facts, container: Container) -> Option<Diagnosis> {
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
    if let Some(policy) = verification::refuses(&facts.verification, &name) {
        evidence
            .push(format!("`imagePullCredentialsVerificationPolicy` of its kubelet is `{policy}`"));
        return Some(Diagnosis {
            cause: Cause::CredentialsVerified,
            confidence: Confidence::Certain,
            words: format!(
                "`{name}` is on node `{node}`, but its kubelet lets pods have only what it has pulled itself"
            ),
            evidence,
            help: format!(
                "set `imagePullCredentialsVerificationPolicy: NeverVerifyPreloadedImages`, its default, in the configuration of the kubelet on node `{node}`, and restart that"
            ),
        });
    }
    Some(Diagnosis {
        cause: Cause::ImageJustCame,
        confidence: Confidence::Likely,
        words: format!(
            "`{name}` is on node `{node}` now; the kubelet looks again by itself, the more rarely the longer it has waited"
        ),
        evidence,
        help: format!("wait for it: `{} get {} --watch`", facts.kubectl, facts.subject),
    })
}

/// The policy that whoever made the pod wanted.
fn policy_of_template<'a>(facts: &'a Facts, container: &str) -> Option<&'a str> {
    let Some(owner) = facts.owners.first() else {
        return facts.applied_policies.get(container).map(String::as_str);
    };
    let spec = owner.pointer("/spec/template/spec")?;
    let containers = list(&spec["initContainers"]).chain(list(&spec["containers"]));
    let policies = containers.filter(|one| one["name"] == container);
    policies.map(|one| text(one, "/imagePullPolicy")).find(|policy| !policy.is_empty())
}
