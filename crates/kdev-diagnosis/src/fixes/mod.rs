//! Commands that fix a cause, as the user types them.
//!
//! - `image.rs`: copy an image to a node
//! - `node.rs`: repair a node
//! - `node_shell.rs`: open a shell on a node
//! - `placement.rs`: let a pod be scheduled

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

/// Returns the help for a cause without a known fix.
pub(crate) fn describe_help(facts: &Facts) -> String {
    format!("run `{} describe {}` for details", facts.kubectl, facts.subject)
}

/// Returns the help that loads an image from Docker onto the nodes, with `up` if the
/// project builds it.
pub(crate) fn load_help(facts: &Facts, image: &Reference) -> String {
    if facts.project_image.as_deref() == Some(&image.name().to_string()) {
        return format!("run `cargo kdev up {}{}`", facts.flags, facts.project_flags);
    }
    format!("run `{}`", load_command(facts, image))
}

/// Returns the `load` command for an image.
pub(crate) fn load_command(facts: &Facts, image: &Reference) -> String {
    let node = facts.node_name().filter(|_| facts.node().is_some_and(is_skipped_by_load));
    let node = node.map(|name| format!(" --node {}", quote(name))).unwrap_or_default();
    // `load` has no `--namespace`.
    let flags = facts.flags.split(" --namespace").next().unwrap_or_default();
    format!("cargo kdev load {} {flags}{node}", quote(&image.familiar()))
}

/// Returns the help that replaces an outdated build with the latest one.
pub(crate) fn deploy_newer_build_help(
    facts: &Facts,
    container: Container,
    old: &Reference,
    newest: &str,
) -> String {
    if facts.project_image.as_deref() == Some(&old.name().to_string()) {
        return load_help(facts, old);
    }
    let newest = Reference::parse(newest).unwrap_or_else(|_| old.clone());
    let load = load_command(facts, &newest);
    let (controller, kubectl) = (facts.controller_id(), &facts.kubectl);
    if newest != *old {
        let set = set_image_help(facts, container, &newest.familiar());
        return format!("run `{load} && {}", set.trim_start_matches("run `"));
    }
    match controller.split('/').next() {
        Some("deployment" | "statefulset" | "daemonset") => {
            format!("run `{load} && {kubectl} rollout restart {controller}`")
        }
        Some("pod") => format!("run `{load} && {}", replace_pod_command(facts, None)),
        _ => format!("run `{load} && {kubectl} delete pod/{}`", facts.pod_name()),
    }
}

/// Whether `load` skips the node unless `--node` names it.
fn is_skipped_by_load(node: &Value) -> bool {
    node.pointer("/spec/taints").is_some() || node.pointer("/spec/unschedulable").is_some()
}

/// Returns the help that changes the image of a container.
pub(crate) fn set_image_help(facts: &Facts, container: Container, image: &str) -> String {
    let controller = facts.controller_id();
    let name = container.name();
    if !kinds::BUILT_IN.of_id(&controller).is_some_and(|kind| kind.has_set_image) {
        return format!(
            "set `image: {image}` for container `{name}` in the manifest of {controller}, and recreate it"
        );
    }
    let change = quote(&format!("{name}={image}"));
    let set = format!("{} set image {controller} {change}", facts.kubectl);
    format!("run `{}`", with_pod_deleted(facts, &set))
}

/// Kinds that do not replace an unready pod when their template changes. For a
/// `StatefulSet` this is documented as forced rollback; the others never replace pods.
const KEEPS_UNREADY_PODS: [&str; 3] = ["statefulset", "replicaset", "replicationcontroller"];

/// Appends the deletion of the pod to a command that changes the template, if the
/// controller does not replace the pod itself.
fn with_pod_deleted(facts: &Facts, command: &str) -> String {
    let controller = facts.controller_id();
    let kind = controller.split('/').next().unwrap_or_default();
    if facts.is_pod() && KEEPS_UNREADY_PODS.contains(&kind) {
        let (kubectl, pod) = (&facts.kubectl, facts.pod_name());
        return format!("{command} && {kubectl} delete pod/{pod}");
    }
    command.to_owned()
}

/// Adds a hint to make the same change in the manifest, if `up` has applied the object:
/// the next `up` would find a conflict with another field manager. `up` sets images and
/// pull policies itself.
pub(crate) fn add_manifest_hint(facts: &Facts, help: &mut String) {
    let labels = facts.controller().map(|controller| &controller["metadata"]["labels"]);
    let is_applied_by_up = labels.is_some_and(|labels| labels.get(PART_OF).is_some());
    let controller = facts.controller_id();
    let changes = ["patch", "set resources", "scale"].map(|verb| format!(" {verb} {controller} "));
    let is_change = changes.iter().any(|change| help.contains(change));
    if is_applied_by_up && is_change && !help.contains("imagePullPolicy") {
        help.push_str(
            "; make the same change in the manifest, or the next `cargo kdev up` reports a conflict",
        );
    }
}

/// Returns a command that patches one container in the controller's template.
pub(crate) fn patch_container_command(
    facts: &Facts,
    container: Container,
    change: &Value,
) -> Option<String> {
    let mut patch = json!({"name": container.name()});
    patch.as_object_mut()?.extend(change.as_object()?.clone());
    patch_command(facts, &json!({"spec": {container.list(): [patch]}}))
}

/// Returns a command that patches the controller's template; `None` for a kind without a
/// mutable template.
pub(crate) fn patch_command(facts: &Facts, pod: &Value) -> Option<String> {
    let template = json!({"spec": {"template": pod}});
    let patch = match text(facts.controller()?, "/kind") {
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "ReplicationController" => {
            template
        }
        "CronJob" => json!({"spec": {"jobTemplate": template}}),
        _ => return None,
    };
    let (kubectl, controller) = (&facts.kubectl, facts.controller_id());
    let command = format!("{kubectl} patch {controller} --patch {}", quote(&patch.to_string()));
    Some(with_pod_deleted(facts, &command))
}

/// The text after a command that replaces a pod.
pub(crate) const RECREATE_SUFFIX: &str = ", which deletes and recreates the pod";

/// Returns a command that recreates a bare pod after a change with `sed`. The result
/// includes the closing backtick and [`RECREATE_SUFFIX`].
pub(crate) fn replace_pod_command(facts: &Facts, change: Option<&str>) -> String {
    let (kubectl, pod) = (&facts.kubectl, facts.controller_id());
    let sed = change.map(|change| format!(" | sed {}", quote(change))).unwrap_or_default();
    format!(
        "{kubectl} get {pod} --output json{sed} | {kubectl} replace --force --filename -`{RECREATE_SUFFIX}"
    )
}

/// Returns the help that raises the memory limit of a container.
pub(crate) fn set_memory_limit_help(facts: &Facts, container: Container, limit: &str) -> String {
    let (controller, name) = (facts.controller_id(), container.name());
    let limits = json!({"resources": {"limits": {"memory": limit}}});
    match patch_container_command(facts, container, &limits) {
        Some(patch) => format!("run `{patch}`"),
        None => format!(
            "set a memory limit of {limit} for container `{name}` in the manifest of {controller}, and recreate it"
        ),
    }
}

/// Returns a command that adds an image pull secret to the controller's template.
pub(crate) fn add_pull_secret_command(facts: &Facts, secret: &str) -> Option<String> {
    patch_command(facts, &json!({"spec": {"imagePullSecrets": [{"name": secret}]}}))
}

/// Returns the help that changes the pull policy of a container: with a patch of the
/// template, or by recreating the pod, because the policy of a pod is immutable.
pub(crate) fn set_pull_policy_help(facts: &Facts, container: Container, policy: &str) -> String {
    let (controller, name) = (facts.controller_id(), container.name());
    let change = json!({"imagePullPolicy": policy});
    if let Some(patch) = patch_container_command(facts, container, &change) {
        return format!("run `{patch}`");
    }
    if facts.is_bare_pod() && facts.containers().len() == 1 {
        let old = container.policy();
        let change = format!("s/\"imagePullPolicy\": \"{old}\"/\"imagePullPolicy\": \"{policy}\"/");
        return format!("run `{}", replace_pod_command(facts, Some(&change)));
    }
    format!(
        "set `imagePullPolicy: {policy}` for container `{name}` in the manifest of {controller}, and recreate it"
    )
}

/// Returns the help for a change that must be made in the manifest. `change` ends with a
/// preposition, as in `remove … from`.
pub(crate) fn edit_manifest_help(facts: &Facts, change: &str) -> String {
    let controller = facts.controller_id();
    match controller.split('/').next() {
        Some("pod" | "job") => format!("{change} the manifest of {controller}, and recreate it"),
        _ => format!("{change} the manifest of {controller}, and apply it"),
    }
}

/// Appends a rollout restart to a command, because a controller waits longer before each
/// retry.
pub(crate) fn with_rollout_restart(facts: &Facts, command: &str) -> String {
    let controller = facts.controller_id();
    match controller.split('/').next() {
        Some("deployment" | "daemonset") => {
            format!("run `{command} && {} rollout restart {controller}`", facts.kubectl)
        }
        _ => format!("run `{command}`"),
    }
}

/// Returns the pod spec in the template of the nearest owner.
pub(crate) fn pod_template(facts: &Facts) -> Option<&Value> {
    facts.owners.first()?.pointer("/spec/template/spec")
}
