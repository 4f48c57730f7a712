//! A pod is beyond the bounds of its namespace: a `ResourceQuota` or a
//! `LimitRange`.

use std::collections::BTreeMap;

use kdev_core::kube::object::{list, text};
use kdev_core::kube::quantity;
use kdev_core::shell::quote;
use serde_json::{Value, json};

use crate::facts::Facts;
use crate::fixes;

/// What a container is given where it must have something.
const MODEST: [(&str, &str); 3] =
    [("cpu", "100m"), ("memory", "128Mi"), ("ephemeral-storage", "1Gi")];

/// Words and help for a refusal of this kind; `None` for another one.
pub(crate) fn explain(facts: &Facts, reason: &str) -> Option<(String, String)> {
    if let Some(rest) = reason.strip_prefix("exceeded quota: ") {
        return used_up(facts, rest);
    }
    if let Some(rest) = reason.strip_prefix("failed quota: ") {
        let (quota, rest) = rest.split_once(": must specify ")?;
        let words = format!(
            "the namespace's quota `{quota}` counts resources that the pod does not state: {rest}"
        );
        return Some((words, state(facts, rest)));
    }
    let said = reason.trim_matches(['[', ']']);
    let wrong: Vec<Bound> =
        said.split(", ").collect::<Vec<_>>().windows(2).filter_map(bound).collect();
    if wrong.is_empty() {
        return None;
    }
    let words = format!("a `LimitRange` of the namespace does not allow the pod: {said}");
    Some((words, keep_to(facts, &wrong)))
}

/// `QUOTA, requested: cpu=2, used: cpu=0, limited: cpu=1`.
fn used_up(facts: &Facts, rest: &str) -> Option<(String, String)> {
    let (quota, rest) = rest.split_once(", requested: ")?;
    let (requested, rest) = rest.split_once(", used: ")?;
    let (used, limited) = rest.split_once(", limited: ")?;
    let (wanted, used, limited) = (amounts(requested), amounts(used), amounts(limited));
    let missing = missing_pods(facts);
    let mut told = Vec::new();
    let mut hard = BTreeMap::new();
    for (resource, wants) in wanted {
        let has = used.get(resource).copied().unwrap_or("0");
        let may = limited.get(resource).copied().unwrap_or("0");
        told.push(format!("{resource}: {wants} requested, {has} used, {may} allowed"));
        let sum = quantity::parse(wants)? * i128::from(missing) + quantity::parse(has)?;
        let kind = resource.rsplit('.').next().unwrap_or_default();
        hard.insert(resource, quantity::format_rounded_up(kind, sum));
    }
    let patch = json!({"spec": {"hard": hard}}).to_string();
    let raise = format!("{} patch resourcequota {quota} --patch {}", facts.kubectl, quote(&patch));
    let words =
        format!("the namespace's quota `{quota}` does not allow the pod: {}", told.join(", "));
    let help = fixes::again(facts, &raise);
    Some((words, format!("{help}, which lets the whole namespace use more")))
}

/// How many pods are still to be made, one at least.
fn missing_pods(facts: &Facts) -> u64 {
    let Some(maker) = facts.owners.first() else { return 1 };
    let (wanted, there) = match text(maker, "/kind") {
        "DaemonSet" => ("/status/desiredNumberScheduled", "/status/currentNumberScheduled"),
        "Job" => ("/spec/parallelism", "/status/active"),
        _ => ("/spec/replicas", "/status/replicas"),
    };
    let number = |path| maker.pointer(path).and_then(Value::as_u64).unwrap_or_default();
    number(wanted).saturating_sub(number(there)).max(1)
}

fn amounts(list: &str) -> BTreeMap<&str, &str> {
    list.split(',').filter_map(|one| one.trim().split_once('=')).collect()
}

/// States what must be stated: `cpu for: web; limits.memory for: web,other`.
fn state(facts: &Facts, missing: &str) -> String {
    let mut containers: Vec<&str> = Vec::new();
    let (mut requests, mut limits) = (Vec::new(), Vec::new());
    for one in missing.split("; ") {
        let (resources, names) = one.split_once(" for: ").unwrap_or((one, ""));
        containers.extend(names.split(','));
        for resource in resources.split(',') {
            let name = resource.trim_start_matches("requests.").trim_start_matches("limits.");
            let amount = MODEST.iter().find(|(known, _)| *known == name).map(|(_, amount)| amount);
            let list = if resource.starts_with("limits.") { &mut limits } else { &mut requests };
            list.push(format!("{name}={}", amount.unwrap_or(&"AMOUNT")));
        }
    }
    containers.sort_unstable();
    containers.dedup();
    set(facts, &containers, &requests, &limits)
}

/// Gives containers resources.
fn set(facts: &Facts, containers: &[&str], requests: &[String], limits: &[String]) -> String {
    let flag = |name: &str, list: &[String]| {
        if list.is_empty() { String::new() } else { format!(" --{name}={}", list.join(",")) }
    };
    let containers: Vec<String> = containers.iter().map(|&name| name.to_owned()).collect();
    let keeper = facts.keeper_id();
    let what = format!(
        "{}{}{}",
        flag("containers", &containers),
        flag("requests", requests),
        flag("limits", limits)
    );
    if keeper.starts_with("job/") {
        return fixes::by_hand(facts, "state the resources that are named in");
    }
    format!("run `{} set resources {keeper}{what}`", facts.kubectl)
}

/// A bound of a `LimitRange`, and what is beyond it.
struct Bound<'a> {
    resource: &'a str,
    /// `Container` or `Pod`.
    of: &'a str,
    amount: &'a str,
    /// `request` or `limit`.
    is: &'a str,
}

/// `maximum memory usage per Container is 100Mi`, `but limit is 200Mi`.
fn bound<'a>(pair: &[&'a str]) -> Option<Bound<'a>> {
    let rest = pair[0].strip_prefix("maximum ").or_else(|| pair[0].strip_prefix("minimum "))?;
    let (resource, rest) = rest.split_once(" usage per ")?;
    let (of, rest) = rest.split_once(" is ")?;
    let amount = rest.trim_end_matches('.').split(' ').next()?;
    let is = match pair[1] {
        one if one.starts_with("but request is ") => "request",
        one if one.starts_with("but limit is ") => "limit",
        _ => "",
    };
    Some(Bound { resource, of, amount, is })
}

/// Lets the only container keep to the bounds.
fn keep_to(facts: &Facts, wrong: &[Bound]) -> String {
    let containers: Vec<&Value> =
        fixes::template(facts).map(|spec| list(&spec["containers"]).collect()).unwrap_or_default();
    let [container] = containers.as_slice() else {
        return fixes::by_hand(facts, "keep to the bounds that are named in");
    };
    let (mut requests, mut limits) = (Vec::new(), Vec::new());
    for one in wrong.iter().filter(|one| one.of == "Container" && !one.is.is_empty()) {
        let assign = format!("{}={}", one.resource, one.amount);
        if one.is == "request" {
            requests.push(assign);
            continue;
        }
        let asked = text(container, &format!("/resources/requests/{}", one.resource));
        if quantity::parse(asked) > quantity::parse(one.amount) {
            requests.push(assign.clone());
        }
        limits.push(assign);
    }
    if requests.is_empty() && limits.is_empty() {
        return fixes::by_hand(facts, "keep to the bounds that are named in");
    }
    requests.dedup();
    set(facts, &[text(container, "/name")], &requests, &limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bound_is_kept_to() {
        let container = json!({"name": "web", "resources": {"requests": {"memory": "200Mi"}}});
        let owner = json!({"kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"template": {"spec": {"containers": [container]}}}});
        let facts = Facts { kubectl: "kubectl".into(), owners: vec![owner], ..Facts::default() };
        let table = [
            (
                "exceeded quota: q, requested: cpu=2,pods=1, used: cpu=500m,pods=3, limited: cpu=1,pods=3",
                "run `kubectl patch resourcequota q --patch '{\"spec\":{\"hard\":{\"cpu\":\"2500m\",\"pods\":\"4\"}}}' && kubectl rollout restart deployment/web`, which lets the whole namespace use more",
            ),
            (
                "failed quota: q: must specify cpu for: web; limits.memory for: web",
                "run `kubectl set resources deployment/web --containers=web --requests=cpu=100m --limits=memory=128Mi`",
            ),
            (
                "[minimum cpu usage per Container is 100m, but request is 50m, maximum memory usage per Container is 100Mi, but limit is 200Mi]",
                "run `kubectl set resources deployment/web --containers=web --requests=cpu=100m,memory=100Mi --limits=memory=100Mi`",
            ),
            (
                "maximum cpu usage per Pod is 1, but limit is 2",
                "keep to the bounds that are named in the manifest of deployment/web, and apply it",
            ),
        ];
        for (reason, help) in table {
            let (_, said) = explain(&facts, reason).unwrap();
            assert_eq!(said, help, "{reason}");
        }
        assert_eq!(explain(&facts, "violates PodSecurity, but not this"), None);
    }

    #[test]
    fn a_quota_is_raised_for_all_pods_that_are_missing() {
        let set = |replicas: u64, there: u64| {
            json!({"kind": "StatefulSet", "metadata": {"name": "db"},
                "spec": {"replicas": replicas}, "status": {"replicas": there}})
        };
        let daemon = json!({"kind": "DaemonSet", "metadata": {"name": "db"},
            "status": {"desiredNumberScheduled": 3, "currentNumberScheduled": 1}});
        let job = json!({"kind": "Job", "metadata": {"name": "db"}, "spec": {"parallelism": 4}});
        let table = [
            (set(1, 0), 1, "200m"),
            (set(5, 2), 3, "400m"),
            (set(1, 1), 1, "200m"),
            (daemon, 2, "300m"),
            (job, 4, "500m"),
        ];
        for (owner, missing, cpu) in table {
            let facts = Facts { owners: vec![owner], ..Facts::default() };
            let reason =
                "exceeded quota: q, requested: cpu=100m, used: cpu=100m, limited: cpu=150m";
            let (_, help) = explain(&facts, reason).unwrap();
            assert_eq!(missing_pods(&facts), missing);
            assert!(help.contains(&format!("\"cpu\":\"{cpu}\"")), "{help}");
        }
    }
}
