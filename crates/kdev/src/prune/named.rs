//! The builds that workloads name: a pod of them can start at any time, without a load.

use std::collections::BTreeSet;

use kdev_core::image::builds::build_tag;
use kdev_core::image::reference::Name;
use kdev_core::kube::applyset::PART_OF;
use kdev_core::kube::object::{list, text};
use serde_json::Value;

use crate::cluster::{Cluster, Error, Result};
use crate::cx::Cx;
use crate::parallel::{map_all, run_both};

/// The kinds that kdev applies.
const KINDS: &str = "deployments,statefulsets,daemonsets,cronjobs,jobs";
/// The objects that these create, also through others of them. The pods of an older revision, which a partition or a paused
/// rollout keeps, can start again on another node.
const CREATED: &str = "replicasets,jobs,pods";
/// How many namespaces are listed one by one.
const MAX_NAMESPACES: usize = 3;
const ALL_NAMESPACES: &str = "--all-namespaces";
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
    // Usually only this namespace has workloads.
    let usual = cluster.namespace.as_str();
    let (listed, of_usual) =
        run_both(|| list_workloads(cx, cluster), || list_created(cx, cluster, Some(usual)));
    let (listed, mut created) = (listed?, of_usual?);
    let is_deleted = |object: &Value| {
        deleted.is_some()
            && object.pointer("/metadata/namespace").and_then(Value::as_str) == deleted
    };
    let objects = list(&listed["items"]);
    let objects: Vec<&Value> =
        objects.filter(|object| !has_ended(object) && !is_deleted(object)).collect();
    // An older revision can have the image although the template has another one.
    let namespaces = objects.iter().map(|object| text(object, "/metadata/namespace"));
    let mut others: BTreeSet<&str> = namespaces.filter(|name| !name.is_empty()).collect();
    others.remove(usual);
    created.extend(list_created_in(cx, cluster, &others)?);
    let created: Vec<&Value> = created.iter().filter(|object| !is_deleted(object)).collect();
    let created = returning(&objects, &created);
    Ok(objects.into_iter().chain(created).flat_map(|object| build_tags(image, object)).collect())
}

/// Lists the objects that kdev has applied in all namespaces or, without the permission, in that of
/// the cluster.
fn list_workloads(cx: &Cx, cluster: &Cluster) -> Result<Value> {
    let selector = format!("--selector={PART_OF}");
    let get = |more: &[&str]| {
        let sh = cx.shell()?;
        let cmd = cluster.cmd(&sh, None).args(["get", KINDS, &selector, "--output=json"]);
        cluster.get_shared_json::<Value>(cx, cmd.args(more), "list the workloads")
    };
    match get(&[ALL_NAMESPACES]) {
        Err(error) if is_forbidden(&error) => get(&[]),
        listed => listed,
    }
}

/// Lists the created objects of a namespace, or of all.
fn list_created(cx: &Cx, cluster: &Cluster, namespace: Option<&str>) -> Result<Vec<Value>> {
    let sh = cx.shell()?;
    let cmd = cluster.cmd(&sh, namespace).args(["get", CREATED, "--output=json"]);
    let all = namespace.is_none().then_some(ALL_NAMESPACES);
    let listed: Value = cluster.get_shared_json(cx, cmd.args(all), "list the pods")?;
    Ok(list(&listed["items"]).cloned().collect())
}

/// Lists the created objects of other namespaces. Those that the user may not list are left out:
/// only the templates there count, and the containers that a node runs.
fn list_created_in(cx: &Cx, cluster: &Cluster, others: &BTreeSet<&str>) -> Result<Vec<Value>> {
    if others.len() > MAX_NAMESPACES {
        match list_created(cx, cluster, None) {
            Err(error) if is_forbidden(&error) => {}
            listed => return listed,
        }
    }
    let others: Vec<&str> = others.iter().copied().collect();
    let mut found = Vec::new();
    for listed in map_all(&others, |namespace| list_created(cx, cluster, Some(namespace))) {
        match listed {
            Err(error) if is_forbidden(&error) => {}
            listed => found.extend(listed?),
        }
    }
    Ok(found)
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
    let creates_pods = |object: &&&Value| {
        let is_creating = matches!(text(object, "/kind"), "ReplicaSet" | "Job");
        is_creating && is_owned(object, owners)
    };
    let middle: Vec<&Value> = created.iter().filter(creates_pods).copied().collect();
    let revision = |set: &Value| text(set, REVISION).parse::<u64>().unwrap_or_default();
    let newer = |set: &Value| {
        let same = &set["metadata"]["ownerReferences"];
        let others = middle.iter().filter(|other| other["metadata"]["ownerReferences"] == *same);
        others.filter(|other| revision(other) > revision(set)).count()
    };
    let is_returning = |object: &&&Value| match text(object, "/kind") {
        "ReplicaSet" => {
            is_owned(object, owners) && (object["spec"]["replicas"] != 0 || newer(object) == 1)
        }
        // A Job of a CronJob. Others are owners.
        "Job" => is_owned(object, owners) && !has_ended(object),
        _ => {
            let has_ended = matches!(text(object, "/status/phase"), "Succeeded" | "Failed");
            !has_ended && (is_owned(object, owners) || is_owned(object, &middle))
        }
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
        let job = |name: &str, owner: &str, condition: &str| json!({"kind": "Job", "metadata": {"name": name, "uid": name, "ownerReferences": [{"uid": owner}]}, "status": {"conditions": [{"type": condition, "status": "True"}]}});
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
            job("job", "c", "Suspended"),
            job("ended-job", "c", "Failed"),
            job("job-of-deleted", "x", "Suspended"),
            pod("of-job", "job", "Pending"),
            pod("of-ended-job", "ended-job", "Running"),
            pod("completed-of-job", "job", "Succeeded"),
        ];
        let owners = [owner("d"), owner("e"), owner("s"), owner("c")];
        let created: Vec<&Value> = created.iter().collect();
        let found = returning(&owners.iter().collect::<Vec<_>>(), &created);
        let names: Vec<&str> = found.iter().map(|one| text(one, "/metadata/name")).collect();
        let mut expected = vec!["previous", "newest", "old-with-pods", "of-stateful-set", "of-set"];
        expected.extend(["job", "of-job", "of-ended-job"]);
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
