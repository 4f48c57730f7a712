//! Which rights `up` needs in the cluster, and which of them the user has. Pure.

use std::collections::BTreeSet;

use kdev_core::kube::kinds;
use kdev_core::text::list;
use kdev_manifest::objects::Object;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::commands::doctor::report::{CheckResult, CheckGroup};

/// What a right is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Purpose {
    Nodes,
    Apply,
    ApplySet,
    Wait,
    Delete,
    Explain,
}

/// Each purpose: what is checked, what it is good for, and whether `up` fails
/// without it.
const PURPOSES: [(Purpose, &str, &str, bool); 6] = [
    (Purpose::Nodes, "permissions-nodes", "to find the nodes", true),
    (Purpose::Apply, "permissions-apply", "to apply the manifests", true),
    (
        Purpose::ApplySet,
        "permissions-applyset",
        "to note down what was applied, for `down` and `--prune`",
        true,
    ),
    (Purpose::Wait, "permissions-wait", "to wait for the new pods", true),
    (Purpose::Delete, "permissions-delete", "for `--prune`, `--recreate` and `cargo kdev down`", false),
    (Purpose::Explain, "permissions-explain", "to tell why a pod does not run", false),
];

/// The other kinds of Kubernetes that live in a namespace, with their resources.
const OTHER_KINDS: [(&str, &str); 11] = [
    ("ConfigMap", "configmaps"),
    ("HorizontalPodAutoscaler", "horizontalpodautoscalers.autoscaling"),
    ("Ingress", "ingresses.networking.k8s.io"),
    ("NetworkPolicy", "networkpolicies.networking.k8s.io"),
    ("PersistentVolumeClaim", "persistentvolumeclaims"),
    ("PodDisruptionBudget", "poddisruptionbudgets.policy"),
    ("Role", "roles.rbac.authorization.k8s.io"),
    ("RoleBinding", "rolebindings.rbac.authorization.k8s.io"),
    ("Secret", "secrets"),
    ("Service", "services"),
    ("ServiceAccount", "serviceaccounts"),
];

/// One thing that must be allowed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Permission {
    purpose: Purpose,
    /// `None` for what belongs to no namespace.
    namespace: Option<String>,
    verb: &'static str,
    /// As in `deployments.apps` or `pods/log`.
    resource: &'static str,
}

/// What `up` asks for with these objects; without any, with a Deployment.
pub(crate) fn required(objects: &[Object], namespace: &str) -> Vec<Permission> {
    let mut rights = BTreeSet::new();
    let mut add = |purpose, namespace: Option<&str>, resource, verbs: &[&'static str]| {
        let namespace = namespace.map(str::to_owned);
        let right = |verb| Permission { purpose, namespace: namespace.clone(), verb, resource };
        rights.extend(verbs.iter().copied().map(right));
    };
    let mut applied: BTreeSet<(&str, &'static str)> = objects
        .iter()
        .filter_map(|one| {
            Some((one.namespace.as_deref().unwrap_or(namespace), resource_of_kind(&one.kind)?))
        })
        .collect();
    if objects.is_empty() {
        applied.insert((namespace, "deployments.apps"));
    }
    add(Purpose::Nodes, None, "nodes", &["list"]);
    add(Purpose::ApplySet, Some(namespace), "configmaps", &["get", "create", "patch"]);
    for (namespace, resource) in applied {
        // A server-side apply is a patch that may create; the diff reads first.
        add(Purpose::Apply, Some(namespace), resource, &["get", "create", "patch"]);
        add(Purpose::Delete, Some(namespace), resource, &["list", "delete"]);
        let workload = kinds::BUILT_IN.iter().find(|kind| kind.resource == resource);
        if workload.is_some_and(|kind| kind.is_awaited) {
            add(Purpose::Wait, Some(namespace), resource, &["list", "watch"]);
            add(Purpose::Wait, Some(namespace), "pods", &["list"]);
            for intermediate in workload.into_iter().flat_map(|kind| kind.intermediate) {
                add(Purpose::Wait, Some(namespace), intermediate, &["list"]);
            }
            add(Purpose::Explain, Some(namespace), "events", &["list"]);
            add(Purpose::Explain, Some(namespace), "pods/log", &["get"]);
        }
    }
    rights.into_iter().collect()
}

/// The kinds that nobody here knows the resource of.
pub(crate) fn unknown_kinds(objects: &[Object]) -> Vec<&str> {
    let kinds = objects.iter().map(|object| object.kind.as_str());
    kinds.filter(|kind| resource_of_kind(kind).is_none()).collect::<BTreeSet<_>>().into_iter().collect()
}

fn resource_of_kind(kind: &str) -> Option<&'static str> {
    let other = || OTHER_KINDS.iter().find(|(known, _)| *known == kind);
    let workload = kinds::BUILT_IN.find(kind).map(|kind| kind.resource);
    workload.or_else(|| other().map(|(_, resource)| *resource))
}

/// The questions, for one `kubectl create`: nothing is kept of them.
pub(crate) fn access_reviews(rights: &[Permission]) -> String {
    let review = |right: &Permission| {
        let (whole, subresource) = right.resource.split_once('/').unwrap_or((right.resource, ""));
        let (resource, group) = whole.split_once('.').unwrap_or((whole, ""));
        json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {"verb": right.verb, "group": group,
                "resource": resource, "subresource": subresource,
                "namespace": right.namespace.as_deref().unwrap_or_default()}}})
    };
    let items: Vec<Value> = rights.iter().map(review).collect();
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

/// The answers: one document each, in the order of the questions. `None` where
/// some are lacking.
pub(crate) fn parse_reviews(json: &[u8], rights: &[Permission]) -> Option<Vec<bool>> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Review {
        status: Status,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Status {
        allowed: bool,
    }
    let reviews = serde_json::Deserializer::from_slice(json).into_iter::<Review>();
    let allowed: Vec<bool> =
        reviews.map(|review| Some(review.ok()?.status.allowed)).collect::<Option<_>>()?;
    (allowed.len() == rights.len()).then_some(allowed)
}

/// One finding for each purpose and namespace. `user` is whom the rights are to be
/// given.
pub(crate) fn check(rights: &[Permission], allowed: &[bool], user: Option<&str>) -> Vec<CheckResult> {
    let mut findings = Vec::new();
    for (purpose, check, words, is_needed) in PURPOSES {
        let of_purpose = |right: &&Permission| right.purpose == purpose;
        let namespaces: BTreeSet<&Option<String>> =
            rights.iter().filter(of_purpose).map(|right| &right.namespace).collect();
        for namespace in namespaces {
            let both = rights.iter().zip(allowed);
            let of_one: Vec<(&Permission, &bool)> = both
                .filter(|(right, _)| of_purpose(right) && right.namespace == *namespace)
                .collect();
            let lacking: Vec<&Permission> =
                of_one.iter().filter(|(_, allowed)| !**allowed).map(|(right, _)| *right).collect();
            let all: Vec<&Permission> = of_one.iter().map(|(right, _)| *right).collect();
            let place = namespace.as_ref().map(|name| format!(" in `{name}`")).unwrap_or_default();
            findings.push(if lacking.is_empty() {
                CheckResult::ok(CheckGroup::Cluster, check, format!("{}{place}", describe(&all)))
            } else {
                let evidence = format!("you may not {}{place}, {words}", describe(&lacking));
                let help = grant_help(check, namespace.as_deref(), &all, user.unwrap_or("USER"));
                let found = CheckResult::error(CheckGroup::Cluster, check, evidence, help);
                if is_needed { found } else { found.as_warning() }
            });
        }
    }
    findings
}

/// As `list and watch deployments.apps, and list pods`.
fn describe(rights: &[&Permission]) -> String {
    let resources: BTreeSet<&str> = rights.iter().map(|right| right.resource).collect();
    let mut words: Vec<(Vec<&str>, Vec<&str>)> = Vec::new();
    for resource in resources {
        let verbs: Vec<&str> =
            rights.iter().filter(|r| r.resource == resource).map(|r| r.verb).collect();
        match words.iter_mut().find(|(known, _)| *known == verbs) {
            Some((_, resources)) => resources.push(resource),
            None => words.push((verbs, vec![resource])),
        }
    }
    let words =
        words.iter().map(|(verbs, resources)| format!("{} {}", verbs.join("/"), list(resources)));
    words.collect::<Vec<_>>().join(", ")
}

/// What whoever may do so would run.
fn grant_help(name: &str, namespace: Option<&str>, rights: &[&Permission], user: &str) -> String {
    let name = name.replace("permissions", "kdev");
    let unique = |field: fn(&Permission) -> &'static str| {
        let all: BTreeSet<&str> = rights.iter().map(|right| field(right)).collect();
        all.into_iter().collect::<Vec<_>>().join(",")
    };
    let (verbs, resources) = (unique(|right| right.verb), unique(|right| right.resource));
    let (kubectl, role, binding) = match namespace {
        Some(name) => (format!("kubectl --namespace {name}"), "role", "rolebinding"),
        None => ("kubectl".to_owned(), "clusterrole", "clusterrolebinding"),
    };
    let user = kdev_core::shell::quote(user);
    format!(
        "let an administrator of the cluster run `{kubectl} create {role} {name} --verb={verbs} --resource={resources} && {kubectl} create {binding} {name} --{role}={name} --user={user}`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(kind: &str, namespace: Option<&str>) -> Object {
        Object {
            kind: kind.into(),
            name: "a".into(),
            namespace: namespace.map(str::to_owned),
            pod: None,
            images: Vec::new(),
        }
    }

    #[test]
    fn what_is_applied_decides_what_is_needed() {
        let has = |objects: &[Object], verb, resource, namespace: Option<&str>| {
            required(objects, "n").iter().any(|right| {
                (right.verb, right.resource) == (verb, resource)
                    && right.namespace.as_deref() == namespace
            })
        };
        assert!(has(&[], "patch", "deployments.apps", Some("n")));
        assert!(has(&[], "list", "nodes", None));
        let service = [object("Service", Some("m")), object("StatefulSet", None)];
        assert!(has(&service, "create", "services", Some("m")));
        assert!(has(&service, "watch", "statefulsets.apps", Some("n")));
        assert!(!has(&service, "patch", "deployments.apps", Some("n")));
        assert_eq!(unknown_kinds(&[object("Widget", None), object("Pod", None)]), ["Widget"]);
    }

    #[test]
    fn a_review_names_group_and_subresource() {
        let rights = required(&[], "n");
        let asked: Value = serde_json::from_str(&access_reviews(&rights)).unwrap();
        let items = asked["items"].as_array().unwrap();
        let attributes = |resource: &str, key: &str| {
            let mut all = items.iter().map(|item| &item["spec"]["resourceAttributes"]);
            all.find(|one| one["resource"] == resource && one["verb"] == "get").unwrap()[key]
                .clone()
        };
        assert_eq!(items.len(), rights.len());
        assert_eq!(attributes("deployments", "group"), "apps");
        assert_eq!(attributes("pods", "subresource"), "log");
    }

    #[test]
    fn a_lacking_right_is_told_with_what_grants_it() {
        let rights = required(&[], "n");
        let answer = |right: &Permission| {
            let allowed = right.verb != "delete" && right.verb != "patch";
            json!({"status": {"allowed": allowed}}).to_string()
        };
        let json: Vec<String> = rights.iter().map(answer).collect();
        let allowed = parse_reviews(json.join("\n").as_bytes(), &rights).unwrap();
        let found = check(&rights, &allowed, Some("jane"));
        let of = |check: &str| found.iter().find(|finding| finding.check == check).unwrap();
        let apply = of("permissions-apply");
        assert_eq!(
            apply.evidence,
            "you may not patch `deployments.apps` in `n`, to apply the manifests"
        );
        assert_eq!(
            apply.help.as_deref(),
            Some(
                "let an administrator of the cluster run `kubectl --namespace n create role kdev-apply --verb=create,get,patch --resource=deployments.apps && kubectl --namespace n create rolebinding kdev-apply --role=kdev-apply --user=jane`"
            )
        );
        assert_eq!(of("permissions-delete").state, crate::commands::doctor::report::CheckState::Warning);
        assert_eq!(of("permissions-nodes").state, crate::commands::doctor::report::CheckState::Ok);
        assert_eq!(parse_reviews(b"{}", &rights), None);
    }
}
