//! What a deletion deletes besides the object itself, and the finalizers that prevent it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::kube::apply_order;
use crate::kube::applyset::{self, Member, Parent};
use crate::kube::object::{condition, list, text};
use crate::text::{join, pluralize};

/// Annotations that protect an object from deletion by tools, with a part of the value.
const KEEP: [(&str, &str); 6] = [
    ("helm.sh/resource-policy", "keep"),
    ("cli-utils.sigs.k8s.io/on-remove", "keep"),
    ("client.lifecycle.config.k8s.io/deletion", "detach"),
    ("kustomize.toolkit.fluxcd.io/prune", "disabled"),
    ("argocd.argoproj.io/sync-options", "Delete=false"),
    ("argocd.argoproj.io/sync-options", "Prune=false"),
];

/// Whether an object stays until the user agrees to delete data: it holds data, it takes its
/// volume claims with it, or an annotation protects it.
pub fn must_stay(id: &str, live: &Value) -> bool {
    let annotations = &live["metadata"]["annotations"];
    let is_kept = |(name, value): &(&str, &str)| {
        annotations[name].as_str().is_some_and(|text| text.contains(value))
    };
    apply_order::holds_data(id) || deletes_claims(live) || KEEP.iter().any(is_kept)
}

/// Whether the volume claims of a StatefulSet are deleted with it.
pub fn deletes_claims(live: &Value) -> bool {
    text(live, "/spec/persistentVolumeClaimRetentionPolicy/whenDeleted") == "Delete"
        && list(&live["spec"]["volumeClaimTemplates"]).next().is_some()
}

/// Returns those of the objects whose deletion would delete one that stays: its owners, and their
/// owners. The garbage collector deletes an object after its last owner, but whether the other
/// owners exist is unknown.
pub fn owners_of<'a>(
    staying: impl Iterator<Item = &'a Value>,
    objects: &'a BTreeMap<Member, Value>,
) -> BTreeSet<Member> {
    let (mut owners, mut pending) = (BTreeSet::new(), staying.collect::<Vec<_>>());
    while let Some(object) = pending.pop() {
        let ids: Vec<&str> = list(&object["metadata"]["ownerReferences"])
            .map(|reference| text(reference, "/uid"))
            .collect();
        let is_owner = |live: &Value| ids.contains(&text(live, "/metadata/uid"));
        for (member, live) in objects.iter().filter(|(_, live)| is_owner(live)) {
            if owners.insert(member.clone()) {
                pending.push(live);
            }
        }
    }
    owners
}

/// A finalizer of an object that is being deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finalizer {
    /// The object's namespace; empty for cluster-scoped objects.
    pub namespace: String,
    /// The object, as kubectl accepts it.
    pub id: String,
    /// The finalizer's name.
    pub name: String,
    /// The field manager that set it, usually the controller that removes it.
    pub manager: Option<String>,
}

/// Returns the finalizers of an object that is being deleted.
pub fn pending_finalizers(object: &Value) -> Vec<Finalizer> {
    if text(object, "/metadata/deletionTimestamp").is_empty() {
        return Vec::new();
    }
    let names = list(&object["metadata"]["finalizers"]).filter_map(Value::as_str);
    let finalizer = |name: &str| Finalizer {
        namespace: text(object, "/metadata/namespace").to_owned(),
        id: applyset::id(object),
        name: name.to_owned(),
        manager: finalizer_manager(object, name),
    };
    names.map(finalizer).collect()
}

fn finalizer_manager(object: &Value, name: &str) -> Option<String> {
    let key = format!("v:\"{name}\"");
    let sets = |entry: &&Value| entry["fieldsV1"]["f:metadata"]["f:finalizers"].get(&key).is_some();
    let entry = list(&object["metadata"]["managedFields"]).find(sets)?;
    Some(text(entry, "/manager").to_owned())
}

/// Returns why the deletion of a Namespace does not end, as its controller reports it.
pub fn namespace_remains(namespace: &Value) -> Vec<String> {
    const REASONS: [&str; 4] = [
        "NamespaceFinalizersRemaining",
        "NamespaceContentRemaining",
        "NamespaceDeletionContentFailure",
        "NamespaceDeletionDiscoveryFailure",
    ];
    let conditions = REASONS.iter().filter_map(|kind| condition(namespace, kind));
    let conditions = conditions.filter(|condition| condition["status"] == "True");
    conditions.map(|one| text(one, "/message").trim().to_owned()).collect()
}

/// The columns of `kubectl get` from which [`count_others`] counts.
pub const COLUMNS: &str = "custom-columns=KIND:.kind,VERSION:.apiVersion,NAME:.metadata.name,OWNER:.metadata.ownerReferences[0].kind";

/// Counts the objects of each kind that no controller has created, without those with an id in
/// `own` and the record of the set, from rows of [`COLUMNS`].
pub fn count_others(rows: &str, own: &BTreeSet<&str>, parent: &Parent) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for row in rows.lines() {
        let columns: Vec<&str> = row.split_whitespace().collect();
        let [kind, version, name, owner] = columns.as_slice() else { continue };
        let object = json!({"kind": kind, "apiVersion": version, "metadata": {"name": name}});
        let id = applyset::id(&object);
        let is_own = own.contains(id.as_str()) || id == parent.object();
        if is_own || *owner != "<none>" || is_derived(kind, version, name) {
            continue;
        }
        *counts.entry((*kind).to_owned()).or_insert(0) += 1;
    }
    counts
}

/// Whether Kubernetes creates an object with this name in each namespace, or for another object.
fn is_derived(kind: &str, version: &str, name: &str) -> bool {
    match kind {
        "ConfigMap" => name == "kube-root-ca.crt",
        "ServiceAccount" => name == "default",
        "Event" | "Endpoints" | "EndpointSlice" | "KIND" => true,
        _ => version.starts_with("metrics.k8s.io/"),
    }
}

/// Formats counts, such as `2 ConfigMaps and 1 Secret`.
pub fn format_counts(counts: &BTreeMap<String, u64>) -> String {
    join(&counts.iter().map(|(kind, &number)| pluralize(number, kind)).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_with_data_and_kept_ones_must_stay() {
        let policy = |when: &str, claims: Value| json!({"spec": {"persistentVolumeClaimRetentionPolicy": {"whenDeleted": when}, "volumeClaimTemplates": claims}});
        let annotated =
            |name: &str, value: &str| json!({"metadata": {"annotations": {name: value}}});
        let helm = "helm.sh/resource-policy";
        let argo = "argocd.argoproj.io/sync-options";
        let table = [
            ("persistentvolumeclaim/a", json!({}), true),
            ("secret/a", json!({}), false),
            ("secret/a", annotated(helm, "keep"), true),
            ("secret/a", annotated(helm, ""), false),
            ("secret/a", annotated(argo, "ServerSideApply=true,Prune=false"), true),
            ("secret/a", annotated(argo, "ServerSideApply=true"), false),
            ("statefulset.apps/a", policy("Delete", json!([{}])), true),
            ("statefulset.apps/a", policy("Delete", json!([])), false),
            ("statefulset.apps/a", policy("Retain", json!([{}])), false),
        ];
        for (id, live, expected) in table {
            assert_eq!(must_stay(id, &live), expected, "{id} {live}");
        }
    }

    #[test]
    fn owners_of_staying_object_are_found() {
        let object = |uid: &str, owners: &[&str]| {
            let references: Vec<Value> = owners.iter().map(|uid| json!({"uid": uid})).collect();
            json!({"metadata": {"uid": uid, "ownerReferences": references}})
        };
        let table: [(&[&str], &[&str]); 5] = [
            (&[], &[]),
            (&["other"], &[]),
            (&["a"], &["a"]),
            (&["other", "a"], &["a"]),
            (&["b"], &["a", "b"]),
        ];
        // `a` owns `b`, and both own themselves in a circle that must not be endless.
        let objects =
            [("a", object("a", &["a"])), ("b", object("b", &["a"])), ("c", object("", &[]))];
        let objects: BTreeMap<Member, Value> =
            objects.map(|(name, live)| (("n".to_owned(), name.to_owned()), live)).into();
        for (references, expected) in table {
            let found = owners_of([object("x", references)].iter(), &objects);
            let found: Vec<&str> = found.iter().map(|(_, id)| id.as_str()).collect();
            assert_eq!(found, expected, "{references:?}");
        }
    }

    #[test]
    fn finalizer_has_its_field_manager() {
        let fields =
            json!({"f:metadata": {"f:finalizers": {".": {}, "v:\"a.example.com/x\"": {}}}});
        let mut object = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {
            "name": "w", "namespace": "n", "finalizers": ["a.example.com/x", "b"],
            "managedFields": [{"manager": "kdev", "fieldsV1": {"f:spec": {}}},
                {"manager": "operator", "fieldsV1": fields}]}});
        assert_eq!(pending_finalizers(&object), []);
        object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        let finalizer = |name: &str, manager: Option<&str>| Finalizer {
            namespace: "n".into(),
            id: "widget.example.com/w".into(),
            name: name.into(),
            manager: manager.map(str::to_owned),
        };
        let expected = [finalizer("a.example.com/x", Some("operator")), finalizer("b", None)];
        assert_eq!(pending_finalizers(&object), expected);
    }

    #[test]
    fn remaining_content_of_namespace_is_reported() {
        let condition = |kind: &str, status: &str, message: &str| json!({"type": kind, "status": status, "message": message});
        let namespace = json!({"status": {"conditions": [
            condition("NamespaceDeletionContentFailure", "False", "All content successfully deleted"),
            condition("NamespaceContentRemaining", "True", "Some resources are remaining: pods. has 1 resource instances "),
        ]}});
        let expected = ["Some resources are remaining: pods. has 1 resource instances"];
        assert_eq!(namespace_remains(&namespace), expected);
    }

    #[test]
    fn objects_of_others_are_counted() {
        let rows = "\
KIND        VERSION           NAME               OWNER
ConfigMap   v1                kube-root-ca.crt   <none>
ConfigMap   v1                a                  <none>
ConfigMap   v1                own                <none>
ConfigMap   v1                kdev-app           <none>
ConfigMap   v1                kdev-other         <none>
Secret      v1                own                <none>
Deployment  apps/v1           own                <none>
Pod         v1                p                  ReplicaSet
PodMetrics  metrics.k8s.io/v1 p                  <none>
Event       v1                e                  <none>
";
        let parent = Parent::without_identity("app", "n");
        let own = BTreeSet::from(["configmap/own", "deployment.apps/own"]);
        let counts = count_others(rows, &own, &parent);
        assert_eq!(format_counts(&counts), "2 ConfigMaps and 1 Secret");
        let table = [(&[][..], ""), (&["Pod"], "1 Pod"), (&["A", "B", "C"], "1 A, 1 B, and 1 C")];
        for (kinds, expected) in table {
            let counts = kinds.iter().map(|&kind| (kind.to_owned(), 1)).collect();
            assert_eq!(format_counts(&counts), expected);
        }
    }
}
