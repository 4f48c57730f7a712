//! Commands that let a pod be scheduled.

use kdev_core::kube::node::Taint;
use kdev_core::kube::object::{list, text};
use kdev_core::kube::placement::{self, Expression};
use kdev_core::kube::{quantity, resources};
use kdev_core::shell::quote;
use serde_json::{Value, json};

use crate::capacity;
use crate::facts::Facts;
use crate::fixes::{self, edit_manifest_help};

/// The smallest requests that are suggested, in thousandths of a core and of a byte.
const MIN_REQUESTS: [(&str, i128); 2] = [("cpu", 10), ("memory", 1000 << 22)];

/// Returns a command that patches the pod spec in the template.
fn patch_pod_spec(facts: &Facts, spec: &Value) -> Option<String> {
    fixes::patch_command(facts, &json!({"spec": spec}))
}

/// Returns the help that changes a field of the pod spec.
pub(crate) fn set_pod_field_help(facts: &Facts, field: &str, old: &str, new: &str) -> String {
    if let Some(patch) = patch_pod_spec(facts, &json!({field: new})) {
        return format!("run `{patch}`");
    }
    replace_pod_help(facts, field, old, new)
        .unwrap_or_else(|| edit_manifest_help(facts, &format!("set `{field}: {new}` in")))
}

/// Whether no controller recreates the pod, not even one that kdev does not know.
pub(crate) fn has_no_owner(facts: &Facts) -> bool {
    facts.owners.is_empty() && list(&facts.pod["metadata"]["ownerReferences"]).next().is_none()
}

/// Returns the help that recreates a bare pod with another value of a field.
fn replace_pod_help(facts: &Facts, field: &str, old: &str, new: &str) -> Option<String> {
    let change = format!("s|\"{field}\": \"{old}\"|\"{field}\": \"{new}\"|");
    facts
        .is_bare_pod()
        .then(|| format!("run `{}", fixes::replace_pod_command(facts, Some(&change))))
}

/// Returns the help that makes the pod tolerate the taints. A patch replaces the whole
/// list of tolerations, so it includes those of the template.
pub(crate) fn tolerate_taints_help(facts: &Facts, node: &str, taints: &[&Taint]) -> String {
    let kubectl = &facts.kubectl;
    let new: Vec<Value> = taints.iter().map(|taint| toleration_for(taint)).collect();
    let specs = ["/spec/template/spec", "/spec/jobTemplate/spec/template/spec"];
    let spec = facts
        .controller()
        .and_then(|controller| specs.iter().find_map(|path| controller.pointer(path)));
    let existing = spec.map(|spec| list(&spec["tolerations"]).cloned()).into_iter().flatten();
    let all: Vec<Value> = existing.chain(new.iter().cloned()).collect();
    if let Some(patch) = patch_pod_spec(facts, &json!({"tolerations": all})) {
        return format!("run `{patch}`");
    }
    if facts.is_pod() {
        let add = |path: &str, value: Value| json!({"op": "add", "path": path, "value": value});
        let changes: Vec<Value> = if facts.pod.pointer("/spec/tolerations").is_some() {
            new.into_iter().map(|one| add("/spec/tolerations/-", one)).collect()
        } else {
            vec![add("/spec/tolerations", new.into())]
        };
        let changes = quote(&Value::from(changes).to_string());
        let pod = facts.pod_name();
        return format!("run `{kubectl} patch pod/{pod} --type json --patch {changes}`");
    }
    let removals: Vec<String> =
        taints.iter().map(|taint| format!("{}:{}-", taint.key, taint.effect)).collect();
    let removals = removals.join(" ");
    format!("run `{kubectl} taint nodes {node} {removals}`, which allows all pods on the node")
}

fn toleration_for(taint: &Taint) -> Value {
    let (key, effect) = (&taint.key, &taint.effect);
    if taint.value.is_empty() {
        return json!({"key": key, "operator": "Exists", "effect": effect});
    }
    json!({"key": key, "operator": "Equal", "value": taint.value, "effect": effect})
}

/// Returns the help for a node selector that matches no node: set the label if no node has
/// the key, or else select a value that a node has.
pub(crate) fn label_node_help(facts: &Facts, node: &str, key: &str, value: &str) -> String {
    let existing = label_values(facts, key);
    if existing.is_empty() && !placement::is_managed_label(key) {
        return format!("run `{} label node {node} {}`", facts.kubectl, assignment(key, value));
    }
    // If another node has the value, it does not match the rest of the pod's node selector.
    let selectable = if existing.contains(&value) {
        label_value(facts, node, key)
    } else {
        existing.into_iter().min_by_key(|other| strsim::levenshtein(other, value))
    };
    let Some(other) = selectable else {
        let change = format!("remove `{key}: {value}` from the `nodeSelector` in");
        return edit_manifest_help(facts, &change);
    };
    match patch_pod_spec(facts, &json!({"nodeSelector": {key: other}})) {
        Some(patch) => format!("run `{patch}`"),
        None => replace_pod_help(facts, key, value, other).unwrap_or_else(|| {
            edit_manifest_help(facts, &format!("set `{key}: {other}` under `nodeSelector` in"))
        }),
    }
}

/// Returns the help for a node affinity that matches no node.
pub(crate) fn node_affinity_help(facts: &Facts, node: &str, missed: &[Expression]) -> String {
    let can_be_set =
        |key: &str| label_values(facts, key).is_empty() && !placement::is_managed_label(key);
    let labels: Option<Vec<String>> = missed
        .iter()
        .map(|one| one.label().filter(|(key, _)| can_be_set(key)))
        .map(|label| label.map(|(key, value)| assignment(key, value)))
        .collect();
    match labels.filter(|labels| !labels.is_empty()) {
        Some(labels) => {
            format!("run `{} label node {node} {}`", facts.kubectl, labels.join(" "))
        }
        None => edit_manifest_help(facts, "change `nodeAffinity` to labels that a node has, in"),
    }
}

/// Returns the value that the node's label has for a key.
fn label_value<'a>(facts: &'a Facts, node: &str, key: &str) -> Option<&'a str> {
    let found = facts.nodes.iter().find(|one| text(one, "/metadata/name") == node)?;
    found["metadata"]["labels"][key].as_str()
}

/// Returns the values that the nodes' labels have for a key.
fn label_values<'a>(facts: &'a Facts, key: &str) -> Vec<&'a str> {
    let labels = facts.nodes.iter().filter_map(|node| node.pointer("/metadata/labels"));
    labels.filter_map(|labels| labels.get(key)?.as_str()).collect()
}

fn assignment(key: &str, value: &str) -> String {
    quote(&format!("{key}={value}"))
}

/// Returns the help that makes the pod fit into the remaining resources of a node.
pub(crate) fn reduce_requests_help(facts: &Facts, node: &str, short: &[(String, i128)]) -> String {
    if let Some(help) =
        short.iter().find_map(|(resource, _)| reduce_extended_resource_help(facts, resource))
    {
        return help;
    }
    if let Some(help) = replace_before_start(facts) {
        return help;
    }
    let commands: Option<Vec<String>> =
        short.iter().map(|one| reduce_request(facts, one)).collect();
    match commands {
        Some(commands) => {
            let suffix = if facts.is_bare_pod() { fixes::RECREATE_SUFFIX } else { "" };
            format!("run `{}`{suffix}", commands.join(" && "))
        }
        None => format!(
            "delete or scale down pods on node `{node}`: `{} get pods --all-namespaces --field-selector spec.nodeName={node}` lists them",
            facts.kubectl
        ),
    }
}

/// Returns the help that reduces the request for an extended resource to what a node has;
/// `None` if a node has enough, or if it is not an extended resource.
fn reduce_extended_resource_help(facts: &Facts, resource: &str) -> Option<String> {
    let needed = *resources::requests(&facts.pod["spec"]).get(resource)?;
    let max = capacity::max_allocatable(facts, resource);
    if !resource.contains('/') || max >= needed {
        return None;
    }
    let max = (max > 0).then(|| quantity::format(resource, max));
    Some(edit_manifest_help(
        facts,
        &match max {
            Some(max) => {
                format!("request at most {max} of `{resource}`, the largest amount on any node, in")
            }
            None => format!("remove the request for `{resource}`, which no node has, from"),
        },
    ))
}

/// Returns a command that reduces the largest request of a container; `None` if that is
/// not enough.
fn reduce_request(facts: &Facts, (resource, remaining): &(String, i128)) -> Option<String> {
    let (_, min) = MIN_REQUESTS.iter().find(|(known, _)| known == resource)?;
    let total = *resources::requests(&facts.pod["spec"]).get(resource)?;
    let amount =
        |one: &Value| resources::amounts(&one["resources"]["requests"]).get(resource).copied();
    let (container, requested) = list(&facts.pod["spec"]["containers"])
        .filter_map(|one| Some((text(one, "/name"), amount(one)?)))
        .max_by_key(|(_, amount)| *amount)?;
    let reduced = requested - (total - remaining);
    if reduced < *min {
        return None;
    }
    let (kubectl, controller) = (&facts.kubectl, facts.controller_id());
    let reduced = quantity::format(resource, reduced);
    let set = format!(
        "{kubectl} set resources {controller} --containers={} --requests={resource}={reduced}",
        quote(container)
    );
    match controller.split('/').next()? {
        "job" => None,
        "pod" => Some(format!(
            "{set} --dry-run=client --output=yaml | {kubectl} replace --force --filename -"
        )),
        _ => Some(set),
    }
}

/// Returns the help that makes an update stop an old pod before it starts a new one, if the old
/// pods use what the new one needs. Other kinds than these never start a second pod.
pub(crate) fn replace_before_start(facts: &Facts) -> Option<String> {
    let strategy = updating_strategy(facts)?;
    let change =
        json!({"spec": {strategy: {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}}});
    Some(format!(
        "run `{}` to stop an old pod before a new one starts",
        patch_controller(facts, &change)
    ))
}

/// Returns the help that makes an update of a Deployment stop all old pods before it starts a new
/// one, if only one of its pods can run.
pub(crate) fn recreate_help(facts: &Facts) -> Option<String> {
    if updating_strategy(facts)? != "strategy" {
        return replace_before_start(facts);
    }
    // Without the null, the API server rejects the values that remain from a rolling update.
    let change = json!({"spec": {"strategy": {"type": "Recreate", "rollingUpdate": null}}});
    Some(format!(
        "run `{}` to stop the old pod before the new one starts",
        patch_controller(facts, &change)
    ))
}

fn patch_controller(facts: &Facts, change: &Value) -> String {
    let patch = quote(&change.to_string());
    format!("{} patch {} --patch {patch}", facts.kubectl, facts.controller_id())
}

/// Returns the field with the strategy of a controller that is replacing its pods, and starts new
/// ones before the old ones have stopped.
fn updating_strategy(facts: &Facts) -> Option<&'static str> {
    let controller = facts.controller()?;
    let number = |field: &str| controller["status"][field].as_u64().unwrap_or_default();
    let (strategy, pods, updated) = match text(controller, "/kind") {
        "Deployment" => ("strategy", number("replicas"), number("updatedReplicas")),
        "DaemonSet" if has_surge(controller) => {
            ("updateStrategy", number("desiredNumberScheduled"), number("updatedNumberScheduled"))
        }
        _ => return None,
    };
    let is_rolling = controller["spec"][strategy]["type"] == "RollingUpdate";
    (is_rolling && pods > updated).then_some(strategy)
}

/// Whether a DaemonSet starts new pods first, which is not its default.
fn has_surge(daemon_set: &Value) -> bool {
    let surge = daemon_set.pointer("/spec/updateStrategy/rollingUpdate/maxSurge");
    surge.is_some_and(|surge| *surge != 0 && *surge != "0%")
}

/// Returns the help for a reason of the scheduler's that is about other pods. `nodes` is
/// the number of nodes that are suitable otherwise.
pub(crate) fn relax_pod_affinity(facts: &Facts, node: &str, reason: &str, nodes: usize) -> String {
    let kubectl = &facts.kubectl;
    let constraints = || list(&facts.pod["spec"]["topologySpreadConstraints"]);
    if reason.contains("missing required label") {
        let missing = constraints()
            .map(|one| text(one, "/topologyKey"))
            .find(|key| label_values(facts, key).len() < facts.nodes.len());
        let key = missing.unwrap_or("KEY");
        if placement::is_managed_label(key) {
            let change = format!("use a `topologyKey` that all nodes have instead of `{key}` in");
            return edit_manifest_help(facts, &change);
        }
        return format!("run `{kubectl} label node {node} {}`", assignment(key, node));
    }
    if let Some(help) = replace_before_start(facts) {
        return help;
    }
    if reason.contains("existing pods") {
        return edit_manifest_help(
            facts,
            "remove the labels that other pods' `podAntiAffinity` selects from",
        );
    }
    let is_anti_affinity = reason.contains("anti-affinity");
    let controller = facts.controller_id();
    let replicas =
        facts.controller().and_then(|controller| controller["spec"]["replicas"].as_u64());
    let too_many = replicas.filter(|replicas| usize::try_from(*replicas).is_ok_and(|r| r > nodes));
    if is_anti_affinity && too_many.is_some() && nodes > 0 {
        return format!("run `{kubectl} scale {controller} --replicas={nodes}`");
    }
    let (change, field) = if reason.contains("topology spread") {
        (json!({"topologySpreadConstraints": null}), "topologySpreadConstraints")
    } else if is_anti_affinity {
        (json!({"affinity": {"podAntiAffinity": null}}), "podAntiAffinity")
    } else {
        (json!({"affinity": {"podAffinity": null}}), "podAffinity")
    };
    match patch_pod_spec(facts, &change) {
        Some(patch) if field == "podAffinity" => {
            format!("run `{patch}`, or start the pods that its `podAffinity` requires")
        }
        Some(patch) => format!("run `{patch}`"),
        None => edit_manifest_help(facts, &format!("remove `{field}` from")),
    }
}
