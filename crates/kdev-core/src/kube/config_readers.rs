//! How pods read a ConfigMap or Secret, and whether they notice that it has changed.
//!
//! A container keeps the environment variables with which it was started, and a file that is
//! mounted with `subPath`. The kubelet updates the files of other volumes within about 90 s,
//! and most programs do not read them a second time. A reference counts even if it is optional.
//! Secrets for pulls are not counted, because the kubelet reads them for each pull.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::kube::kinds;
use crate::kube::object::{self, list, text};
use crate::kube::time;

/// A ConfigMap or Secret that has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedConfig {
    /// `ConfigMap` or `Secret`.
    pub kind: String,
    pub name: String,
    pub namespace: String,
    /// The keys whose values differ; `None` if they are unknown.
    pub keys: Option<BTreeSet<String>>,
}

/// What running containers have of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Visibility {
    /// The kubelet updates files, which the program must read again.
    Files,
    /// They keep the old values until they are restarted.
    Restart,
}

/// The paths in a volume whose content has changed.
enum ChangedPaths {
    Any,
    Known(Vec<String>),
}

/// Fields with the name of a ConfigMap or Secret.
struct Fields {
    key_ref: &'static str,
    env_from: &'static str,
    volume: &'static str,
    volume_name: &'static str,
}

impl ChangedConfig {
    /// Compares a ConfigMap or Secret with the applied one. Returns `None` for other kinds, and
    /// if no value differs. `kubectl diff` marks the values of Secrets that differ.
    pub fn compare(live: &Value, merged: &Value) -> Option<Self> {
        let kind = text(merged, "/kind");
        if merged["apiVersion"] != "v1" || !["ConfigMap", "Secret"].contains(&kind) {
            return None;
        }
        let entries = |object: &Value| -> BTreeSet<(String, String)> {
            let maps = ["data", "binaryData"].iter().filter_map(|map| object[*map].as_object());
            maps.flatten().map(|(key, value)| (key.clone(), value.to_string())).collect()
        };
        let (before, after) = (entries(live), entries(merged));
        let keys: BTreeSet<String> =
            before.symmetric_difference(&after).map(|(key, _)| key.clone()).collect();
        (!keys.is_empty()).then(|| Self { keys: Some(keys), ..Self::any_key(merged) })
    }

    /// Returns a ConfigMap or Secret of which any value can have changed.
    pub fn any_key(object: &Value) -> Self {
        let text = |path: &str| text(object, path).to_owned();
        let (name, namespace) = (text("/metadata/name"), text("/metadata/namespace"));
        Self { kind: text("/kind"), name, namespace, keys: None }
    }

    /// Returns kind and name as kubectl accepts them.
    pub fn id(&self) -> String {
        object::format_id(&self.kind, &self.name)
    }

    /// Returns what the running containers of a workload have of the change; `None` if they do
    /// not read what has changed.
    pub fn visibility(&self, workload: &Value) -> Option<Visibility> {
        if text(workload, "/metadata/namespace") != self.namespace {
            return None;
        }
        let kind = kinds::BUILT_IN.find(text(workload, "/kind")).filter(|kind| kind.runs_pods)?;
        let at = |path: &&[&str]| path.iter().try_fold(workload, |value, key| value.get(*key));
        kind.pod_specs.iter().filter_map(at).filter_map(|spec| self.visibility_in(spec)).max()
    }

    fn visibility_in(&self, spec: &Value) -> Option<Visibility> {
        let containers = list(&spec["containers"]).map(|container| (container, false)).chain(
            list(&spec["initContainers"])
                .map(|container| (container, container["restartPolicy"] != "Always")),
        );
        let seen = containers.filter_map(|(container, has_ended)| {
            let seen = if self.is_in_environment(container) {
                Some(Visibility::Restart)
            } else {
                self.visibility_in_mounts(spec, container)
            };
            // It has read the files before the other containers were started.
            seen.map(|seen| if has_ended { Visibility::Restart } else { seen })
        });
        seen.max()
    }

    fn is_in_environment(&self, container: &Value) -> bool {
        let fields = self.fields();
        let is_from = |source: &Value| source[fields.env_from]["name"] == self.name.as_str();
        let is_variable = |variable: &Value| {
            let reference = &variable["valueFrom"][fields.key_ref];
            reference["name"] == self.name.as_str() && self.has_changed(text(reference, "/key"))
        };
        list(&container["envFrom"]).any(is_from) || list(&container["env"]).any(is_variable)
    }

    fn visibility_in_mounts(&self, spec: &Value, container: &Value) -> Option<Visibility> {
        let mounted = list(&container["volumeMounts"]).filter_map(|mount| {
            let volume = list(&spec["volumes"]).find(|volume| volume["name"] == mount["name"])?;
            let paths = self.changed_paths(volume);
            let is_read = match (&paths, text(mount, "/subPath")) {
                (ChangedPaths::Any, _) => true,
                (ChangedPaths::Known(paths), "") => !paths.is_empty(),
                (ChangedPaths::Known(paths), folder) => {
                    paths.iter().any(|path| is_below(path, folder))
                }
            };
            let has_sub_path = ["subPath", "subPathExpr"].iter().any(|key| mount[*key].is_string());
            is_read.then_some(if has_sub_path { Visibility::Restart } else { Visibility::Files })
        });
        mounted.max()
    }

    fn changed_paths(&self, volume: &Value) -> ChangedPaths {
        let fields = self.fields();
        let own = &volume[fields.volume];
        let own = Some(own).filter(|own| own[fields.volume_name] == self.name.as_str());
        let projected = list(&volume["projected"]["sources"])
            .map(|source| &source[fields.volume])
            .filter(|source| source["name"] == self.name.as_str());
        let mut paths = Vec::new();
        for source in own.into_iter().chain(projected) {
            let items: Vec<&Value> = list(&source["items"]).collect();
            if items.is_empty() {
                let Some(keys) = &self.keys else { return ChangedPaths::Any };
                paths.extend(keys.iter().cloned());
            }
            let items = items.iter().filter(|item| self.has_changed(text(item, "/key")));
            paths.extend(items.map(|item| text(item, "/path").to_owned()));
        }
        ChangedPaths::Known(paths)
    }

    fn has_changed(&self, key: &str) -> bool {
        self.keys.as_ref().is_none_or(|keys| keys.contains(key))
    }

    fn fields(&self) -> Fields {
        if self.kind == "Secret" {
            Fields {
                key_ref: "secretKeyRef",
                env_from: "secretRef",
                // The sources of a projected volume have `name` for both.
                volume: "secret",
                volume_name: "secretName",
            }
        } else {
            Fields {
                key_ref: "configMapKeyRef",
                env_from: "configMapRef",
                volume: "configMap",
                volume_name: "name",
            }
        }
    }
}

/// Whether a path in a volume is this file, or in this folder.
fn is_below(path: &str, folder: &str) -> bool {
    let rest = path.strip_prefix(folder.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Returns when a field manager has last changed a ConfigMap or Secret that it has written, in
/// seconds since 1970. That includes changes of its labels by the same manager.
pub fn changed_at(config: &Value) -> Option<i64> {
    if config["apiVersion"] != "v1" || !["ConfigMap", "Secret"].contains(&text(config, "/kind")) {
        return None;
    }
    let has_values = |entry: &&Value| {
        let fields = ["f:data", "f:binaryData", "f:stringData"];
        fields.iter().any(|field| entry["fieldsV1"].get(field).is_some())
    };
    let entries = list(&config["metadata"]["managedFields"]).filter(has_values);
    entries.filter_map(|entry| time::seconds(text(entry, "/time"))).max()
}

/// Whether a pod was created, and one of its containers was started, before this time. A
/// restarted container has the values of its restart.
pub fn is_older(pod: &Value, time: i64) -> bool {
    let started = |status: &Value| time::seconds(text(status, "/state/running/startedAt"));
    let is_older = |started: Option<i64>| started.is_some_and(|started| started < time);
    is_older(time::created(pod))
        && list(&pod["status"]["containerStatuses"]).any(|status| is_older(started(status)))
}

/// Whether a Job or Pod has ended, so that it does not read anything again.
pub fn has_ended(workload: &Value) -> bool {
    let is_over = |kind: &str| {
        object::condition(workload, kind).is_some_and(|condition| condition["status"] == "True")
    };
    match text(workload, "/kind") {
        "Job" => is_over("Complete") || is_over("Failed"),
        "Pod" => ["Succeeded", "Failed"].contains(&text(workload, "/status/phase")),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn changed(kind: &str, keys: Option<&[&str]>) -> ChangedConfig {
        let keys = keys.map(|keys| keys.iter().map(|key| (*key).to_owned()).collect());
        ChangedConfig { kind: kind.into(), name: "c".into(), namespace: "n".into(), keys }
    }

    fn deployment(spec: &Value) -> Value {
        json!({"kind": "Deployment", "metadata": {"name": "d", "namespace": "n"},
            "spec": {"template": {"spec": spec}}})
    }

    /// Returns the pod spec of one container with a volume.
    fn mounted(volume: &Value, mount: &Value) -> Value {
        let mut volume = volume.clone();
        volume["name"] = json!("v");
        let mut mount = mount.clone();
        mount["name"] = json!("v");
        json!({"containers": [{"volumeMounts": [mount]}], "volumes": [volume]})
    }

    #[test]
    fn config_map_readers_see_changes_by_reference() {
        const RESTART: Option<Visibility> = Some(Visibility::Restart);
        const FILES: Option<Visibility> = Some(Visibility::Files);
        let key = |name: &str, key: &str| {
            json!({"containers": [{"env": [{"name": "E", "valueFrom":
            {"configMapKeyRef": {"name": name, "key": key, "optional": true}}}]}]})
        };
        let from = |name: &str| json!([{"configMapRef": {"name": name}}]);
        let volume = json!({"configMap": {"name": "c"}});
        let items = json!({"configMap": {"name": "c", "items": [{"key": "k", "path": "dir/f"}]}});
        let other_items = json!({"configMap": {"name": "c", "items": [{"key": "x", "path": "k"}]}});
        let projected = json!({"projected": {"sources": [{"secret": {"name": "c"}}, {"configMap": {"name": "c"}}]}});
        let sub = |path: &str| json!({"subPath": path});
        let init = |restart: &str| {
            json!({"initContainers": [{"restartPolicy": restart,
            "volumeMounts": [{"name": "v"}]}], "containers": [{}], "volumes": [{"name": "v", "configMap": {"name": "c"}}]})
        };
        let rows = [
            (key("c", "k"), RESTART, "a variable"),
            (key("c", "x"), None, "a variable of another key"),
            (key("other", "k"), None, "another ConfigMap"),
            (json!({"containers": [{}, {"envFrom": from("c")}]}), RESTART, "all keys as variables"),
            (json!({"containers": [{"envFrom": from("other")}]}), None, "another ConfigMap's keys"),
            (
                json!({"containers": [{}], "initContainers": [{"envFrom": from("c")}]}),
                RESTART,
                "an init container",
            ),
            (mounted(&volume, &json!({})), FILES, "a volume"),
            (mounted(&projected, &json!({})), FILES, "a projected volume"),
            (mounted(&items, &json!({})), FILES, "a volume with items"),
            (mounted(&other_items, &json!({})), None, "a volume without the changed key"),
            (mounted(&volume, &sub("k")), RESTART, "a file with subPath"),
            (mounted(&volume, &sub("x")), None, "a file that has not changed"),
            (mounted(&items, &sub("dir/")), RESTART, "a folder with subPath"),
            (mounted(&items, &sub("di")), None, "another folder"),
            (mounted(&volume, &json!({"subPathExpr": "$(F)"})), RESTART, "an unknown file"),
            (init(""), RESTART, "the files of an init container that has ended"),
            (init("Always"), FILES, "the files of a sidecar"),
            (
                json!({"containers": [{}], "volumes": [{"name": "v", "configMap": {"name": "c"}}]}),
                None,
                "a volume without a mount",
            ),
            (
                json!({"containers": [{}], "imagePullSecrets": [{"name": "c"}]}),
                None,
                "a Secret for pulls",
            ),
        ];
        for (spec, expected, what) in rows {
            let seen = changed("ConfigMap", Some(&["k"])).visibility(&deployment(&spec));
            assert_eq!(seen, expected, "{what}");
            // If the keys are unknown, each of them can have changed.
            let any = changed("ConfigMap", None).visibility(&deployment(&spec));
            assert!(any >= expected, "{what}");
        }
        let any = changed("ConfigMap", None);
        assert_eq!(any.visibility(&deployment(&key("c", "x"))), RESTART);
        assert_eq!(any.visibility(&deployment(&mounted(&volume, &sub("x")))), RESTART);
    }

    #[test]
    fn secret_readers_see_changes_by_reference() {
        let secret = changed("Secret", Some(&["k"]));
        let variable = json!({"containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "c", "key": "k"}}}]}]});
        let volume = json!({"secret": {"secretName": "c"}});
        let projected = json!({"projected": {"sources": [{"secret": {"name": "c"}}]}});
        assert_eq!(secret.visibility(&deployment(&variable)), Some(Visibility::Restart));
        assert_eq!(
            secret.visibility(&deployment(&mounted(&volume, &json!({})))),
            Some(Visibility::Files)
        );
        assert_eq!(
            secret.visibility(&deployment(&mounted(&projected, &json!({})))),
            Some(Visibility::Files)
        );
        assert_eq!(changed("ConfigMap", None).visibility(&deployment(&variable)), None);
    }

    #[test]
    fn workload_of_other_namespace_or_kind_is_not_a_reader() {
        let spec = json!({"containers": [{"envFrom": [{"configMapRef": {"name": "c"}}]}]});
        let config = changed("ConfigMap", None);
        let mut other = deployment(&spec);
        other["metadata"]["namespace"] = json!("other");
        assert_eq!(config.visibility(&other), None);
        let mut widget = deployment(&spec);
        widget["kind"] = json!("Widget");
        assert_eq!(config.visibility(&widget), None);
        let pod = json!({"kind": "Pod", "metadata": {"namespace": "n"}, "spec": spec});
        assert_eq!(config.visibility(&pod), Some(Visibility::Restart));
    }

    #[test]
    fn compare_returns_keys_with_other_values() {
        let map = |data: Value, extra: Value| {
            json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "c", "namespace": "n", "labels": extra}, "data": data})
        };
        let before = map(json!({"a": "1", "gone": "", "same": ""}), json!({}));
        let after = map(json!({"a": "2", "new": "", "same": ""}), json!({"l": "1"}));
        let expected = changed("ConfigMap", Some(&["a", "gone", "new"]));
        assert_eq!(ChangedConfig::compare(&before, &after), Some(expected));
        let labeled = map(json!({"a": "1", "gone": "", "same": ""}), json!({"l": "1"}));
        assert_eq!(ChangedConfig::compare(&before, &labeled), None);
        // A ConfigMap that did not exist, which is null, and another kind.
        let created = ChangedConfig::compare(&Value::Null, &after).unwrap();
        assert_eq!(created.keys.unwrap().len(), 3);
        assert_eq!(ChangedConfig::compare(&json!({}), &deployment(&json!({}))), None);
    }

    #[test]
    fn pod_is_older_than_change_of_values() {
        let entry = |field: &str, second: u32| json!({"fieldsV1": {field: {}}, "time": format!("2026-01-01T00:00:{second:02}Z")});
        let config = |kind: &str| {
            json!({"apiVersion": "v1", "kind": kind, "metadata": {"managedFields":
            [entry("f:data", 10), entry("f:stringData", 20), entry("f:metadata", 30)]}})
        };
        let time = changed_at(&config("Secret"));
        assert_eq!(time, time::seconds("2026-01-01T00:00:20Z"));
        assert_eq!(changed_at(&config("Deployment")), None);
        assert_eq!(changed_at(&json!({"apiVersion": "v1", "kind": "ConfigMap"})), None);
        let pod = |created: u32, started: &[u32]| {
            let statuses: Vec<Value> = started
                .iter()
                .map(|second| {
                    json!({"state": {"running":
                {"startedAt": format!("2026-01-01T00:00:{second}Z")}}})
                })
                .collect();
            json!({"metadata": {"creationTimestamp": format!("2026-01-01T00:00:{created}Z")},
                "status": {"containerStatuses": statuses}})
        };
        let rows = [
            (pod(10, &[11]), true),
            (pod(10, &[11, 21]), true),
            (pod(10, &[21]), false),
            (pod(10, &[]), false),
            (pod(20, &[20]), false),
            // The clock of the node is slow.
            (pod(21, &[11]), false),
        ];
        for (pod, expected) in rows {
            assert_eq!(is_older(&pod, time.unwrap()), expected, "{pod}");
        }
    }

    #[test]
    fn ended_jobs_and_pods_read_nothing() {
        let job = |kind: &str, status: &str| json!({"kind": "Job", "status": {"conditions": [{"type": kind, "status": status}]}});
        assert!(has_ended(&job("Complete", "True")) && has_ended(&job("Failed", "True")));
        assert!(!has_ended(&job("Complete", "False")) && !has_ended(&job("Suspended", "True")));
        let pod = |phase: &str| json!({"kind": "Pod", "status": {"phase": phase}});
        assert!(has_ended(&pod("Succeeded")) && !has_ended(&pod("Running")));
        assert!(!has_ended(&deployment(&json!({}))));
    }
}
