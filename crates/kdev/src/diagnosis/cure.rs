//! Commands that cure, as a person types them. Pure.

use serde_json::{Value, json};

use crate::cmd::quoted;
use crate::facts::{Container, Facts, text};
use crate::image::Reference;

/// Kinds of which `kubectl set image` can change the template.
const SETTABLE: [&str; 7] = [
    "pod",
    "deployment",
    "statefulset",
    "daemonset",
    "replicaset",
    "replicationcontroller",
    "cronjob",
];

/// Brings an image of docker's to the nodes: by the project that builds it, where
/// that is at hand.
pub(super) fn load(facts: &Facts, image: &Reference) -> String {
    if facts.project_image.as_deref() == Some(&image.name().to_string()) {
        return format!("run `cargo kdev up {}`", facts.flags);
    }
    format!("run `{}`", load_command(facts, image))
}

pub(super) fn load_command(facts: &Facts, image: &Reference) -> String {
    let node = facts.node_name().filter(|_| facts.node().is_some_and(is_left_out));
    let node = node.map(|name| format!(" --node {}", quoted(name))).unwrap_or_default();
    // `load` knows no namespace.
    let flags = facts.flags.split(" --namespace").next().unwrap_or_default();
    format!("cargo kdev load {} {flags}{node}", quoted(&image.familiar()))
}

/// Puts the newest build in the place of an older one.
pub(super) fn renew(facts: &Facts, container: Container, old: &Reference, newest: &str) -> String {
    if facts.project_image.as_deref() == Some(&old.name().to_string()) {
        return load(facts, old);
    }
    let newest = Reference::parse(newest).unwrap_or_else(|_| old.clone());
    let load = load_command(facts, &newest);
    let (keeper, kubectl) = (facts.keeper_id(), &facts.kubectl);
    if newest != *old {
        let set = set_image(facts, container, &newest.familiar());
        return format!("run `{load} && {}", set.trim_start_matches("run `"));
    }
    match keeper.split('/').next() {
        Some("deployment" | "statefulset" | "daemonset") => {
            format!("run `{load} && {kubectl} rollout restart {keeper}`")
        }
        Some("pod") => format!(
            "run `{load} && {kubectl} get {keeper} --output json | {kubectl} replace --force --filename -`"
        ),
        _ => format!("run `{load} && {kubectl} delete pod/{}`", facts.pod_name()),
    }
}

/// Whether a load leaves the node out unless it is named.
fn is_left_out(node: &Value) -> bool {
    node.pointer("/spec/taints").is_some() || node.pointer("/spec/unschedulable").is_some()
}

/// Gives a container another image.
pub(super) fn set_image(facts: &Facts, container: Container, image: &str) -> String {
    let keeper = facts.keeper_id();
    let name = container.name();
    if !SETTABLE.iter().any(|kind| keeper.starts_with(&format!("{kind}/"))) {
        return format!(
            "write `image: {image}` for container `{name}` into the manifest of {keeper}, and make that anew"
        );
    }
    let change = quoted(&format!("{name}={image}"));
    format!("run `{} set image {keeper} {change}`", facts.kubectl)
}

/// A patch of the keeper's template; `None` for what has none that can be changed.
pub(super) fn patch(facts: &Facts, pod: &Value) -> Option<String> {
    let template = json!({"spec": {"template": pod}});
    let patch = match text(facts.keeper()?, "/kind") {
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "ReplicationController" => {
            template
        }
        "CronJob" => json!({"spec": {"jobTemplate": template}}),
        _ => return None,
    };
    let (kubectl, keeper) = (&facts.kubectl, facts.keeper_id());
    Some(format!("{kubectl} patch {keeper} --patch {}", quoted(&patch.to_string())))
}

/// Lets a container use more memory.
pub(super) fn set_memory(facts: &Facts, container: Container, limit: &str) -> String {
    let (keeper, name) = (facts.keeper_id(), container.name());
    let limits = json!({"name": name, "resources": {"limits": {"memory": limit}}});
    match patch(facts, &json!({"spec": {"containers": [limits]}})) {
        Some(patch) => format!("run `{patch}`"),
        None => format!(
            "give container `{name}` a limit of {limit} in the manifest of {keeper}, and make that anew"
        ),
    }
}

/// Lets new pods use a secret for registries.
pub(super) fn add_pull_secret(facts: &Facts, secret: &str) -> Option<String> {
    patch(facts, &json!({"spec": {"imagePullSecrets": [{"name": secret}]}}))
}

/// Gives a container another pull policy: by a patch of the template, or, since a
/// pod's own policy is fixed, by a new pod.
pub(super) fn set_policy(facts: &Facts, container: Container, policy: &str) -> String {
    let (keeper, name) = (facts.keeper_id(), container.name());
    let pod = json!({"spec": {"containers": [{"name": name, "imagePullPolicy": policy}]}});
    if let Some(patch) = patch(facts, &pod) {
        return format!("run `{patch}`");
    }
    if keeper.starts_with("pod/") && facts.containers().len() == 1 {
        let (kubectl, old) = (&facts.kubectl, container.policy());
        let change = format!("s/\"imagePullPolicy\": \"{old}\"/\"imagePullPolicy\": \"{policy}\"/");
        let change = quoted(&change);
        return format!(
            "run `{kubectl} get {keeper} --output json | sed {change} | {kubectl} replace --force --filename -`"
        );
    }
    format!(
        "write `imagePullPolicy: {policy}` for container `{name}` into the manifest of {keeper}, and make that anew"
    )
}

/// What only a change of the manifest can do: it ends in `in`, `into` or `out of`.
pub(super) fn by_hand(facts: &Facts, what: &str) -> String {
    let keeper = facts.keeper_id();
    match keeper.split('/').next() {
        Some("pod" | "job") => format!("{what} the manifest of {keeper}, and make that anew"),
        _ => format!("{what} the manifest of {keeper}, and apply it"),
    }
}
