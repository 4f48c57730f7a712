//! The builds that workloads name: a pod of them can start at any time, without a load.

use std::collections::BTreeSet;

use kdev_core::image::builds::build_tag;
use kdev_core::image::reference::Name;
use kdev_core::kube::applyset::PART_OF;
use kdev_core::kube::object::{list, text};
use serde_json::Value;

use crate::cluster::{Cluster, Error, Result};
use crate::cx::Cx;
use crate::parallel::run_both;

/// The kinds that kdev applies.
const KINDS: &str = "deployments,statefulsets,daemonsets,cronjobs,jobs";
/// The objects that these create. The pods of an older revision, which a partition or a paused
/// rollout keeps, can start again on another node.
const CREATED: &str = "replicasets,pods";
/// The number of a revision.
const REVISION: &str = "/metadata/annotations/deployment.kubernetes.io~1revision";

/// Returns the content tags of the image in the pod templates of all objects that kdev has
/// applied, in their pods, and in the previous revision of their Deployments, to which a rollback
/// returns: in all namespaces or, without the permission, in that of the cluster. Leaves out the
/// objects of one namespace if `deleted` names it.
pub(super) fn named_tags(
    cx: &Cx,
    cluster: &Cluster,
    image: &Name,
    deleted: Option<&str>,
) -> Result<BTreeSet<String>> {
    let sh = cx.shell()?;
    let (selector, action) = (format!("--selector={PART_OF}"), "list the workloads");
    let get = |more: &[&str]| {
        let cmd = cluster.cmd(&sh, None).args(["get", KINDS, &selector, "--output=json"]);
        cluster.get_json::<Value>(cx, cmd.args(more), action)
    };
    let list_created = |namespace: &str| {
        let sh = cx.shell()?;
        let cmd = cluster.cmd(&sh, Some(namespace)).args(["get", CREATED, "--output=json"]);
        cluster.get_json::<Value>(cx, cmd, "list the pods")
    };
    let list_workloads = || match get(&["--all-namespaces"]) {
        Err(error) if is_forbidden(&error) => get(&[]),
        listed => listed,
    };
    // Usually only this namespace has workloads with the image.
    let usual = cluster.namespace.as_str();
    let (listed, of_usual) = run_both(list_workloads, || list_created(usual));
    let (listed, mut of_usual) = (listed?, Some(of_usual));
    let mut tags = BTreeSet::new();
    let is_deleted = |object: &Value| {
        deleted.is_some()
            && object.pointer("/metadata/namespace").and_then(Value::as_str) == deleted
    };
    let objects = listed["items"].as_array().into_iter().flatten();
    let objects: Vec<&Value> =
        objects.filter(|object| !has_ended(object) && !is_deleted(object)).collect();
    let mut namespaces = BTreeSet::new();
    for object in &objects {
        let own = build_tags(image, object);
        if !own.is_empty() {
            namespaces.extend(object.pointer("/metadata/namespace").and_then(Value::as_str));
        }
        tags.extend(own);
    }
    for namespace in namespaces {
        let known = if namespace == usual { of_usual.take() } else { None };
        let created = known.unwrap_or_else(|| list_created(namespace))?;
        let created = created["items"].as_array().into_iter().flatten();
        let created = returning(&objects, &created.collect::<Vec<_>>());
        tags.extend(created.into_iter().flat_map(|object| build_tags(image, object)));
    }
    Ok(tags)
}

/// Returns the content tags of the image in an object.
fn build_tags(image: &Name, object: &Value) -> BTreeSet<String> {
    let mut tags = BTreeSet::new();
    collect_images(&object["spec"], &mut |name| tags.extend(build_tag(image, name)));
    tags
}

/// Returns the created objects whose pods can start again: those with pods, and the previous
/// revision of each Deployment. The owner of an object must exist, because objects whose owner was
/// deleted follow it.
fn returning<'a>(owners: &[&Value], created: &[&'a Value]) -> Vec<&'a Value> {
    let is_owned = |object: &Value, owners: &[&Value]| {
        let mut owned = list(&object["metadata"]["ownerReferences"]);
        owned.any(|one| owners.iter().any(|owner| owner["metadata"]["uid"] == one["uid"]))
    };
    let sets: Vec<&Value> = created
        .iter()
        .copied()
        .filter(|object| object["kind"] == "ReplicaSet" && is_owned(object, owners))
        .collect();
    let revision = |set: &Value| text(set, REVISION).parse::<u64>().unwrap_or_default();
    let newer = |set: &Value| {
        let same = &set["metadata"]["ownerReferences"];
        let others = sets.iter().filter(|other| other["metadata"]["ownerReferences"] == *same);
        others.filter(|other| revision(other) > revision(set)).count()
    };
    let is_returning = |object: &&&Value| {
        if object["kind"] == "ReplicaSet" {
            return is_owned(object, owners)
                && (object["spec"]["replicas"] != 0 || newer(object) == 1);
        }
        let has_ended = matches!(text(object, "/status/phase"), "Succeeded" | "Failed");
        !has_ended && (is_owned(object, owners) || is_owned(object, &sets))
    };
    created.iter().filter(is_returning).copied().collect()
}

/// Returns whether the user may not list the workloads. After another error, a workload that is
/// not listed could name a build.
fn is_forbidden(error: &Error) -> bool {
    matches!(error, Error::Rejected { source, .. } if source.stderr.contains("(Forbidden)"))
}

/// Returns whether a Job will not start pods again.
fn has_ended(object: &Value) -> bool {
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    let is_end = |condition: &Value| {
        matches!(condition["type"].as_str(), Some("Complete" | "Failed"))
            && condition["status"] == "True"
    };
    object["kind"] == "Job" && conditions.into_iter().any(is_end)
}

/// Passes each image of a template to `found`.
fn collect_images(value: &Value, found: &mut impl FnMut(&str)) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::String(image) if key == "image" => found(image),
                    value => collect_images(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_images(item, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn images_of_all_containers_are_collected() {
        let spec = json!({"jobTemplate": {"spec": {"template": {"spec": {
            "initContainers": [{"image": "a"}], "containers": [{"image": "b", "env": []}],
        }}}}});
        let mut images = Vec::new();
        collect_images(&spec, &mut |image| images.push(image.to_owned()));
        assert_eq!(images, ["b", "a"]);
    }

    #[test]
    fn pods_and_previous_revision_can_return() {
        let owner = |uid: &str| json!({"metadata": {"uid": uid}});
        let set = |name: &str, owner: &str, revision: &str, replicas: u64| json!({"kind": "ReplicaSet", "metadata": {"name": name, "uid": name, "annotations": {"deployment.kubernetes.io/revision": revision}, "ownerReferences": [{"uid": owner}]}, "spec": {"replicas": replicas}});
        let pod = |name: &str, owner: &str, phase: &str| json!({"kind": "Pod", "metadata": {"name": name, "ownerReferences": [{"uid": owner}]}, "status": {"phase": phase}});
        let created = [
            set("oldest", "d", "9", 0),
            set("previous", "d", "10", 0),
            set("newest", "d", "11", 2),
            set("other-newest", "e", "30", 0),
            set("old-with-pods", "d", "2", 1),
            set("of-deleted", "x", "1", 1),
            pod("of-stateful-set", "s", "Running"),
            pod("of-set", "previous", "Pending"),
            pod("completed", "s", "Succeeded"),
            pod("of-deleted-set", "of-deleted", "Running"),
        ];
        let owners = [owner("d"), owner("e"), owner("s")];
        let created: Vec<&Value> = created.iter().collect();
        let found = returning(&owners.iter().collect::<Vec<_>>(), &created);
        let names: Vec<&str> = found.iter().map(|one| text(one, "/metadata/name")).collect();
        let expected = ["previous", "newest", "old-with-pods", "of-stateful-set", "of-set"];
        assert_eq!(names, expected);
    }

    #[test]
    fn only_finished_jobs_have_ended() {
        let job = |kind: &str, condition: &str, status: &str| json!({"kind": kind, "status": {"conditions": [{"type": condition, "status": status}]}});
        let table = [
            (job("Job", "Complete", "True"), true),
            (job("Job", "Failed", "True"), true),
            (job("Job", "Complete", "False"), false),
            (job("Job", "Suspended", "True"), false),
            (job("Deployment", "Failed", "True"), false),
            (json!({"kind": "Job"}), false),
        ];
        for (object, expected) in table {
            assert_eq!(has_ended(&object), expected, "{object}");
        }
    }
}
