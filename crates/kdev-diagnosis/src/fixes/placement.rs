//! Commands that let a node take a pod.

use kdev_core::kube::node::Taint;
use kdev_core::kube::object::{list, text};
use kdev_core::kube::placement::Expression;
use kdev_core::kube::{quantity, resources};
use kdev_core::shell::quote;
use serde_json::{Value, json};

use crate::facts::Facts;
use crate::{capacity, fixes};

/// Less than this is not worth a request: of cpu and of bytes.
const LEAST: [(&str, i128); 2] = [("cpu", 10), ("memory", 1000 << 22)];

/// A change of the pods' specification.
fn patch(facts: &Facts, spec: &Value) -> Option<String> {
    fixes::patch(facts, &json!({"spec": spec}))
}

/// Gives a field of the pod's spec another value.
pub(crate) fn set_in_pod(facts: &Facts, field: &str, old: &str, new: &str) -> String {
    if let Some(patch) = patch(facts, &json!({field: new})) {
        return format!("run `{patch}`");
    }
    replaced(facts, field, old, new)
        .unwrap_or_else(|| write(facts, &format!("write `{field}: {new}` into")))
}

/// Whether nobody would make the pod anew, not even who is not known here.
pub(crate) fn is_bare(facts: &Facts) -> bool {
    facts.owners.is_empty() && list(&facts.pod["metadata"]["ownerReferences"]).next().is_none()
}

/// Makes a bare pod anew, with another value of a field.
fn replaced(facts: &Facts, field: &str, old: &str, new: &str) -> Option<String> {
    let change = format!("s|\"{field}\": \"{old}\"|\"{field}\": \"{new}\"|");
    facts.is_bare_pod().then(|| format!("run `{}", fixes::replace(facts, Some(&change))))
}

fn write(facts: &Facts, what: &str) -> String {
    fixes::by_hand(facts, what)
}

/// Lets the pod onto a node in spite of its taints. A patch replaces the whole list of
/// tolerations, so those of the template are kept.
pub(crate) fn tolerate(facts: &Facts, node: &str, taints: &[&Taint]) -> String {
    let kubectl = &facts.kubectl;
    let new: Vec<Value> = taints.iter().map(|taint| toleration(taint)).collect();
    let specs = ["/spec/template/spec", "/spec/jobTemplate/spec/template/spec"];
    let spec = facts.keeper().and_then(|keeper| specs.iter().find_map(|path| keeper.pointer(path)));
    let kept = spec.map(|spec| list(&spec["tolerations"]).cloned()).into_iter().flatten();
    let all: Vec<Value> = kept.chain(new.iter().cloned()).collect();
    if let Some(patch) = patch(facts, &json!({"tolerations": all})) {
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
    let gone: Vec<String> =
        taints.iter().map(|taint| format!("{}:{}-", taint.key, taint.effect)).collect();
    let gone = gone.join(" ");
    format!("run `{kubectl} taint nodes {node} {gone}`, which lets every pod onto it")
}

fn toleration(taint: &Taint) -> Value {
    let (key, effect) = (&taint.key, &taint.effect);
    if taint.value.is_empty() {
        return json!({"key": key, "operator": "Exists", "effect": effect});
    }
    json!({"key": key, "operator": "Equal", "value": taint.value, "effect": effect})
}

/// Lets the pod's node selector find a node: the label is set where no node has
/// any, and else one of theirs is chosen.
pub(crate) fn label(facts: &Facts, node: &str, key: &str, value: &str) -> String {
    let there = values(facts, key);
    let nearest = there.iter().min_by_key(|other| strsim::levenshtein(other, value));
    let Some(instead) = nearest else {
        return format!("run `{} label node {node} {}`", facts.kubectl, assign(key, value));
    };
    match patch(facts, &json!({"nodeSelector": {key: instead}})) {
        Some(patch) => format!("run `{patch}`"),
        None => replaced(facts, key, value, instead).unwrap_or_else(|| {
            write(facts, &format!("write `{key}: {instead}` below `nodeSelector` in"))
        }),
    }
}

/// Lets the pod's node affinity find a node.
pub(crate) fn affinity(facts: &Facts, node: &str, missed: &[Expression]) -> String {
    let labels: Option<Vec<String>> = missed
        .iter()
        .map(|one| one.label().filter(|_| values(facts, &one.key).is_empty()))
        .map(|label| label.map(|(key, value)| assign(key, value)))
        .collect();
    match labels.filter(|labels| !labels.is_empty()) {
        Some(labels) => {
            format!("run `{} label node {node} {}`", facts.kubectl, labels.join(" "))
        }
        None => write(facts, "let `nodeAffinity` ask for labels that a node has, in"),
    }
}

/// What the nodes' labels say under a key.
fn values<'a>(facts: &'a Facts, key: &str) -> Vec<&'a str> {
    let labels = facts.nodes.iter().filter_map(|node| node.pointer("/metadata/labels"));
    labels.filter_map(|labels| labels.get(key)?.as_str()).collect()
}

fn assign(key: &str, value: &str) -> String {
    quote(&format!("{key}={value}"))
}

/// Lets the pod request no more than what is left on a node.
pub(crate) fn request_less(facts: &Facts, node: &str, short: &[(String, i128)]) -> String {
    if let Some(help) = short.iter().find_map(|(resource, _)| request_special(facts, resource)) {
        return help;
    }
    if let Some(aside) = step_aside(facts) {
        return aside;
    }
    let commands: Option<Vec<String>> = short.iter().map(|one| less(facts, one)).collect();
    match commands {
        Some(commands) => {
            let anew = if facts.is_bare_pod() { fixes::ANEW } else { "" };
            format!("run `{}`{anew}", commands.join(" && "))
        }
        None => format!(
            "make room on node `{node}`: delete or scale down what is not needed of `{} get pods --all-namespaces --field-selector spec.nodeName={node}`",
            facts.kubectl
        ),
    }
}

/// Lets the pod request no more of a special resource than a node has; `None` if one
/// has enough, or it is an ordinary one.
fn request_special(facts: &Facts, resource: &str) -> Option<String> {
    let wants = *resources::requests(&facts.pod["spec"]).get(resource)?;
    let most = capacity::most(facts, resource);
    if !resource.contains('/') || most >= wants {
        return None;
    }
    let most = (most > 0).then(|| quantity::format(resource, most));
    Some(write(
        facts,
        &match most {
            Some(most) => {
                format!("request no more `{resource}` than {most}, the most that a node has, in")
            }
            None => format!("take `{resource}`, which no node has, out of"),
        },
    ))
}

/// Lowers the request of the greediest container; `None` if that does not do.
fn less(facts: &Facts, (resource, room): &(String, i128)) -> Option<String> {
    let (_, least) = LEAST.iter().find(|(known, _)| known == resource)?;
    let total = *resources::requests(&facts.pod["spec"]).get(resource)?;
    let amount =
        |one: &Value| resources::amounts(&one["resources"]["requests"]).get(resource).copied();
    let (container, wants) = list(&facts.pod["spec"]["containers"])
        .filter_map(|one| Some((text(one, "/name"), amount(one)?)))
        .max_by_key(|(_, amount)| *amount)?;
    let rest = wants - (total - room);
    if rest < *least {
        return None;
    }
    let (kubectl, keeper) = (&facts.kubectl, facts.keeper_id());
    let rest = quantity::format(resource, rest);
    let set = format!(
        "{kubectl} set resources {keeper} --containers={} --requests={resource}={rest}",
        quote(container)
    );
    match keeper.split('/').next()? {
        "job" => None,
        "pod" => Some(format!(
            "{set} --dry-run=client --output=yaml | {kubectl} replace --force --filename -"
        )),
        _ => Some(set),
    }
}

/// Lets a Deployment end an old pod before a new one comes, where the old ones
/// hold what the new one needs.
pub(crate) fn step_aside(facts: &Facts) -> Option<String> {
    let keeper = facts.keeper().filter(|keeper| keeper["kind"] == "Deployment")?;
    let number = |field: &str| keeper["status"][field].as_u64().unwrap_or_default();
    let rolls = text(keeper, "/spec/strategy/type") == "RollingUpdate";
    if !rolls || number("replicas") <= number("updatedReplicas") {
        return None;
    }
    let change =
        json!({"spec": {"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}}});
    Some(format!(
        "let an old pod end before its successor starts: run `{} patch {} --patch {}`",
        facts.kubectl,
        facts.keeper_id(),
        quote(&change.to_string())
    ))
}

/// Lets the pod run near to other pods, or far from them.
pub(crate) fn stand_alone(facts: &Facts, node: &str, words: &str, nodes: usize) -> String {
    let kubectl = &facts.kubectl;
    let spreads = || list(&facts.pod["spec"]["topologySpreadConstraints"]);
    if words.contains("missing required label") {
        let lacking = spreads()
            .map(|one| text(one, "/topologyKey"))
            .find(|key| values(facts, key).len() < facts.nodes.len());
        let key = lacking.unwrap_or("KEY");
        return format!("run `{kubectl} label node {node} {}`", assign(key, node));
    }
    if let Some(aside) = step_aside(facts) {
        return aside;
    }
    if words.contains("existing pods") {
        return write(facts, "take the labels that other pods' `podAntiAffinity` names out of");
    }
    let is_apart = words.contains("anti-affinity");
    let keeper = facts.keeper_id();
    let replicas = facts.keeper().and_then(|keeper| keeper["spec"]["replicas"].as_u64());
    let too_many = replicas.filter(|replicas| usize::try_from(*replicas).is_ok_and(|r| r > nodes));
    if is_apart && too_many.is_some() && nodes > 0 {
        return format!("run `{kubectl} scale {keeper} --replicas={nodes}`");
    }
    let (change, field) = if words.contains("topology spread") {
        (json!({"topologySpreadConstraints": null}), "topologySpreadConstraints")
    } else if is_apart {
        (json!({"affinity": {"podAntiAffinity": null}}), "podAntiAffinity")
    } else {
        (json!({"affinity": {"podAffinity": null}}), "podAffinity")
    };
    match patch(facts, &change) {
        Some(patch) if field == "podAffinity" => {
            format!("run `{patch}`, or start the pods that it must be near")
        }
        Some(patch) => format!("run `{patch}`"),
        None => write(facts, &format!("take `{field}` out of")),
    }
}
