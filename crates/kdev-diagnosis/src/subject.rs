//! Selects what to diagnose from the objects of a namespace: a pod with its owners, or a
//! workload without pods.

use kdev_core::kube::kinds;
use kdev_core::kube::object::{condition, id, list, text};
use serde_json::Value;

/// The revision of a Deployment's `ReplicaSet`.
const REVISION_ANNOTATION: &str = "/metadata/annotations/deployment.kubernetes.io~1revision";

/// A pod with its owners, or a workload without pods.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    pub pod: Option<Value>,
    /// The nearest owner first; the last one has no owner.
    pub owners: Vec<Value>,
    /// How many other pods of the nearest owner are not ready either.
    pub unready_siblings: u64,
}

impl Subject {
    /// Returns the object as `kind/name`.
    pub fn id(&self) -> String {
        self.pod.as_ref().or(self.owners.first()).map(id).unwrap_or_default()
    }
}

/// A pod or workload to look for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadQuery {
    kind: Option<&'static str>,
    name: String,
}

impl WorkloadQuery {
    /// Parses `NAME` or `KIND/NAME`, with the kinds and short names of `kubectl`; `None` for
    /// a kind without pods.
    pub fn parse(text: &str) -> Option<Self> {
        let Some((kind, name)) = text.split_once('/') else {
            return Some(Self { kind: None, name: text.to_owned() });
        };
        // As in `deployments.apps/hello`.
        let kind = kind.split('.').next().unwrap_or_default().to_lowercase();
        let kind = kinds::BUILT_IN.by_alias(&kind)?.kind;
        Some(Self { kind: Some(kind), name: name.to_owned() })
    }

    /// Returns whether only a Job is meant.
    pub fn is_job(&self) -> bool {
        self.kind == Some("Job")
    }

    fn matches(&self, item: &Value) -> bool {
        let kind = text(item, "/kind");
        let is_kind = match self.kind {
            Some(expected) => kind == expected,
            None => runs_pods(kind),
        };
        is_kind && text(item, "/metadata/name") == self.name
    }
}

/// Returns the pod with this name, or the least healthy of the newest pods of the workload
/// with this name.
pub fn find(items: &[Value], query: &WorkloadQuery) -> Option<Subject> {
    let named = || items.iter().filter(|item| query.matches(item));
    let item = named().find(|item| item["kind"] == "Pod").or_else(|| named().next())?;
    Some(from_item(items, item))
}

/// Returns one subject for each workload and bare pod: its least healthy pod, if it has any.
pub fn all(items: &[Value]) -> Vec<Subject> {
    let has_owner = |item: &&Value| owner(items, item).is_some();
    let runs_pods = |item: &&Value| runs_pods(text(item, "/kind"));
    items
        .iter()
        .filter(runs_pods)
        .filter(|i| !has_owner(i))
        .map(|item| from_item(items, item))
        .collect()
}

/// Returns the names of everything that can be diagnosed.
pub fn names(items: &[Value]) -> Vec<String> {
    let runs_pods = |item: &&Value| runs_pods(text(item, "/kind"));
    items.iter().filter(runs_pods).filter(|item| item["kind"] != "ReplicaSet").map(id).collect()
}

fn from_item(items: &[Value], item: &Value) -> Subject {
    if item["kind"] == "Pod" {
        let (pod, owners) = (Some(item.clone()), owners(items, item));
        return Subject { pod, owners, unready_siblings: 0 };
    }
    let pod_owner = newest_pod_owner(items, item);
    let mut pods: Vec<&Value> = owned_by(items, pod_owner).filter(|i| i["kind"] == "Pod").collect();
    // A failed pod does not count after it has been replaced, unless its Job has failed,
    // too.
    let is_failed = condition(pod_owner, "Failed").is_some_and(|one| one["status"] == "True");
    if !is_failed && pods.iter().any(|pod| !has_failed(pod)) {
        pods.retain(|pod| !has_failed(pod));
    }
    // The least healthy first, then the newest.
    pods.sort_by_key(|pod| {
        (
            is_terminating(pod),
            is_ready_or_succeeded(pod),
            !is_stuck(pod),
            std::cmp::Reverse(creation_time(pod)),
        )
    });
    let unready_siblings =
        pods.iter().skip(1).filter(|pod| !is_ready_or_succeeded(pod) && !is_terminating(pod));
    let unready_siblings = unready_siblings.count() as u64;
    if let Some(pod) = pods.first() {
        return Subject { unready_siblings, ..from_item(items, pod) };
    }
    let owners = [vec![pod_owner.clone()], owners(items, pod_owner)].concat();
    Subject { pod: None, owners, unready_siblings }
}

/// Returns the owner of a workload's newest pods: the newest `ReplicaSet` of a Deployment,
/// the newest Job of a `CronJob`, and the workload itself otherwise.
fn newest_pod_owner<'a>(items: &'a [Value], item: &'a Value) -> &'a Value {
    let revision = |set: &&Value| text(set, REVISION_ANNOTATION).parse::<u64>().unwrap_or_default();
    let owned = |kind: &'static str| owned_by(items, item).filter(move |i| i["kind"] == kind);
    let newest = match text(item, "/kind") {
        "Deployment" => owned("ReplicaSet").max_by_key(revision),
        "CronJob" => owned("Job").max_by_key(|job| creation_time(job)),
        _ => None,
    };
    newest.unwrap_or(item)
}

fn creation_time(item: &Value) -> String {
    text(item, "/metadata/creationTimestamp").to_owned()
}

fn owned_by<'a>(items: &'a [Value], of: &Value) -> impl Iterator<Item = &'a Value> {
    let uid = of["metadata"]["uid"].clone();
    items.iter().filter(move |item| {
        list(&item["metadata"]["ownerReferences"]).any(|owner| owner["uid"] == uid)
    })
}

fn owner<'a>(items: &'a [Value], of: &Value) -> Option<&'a Value> {
    let references = || list(&of["metadata"]["ownerReferences"]);
    let is = |item: &&Value| references().any(|one| one["uid"] == item["metadata"]["uid"]);
    items.iter().find(is)
}

fn owners(items: &[Value], of: &Value) -> Vec<Value> {
    let nearest = owner(items, of);
    let mut chain: Vec<Value> = Vec::new();
    let mut next = nearest;
    while let Some(item) = next {
        chain.push(item.clone());
        next = owner(items, item);
    }
    chain
}

fn is_terminating(pod: &Value) -> bool {
    pod.pointer("/metadata/deletionTimestamp").is_some()
}

/// Whether the pod has failed and is not restarted.
fn has_failed(pod: &Value) -> bool {
    text(pod, "/status/phase") == "Failed"
}

/// Whether the pod has an error, and is not just starting.
fn is_stuck(pod: &Value) -> bool {
    let is_error = |status: &Value| {
        let reason = text(status, "/state/waiting/reason");
        !matches!(reason, "" | "ContainerCreating" | "PodInitializing")
    };
    let has_no_node = condition(pod, "PodScheduled").is_some_and(|one| one["status"] == "False");
    let kinds = ["initContainerStatuses", "containerStatuses"];
    has_no_node || kinds.iter().any(|kind| list(&pod["status"][*kind]).any(is_error))
}

/// Whether the pod is ready or has completed.
fn is_ready_or_succeeded(pod: &Value) -> bool {
    let is_ready = condition(pod, "Ready").is_some_and(|ready| ready["status"] == "True");
    is_ready || text(pod, "/status/phase") == "Succeeded"
}

fn runs_pods(kind: &str) -> bool {
    kinds::BUILT_IN.find(kind).is_some_and(|kind| kind.runs_pods)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn item(kind: &str, name: &str, owner: &str, revision: u64, ready: &str) -> Value {
        let owners = if owner.is_empty() { json!([]) } else { json!([{"uid": owner}]) };
        json!({"kind": kind, "metadata": {"name": name, "uid": format!("{kind}/{name}"),
            "ownerReferences": owners,
            "annotations": {"deployment.kubernetes.io/revision": revision.to_string()}},
            "status": {"conditions": [{"type": "Ready", "status": ready}]}})
    }

    fn namespace() -> Vec<Value> {
        vec![
            item("Deployment", "app", "", 0, ""),
            item("ReplicaSet", "app-1", "Deployment/app", 9, ""),
            item("ReplicaSet", "app-2", "Deployment/app", 10, ""),
            item("Pod", "app-1-a", "ReplicaSet/app-1", 0, "False"),
            item("Pod", "app-2-a", "ReplicaSet/app-2", 0, "True"),
            item("Pod", "app-2-b", "ReplicaSet/app-2", 0, "False"),
            item("Pod", "bare", "", 0, "True"),
            item("StatefulSet", "db", "", 0, ""),
            item("ConfigMap", "app", "", 0, ""),
        ]
    }

    #[test]
    fn other_unready_pods_are_counted() {
        let mut items = namespace();
        items.push(item("Pod", "app-2-c", "ReplicaSet/app-2", 0, "False"));
        let unready = |query: &str| {
            find(&items, &WorkloadQuery::parse(query).unwrap()).unwrap().unready_siblings
        };
        assert_eq!((unready("app"), unready("rs/app-1"), unready("pod/app-2-b")), (1, 0, 0));
    }

    fn find_id(text: &str) -> Option<String> {
        find(&namespace(), &WorkloadQuery::parse(text)?).map(|subject| subject.id())
    }

    #[test]
    fn name_selects_least_healthy_of_newest_pods() {
        let table = [
            ("app", Some("pod/app-2-b")),
            ("deploy/app", Some("pod/app-2-b")),
            ("deployments.apps/app", Some("pod/app-2-b")),
            ("rs/app-1", Some("pod/app-1-a")),
            ("pod/app-2-a", Some("pod/app-2-a")),
            ("app-2-a", Some("pod/app-2-a")),
            ("sts/db", Some("statefulset/db")),
            ("sts/app", None),
            ("configmap/app", None),
            ("absent", None),
        ];
        for (query, expected) in table {
            assert_eq!(find_id(query).as_deref(), expected, "{query}");
        }
    }

    #[test]
    fn stuck_pod_precedes_starting_pod() {
        let pod = |name: &str, time: &str, scheduled: &str| {
            let mut pod = item("Pod", name, "ReplicaSet/app-2", 0, "False");
            pod["metadata"]["creationTimestamp"] = json!(time);
            let condition = json!({"type": "PodScheduled", "status": scheduled});
            pod["status"]["conditions"].as_array_mut().unwrap().push(condition);
            pod
        };
        let mut items = namespace();
        items.retain(|item| item["kind"] != "Pod");
        items.extend([pod("stuck", "2026-01-01T00:00:00Z", "False")]);
        items.extend([pod("starting", "2026-01-01T00:00:01Z", "True")]);
        let found = find(&items, &WorkloadQuery::parse("app").unwrap());
        assert_eq!(found.unwrap().id(), "pod/stuck");
    }

    #[test]
    fn failed_pod_counts_until_replaced() {
        let pod = |name: &str, phase: &str| {
            let mut pod = item("Pod", name, "Job/job", 0, "False");
            pod["status"]["phase"] = phase.into();
            pod
        };
        let table = [
            (vec![pod("a", "Failed")], "", "pod/a"),
            (vec![pod("a", "Failed"), pod("b", "Running")], "", "pod/b"),
            (vec![pod("a", "Failed"), pod("b", "Succeeded")], "", "pod/b"),
            (vec![pod("a", "Failed"), pod("b", "Succeeded")], "Failed", "pod/a"),
        ];
        for (pods, failed, expected) in table {
            let mut job = item("Job", "job", "", 0, "");
            job["status"]["conditions"] = json!([{"type": failed, "status": "True"}]);
            let items = [vec![job], pods].concat();
            let found = find(&items, &WorkloadQuery::parse("job").unwrap()).unwrap();
            assert_eq!(found.id(), expected);
        }
    }

    #[test]
    fn each_workload_is_one_subject() {
        let found: Vec<_> = all(&namespace()).iter().map(Subject::id).collect();
        assert_eq!(found, ["pod/app-2-b", "pod/bare", "statefulset/db"]);
        let subject = find(&namespace(), &WorkloadQuery::parse("app").unwrap()).unwrap();
        let owners: Vec<_> = subject.owners.iter().map(id).collect();
        assert_eq!(owners, ["replicaset/app-2", "deployment/app"]);
    }
}
