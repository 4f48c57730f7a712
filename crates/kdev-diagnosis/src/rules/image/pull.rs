//! The registry does not hand out the image.

use kdev_core::kube::container::Container;
use serde_json::json;

use crate::cause::Cause;
use crate::diagnosis::{Confidence, Diagnosis};
use crate::facts::Facts;
use crate::fixes::{self, image};
use crate::location::{Whereabouts, node, waits};
use crate::rules::image::{registry_auth, registry_tls};

/// What a proxy that fails is told by, whatever else is said.
const PROXY_ERROR: &str = "proxyconnect tcp: ";
/// Answers of a registry that is in trouble itself.
const SERVER_ERRORS: [&str; 4] = [
    "500 Internal Server Error",
    "502 Bad Gateway",
    "503 Service Unavailable",
    "504 Gateway Timeout",
];

/// What runtimes and kubelets say when a pull fails, and what it means. The first
/// that fits counts.
const PULL_ERRORS: [(&str, Cause); 32] = [
    ("no space left on device", Cause::NodePressure),
    ("pull QPS exceeded", Cause::InProgress),
    (PROXY_ERROR, Cause::RegistryUnreachable),
    ("no match for platform in manifest", Cause::NoMatchingPlatform),
    ("no matching manifest for ", Cause::NoMatchingPlatform),
    ("x509:", Cause::RegistryUntrusted),
    ("tls: ", Cause::RegistryUntrusted),
    ("server gave HTTP response to HTTPS client", Cause::RegistryUntrusted),
    ("429 Too Many Requests", Cause::RateLimited),
    ("toomanyrequests", Cause::RateLimited),
    ("no such host", Cause::RegistryNotResolved),
    // A resolver that fails, for whatever reason: no address was found.
    ("dial tcp: lookup ", Cause::RegistryNotResolved),
    ("server misbehaving", Cause::RegistryNotResolved),
    ("Temporary failure in name resolution", Cause::RegistryNotResolved),
    ("connection refused", Cause::RegistryUnreachable),
    ("no route to host", Cause::RegistryUnreachable),
    ("network is unreachable", Cause::RegistryUnreachable),
    ("i/o timeout", Cause::RegistryUnreachable),
    ("context deadline exceeded", Cause::RegistryUnreachable),
    (SERVER_ERRORS[0], Cause::RegistryUnreachable),
    (SERVER_ERRORS[1], Cause::RegistryUnreachable),
    (SERVER_ERRORS[2], Cause::RegistryUnreachable),
    (SERVER_ERRORS[3], Cause::RegistryUnreachable),
    ("401 Unauthorized", Cause::PullDenied),
    ("401 UNAUTHORIZED", Cause::PullDenied),
    ("403 Forbidden", Cause::PullDenied),
    ("no basic auth credentials", Cause::PullDenied),
    ("authorization failed", Cause::PullDenied),
    ("pull access denied", Cause::PullDenied),
    ("insufficient_scope", Cause::PullDenied),
    ("manifest unknown", Cause::TagNotFound),
    ("not found", Cause::TagNotFound),
];

/// A pull that has failed.
struct PullFailure<'a> {
    facts: &'a Facts,
    container: Container<'a>,
    locations: Whereabouts<'a>,
    registry: String,
    error: &'a str,
}

pub(crate) fn diagnose(facts: &Facts) -> Vec<Diagnosis> {
    facts
        .containers()
        .into_iter()
        .filter_map(|container| diagnose_container(facts, container))
        .collect()
}

fn diagnose_container(facts: &Facts, container: Container) -> Option<Diagnosis> {
    let seen = Whereabouts::of(facts, container.reference()?);
    let said = self::pull_error(facts, container)?;
    let cause = classify(said)?;
    if cause != Cause::NodePressure && is_explained_by_location(facts, container, &seen, cause) {
        return None;
    }
    let registry = seen.wanted.name().to_string();
    let registry = registry.split('/').next().unwrap_or_default().to_owned();
    let mut evidence = vec![waits(container), said.to_owned()];
    let is_unseen = facts.local_images.is_none() && seen.is_homely();
    let failure = PullFailure { facts, container, locations: seen, registry, error: said };
    let (mut confidence, words, help) = failure.explain(cause);
    if is_unseen && matches!(cause, Cause::TagNotFound | Cause::PullDenied) {
        confidence = Confidence::Likely;
        evidence.push("docker here does not answer: whether it has the image is not known".into());
    }
    Some(Diagnosis { cause, confidence, message: words, evidence, help })
}

/// Whether where the image is tells more than what the registry has said.
fn is_explained_by_location(
    facts: &Facts,
    container: Container,
    seen: &Whereabouts,
    cause: Cause,
) -> bool {
    if seen.wanted.digest().is_some() {
        return seen.here.is_some() || seen.twin().is_some();
    }
    // What the node has of a registry's may be an old copy.
    let is_had = seen.here.is_some() && (seen.is_homely() || container.policy() != "Always");
    is_had
        || !seen.others.is_empty()
        || (seen.is_homely() && seen.is_near())
        // What was built here, and is in no registry, was only never loaded.
        || (cause == Cause::TagNotFound && seen.local.is_some())
        || is_in_no_registry(facts, container, seen)
}

/// Whether no registry has it, as far as its name and the answer tell.
pub(crate) fn is_in_no_registry(facts: &Facts, container: Container, seen: &Whereabouts) -> bool {
    let Some(said) =
        self::pull_error(facts, container).filter(|_| seen.is_homely() && !seen.is_near())
    else {
        return false;
    };
    let is_of_podman = seen.wanted.name().to_string().starts_with("localhost/");
    registry_auth::is_ambiguous(said)
        || (is_of_podman && classify(said) == Some(Cause::RegistryUnreachable))
}

/// Why the registry does not hand out a container's image, if it has told.
pub(crate) fn pull_error_cause(facts: &Facts, container: Container) -> Option<Cause> {
    classify(pull_error(facts, container)?)
}

fn classify(words: &str) -> Option<Cause> {
    PULL_ERRORS.into_iter().find(|(pattern, _)| words.contains(pattern)).map(|(_, cause)| cause)
}

/// What the runtime said of the last pull that was tried.
pub(crate) fn pull_error<'a>(facts: &'a Facts, container: Container<'a>) -> Option<&'a str> {
    let (reason, message) = container.waiting()?;
    if !matches!(reason, "ErrImagePull" | "ImagePullBackOff" | "RegistryUnavailable") {
        return None;
    }
    let start = format!("Failed to pull image \"{}\"", container.image());
    let event = facts.pod_events().rev().find(|event| event.message.starts_with(&start));
    let message = Some(message).filter(|message| classify(message).is_some());
    event.map(|event| event.message.as_str()).or(message)
}

/// The proxy that was asked, as far as the words tell.
fn parse_proxy(said: &str) -> Option<&str> {
    let (_, rest) = said.split_once(PROXY_ERROR)?.1.split_once("dial tcp")?;
    let rest = rest.trim_start_matches([' ', ':']).trim_start_matches("lookup ");
    let end = rest.find(": ").into_iter().chain(rest.find(' ')).min();
    Some(&rest[..end.unwrap_or(rest.len())])
}

impl PullFailure<'_> {
    fn explain(&self, cause: Cause) -> (Confidence, String, String) {
        let (facts, registry, name) = (self.facts, &self.registry, self.locations.name());
        let there = node(facts);
        let certain = |words: String| (Confidence::Certain, words, self.help(cause));
        match cause {
            Cause::NodePressure => {
                let help = fixes::node::relieve(facts, facts.node_name().unwrap_or_default());
                let words = format!("the disk of {there} has no room for `{name}`");
                (Confidence::Certain, words, help)
            }
            Cause::InProgress => {
                let words = format!(
                    "nothing is wrong yet: the kubelet of {there} has many images to pull, and will try this one again"
                );
                let wait = format!("wait: `{} get {} --watch`", facts.kubectl, facts.subject);
                (Confidence::Likely, words, wait)
            }
            Cause::NoMatchingPlatform => {
                let platform = facts.platform();
                let words =
                    format!("`{registry}` has `{name}`, but not for {platform}, which the node is");
                (Confidence::Certain, words, self.platform_help())
            }
            Cause::RegistryUntrusted => {
                let instead = image::pull(facts, self.container, &self.locations);
                let (words, help) = registry_tls::explain(facts, registry, self.error, &instead);
                (Confidence::Certain, words, self.load_help().unwrap_or(help))
            }
            Cause::RateLimited => {
                certain(format!("the registry `{registry}` has had too many requests"))
            }
            Cause::RegistryNotResolved => {
                certain(format!("the node finds no address for the registry `{registry}`"))
            }
            Cause::RegistryUnreachable => certain(self.describe_unreachable()),
            Cause::PullDenied => {
                let (confidence, words) =
                    registry_auth::explain_denial(facts, registry, &name, self.error);
                (confidence, words, self.help(cause))
            }
            _ => certain(format!("the registry `{registry}` has no `{name}`")),
        }
    }

    fn describe_unreachable(&self) -> String {
        let (registry, there) = (&self.registry, node(self.facts));
        if self.error.contains(PROXY_ERROR) {
            let proxy =
                parse_proxy(self.error).map(|proxy| format!(" `{proxy}`")).unwrap_or_default();
            return format!(
                "containerd on {there} asks for `{registry}` through the proxy{proxy}, which does not let it through"
            );
        }
        match SERVER_ERRORS.iter().find(|trouble| self.error.contains(*trouble)) {
            Some(trouble) => {
                format!("the registry `{registry}` is in trouble: it answers `{trouble}`")
            }
            None => format!("the registry `{registry}` does not answer the node"),
        }
    }

    /// Whoever has it need not ask for it.
    fn load_help(&self) -> Option<String> {
        self.locations.local?;
        Some(image::load(self.facts, self.container, &self.locations))
    }

    fn help(&self, cause: Cause) -> String {
        let (facts, container, registry) = (self.facts, self.container, &self.registry);
        if let Some(load) = self.load_help() {
            return load;
        }
        let instead = image::pull(facts, container, &self.locations);
        let correct = format!("correct its name in the manifest of {}", facts.keeper_id());
        match cause {
            Cause::PullDenied if registry_auth::is_ambiguous(self.error) => {
                format!("{}, or {correct}", registry_auth::credentials_help(facts, registry))
            }
            Cause::PullDenied => registry_auth::credentials_help(facts, registry),
            Cause::TagNotFound => {
                format!("{}, or {correct}", image::build(facts, container, &self.locations))
            }
            Cause::RegistryUnreachable if self.error.contains(PROXY_ERROR) => format!(
                "correct `HTTPS_PROXY` or `NO_PROXY` in the environment of containerd on {} and restart that, or do without the registry: {instead}",
                node(facts)
            ),
            _ => format!("do without the registry: {instead}"),
        }
    }

    /// Brings image and node together.
    fn platform_help(&self) -> String {
        let (facts, platform) = (self.facts, self.facts.platform());
        if !platform.starts_with("windows/") {
            return self
                .load_help()
                .unwrap_or_else(|| format!("build it for {platform} and load it"));
        }
        let linux = json!({"kubernetes.io/os": "linux"});
        match fixes::patch(facts, &json!({"spec": {"nodeSelector": linux}})) {
            Some(patch) => format!("run `{patch}`"),
            None => fixes::by_hand(facts, "write `nodeSelector: {kubernetes.io/os: linux}` into"),
        }
    }
}

#[cfg(test)]
#[path = "pull_tests.rs"]
mod tests;
