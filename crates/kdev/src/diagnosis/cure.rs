//! Commands that cure, as a person types them. Pure.

use serde_json::json;

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

/// Whether a load leaves the node out unless it is named.
fn is_left_out(node: &serde_json::Value) -> bool {
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

/// Gives a container another pull policy: by a patch of the template, or, since a
/// pod's own policy is fixed, by a new pod.
pub(super) fn set_policy(facts: &Facts, container: Container, policy: &str) -> String {
    let (keeper, name) = (facts.keeper_id(), container.name());
    let kubectl = &facts.kubectl;
    let pod = json!({"spec": {"containers": [{"name": name, "imagePullPolicy": policy}]}});
    let template = json!({"spec": {"template": pod}});
    let patch = match text(facts.keeper().unwrap_or(&facts.pod), "/kind") {
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "ReplicationController" => {
            template
        }
        "CronJob" => json!({"spec": {"jobTemplate": template}}),
        "Pod" if facts.containers().len() == 1 => {
            let old = container.policy();
            let change = quoted(&format!(
                "s/\"imagePullPolicy\": \"{old}\"/\"imagePullPolicy\": \"{policy}\"/"
            ));
            return format!(
                "run `{kubectl} get {keeper} --output json | sed {change} | {kubectl} replace --force --filename -`"
            );
        }
        _ => {
            return format!(
                "write `imagePullPolicy: {policy}` for container `{name}` into the manifest of {keeper}, and make that anew"
            );
        }
    };
    format!("run `{kubectl} patch {keeper} --patch {}`", quoted(&patch.to_string()))
}
