//! The permissions in the cluster that `up` requires, and how to grant missing ones.

use std::collections::BTreeSet;

use kdev_core::kube::kinds;
use kdev_core::text::list;
use kdev_manifest::objects::Object;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::commands::doctor::report::{CheckGroup, CheckResult};

/// The purpose of a permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Purpose {
    Nodes,
    Apply,
    ApplySet,
    Wait,
    Unblock,
    Rollback,
    Delete,
    Logs,
    Forward,
    Explain,
}

/// Each purpose: the name of the check, a description, and whether `up` requires the
/// permissions.
const PURPOSES: [(Purpose, &str, &str, bool); 10] = [
    (Purpose::Nodes, "permissions-nodes", "to list the nodes", true),
    (Purpose::Apply, "permissions-apply", "to apply the manifests", true),
    (
        Purpose::ApplySet,
        "permissions-applyset",
        "to record the applied objects for `down` and `--prune`",
        true,
    ),
    (Purpose::Wait, "permissions-wait", "to wait for the new pods", true),
    (Purpose::Unblock, "permissions-unblock", "to unblock the rollout of a StatefulSet", false),
    (Purpose::Rollback, "permissions-rollback", "for `--rollback`", false),
    (
        Purpose::Delete,
        "permissions-delete",
        "for `--prune`, `--recreate`, and `cargo kdev down`",
        false,
    ),
    (Purpose::Logs, "permissions-logs", "for `cargo kdev logs`", false),
    (Purpose::Forward, "permissions-forward", "for `cargo kdev forward`", false),
    (Purpose::Explain, "permissions-explain", "to explain why a pod is not running", false),
];

/// The other built-in namespaced kinds, with their resources.
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

/// The workloads whose revisions `kubectl rollout undo` reads from other objects than the ones
/// that a rollout is watched with.
const STATEFUL_SETS: &str = "statefulsets.apps";
const DAEMON_SETS: &str = "daemonsets.apps";

/// A permission: a verb on a resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Permission {
    purpose: Purpose,
    /// `None` for cluster-scoped resources.
    namespace: Option<String>,
    verb: &'static str,
    /// Such as `deployments.apps` or `pods/log`.
    resource: &'static str,
}

/// Returns the permissions that `up` requires for the objects; without objects, for a
/// Deployment.
pub(crate) fn required(objects: &[Object], namespace: &str) -> Vec<Permission> {
    let mut permissions = BTreeSet::new();
    let mut add = |purpose, namespace: Option<&str>, resource, verbs: &[&'static str]| {
        let namespace = namespace.map(str::to_owned);
        let permission =
            |verb| Permission { purpose, namespace: namespace.clone(), verb, resource };
        permissions.extend(verbs.iter().copied().map(permission));
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
        if resource == STATEFUL_SETS {
            // An unready pod of an older revision blocks the rollout.
            add(Purpose::Unblock, Some(namespace), "pods", &["delete"]);
        }
        if [STATEFUL_SETS, DAEMON_SETS].contains(&resource) {
            add(Purpose::Rollback, Some(namespace), "controllerrevisions.apps", &["list"]);
        }
        let workload = kinds::BUILT_IN.iter().find(|kind| kind.resource == resource);
        if workload.is_some_and(|kind| kind.is_awaited) {
            add(Purpose::Wait, Some(namespace), resource, &["list", "watch"]);
            add(Purpose::Wait, Some(namespace), "pods", &["list"]);
            for intermediate in workload.into_iter().flat_map(|kind| kind.intermediate) {
                add(Purpose::Wait, Some(namespace), intermediate, &["list"]);
            }
            add(Purpose::Logs, Some(namespace), "pods", &["get", "list", "watch"]);
            add(Purpose::Logs, Some(namespace), "pods/log", &["get"]);
            add(Purpose::Forward, Some(namespace), "pods", &["get", "list", "watch"]);
            // kubectl connects by GET or by POST, depending on its version.
            add(Purpose::Forward, Some(namespace), "pods/portforward", &["get", "create"]);
            add(Purpose::Explain, Some(namespace), "events", &["list"]);
            add(Purpose::Explain, Some(namespace), "pods/log", &["get"]);
        }
    }
    permissions.into_iter().collect()
}

/// Returns the kinds whose resources are unknown.
pub(crate) fn unknown_kinds(objects: &[Object]) -> Vec<&str> {
    let kinds = objects.iter().map(|object| object.kind.as_str());
    kinds
        .filter(|kind| resource_of_kind(kind).is_none())
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect()
}

fn resource_of_kind(kind: &str) -> Option<&'static str> {
    let other = || OTHER_KINDS.iter().find(|(known, _)| *known == kind);
    let workload = kinds::BUILT_IN.find(kind).map(|kind| kind.resource);
    workload.or_else(|| other().map(|(_, resource)| *resource))
}

/// Returns the access reviews for one `kubectl create`. The API server does not store them.
pub(crate) fn access_reviews(permissions: &[Permission]) -> String {
    let review = |permission: &Permission| {
        let (resource, subresource) =
            permission.resource.split_once('/').unwrap_or((permission.resource, ""));
        let (resource, group) = resource.split_once('.').unwrap_or((resource, ""));
        json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {"verb": permission.verb, "group": group,
                "resource": resource, "subresource": subresource,
                "namespace": permission.namespace.as_deref().unwrap_or_default()}}})
    };
    let items: Vec<Value> = permissions.iter().map(review).collect();
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

/// Returns whether each permission is granted, from the reviewed documents in the order of the
/// permissions. `None` if documents are missing.
pub(crate) fn parse_reviews(json: &[u8], permissions: &[Permission]) -> Option<Vec<bool>> {
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
    (allowed.len() == permissions.len()).then_some(allowed)
}

/// Creates a result for each purpose and namespace. The help grants missing permissions to
/// `user`.
pub(crate) fn check(
    permissions: &[Permission],
    allowed: &[bool],
    user: Option<&str>,
) -> Vec<CheckResult> {
    let mut results = Vec::new();
    for (purpose, check, description, is_required) in PURPOSES {
        let has_purpose = |permission: &&Permission| permission.purpose == purpose;
        let namespaces: BTreeSet<&Option<String>> = permissions
            .iter()
            .filter(has_purpose)
            .map(|permission| &permission.namespace)
            .collect();
        for namespace in namespaces {
            let reviewed = permissions.iter().zip(allowed);
            let reviewed: Vec<(&Permission, &bool)> = reviewed
                .filter(|(permission, _)| {
                    has_purpose(permission) && permission.namespace == *namespace
                })
                .collect();
            let missing: Vec<&Permission> = reviewed
                .iter()
                .filter(|(_, allowed)| !**allowed)
                .map(|(permission, _)| *permission)
                .collect();
            let all: Vec<&Permission> =
                reviewed.iter().map(|(permission, _)| *permission).collect();
            let scope = namespace.as_ref().map(|name| format!(" in `{name}`")).unwrap_or_default();
            results.push(if missing.is_empty() {
                CheckResult::ok(CheckGroup::Cluster, check, format!("{}{scope}", describe(&all)))
            } else {
                let evidence =
                    format!("not allowed to {}{scope}, {description}", describe(&missing));
                let help = grant_help(check, namespace.as_deref(), &all, user.unwrap_or("USER"));
                let result = CheckResult::error(CheckGroup::Cluster, check, evidence, help);
                if is_required { result } else { result.into_warning() }
            });
        }
    }
    results
}

/// Describes permissions, such as ``list/watch `deployments.apps`, list `pods` ``.
fn describe(permissions: &[&Permission]) -> String {
    let resources: BTreeSet<&str> =
        permissions.iter().map(|permission| permission.resource).collect();
    let mut groups: Vec<(Vec<&str>, Vec<&str>)> = Vec::new();
    for resource in resources {
        let verbs: Vec<&str> =
            permissions.iter().filter(|one| one.resource == resource).map(|one| one.verb).collect();
        match groups.iter_mut().find(|(known, _)| *known == verbs) {
            Some((_, resources)) => resources.push(resource),
            None => groups.push((verbs, vec![resource])),
        }
    }
    let groups =
        groups.iter().map(|(verbs, resources)| format!("{} {}", verbs.join("/"), list(resources)));
    groups.collect::<Vec<_>>().join(", ")
}

/// Returns the commands with which an administrator can grant the permissions.
fn grant_help(
    name: &str,
    namespace: Option<&str>,
    permissions: &[&Permission],
    user: &str,
) -> String {
    let name = name.replace("permissions", "kdev");
    let unique = |field: fn(&Permission) -> &'static str| {
        let all: BTreeSet<&str> = permissions.iter().map(|permission| field(permission)).collect();
        all.into_iter().collect::<Vec<_>>().join(",")
    };
    let (verbs, resources) =
        (unique(|permission| permission.verb), unique(|permission| permission.resource));
    let (kubectl, role, binding) = match namespace {
        Some(name) => (format!("kubectl --namespace {name}"), "role", "rolebinding"),
        None => ("kubectl".to_owned(), "clusterrole", "clusterrolebinding"),
    };
    let user = kdev_core::shell::quote(user);
    format!(
        "ask a cluster administrator to run `{kubectl} create {role} {name} --verb={verbs} --resource={resources} && {kubectl} create {binding} {name} --{role}={name} --user={user}`"
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
    fn required_permissions_follow_objects() {
        let has = |objects: &[Object], verb, resource, namespace: Option<&str>| {
            required(objects, "n").iter().any(|permission| {
                (permission.verb, permission.resource) == (verb, resource)
                    && permission.namespace.as_deref() == namespace
            })
        };
        assert!(has(&[], "patch", "deployments.apps", Some("n")));
        assert!(has(&[], "list", "nodes", None));
        let service = [object("Service", Some("m")), object("StatefulSet", None)];
        assert!(has(&service, "create", "services", Some("m")));
        assert!(has(&service, "watch", "statefulsets.apps", Some("n")));
        assert!(!has(&service, "patch", "deployments.apps", Some("n")));
        assert!(has(&service, "delete", "pods", Some("n")));
        assert!(has(&service, "list", "controllerrevisions.apps", Some("n")));
        assert!(has(&[object("DaemonSet", None)], "list", "controllerrevisions.apps", Some("n")));
        let deployment = [object("Deployment", None)];
        assert!(!has(&deployment, "delete", "pods", Some("n")));
        assert!(!has(&deployment, "list", "controllerrevisions.apps", Some("n")));
        assert_eq!(unknown_kinds(&[object("Widget", None), object("Pod", None)]), ["Widget"]);
    }

    #[test]
    fn access_review_has_group_and_subresource() {
        let permissions = required(&[], "n");
        let list: Value = serde_json::from_str(&access_reviews(&permissions)).unwrap();
        let items = list["items"].as_array().unwrap();
        let gets = |resource: &str, key: &str, value: &str| {
            let mut all = items.iter().map(|item| &item["spec"]["resourceAttributes"]);
            all.any(|one| one["resource"] == resource && one["verb"] == "get" && one[key] == value)
        };
        assert_eq!(items.len(), permissions.len());
        assert!(gets("deployments", "group", "apps"));
        assert!(gets("pods", "subresource", "log"));
    }

    #[test]
    fn missing_permission_has_grant_command() {
        let permissions = required(&[], "n");
        let review = |permission: &Permission| {
            let allowed = permission.verb != "delete" && permission.verb != "patch";
            json!({"status": {"allowed": allowed}}).to_string()
        };
        let json: Vec<String> = permissions.iter().map(review).collect();
        let allowed = parse_reviews(json.join("\n").as_bytes(), &permissions).unwrap();
        let results = check(&permissions, &allowed, Some("jane"));
        let find = |check: &str| results.iter().find(|result| result.check == check).unwrap();
        let apply = find("permissions-apply");
        assert_eq!(
            apply.evidence,
            "not allowed to patch `deployments.apps` in `n`, to apply the manifests"
        );
        assert_eq!(
            apply.help.as_deref(),
            Some(
                "ask a cluster administrator to run `kubectl --namespace n create role kdev-apply --verb=create,get,patch --resource=deployments.apps && kubectl --namespace n create rolebinding kdev-apply --role=kdev-apply --user=jane`"
            )
        );
        assert_eq!(
            find("permissions-delete").state,
            crate::commands::doctor::report::CheckState::Warning
        );
        assert_eq!(
            find("permissions-nodes").state,
            crate::commands::doctor::report::CheckState::Ok
        );
        assert_eq!(parse_reviews(b"{}", &permissions), None);
    }
}
