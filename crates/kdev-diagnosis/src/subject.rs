//! What a diagnosis is about: a pod with its owners, or a workload that has no
//! pod, chosen from what a namespace holds.

use kdev_core::kube::kinds;
use kdev_core::kube::object::{condition, id, list, text};
use serde_json::Value;

/// What a Deployment's `ReplicaSet`s are numbered by.
const REVISION: &str = "/metadata/annotations/deployment.kubernetes.io~1revision";

/// A pod and who made it, or a workload that has none.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    pub pod: Option<Value>,
    /// The nearest first; the last one is kept by nobody.
    pub owners: Vec<Value>,
    /// How many other pods of the nearest are not ready either.
    pub unready_siblings: u64,
}

impl Subject {
    /// Kind and name, as kubectl takes them.
    pub fn id(&self) -> String {
        self.pod.as_ref().or(self.owners.first()).map(id).unwrap_or_default()
    }
}

/// What is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    kind: Option<&'static str>,
    name: String,
}

impl Asked {
    /// Reads `NAME` or `KIND/NAME`, in kubectl's words; `None` for a kind that
    /// makes no pods.
    pub fn parse(text: &str) -> Option<Self> {
        let Some((kind, name)) = text.split_once('/') else {
            return Some(Self { kind: None, name: text.to_owned() });
        };
        // As in `deployments.apps/hello`.
        let kind = kind.split('.').next().unwrap_or_default().to_lowercase();
        let kind = kinds::BUILT_IN.by_alias(&kind)?.kind;
        Some(Self { kind: Some(kind), name: name.to_owned() })
    }

    fn means(&self, item: &Value) -> bool {
        let kind = text(item, "/kind");
        let is_kind = match self.kind {
            Some(wanted) => kind == wanted,
            None => runs_pods(kind),
        };
        is_kind && text(item, "/metadata/name") == self.name
    }
}

/// What a question is about: the pod of this name, or the worst of a workload's
/// newest pods.
pub fn find(items: &[Value], asked: &Asked) -> Option<Subject> {
    let named = || items.iter().filter(|item| asked.means(item));
    let item = named().find(|item| item["kind"] == "Pod").or_else(|| named().next())?;
    Some(of(items, item))
}

/// One for each workload and bare pod; the worst pod of each.
pub fn all(items: &[Value]) -> Vec<Subject> {
    let is_kept = |item: &&Value| owner(items, item).is_some();
    let makes_pods = |item: &&Value| runs_pods(text(item, "/kind"));
    items.iter().filter(makes_pods).filter(|i| !is_kept(i)).map(|item| of(items, item)).collect()
}

/// The names of all that can be asked about.
pub fn names(items: &[Value]) -> Vec<String> {
    let known = |item: &&Value| runs_pods(text(item, "/kind"));
    items.iter().filter(known).filter(|item| item["kind"] != "ReplicaSet").map(id).collect()
}

fn of(items: &[Value], item: &Value) -> Subject {
    if item["kind"] == "Pod" {
        let (pod, owners) = (Some(item.clone()), owners(items, item));
        return Subject { pod, owners, unready_siblings: 0 };
    }
    let maker = newest_maker(items, item);
    let mut pods: Vec<&Value> = children(items, maker).filter(|i| i["kind"] == "Pod").collect();
    // What has failed for good is history once another has come in its place, unless
    // its Job has failed with it.
    let has_failed = condition(maker, "Failed").is_some_and(|one| one["status"] == "True");
    if !has_failed && pods.iter().any(|pod| !is_over(pod)) {
        pods.retain(|pod| !is_over(pod));
    }
    // The worst first, then the newest.
    pods.sort_by_key(|pod| {
        (is_leaving(pod), is_well(pod), !is_stuck(pod), std::cmp::Reverse(created(pod)))
    });
    let unready_siblings = pods.iter().skip(1).filter(|pod| !is_well(pod) && !is_leaving(pod));
    let unready_siblings = unready_siblings.count() as u64;
    if let Some(pod) = pods.first() {
        return Subject { unready_siblings, ..of(items, pod) };
    }
    let owners = [vec![maker.clone()], owners(items, maker)].concat();
    Subject { pod: None, owners, unready_siblings }
}

/// Who makes the newest pods: of a Deployment the newest `ReplicaSet`, of a
/// `CronJob` the newest Job.
fn newest_maker<'a>(items: &'a [Value], item: &'a Value) -> &'a Value {
    let revision = |set: &&Value| text(set, REVISION).parse::<u64>().unwrap_or_default();
    let made = |kind: &'static str| children(items, item).filter(move |i| i["kind"] == kind);
    let newest = match text(item, "/kind") {
        "Deployment" => made("ReplicaSet").max_by_key(revision),
        "CronJob" => made("Job").max_by_key(|job| created(job)),
        _ => None,
    };
    newest.unwrap_or(item)
}

fn created(item: &Value) -> String {
    text(item, "/metadata/creationTimestamp").to_owned()
}

fn children<'a>(items: &'a [Value], of: &Value) -> impl Iterator<Item = &'a Value> {
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

fn is_leaving(pod: &Value) -> bool {
    pod.pointer("/metadata/deletionTimestamp").is_some()
}

/// Whether it has failed, and nothing starts it again.
fn is_over(pod: &Value) -> bool {
    text(pod, "/status/phase") == "Failed"
}

/// Whether more is wrong with it than that it is not ready yet.
fn is_stuck(pod: &Value) -> bool {
    let is_error = |status: &Value| {
        let reason = text(status, "/state/waiting/reason");
        !matches!(reason, "" | "ContainerCreating" | "PodInitializing")
    };
    let has_no_node = condition(pod, "PodScheduled").is_some_and(|one| one["status"] == "False");
    let kinds = ["initContainerStatuses", "containerStatuses"];
    has_no_node || kinds.iter().any(|kind| list(&pod["status"][*kind]).any(is_error))
}

/// Whether it is ready, or has done what it was made for.
fn is_well(pod: &Value) -> bool {
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
    fn pods_that_are_no_better_are_counted() {
        let mut items = namespace();
        items.push(item("Pod", "app-2-c", "ReplicaSet/app-2", 0, "False"));
        let unready =
            |asked: &str| find(&items, &Asked::parse(asked).unwrap()).unwrap().unready_siblings;
        assert_eq!((unready("app"), unready("rs/app-1"), unready("pod/app-2-b")), (1, 0, 0));
    }

    fn ask(text: &str) -> Option<String> {
        find(&namespace(), &Asked::parse(text)?).map(|subject| subject.id())
    }

    #[test]
    fn a_name_leads_to_the_worst_of_the_newest_pods() {
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
        for (asked, expected) in table {
            assert_eq!(ask(asked).as_deref(), expected, "{asked}");
        }
    }

    #[test]
    fn a_pod_that_is_stuck_is_worse_than_one_that_is_starting() {
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
        let found = find(&items, &Asked::parse("app").unwrap());
        assert_eq!(found.unwrap().id(), "pod/stuck");
    }

    #[test]
    fn a_pod_that_has_failed_counts_as_long_as_none_has_come_in_its_place() {
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
            let found = find(&items, &Asked::parse("job").unwrap()).unwrap();
            assert_eq!(found.id(), expected);
        }
    }

    #[test]
    fn every_workload_is_looked_at_once() {
        let found: Vec<_> = all(&namespace()).iter().map(Subject::id).collect();
        assert_eq!(found, ["pod/app-2-b", "pod/bare", "statefulset/db"]);
        let subject = find(&namespace(), &Asked::parse("app").unwrap()).unwrap();
        let owners: Vec<_> = subject.owners.iter().map(id).collect();
        assert_eq!(owners, ["replicaset/app-2", "deployment/app"]);
    }
}
