//! A `ResourceQuota` or `LimitRange` of the namespace rejects the pod.

use std::collections::BTreeMap;

use kdev_core::kube::object::{list, text};
use kdev_core::kube::quantity;
use kdev_core::shell::quote;
use serde_json::{Value, json};

use crate::facts::Facts;
use crate::fixes;

/// The amounts that are suggested for a container that must set some.
const DEFAULT_AMOUNTS: [(&str, &str); 3] =
    [("cpu", "100m"), ("memory", "128Mi"), ("ephemeral-storage", "1Gi")];

/// Returns the message and the help for a rejection by a quota or limit range; `None` for
/// another rejection.
pub(crate) fn explain(facts: &Facts, reason: &str) -> Option<(String, String)> {
    if let Some(rest) = reason.strip_prefix("exceeded quota: ") {
        return quota_exceeded(facts, rest);
    }
    if let Some(rest) = reason.strip_prefix("failed quota: ") {
        let (quota, rest) = rest.split_once(": must specify ")?;
        let message = format!(
            "the namespace's quota `{quota}` requires amounts that the pod does not set: {rest}"
        );
        return Some((message, set_missing_resources_help(facts, rest)));
    }
    let details = reason.trim_matches(['[', ']']);
    let violations: Vec<Bound> =
        details.split(", ").collect::<Vec<_>>().windows(2).filter_map(parse_bound).collect();
    if violations.is_empty() {
        return None;
    }
    let message = format!("a LimitRange of the namespace rejects the pod: {details}");
    Some((message, respect_bounds_help(facts, &violations)))
}

/// Explains `QUOTA, requested: cpu=2, used: cpu=0, limited: cpu=1`.
fn quota_exceeded(facts: &Facts, rest: &str) -> Option<(String, String)> {
    let (quota, rest) = rest.split_once(", requested: ")?;
    let (requested, rest) = rest.split_once(", used: ")?;
    let (used, limited) = rest.split_once(", limited: ")?;
    let (requested, used, limited) =
        (parse_amounts(requested), parse_amounts(used), parse_amounts(limited));
    let missing = missing_pods(facts);
    let mut details = Vec::new();
    let mut hard = BTreeMap::new();
    for (resource, amount) in requested {
        let used = used.get(resource).copied().unwrap_or("0");
        let allowed = limited.get(resource).copied().unwrap_or("0");
        details.push(format!("{resource}: {amount} requested, {used} used, {allowed} allowed"));
        let sum = quantity::parse(amount)? * i128::from(missing) + quantity::parse(used)?;
        let kind = resource.rsplit('.').next().unwrap_or_default();
        hard.insert(resource, quantity::format_rounded_up(kind, sum));
    }
    let patch = json!({"spec": {"hard": hard}}).to_string();
    let raise = format!("{} patch resourcequota {quota} --patch {}", facts.kubectl, quote(&patch));
    let message = format!("the namespace's quota `{quota}` is exceeded: {}", details.join(", "));
    let help = fixes::with_rollout_restart(facts, &raise);
    Some((message, format!("{help}, which raises the quota of the whole namespace")))
}

/// Returns how many pods are missing, at least one.
fn missing_pods(facts: &Facts) -> u64 {
    let Some(owner) = facts.owners.first() else { return 1 };
    let (desired, current) = match text(owner, "/kind") {
        "DaemonSet" => ("/status/desiredNumberScheduled", "/status/currentNumberScheduled"),
        "Job" => ("/spec/parallelism", "/status/active"),
        _ => ("/spec/replicas", "/status/replicas"),
    };
    let number = |path| owner.pointer(path).and_then(Value::as_u64).unwrap_or_default();
    number(desired).saturating_sub(number(current)).max(1)
}

fn parse_amounts(list: &str) -> BTreeMap<&str, &str> {
    list.split(',').filter_map(|one| one.trim().split_once('=')).collect()
}

/// Returns the help that sets missing amounts, as in
/// `cpu for: web; limits.memory for: web,other`.
fn set_missing_resources_help(facts: &Facts, missing: &str) -> String {
    let mut containers: Vec<&str> = Vec::new();
    let (mut requests, mut limits) = (Vec::new(), Vec::new());
    for one in missing.split("; ") {
        let (resources, names) = one.split_once(" for: ").unwrap_or((one, ""));
        containers.extend(names.split(','));
        for resource in resources.split(',') {
            let name = resource.trim_start_matches("requests.").trim_start_matches("limits.");
            let amount =
                DEFAULT_AMOUNTS.iter().find(|(known, _)| *known == name).map(|(_, amount)| amount);
            let list = if resource.starts_with("limits.") { &mut limits } else { &mut requests };
            list.push(format!("{name}={}", amount.unwrap_or(&"AMOUNT")));
        }
    }
    containers.sort_unstable();
    containers.dedup();
    set_resources_help(facts, &containers, &requests, &limits)
}

/// Returns the help that sets requests and limits of containers.
fn set_resources_help(
    facts: &Facts,
    containers: &[&str],
    requests: &[String],
    limits: &[String],
) -> String {
    let flag = |name: &str, list: &[String]| {
        if list.is_empty() { String::new() } else { format!(" --{name}={}", list.join(",")) }
    };
    let containers: Vec<String> = containers.iter().map(|&name| name.to_owned()).collect();
    let controller = facts.controller_id();
    let flags = format!(
        "{}{}{}",
        flag("containers", &containers),
        flag("requests", requests),
        flag("limits", limits)
    );
    if controller.starts_with("job/") {
        return fixes::edit_manifest_help(facts, "set the missing requests and limits in");
    }
    format!("run `{} set resources {controller}{flags}`", facts.kubectl)
}

/// A violated bound of a `LimitRange`.
struct Bound<'a> {
    resource: &'a str,
    /// `Container` or `Pod`.
    scope: &'a str,
    amount: &'a str,
    /// `request` or `limit`.
    violated: &'a str,
}

/// Parses `maximum memory usage per Container is 100Mi`, `but limit is 200Mi`.
fn parse_bound<'a>(pair: &[&'a str]) -> Option<Bound<'a>> {
    let rest = pair[0].strip_prefix("maximum ").or_else(|| pair[0].strip_prefix("minimum "))?;
    let (resource, rest) = rest.split_once(" usage per ")?;
    let (of, rest) = rest.split_once(" is ")?;
    let amount = rest.trim_end_matches('.').split(' ').next()?;
    let is = match pair[1] {
        one if one.starts_with("but request is ") => "request",
        one if one.starts_with("but limit is ") => "limit",
        _ => "",
    };
    Some(Bound { resource, scope: of, amount, violated: is })
}

/// Returns the help that changes the resources of the only container to respect the bounds.
fn respect_bounds_help(facts: &Facts, violations: &[Bound]) -> String {
    let containers: Vec<&Value> = fixes::pod_template(facts)
        .map(|spec| list(&spec["containers"]).collect())
        .unwrap_or_default();
    let [container] = containers.as_slice() else {
        return fixes::edit_manifest_help(
            facts,
            "change the resources to respect the LimitRange in",
        );
    };
    let (mut requests, mut limits) = (Vec::new(), Vec::new());
    for one in violations.iter().filter(|one| one.scope == "Container" && !one.violated.is_empty())
    {
        let assign = format!("{}={}", one.resource, one.amount);
        if one.violated == "request" {
            requests.push(assign);
            continue;
        }
        let requested = text(container, &format!("/resources/requests/{}", one.resource));
        if quantity::parse(requested) > quantity::parse(one.amount) {
            requests.push(assign.clone());
        }
        limits.push(assign);
    }
    if requests.is_empty() && limits.is_empty() {
        return fixes::edit_manifest_help(
            facts,
            "change the resources to respect the LimitRange in",
        );
    }
    requests.dedup();
    set_resources_help(facts, &[text(container, "/name")], &requests, &limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_respects_quota_and_limit_range() {
        let container = json!({"name": "web", "resources": {"requests": {"memory": "200Mi"}}});
        let owner = json!({"kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"template": {"spec": {"containers": [container]}}}});
        let facts = Facts { kubectl: "kubectl".into(), owners: vec![owner], ..Facts::default() };
        let table = [
            (
                "exceeded quota: q, requested: cpu=2,pods=1, used: cpu=500m,pods=3, limited: cpu=1,pods=3",
                "run `kubectl patch resourcequota q --patch '{\"spec\":{\"hard\":{\"cpu\":\"2500m\",\"pods\":\"4\"}}}' && kubectl rollout restart deployment/web`, which raises the quota of the whole namespace",
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
                "change the resources to respect the LimitRange in the manifest of deployment/web, and apply it",
            ),
        ];
        for (reason, help) in table {
            let (_, actual) = explain(&facts, reason).unwrap();
            assert_eq!(actual, help, "{reason}");
        }
        assert_eq!(explain(&facts, "violates PodSecurity, but not this"), None);
    }

    #[test]
    fn quota_is_raised_for_all_missing_pods() {
        let set = |replicas: u64, current: u64| {
            json!({"kind": "StatefulSet", "metadata": {"name": "db"},
                "spec": {"replicas": replicas}, "status": {"replicas": current}})
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
