//! Commands that fix a cause, as a person types them.
//!
//! - `image.rs`: bring an image to a node
//! - `node.rs`: bring a node back into order
//! - `node_shell.rs`: open a shell on a node
//! - `placement.rs`: let a node take a pod

pub(crate) mod image;
pub(crate) mod node;
pub(crate) mod node_shell;
pub(crate) mod placement;

use kdev_core::image::reference::Reference;
use kdev_core::kube::applyset::PART_OF;
use kdev_core::kube::container::Container;
use kdev_core::kube::kinds;
use kdev_core::kube::object::text;
use kdev_core::shell::quote;
use serde_json::{Value, json};

use crate::facts::Facts;

/// Brings an image of docker's to the nodes: by the project that builds it, where
/// that is at hand.
pub(crate) fn load(facts: &Facts, image: &Reference) -> String {
    if facts.project_image.as_deref() == Some(&image.name().to_string()) {
        return format!("run `cargo kdev up {}{}`", facts.flags, facts.project_flags);
    }
    format!("run `{}`", load_command(facts, image))
}

pub(crate) fn load_command(facts: &Facts, image: &Reference) -> String {
    let node = facts.node_name().filter(|_| facts.node().is_some_and(is_left_out));
    let node = node.map(|name| format!(" --node {}", quote(name))).unwrap_or_default();
    // `load` knows no namespace.
    let flags = facts.flags.split(" --namespace").next().unwrap_or_default();
    format!("cargo kdev load {} {flags}{node}", quote(&image.familiar()))
}

/// Puts the newest build in the place of an older one.
pub(crate) fn renew(facts: &Facts, container: Container, old: &Reference, newest: &str) -> String {
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
        Some("pod") => format!("run `{load} && {}", replace(facts, None)),
        _ => format!("run `{load} && {kubectl} delete pod/{}`", facts.pod_name()),
    }
}

/// Whether a load leaves the node out unless it is named.
fn is_left_out(node: &Value) -> bool {
    node.pointer("/spec/taints").is_some() || node.pointer("/spec/unschedulable").is_some()
}

/// Gives a container another image.
pub(crate) fn set_image(facts: &Facts, container: Container, image: &str) -> String {
    let keeper = facts.keeper_id();
    let name = container.name();
    if !kinds::BUILT_IN.of_id(&keeper).is_some_and(|kind| kind.has_set_image) {
        return format!(
            "write `image: {image}` for container `{name}` into the manifest of {keeper}, and make that anew"
        );
    }
    let change = quote(&format!("{name}={image}"));
    let set = format!("{} set image {keeper} {change}", facts.kubectl);
    format!("run `{}`", renewed(facts, &set))
}

/// Kinds that leave a pod that is not ready as it is when their template changes: of
/// a `StatefulSet` that is documented as forced rollback, and the others never look.
const LEAVES_PODS: [&str; 3] = ["statefulset", "replicaset", "replicationcontroller"];

/// A command that changes the keeper's template, and what makes that count.
fn renewed(facts: &Facts, command: &str) -> String {
    let keeper = facts.keeper_id();
    let kind = keeper.split('/').next().unwrap_or_default();
    if facts.is_pod() && LEAVES_PODS.contains(&kind) {
        let (kubectl, pod) = (&facts.kubectl, facts.pod_name());
        return format!("{command} && {kubectl} delete pod/{pod}");
    }
    command.to_owned()
}

/// Says that a change must be made in the manifest, too, of what `up` has applied: the
/// next one finds it changed by somebody else. Image and policy are kdev's own.
pub(crate) fn keep(facts: &Facts, help: &mut String) {
    let labels = facts.keeper().map(|keeper| &keeper["metadata"]["labels"]);
    let is_ours = labels.is_some_and(|labels| labels.get(PART_OF).is_some());
    let keeper = facts.keeper_id();
    let changes = ["patch", "set resources", "scale"].map(|verb| format!(" {verb} {keeper} "));
    let is_change = changes.iter().any(|change| help.contains(change));
    if is_ours && is_change && !help.contains("imagePullPolicy") {
        help.push_str(
            "; write what that changes into the manifest, too, or `cargo kdev up` finds a conflict",
        );
    }
}

/// A patch of one container in the keeper's template.
pub(crate) fn patch_container(
    facts: &Facts,
    container: Container,
    change: &Value,
) -> Option<String> {
    let mut one = json!({"name": container.name()});
    one.as_object_mut()?.extend(change.as_object()?.clone());
    patch(facts, &json!({"spec": {container.list(): [one]}}))
}

/// A patch of the keeper's template; `None` for what has none that can be changed.
pub(crate) fn patch(facts: &Facts, pod: &Value) -> Option<String> {
    let template = json!({"spec": {"template": pod}});
    let patch = match text(facts.keeper()?, "/kind") {
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "ReplicationController" => {
            template
        }
        "CronJob" => json!({"spec": {"jobTemplate": template}}),
        _ => return None,
    };
    let (kubectl, keeper) = (&facts.kubectl, facts.keeper_id());
    let command = format!("{kubectl} patch {keeper} --patch {}", quote(&patch.to_string()));
    Some(renewed(facts, &command))
}

/// What is to be said of a command that replaces a pod.
pub(crate) const ANEW: &str = ", which deletes the pod and makes it anew";

/// A new pod in the place of a bare one, whose text is changed by `sed`.
pub(crate) fn replace(facts: &Facts, change: Option<&str>) -> String {
    let (kubectl, pod) = (&facts.kubectl, facts.keeper_id());
    let sed = change.map(|change| format!(" | sed {}", quote(change))).unwrap_or_default();
    format!(
        "{kubectl} get {pod} --output json{sed} | {kubectl} replace --force --filename -`{ANEW}"
    )
}

/// Lets a container use more memory.
pub(crate) fn set_memory(facts: &Facts, container: Container, limit: &str) -> String {
    let (keeper, name) = (facts.keeper_id(), container.name());
    let limits = json!({"resources": {"limits": {"memory": limit}}});
    match patch_container(facts, container, &limits) {
        Some(patch) => format!("run `{patch}`"),
        None => format!(
            "give container `{name}` a limit of {limit} in the manifest of {keeper}, and make that anew"
        ),
    }
}

/// Lets new pods use a secret for registries.
pub(crate) fn add_pull_secret(facts: &Facts, secret: &str) -> Option<String> {
    patch(facts, &json!({"spec": {"imagePullSecrets": [{"name": secret}]}}))
}

/// Gives a container another pull policy: by a patch of the template, or, since a
/// pod's own policy is fixed, by a new pod.
pub(crate) fn set_policy(facts: &Facts, container: Container, policy: &str) -> String {
    let (keeper, name) = (facts.keeper_id(), container.name());
    let change = json!({"imagePullPolicy": policy});
    if let Some(patch) = patch_container(facts, container, &change) {
        return format!("run `{patch}`");
    }
    if facts.is_bare_pod() && facts.containers().len() == 1 {
        let old = container.policy();
        let change = format!("s/\"imagePullPolicy\": \"{old}\"/\"imagePullPolicy\": \"{policy}\"/");
        return format!("run `{}", replace(facts, Some(&change)));
    }
    format!(
        "write `imagePullPolicy: {policy}` for container `{name}` into the manifest of {keeper}, and make that anew"
    )
}

/// What only a change of the manifest can do: it ends in `in`, `into` or `out of`.
pub(crate) fn by_hand(facts: &Facts, what: &str) -> String {
    let keeper = facts.keeper_id();
    match keeper.split('/').next() {
        Some("pod" | "job") => format!("{what} the manifest of {keeper}, and make that anew"),
        _ => format!("{what} the manifest of {keeper}, and apply it"),
    }
}

/// A command, and what makes a controller try again at once: it waits longer each
/// time.
pub(crate) fn again(facts: &Facts, command: &str) -> String {
    let keeper = facts.keeper_id();
    match keeper.split('/').next() {
        Some("deployment" | "daemonset") => {
            format!("run `{command} && {} rollout restart {keeper}`", facts.kubectl)
        }
        _ => format!("run `{command}`"),
    }
}

/// The specification of the pods that are to be made.
pub(crate) fn template(facts: &Facts) -> Option<&Value> {
    facts.owners.first()?.pointer("/spec/template/spec")
}
