//! Image pulls that fail.

use kdev_core::kube::container::Container;
use serde_json::json;

use crate::cause::Cause;
use crate::diagnosis::{Confidence, Diagnosis};
use crate::facts::Facts;
use crate::fixes::{self, image};
use crate::location::{ImageLocations, describe_node, waiting_evidence};
use crate::rules::image::{registry_auth, registry_tls};

/// Start of any error of a proxy.
const PROXY_ERROR: &str = "proxyconnect tcp: ";
/// Responses of a registry with an internal error.
const SERVER_ERRORS: [&str; 4] = [
    "500 Internal Server Error",
    "502 Bad Gateway",
    "503 Service Unavailable",
    "504 Gateway Timeout",
];

/// Errors of runtimes and kubelets for a failed pull, and their causes. The first match
/// counts.
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
    // Any error of the resolver: no address was found.
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

/// Failed pull of a container's image.
struct PullFailure<'a> {
    facts: &'a Facts,
    container: Container<'a>,
    locations: ImageLocations<'a>,
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
    let locations = ImageLocations::new(facts, container.reference()?);
    let error = pull_error(facts, container)?;
    let cause = classify(error)?;
    if cause != Cause::NodePressure && is_explained_by_location(facts, container, &locations, cause)
    {
        return None;
    }
    let registry = locations.reference.name().to_string();
    let registry = registry.split('/').next().unwrap_or_default().to_owned();
    let mut evidence = vec![waiting_evidence(container), error.to_owned()];
    let may_be_local = facts.local_images.is_none() && locations.has_no_registry();
    let failure = PullFailure { facts, container, locations, registry, error };
    let (mut confidence, message, help) = failure.explain(cause);
    if may_be_local && matches!(cause, Cause::TagNotFound | Cause::PullDenied) {
        confidence = Confidence::Likely;
        evidence.push("Docker is not responding, so it is unknown whether it has the image".into());
    }
    Some(Diagnosis { cause, confidence, message, evidence, help })
}

/// Returns whether the image's location explains more than the registry's error.
fn is_explained_by_location(
    facts: &Facts,
    container: Container,
    locations: &ImageLocations,
    cause: Cause,
) -> bool {
    if locations.reference.digest().is_some() {
        return locations.on_node.is_some() || locations.same_digest().is_some();
    }
    // The node's copy of a registry's image may be outdated.
    let is_usable_on_node = locations.on_node.is_some()
        && (locations.has_no_registry() || container.policy() != "Always");
    is_usable_on_node
        || !locations.other_nodes.is_empty()
        || (locations.has_no_registry() && locations.is_found_anywhere())
        // A local build that is in no registry only has to be loaded.
        || (cause == Cause::TagNotFound && locations.in_docker.is_some())
        || is_in_no_registry(facts, container, locations)
}

/// Returns whether no registry has the image, judging by its name and the error.
pub(crate) fn is_in_no_registry(
    facts: &Facts,
    container: Container,
    locations: &ImageLocations,
) -> bool {
    let Some(error) = pull_error(facts, container)
        .filter(|_| locations.has_no_registry() && !locations.is_found_anywhere())
    else {
        return false;
    };
    let is_from_podman = locations.reference.name().to_string().starts_with("localhost/");
    registry_auth::is_ambiguous(error)
        || (is_from_podman && classify(error) == Some(Cause::RegistryUnreachable))
}

/// Returns the cause of the last failed pull, if its error is known.
pub(crate) fn pull_error_cause(facts: &Facts, container: Container) -> Option<Cause> {
    classify(pull_error(facts, container)?)
}

fn classify(error: &str) -> Option<Cause> {
    PULL_ERRORS.into_iter().find(|(pattern, _)| error.contains(pattern)).map(|(_, cause)| cause)
}

/// Returns the runtime's error for the last pull.
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

/// Returns the address of the proxy, if the error contains it.
fn parse_proxy(error: &str) -> Option<&str> {
    let (_, rest) = error.split_once(PROXY_ERROR)?.1.split_once("dial tcp")?;
    let rest = rest.trim_start_matches([' ', ':']).trim_start_matches("lookup ");
    let end = rest.find(": ").into_iter().chain(rest.find(' ')).min();
    Some(&rest[..end.unwrap_or(rest.len())])
}

impl PullFailure<'_> {
    fn explain(&self, cause: Cause) -> (Confidence, String, String) {
        let (facts, registry, name) = (self.facts, &self.registry, self.locations.name());
        let node = describe_node(facts);
        let certain = |message: String| (Confidence::Certain, message, self.help(cause));
        match cause {
            Cause::NodePressure => {
                let help = fixes::node::relieve_pressure_help(
                    facts,
                    facts.node_name().unwrap_or_default(),
                );
                let message = format!("the disk of {node} is too full for `{name}`");
                (Confidence::Certain, message, help)
            }
            Cause::InProgress => {
                let message = format!(
                    "the kubelet on {node} has reached its limit for image pulls, and will retry"
                );
                let wait = format!(
                    "wait for the retry: `{} get {} --watch`",
                    facts.kubectl, facts.subject
                );
                (Confidence::Likely, message, wait)
            }
            Cause::NoMatchingPlatform => {
                let platform = facts.platform();
                let message = format!(
                    "registry `{registry}` has `{name}`, but not for the node's platform {platform}"
                );
                (Confidence::Certain, message, self.platform_help())
            }
            Cause::RegistryUntrusted => {
                let instead = image::pull_command(facts, self.container, &self.locations);
                let (message, help) = registry_tls::explain(facts, registry, self.error, &instead);
                (Confidence::Certain, message, self.load_help().unwrap_or(help))
            }
            Cause::RateLimited => certain(format!(
                "registry `{registry}` rejects the pull because of too many requests"
            )),
            Cause::RegistryNotResolved => {
                certain(format!("the node cannot resolve the name of registry `{registry}`"))
            }
            Cause::RegistryUnreachable => certain(self.describe_unreachable()),
            Cause::PullDenied => {
                let (confidence, message) =
                    registry_auth::explain_denial(facts, registry, &name, self.error);
                (confidence, message, self.help(cause))
            }
            _ => certain(format!("`{name}` not found in registry `{registry}`")),
        }
    }

    fn describe_unreachable(&self) -> String {
        let (registry, node) = (&self.registry, describe_node(self.facts));
        if self.error.contains(PROXY_ERROR) {
            let proxy =
                parse_proxy(self.error).map(|proxy| format!(" `{proxy}`")).unwrap_or_default();
            return format!(
                "containerd on {node} cannot reach registry `{registry}` through its proxy{proxy}"
            );
        }
        match SERVER_ERRORS.iter().find(|response| self.error.contains(*response)) {
            Some(response) => format!("registry `{registry}` returns `{response}`"),
            None => format!("the node cannot reach registry `{registry}`"),
        }
    }

    /// Returns help to load the image, if Docker has it.
    fn load_help(&self) -> Option<String> {
        self.locations.in_docker?;
        Some(image::load_help(self.facts, self.container, &self.locations))
    }

    fn help(&self, cause: Cause) -> String {
        let (facts, container, registry) = (self.facts, self.container, &self.registry);
        if let Some(load) = self.load_help() {
            return load;
        }
        let instead = image::pull_command(facts, container, &self.locations);
        let correct =
            format!("correct the image name in the manifest of {}", facts.controller_id());
        match cause {
            Cause::PullDenied if registry_auth::is_ambiguous(self.error) => {
                format!("{}, or {correct}", registry_auth::credentials_help(facts, registry))
            }
            Cause::PullDenied => registry_auth::credentials_help(facts, registry),
            Cause::TagNotFound => {
                format!("{}, or {correct}", image::build_help(facts, container, &self.locations))
            }
            Cause::RegistryUnreachable if self.error.contains(PROXY_ERROR) => format!(
                "correct `HTTPS_PROXY` or `NO_PROXY` in the environment of containerd on {} and restart it, or pull with Docker and load the image: {instead}",
                describe_node(facts)
            ),
            _ => format!("pull with Docker and load the image: {instead}"),
        }
    }

    /// Returns help to build the image for the node's platform, or to avoid Windows nodes.
    fn platform_help(&self) -> String {
        let (facts, platform) = (self.facts, self.facts.platform());
        if !platform.starts_with("windows/") {
            return self
                .load_help()
                .unwrap_or_else(|| format!("build the image for {platform} and load it"));
        }
        let linux = json!({"kubernetes.io/os": "linux"});
        match fixes::patch_command(facts, &json!({"spec": {"nodeSelector": linux}})) {
            Some(patch) => format!("run `{patch}`"),
            None => {
                fixes::edit_manifest_help(facts, "add `nodeSelector: {kubernetes.io/os: linux}` to")
            }
        }
    }
}

#[cfg(test)]
#[path = "pull_tests.rs"]
mod tests;
