//! The registry does not hand out the image. Pure.

use super::absent::waits;
use super::whereabouts::Whereabouts;
use super::{Cause, Confidence, Diagnosis, cure};
use crate::container::Container;
use crate::facts::{Facts, list, text};

/// What runtimes say when a pull fails, and what it means. The first that fits
/// counts.
const SIGNS: [(&str, Cause); 23] = [
    ("no match for platform in manifest", Cause::NotForPlatform),
    ("x509:", Cause::RegistryUntrusted),
    ("tls: ", Cause::RegistryUntrusted),
    ("server gave HTTP response to HTTPS client", Cause::RegistryUntrusted),
    ("429 Too Many Requests", Cause::RateLimited),
    ("toomanyrequests", Cause::RateLimited),
    ("no such host", Cause::RegistryUnknown),
    // A resolver that fails, for whatever reason: no address was found.
    ("dial tcp: lookup ", Cause::RegistryUnknown),
    ("server misbehaving", Cause::RegistryUnknown),
    ("Temporary failure in name resolution", Cause::RegistryUnknown),
    ("connection refused", Cause::RegistryUnreachable),
    ("no route to host", Cause::RegistryUnreachable),
    ("network is unreachable", Cause::RegistryUnreachable),
    ("i/o timeout", Cause::RegistryUnreachable),
    ("context deadline exceeded", Cause::RegistryUnreachable),
    ("401 Unauthorized", Cause::PullDenied),
    ("403 Forbidden", Cause::PullDenied),
    ("no basic auth credentials", Cause::PullDenied),
    ("authorization failed", Cause::PullDenied),
    ("pull access denied", Cause::PullDenied),
    ("insufficient_scope", Cause::PullDenied),
    ("manifest unknown", Cause::NotInRegistry),
    ("not found", Cause::NotInRegistry),
];

pub(super) fn diagnose(facts: &Facts) -> Vec<Diagnosis> {
    facts.containers().into_iter().filter_map(|container| of_container(facts, container)).collect()
}

fn of_container(facts: &Facts, container: Container) -> Option<Diagnosis> {
    let seen = Whereabouts::of(facts, container.reference()?);
    let is_digest = seen.wanted.digest().is_some();
    // An image of our own has better explanations.
    if seen.here.is_some()
        || (seen.is_homely() && seen.local.is_some())
        || !seen.others.is_empty()
        || (seen.is_homely() && (!seen.alike.is_empty() || !seen.local_alike.is_empty()))
        || (is_digest && !seen.alike.is_empty())
    {
        return None;
    }
    let said = last_words(facts, container)?;
    let cause = meaning(said)?;
    // What was built here, and is in no registry, was only never loaded.
    if cause == Cause::NotInRegistry && seen.local.is_some() {
        return None;
    }
    let name = seen.name();
    let registry = seen.wanted.name().to_string();
    let registry = registry.split('/').next().unwrap_or_default();
    let words = match cause {
        Cause::NotForPlatform => {
            let platform = facts.platform();
            format!("`{registry}` has `{name}`, but not for {platform}, which the node is")
        }
        Cause::RegistryUntrusted if said.contains("HTTP response") => {
            format!("the registry `{registry}` speaks HTTP, and containerd on the node HTTPS")
        }
        Cause::RegistryUntrusted => {
            format!("containerd on the node does not trust the certificate of `{registry}`")
        }
        Cause::RateLimited => format!("the registry `{registry}` has had too many requests"),
        Cause::RegistryUnknown => {
            format!("the node finds no address for the registry `{registry}`")
        }
        Cause::RegistryUnreachable => {
            format!("the registry `{registry}` does not answer the node")
        }
        Cause::PullDenied => denied(facts, registry),
        _ => format!("the registry `{registry}` has no `{name}`"),
    };
    let help = help(facts, container, cause, registry, &seen);
    let evidence = vec![waits(container), said.to_owned()];
    Some(Diagnosis { cause, confidence: Confidence::Certain, words, evidence, help })
}

/// Why the registry does not hand out a container's image, if it has told.
pub(super) fn refusal(facts: &Facts, container: Container) -> Option<Cause> {
    meaning(last_words(facts, container)?)
}

fn meaning(words: &str) -> Option<Cause> {
    SIGNS.into_iter().find(|(sign, _)| words.contains(sign)).map(|(_, cause)| cause)
}

/// What the runtime said of the last pull that was tried.
fn last_words<'a>(facts: &'a Facts, container: Container<'a>) -> Option<&'a str> {
    let (reason, message) = container.waiting()?;
    if !matches!(reason, "ErrImagePull" | "ImagePullBackOff" | "RegistryUnavailable") {
        return None;
    }
    let start = format!("Failed to pull image \"{}\"", container.image());
    let event = facts.pod_events().rev().find(|event| event.message.starts_with(&start));
    let message = Some(message).filter(|message| message.contains("rpc error"));
    event.map(|event| event.message.as_str()).or(message)
}

fn secrets(facts: &Facts) -> Vec<&str> {
    list(&facts.pod["spec"]["imagePullSecrets"]).map(|secret| text(secret, "/name")).collect()
}

fn denied(facts: &Facts, registry: &str) -> String {
    let secrets: Vec<String> = secrets(facts).iter().map(|name| format!("`{name}`")).collect();
    let missing = facts.last_event(&["FailedToRetrieveImagePullSecret"]).is_some();
    match secrets.as_slice() {
        [] => format!(
            "the registry `{registry}` wants credentials, and the pod names no imagePullSecret"
        ),
        secrets if missing => {
            format!("the pod's imagePullSecret {} does not exist", secrets.join(", "))
        }
        secrets => format!(
            "the registry `{registry}` does not take the credentials of the pod's imagePullSecret {}",
            secrets.join(", ")
        ),
    }
}

fn help(
    facts: &Facts,
    container: Container,
    cause: Cause,
    registry: &str,
    seen: &Whereabouts,
) -> String {
    // Whoever has it need not ask for it.
    if seen.local.is_some() && container.policy() != "Always" {
        return cure::load(facts, &seen.wanted);
    }
    let name = seen.name();
    let kubectl = &facts.kubectl;
    let instead = format!("docker pull {name} && {}", cure::load_command(facts, &seen.wanted));
    match cause {
        Cause::PullDenied => {
            let secret = secrets(facts).first().copied().unwrap_or("registry").to_owned();
            let create = format!(
                "{kubectl} create secret docker-registry {secret} --docker-server={registry} --docker-username=USER --docker-password=PASSWORD --dry-run=client --output=yaml | {kubectl} apply --filename -"
            );
            match cure::add_pull_secret(facts, &secret).filter(|_| secrets(facts).is_empty()) {
                Some(patch) => format!("run `{create} && {patch}`"),
                None if secrets(facts).is_empty() => {
                    format!("run `{create}`, and name it in the pod's `imagePullSecrets`")
                }
                None => format!("run `{create}`"),
            }
        }
        Cause::NotInRegistry => format!(
            "build it and load it: `docker build --tag {name} . && {}`; or correct its name in the manifest of {}",
            cure::load_command(facts, &seen.wanted),
            facts.keeper_id()
        ),
        Cause::NotForPlatform => format!("build it for {} and load it", facts.platform()),
        Cause::RegistryUntrusted => format!(
            "tell containerd on the node of it in `/etc/containerd/certs.d/{registry}/hosts.toml`, or do without the registry: `{instead}`"
        ),
        _ => format!("do without the registry: `{instead}`"),
    }
}
