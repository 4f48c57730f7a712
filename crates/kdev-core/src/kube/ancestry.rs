//! Which pods belong to a workload, through all owners between them.

use std::collections::HashMap;

use serde_json::Value;

use crate::kube::kinds::{self, WorkloadKind};
use crate::kube::object::{format_id, list, text};

/// A pod or a workload, as `NAME` or `KIND/NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodQuery {
    /// The kind, if it is given.
    pub kind: Option<&'static WorkloadKind>,
    pub name: String,
}

impl PodQuery {
    /// Parses `NAME` or `KIND/NAME` with the names of kinds that kubectl accepts; `None` for a kind
    /// that has no pods, and for an empty name.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, name) = match text.split_once('/') {
            None => (None, text),
            Some((kind, name)) => {
                // As in `deployments.apps/hello`.
                let kind = kind.split('.').next().unwrap_or_default().to_lowercase();
                (Some(kinds::BUILT_IN.by_alias(&kind)?), name)
            }
        };
        (!name.is_empty() && !name.contains('/')).then(|| Self { kind, name: name.to_owned() })
    }

    /// Finds the object among those of a namespace: a pod first, then a workload.
    pub fn find<'a>(&self, items: &'a [Value]) -> Option<&'a Value> {
        let is_named = |item: &&Value| {
            let kind = kinds::BUILT_IN.find(text(item, "/kind")).filter(|kind| kind.runs_pods);
            let is_kind = match self.kind {
                Some(wanted) => kind == Some(wanted),
                None => kind.is_some(),
            };
            is_kind && text(item, "/metadata/name") == self.name
        };
        let mut named = items.iter().filter(is_named);
        let first = named.clone().find(|item| item["kind"] == "Pod");
        first.or_else(|| named.next())
    }
}

/// The owners of pods, and the owners of these.
#[derive(Clone, Debug, Default)]
pub struct Ancestry {
    /// The owners of each object, by its UID.
    owners: HashMap<String, Vec<Owner>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Owner {
    kind: String,
    name: String,
    uid: String,
}

impl Ancestry {
    /// Adds the objects between workloads and pods.
    pub fn extend<'a>(&mut self, items: impl IntoIterator<Item = &'a Value>) {
        for item in items {
            self.owners.insert(text(item, "/metadata/uid").to_owned(), owners(item));
        }
    }

    /// Returns whether the pod belongs to the object `id`, such as `deployment/hello`, or is it.
    pub fn belongs(&self, pod: &Value, id: &str) -> bool {
        // An object is never its own ancestor, but its fields could claim so.
        const MAX_DEPTH: usize = 5;
        if format_id("pod", text(pod, "/metadata/name")) == id {
            return true;
        }
        let mut level = owners(pod);
        for _ in 0..MAX_DEPTH {
            if level.iter().any(|owner| format_id(&owner.kind, &owner.name) == id) {
                return true;
            }
            let above = |owner: &Owner| self.owners.get(&owner.uid).cloned().unwrap_or_default();
            level = level.iter().flat_map(above).collect();
        }
        false
    }

    /// Returns the resources of owners of the pod that are not known but can have owners
    /// themselves.
    pub fn missing(&self, pod: &Value) -> Vec<&'static str> {
        let resource = |owner: Owner| {
            let resource = kinds::BUILT_IN.find(&owner.kind)?.resource;
            let is_between =
                kinds::BUILT_IN.iter().any(|kind| kind.intermediate.contains(&resource));
            (is_between && !self.owners.contains_key(&owner.uid)).then_some(resource)
        };
        owners(pod).into_iter().filter_map(resource).collect()
    }
}

fn owners(item: &Value) -> Vec<Owner> {
    let references = item.pointer("/metadata/ownerReferences").unwrap_or(&Value::Null);
    let owner = |reference: &Value| Owner {
        kind: text(reference, "/kind").to_owned(),
        name: text(reference, "/name").to_owned(),
        uid: text(reference, "/uid").to_owned(),
    };
    list(references).map(owner).collect()
}

/// Whether the pod is ready to serve and will stay so.
pub fn is_serving(pod: &Value) -> bool {
    let is_true = |one: &Value| one["type"] == "Ready" && one["status"] == "True";
    is_running(pod) && list(&pod["status"]["conditions"]).any(is_true)
}

/// Whether the containers of the pod are running, and it is not being deleted.
pub fn is_running(pod: &Value) -> bool {
    text(pod, "/status/phase") == "Running" && !is_terminating(pod)
}

/// Whether the pod is being deleted.
pub fn is_terminating(pod: &Value) -> bool {
    !text(pod, "/metadata/deletionTimestamp").is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn owned(kind: &str, name: &str, uid: &str, owner: (&str, &str, &str)) -> Value {
        let (owner_kind, owner_name, owner_uid) = owner;
        json!({"kind": kind, "metadata": {"name": name, "uid": uid, "ownerReferences":
            [{"kind": owner_kind, "name": owner_name, "uid": owner_uid}]}})
    }

    #[test]
    fn pod_belongs_to_all_its_owners() {
        let set = owned("ReplicaSet", "app-7c", "r", ("Deployment", "app", "d"));
        let pod = owned("Pod", "app-7c-x", "p", ("ReplicaSet", "app-7c", "r"));
        let mut ancestry = Ancestry::default();
        assert_eq!(ancestry.missing(&pod), ["replicasets.apps"]);
        assert!(!ancestry.belongs(&pod, "deployment/app"));
        ancestry.extend([&set]);
        assert!(ancestry.missing(&pod).is_empty());
        for id in ["deployment/app", "replicaset/app-7c", "pod/app-7c-x"] {
            assert!(ancestry.belongs(&pod, id), "{id}");
        }
        // A Deployment whose name is the beginning of another one.
        for id in ["deployment/app-7c", "deployment/ap", "statefulset/app", "pod/app"] {
            assert!(!ancestry.belongs(&pod, id), "{id}");
        }
        let direct = owned("Pod", "db-0", "q", ("StatefulSet", "db", "s"));
        assert!(ancestry.missing(&direct).is_empty());
        assert!(ancestry.belongs(&direct, "statefulset/db"));
        let looped = owned("ReplicaSet", "a", "l", ("ReplicaSet", "a", "l"));
        ancestry.extend([&looped]);
        assert!(!ancestry.belongs(&owned("Pod", "a-1", "m", ("ReplicaSet", "a", "l")), "job/x"));
    }

    #[test]
    fn query_finds_pod_before_workload() {
        let named = |kind: &str, name: &str| json!({"kind": kind, "metadata": {"name": name}});
        let items = [
            named("Service", "app"),
            named("Deployment", "app"),
            named("Pod", "app"),
            named("CronJob", "nightly"),
        ];
        let find = |text: &str| {
            let query = PodQuery::parse(text)?;
            query.find(&items).map(crate::kube::object::id)
        };
        let table = [
            ("app", Some("pod/app")),
            ("deploy/app", Some("deployment/app")),
            ("deployments.apps/app", Some("deployment/app")),
            ("Deployment/app", Some("deployment/app")),
            ("po/app", Some("pod/app")),
            ("nightly", Some("cronjob/nightly")),
            ("sts/app", None),
            ("service/app", None),
            ("deploy/", None),
            ("a/b/c", None),
            ("", None),
        ];
        for (text, expected) in table {
            assert_eq!(find(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn terminating_pod_serves_no_longer() {
        let pod = |deleted: &str, phase: &str, ready: &str| {
            json!({"metadata": {"deletionTimestamp": deleted}, "status": {"phase": phase,
                "conditions": [{"type": "Ready", "status": ready}]}})
        };
        assert!(is_serving(&pod("", "Running", "True")));
        let others = [("", "Running", "False"), ("", "Pending", "True"), ("t", "Running", "True")];
        for (deleted, phase, ready) in others {
            assert!(!is_serving(&pod(deleted, phase, ready)), "{deleted} {phase} {ready}");
        }
        assert!(is_running(&pod("", "Running", "False")));
    }
}
