//! The builds that workloads name: a pod of them can start at any time, without a load.

use std::collections::BTreeSet;

use kdev_core::image::builds::build_tag;
use kdev_core::image::reference::Name;
use kdev_core::kube::applyset::PART_OF;
use serde_json::Value;

use crate::cluster::{Cluster, Error, Result};
use crate::cx::Cx;

/// The kinds whose pods outlive no template. The pods of a `ReplicaSet` that is scaled down
/// only return with a rollback, for which the newest builds are kept.
const KINDS: &str = "deployments,statefulsets,daemonsets,cronjobs,jobs";

/// Returns the content tags of the image in the pod templates of all objects that kdev has
/// applied: in all namespaces or, without the permission, in that of the cluster. Leaves out the
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
    let listed = match get(&["--all-namespaces"]) {
        Err(error) if is_forbidden(&error) => get(&[])?,
        listed => listed?,
    };
    let mut tags = BTreeSet::new();
    let is_deleted = |object: &Value| {
        deleted.is_some()
            && object.pointer("/metadata/namespace").and_then(Value::as_str) == deleted
    };
    let objects = listed["items"].as_array().into_iter().flatten();
    for object in objects.filter(|object| !has_ended(object) && !is_deleted(object)) {
        collect_images(&object["spec"], &mut |name| tags.extend(build_tag(image, name)));
    }
    Ok(tags)
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
