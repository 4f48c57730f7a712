//! The field managers of an object, and how fields that `kubectl` has set become fields of
//! kdev, so that an apply without them removes them.
//!
//! Server-side apply removes a field only from the manager that applies, and a field with
//! another owner stays. A client-side `kubectl apply` is such an owner. kubectl itself hands
//! over its fields when it applies server-side, but not if the diff, which knows nothing of
//! this, has found no difference.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::kube::object::{list, text};

/// The field manager of a client-side `kubectl apply`.
const CLIENT_SIDE: &str = "kubectl-client-side-apply";
/// Where a client-side `kubectl apply` keeps the manifest.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The field manager of `kubectl rollout undo`.
const ROLLOUT_UNDO: &str = "kubectl";
/// The annotation of `kubectl rollout restart`.
const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";

/// A path to a field, such as `f:data`, `f:color`.
type Path = Vec<String>;

/// The fields of a manager.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct FieldSet(BTreeSet<Path>);

/// A node of the format of the API, in which a field and the fields below it are one object.
#[derive(Default)]
struct Tree {
    is_member: bool,
    children: BTreeMap<String, Tree>,
}

/// Returns the JSON patch that hands over fields from kubectl's managers to `manager`, or
/// `None` if nothing needs to be handed over. `merged` is the object after a dry run of the apply.
///
/// Fields of a client-side `kubectl apply` are handed over if its manifest contained them;
/// their defaults are not, because the apply would remove them. Other commands, such as
/// `kubectl edit`, keep their fields, except for those that the manifests contained and no
/// longer contain. Fields that a rollback has restored are handed over, those of controllers
/// never.
pub fn hand_over(live: &Value, merged: &Value, manager: &str) -> Option<Value> {
    let entries = live.pointer("/metadata/managedFields")?.as_array()?;
    let own = own_entry(live, manager);
    let before = own.map(FieldSet::read).unwrap_or_default();
    let after = own_entry(merged, manager).map(FieldSet::read).unwrap_or_default();
    let version = &live["apiVersion"];
    let (dropped, stored) = dropped_fields(live, &before, &after);
    let mut fields = before.clone();
    fields.0.extend(stored.0);
    let mut others = Vec::new();
    let mut time = own.map(|own| own["time"].clone());
    for entry in entries.iter().filter(|entry| Some(*entry) != own) {
        let set = FieldSet::read(entry);
        if !is_kubectl(entry) || !is_of(entry, version) {
            others.push(entry.clone());
        } else if is_client_side_apply(entry, &set) {
            fields.0.extend(set.0.into_iter().filter(|path| is_in_manifest(live, path)));
            time.get_or_insert_with(|| entry["time"].clone());
        } else {
            let restored = set.0.iter().filter(|path| is_restored(entry, path)).cloned();
            let restored: BTreeSet<Path> = restored.collect();
            let rest = FieldSet(&(&set.0 - &dropped.0) - &restored);
            fields.0.extend(restored);
            if rest == set {
                others.push(entry.clone());
            } else if !rest.0.is_empty() {
                others.push(with_fields(entry.clone(), &rest));
            }
        }
    }
    let unchanged: Vec<&Value> = entries.iter().filter(|entry| Some(*entry) != own).collect();
    if fields == before && others.iter().eq(unchanged) {
        return None;
    }
    let entry = json!({"manager": manager, "operation": "Apply", "apiVersion": version,
        "fieldsType": "FieldsV1", "time": time?});
    others.push(with_fields(entry, &fields));
    // Because of the resource version, the API server rejects the patch with a conflict if the
    // object has changed since.
    Some(json!([
        {"op": "replace", "path": "/metadata/managedFields", "value": others},
        {"op": "replace", "path": "/metadata/resourceVersion",
            "value": live["metadata"]["resourceVersion"]},
    ]))
}

/// Whether `manager` has applied the same fields to both versions of an object.
pub fn has_same_fields(live: &Value, merged: &Value, manager: &str) -> bool {
    let fields = |object| own_entry(object, manager).map(FieldSet::read).unwrap_or_default();
    fields(live) == fields(merged)
}

/// Returns the fields that `manager` has applied to `live`, and that are not in `merged`, which is
/// the object after a dry run of its apply. Of a list item that is removed, only the item.
pub fn removed_fields(live: &Value, merged: &Value, manager: &str) -> Vec<String> {
    let fields = |object| own_entry(object, manager).map(FieldSet::read).unwrap_or_default();
    let removed: BTreeSet<Path> = (&fields(live).0 - &fields(merged).0)
        .into_iter()
        .filter(|path| contains(live, path) && !contains(merged, path))
        .map(|path| up_to_removed_item(merged, path))
        .collect();
    format_leaves(&removed)
}

/// Returns the fields that `manager` has applied to `live` and that have another value in `merged`,
/// which is the object after a dry run of its apply.
pub fn changed_fields(live: &Value, merged: &Value, manager: &str) -> Vec<String> {
    let fields = |object| own_entry(object, manager).map(FieldSet::read).unwrap_or_default();
    let is_changed = |path: &Path| match (find(live, path), find(merged, path)) {
        (Some(before), Some(after)) => before != after,
        _ => false,
    };
    let both = &fields(live).0 & &fields(merged).0;
    format_leaves(&both.into_iter().filter(is_changed).collect())
}

/// Formats the paths, without those of which another one is a part.
fn format_leaves(paths: &BTreeSet<Path>) -> Vec<String> {
    let is_parent =
        |path: &Path| paths.iter().any(|other| other.len() > path.len() && other.starts_with(path));
    paths.iter().filter(|path| !is_parent(path)).map(format_path).collect()
}

/// Returns the path of the first list item on a path that an object does not have, or the path.
fn up_to_removed_item(object: &Value, path: Path) -> Path {
    let is_item = |at: &usize| path[*at].starts_with("k:") && !contains(object, &path[..=*at]);
    match (0..path.len()).find(is_item) {
        Some(at) => path[..=at].to_vec(),
        None => path,
    }
}

/// Formats a path like the API server does, such as `.spec.ports[port=80,protocol="TCP"]`.
fn format_path(path: &Path) -> String {
    let format = |element: &String| match element.split_once(':') {
        Some(("f", name)) => format!(".{name}"),
        Some(("k", keys)) => {
            let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
            let keys: Vec<String> =
                keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
            format!("[{}]", keys.join(","))
        }
        Some(("v", value)) => format!("[={value}]"),
        _ => format!("[{}]", element.trim_start_matches("i:")),
    };
    path.iter().map(format).collect()
}

/// Returns the entry of the fields that `manager` has applied.
fn own_entry<'a>(object: &'a Value, manager: &str) -> Option<&'a Value> {
    list(&object["metadata"]["managedFields"]).find(|entry| {
        entry["manager"] == manager
            && entry["operation"] == "Apply"
            && is_of(entry, &object["apiVersion"])
    })
}

/// Whether the entry has fields of the object in this version, not those of a subresource
/// such as `scale`.
fn is_of(entry: &Value, version: &Value) -> bool {
    entry["apiVersion"] == *version && text(entry, "/subresource").is_empty()
}

/// Whether a person has set the fields with kubectl.
fn is_kubectl(entry: &Value) -> bool {
    let name = text(entry, "/manager");
    (name == "kubectl" || name.starts_with("kubectl-")) && entry["operation"] == "Update"
}

/// Whether the fields are those of a manifest: of `kubectl apply`, or of a command with
/// `--save-config`, which also keeps the manifest for the next `kubectl apply`.
fn is_client_side_apply(entry: &Value, set: &FieldSet) -> bool {
    let last_applied = ["f:metadata", "f:annotations", &format!("f:{LAST_APPLIED}")];
    entry["manager"] == CLIENT_SIDE || set.0.contains(last_applied.map(str::to_owned).as_slice())
}

/// Whether `kubectl rollout undo` has restored the field, which an earlier apply contained.
fn is_restored(entry: &Value, path: &Path) -> bool {
    let is_restart = path.last().is_some_and(|last| *last == format!("f:{RESTARTED_AT}"));
    entry["manager"] == ROLLOUT_UNDO
        && path.starts_with(&["f:spec".to_owned(), "f:template".to_owned()])
        && !is_restart
}

/// Returns the fields that the last apply contained and the next one does not. The second set
/// are those of them that were applied as `stringData` of a Secret, which stores them in
/// `data`, but leaves them there without an owner.
fn dropped_fields(live: &Value, before: &FieldSet, after: &FieldSet) -> (FieldSet, FieldSet) {
    let mut dropped = &before.0 - &after.0;
    let mut stored = BTreeSet::new();
    if live["kind"] == "Secret" {
        let in_data = |path: &Path| match path.as_slice() {
            [field, key] if field == "f:stringData" => Some(vec!["f:data".into(), key.clone()]),
            _ => None,
        };
        let is_stored = |path: &Path| {
            let key = path[1].trim_start_matches("f:");
            live["data"].get(key).is_some() && !after.0.contains(path)
        };
        stored = dropped.iter().filter_map(in_data).filter(is_stored).collect();
    }
    dropped.extend(stored.iter().cloned());
    (FieldSet(dropped), FieldSet(stored))
}

/// Whether the manifest of the last client-side apply contained the field. Without this
/// manifest, all fields count.
fn is_in_manifest(live: &Value, path: &Path) -> bool {
    let annotation = &live["metadata"]["annotations"][LAST_APPLIED];
    let Some(manifest) = annotation.as_str().and_then(|text| serde_json::from_str(text).ok())
    else {
        return true;
    };
    match path.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        // kubectl adds the map.
        ["f:metadata", "f:annotations"] => false,
        ["f:metadata", "f:annotations", last] if last.strip_prefix("f:") == Some(LAST_APPLIED) => {
            true
        }
        ["f:data", key] if live["kind"] == "Secret" => {
            contains(&manifest, path) || contains(&manifest["stringData"], &[(*key).to_owned()])
        }
        _ => contains(&manifest, path),
    }
}

/// Whether a manifest contains the field.
fn contains(manifest: &Value, path: &[String]) -> bool {
    find(manifest, path).is_some()
}

/// Returns the value of a field. Each element of a path is a key (`f:`), the keys of a list item
/// (`k:`), its value (`v:`), or its index (`i:`).
fn find<'a>(manifest: &'a Value, path: &[String]) -> Option<&'a Value> {
    let Some((first, rest)) = path.split_first() else { return Some(manifest) };
    let (kind, name) = first.split_once(':')?;
    let parsed = || serde_json::from_str::<Value>(name).unwrap_or_default();
    let found = match kind {
        "f" => manifest.get(name),
        "k" => list(manifest).find(|item| has_keys(item, &parsed())),
        "v" => list(manifest).find(|item| **item == parsed()),
        _ => name.parse::<usize>().ok().and_then(|index| manifest.get(index)),
    };
    find(found?, rest)
}

/// Whether a list item of a manifest has these keys; a key that it omits has its default.
fn has_keys(item: &Value, keys: &Value) -> bool {
    let mut keys = keys.as_object().into_iter().flatten();
    keys.all(|(key, value)| item.get(key).is_none_or(|given| given == value))
}

impl FieldSet {
    /// Reads the fields of an entry of `managedFields`.
    fn read(entry: &Value) -> Self {
        let mut set = BTreeSet::new();
        collect(&entry["fieldsV1"], &mut Vec::new(), &mut set);
        Self(set)
    }

    /// Returns the fields in the format of the API.
    fn to_json(&self) -> Value {
        let mut root = Tree::default();
        for path in &self.0 {
            let leaf = path
                .iter()
                .fold(&mut root, |tree, element| tree.children.entry(element.clone()).or_default());
            leaf.is_member = true;
        }
        root.to_json()
    }
}

impl Tree {
    fn to_json(&self) -> Value {
        let mut object: Map<String, Value> =
            self.children.iter().map(|(element, tree)| (element.clone(), tree.to_json())).collect();
        if self.is_member && !object.is_empty() {
            object.insert(".".to_owned(), json!({}));
        }
        object.into()
    }
}

/// Collects the paths below a node. A node without children is a field itself.
fn collect(node: &Value, path: &mut Path, set: &mut BTreeSet<Path>) {
    let Some(children) = node.as_object() else { return };
    if children.is_empty() && !path.is_empty() {
        set.insert(path.clone());
    }
    for (element, child) in children {
        if element == "." {
            set.insert(path.clone());
            continue;
        }
        path.push(element.clone());
        collect(child, path, set);
        path.pop();
    }
}

/// Returns the entry with these fields.
fn with_fields(mut entry: Value, fields: &FieldSet) -> Value {
    entry["fieldsV1"] = fields.to_json();
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(manager: &str, operation: &str, fields: &Value) -> Value {
        json!({"manager": manager, "operation": operation, "apiVersion": "v1", "time": "t",
            "fieldsType": "FieldsV1", "fieldsV1": fields})
    }

    fn object(kind: &str, entries: &[Value]) -> Value {
        json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "o", "resourceVersion": "7",
            "managedFields": entries}, "data": {"old": "", "keep": ""}})
    }

    /// Returns the managers after the patch; none without a patch.
    fn managers(live: &Value, next: &Value) -> Vec<(String, Value)> {
        let merged = object("", &[entry("kdev", "Apply", next)]);
        let Some(patch) = hand_over(live, &merged, "kdev") else { return Vec::new() };
        assert_eq!(patch[1]["value"], "7");
        let manager = |entry: &Value| {
            assert!(entry["time"] == "t" && entry["apiVersion"] == "v1", "{entry}");
            let name = text(entry, "/manager");
            assert_eq!(entry["operation"] == "Apply", name == "kdev");
            (name.to_owned(), entry["fieldsV1"].clone())
        };
        list(&patch[0]["value"]).map(manager).collect()
    }

    fn named(managers: &[(&str, Value)]) -> Vec<(String, Value)> {
        managers.iter().map(|(name, fields)| ((*name).to_owned(), fields.clone())).collect()
    }

    #[test]
    fn fields_round_trip() {
        let fields = json!({"f:a": {".": {}, "f:b": {}, "k:{\"n\":1}": {"f:n": {}}}, "f:c": {},
            "f:d": {"v:\"x\"": {}}});
        assert_eq!(FieldSet::read(&json!({"fieldsV1": fields})).to_json(), fields);
    }

    #[test]
    fn fields_of_client_side_apply_are_handed_over() {
        let (both, keep) =
            (json!({"f:data": {"f:keep": {}, "f:old": {}}}), json!({"f:data": {"f:keep": {}}}));
        let apply = entry(CLIENT_SIDE, "Update", &both);
        // Before the first apply, and after some.
        for own in [None, Some(entry("kdev", "Apply", &keep))] {
            let mut entries = vec![apply.clone()];
            entries.extend(own);
            assert_eq!(
                managers(&object("ConfigMap", &entries), &keep),
                named(&[("kdev", both.clone())])
            );
        }
        let done = object("ConfigMap", &[entry("kdev", "Apply", &keep)]);
        assert_eq!(managers(&done, &keep), []);
        // An object that does not exist.
        assert_eq!(managers(&Value::Null, &keep), []);
        // No field is left, so the dry run has no entry.
        let empty = hand_over(&object("ConfigMap", &[apply]), &object("ConfigMap", &[]), "kdev");
        assert_eq!(empty.unwrap()[0]["value"][0]["fieldsV1"], both);
    }

    #[test]
    fn managers_are_compared_by_fields() {
        let fields = |key: &str| {
            object("ConfigMap", &[entry("kdev", "Apply", &json!({"f:data": {key: {}}}))])
        };
        assert!(has_same_fields(&fields("f:a"), &fields("f:a"), "kdev"));
        assert!(!has_same_fields(&fields("f:a"), &fields("f:b"), "kdev"));
        assert!(!has_same_fields(&Value::Null, &fields("f:b"), "kdev"));
        assert!(has_same_fields(&fields("f:a"), &fields("f:b"), "another"));
    }

    #[test]
    fn removed_fields_are_those_that_manager_has_applied() {
        let entry = |fields: &Value| [entry("kdev", "Apply", fields)];
        let port = |port: u16| {
            (format!("k:{{\"port\":{port}}}"), json!({".": {}, "f:port": {}, "f:name": {}}))
        };
        let ports = |ports: &[u16]| ports.iter().copied().map(port).collect::<Map<_, _>>();
        let before = json!({"f:data": {".": {}, "f:a.b": {}, "f:keep": {}, "f:shared": {}, "f:gone": {}},
            "f:spec": {"f:ports": ports(&[80, 81]), "f:finalizers": {"v:\"x\"": {}}}});
        let after = json!({"f:data": {"f:keep": {}}, "f:spec": {"f:ports": ports(&[80])}});
        let mut live = object("Any", &entry(&before));
        live["data"] = json!({"a.b": "", "keep": "", "shared": "", "other": ""});
        live["spec"] = json!({"finalizers": ["x"], "ports": [{"port": 80, "name": ""}, {"port": 81, "name": ""}]});
        let mut merged = object("Any", &entry(&after));
        // Another manager has `shared`, too, and `other`.
        merged["data"] = json!({"keep": "", "shared": "", "other": ""});
        merged["spec"] = json!({"ports": [{"port": 80, "name": ""}]});
        let expected = [".data.a.b", ".spec.finalizers[=\"x\"]", ".spec.ports[port=81]"];
        assert_eq!(removed_fields(&live, &merged, "kdev"), expected);
        assert!(removed_fields(&live, &live, "kdev").is_empty());
        assert!(removed_fields(&Value::Null, &merged, "kdev").is_empty());
        // The last key goes with the map.
        merged["data"].take();
        live["data"] = json!({"a.b": ""});
        assert_eq!(removed_fields(&live, &merged, "kdev")[0], ".data.a.b");
    }

    #[test]
    fn changed_fields_are_the_innermost_ones() {
        let fields = json!({"f:data": {".": {}, "f:a.b": {}, "f:keep": {}, "f:gone": {}},
            "f:spec": {"f:ports": {"k:{\"port\":80}": {".": {}, "f:port": {}, "f:name": {}}}}});
        let mut live = object("Any", &[entry("kdev", "Apply", &fields)]);
        let mut merged = live.clone();
        live["data"] = json!({"a.b": "1", "keep": "1", "gone": "1", "other": "1"});
        merged["data"] = json!({"a.b": "2", "keep": "1", "new": "1", "other": "2"});
        live["spec"] = json!({"ports": [{"port": 79}, {"port": 80, "name": "a"}]});
        merged["spec"] = json!({"ports": [{"port": 80, "name": "b"}]});
        let changed = changed_fields(&live, &merged, "kdev");
        assert_eq!(changed, [".data.a.b", ".spec.ports[port=80].name"]);
    }

    #[test]
    fn defaults_of_client_side_apply_lose_their_owner() {
        let port = "k:{\"port\":80,\"protocol\":\"TCP\"}";
        let last = format!("f:{LAST_APPLIED}");
        let fields = json!({"f:metadata": {"f:annotations": {".": {}, last.clone(): {}}},
            "f:spec": {"f:type": {}, "f:ports": {".": {}, port: {".": {}, "f:port": {}, "f:protocol": {}}},
                "f:finalizers": {"v:\"x\"": {}, "v:\"y\"": {}}}});
        let mut live = object("Service", &[entry("kubectl-create", "Update", &fields)]);
        let manifest = json!({"metadata": {"annotations": {}},
            "spec": {"ports": [{"port": 81}, {"port": 80}], "finalizers": ["x"]}});
        live["metadata"]["annotations"] = json!({LAST_APPLIED: manifest.to_string()});
        let moved = json!({"f:metadata": {"f:annotations": {last: {}}},
            "f:spec": {"f:ports": {".": {}, port: {".": {}, "f:port": {}}}, "f:finalizers": {"v:\"x\"": {}}}});
        assert_eq!(managers(&live, &json!({})), named(&[("kdev", moved)]));
    }

    #[test]
    fn other_managers_keep_fields_that_were_never_in_manifests() {
        let own = json!({"f:data": {"f:keep": {}, "f:old": {}}});
        let next = json!({"f:data": {"f:keep": {}}});
        let mut scale = entry("kubectl", "Update", &json!({"f:data": {"f:old": {}}}));
        scale["subresource"] = json!("scale");
        let stays = [
            entry("autoscaler", "Update", &own),
            entry("kubectl", "Apply", &own),
            entry("kubectl-edit", "Update", &json!({"f:data": {"f:hers": {}, "f:keep": {}}})),
            scale,
        ];
        let all = |others: &[Value]| [&[entry("kdev", "Apply", &own)], others].concat();
        assert_eq!(managers(&object("ConfigMap", &all(&stays[..3])), &next), []);
        assert_eq!(managers(&object("ConfigMap", &all(&stays[3..])), &next), []);
        // A field that the manifests contained is removed, also if a person has set it.
        let edited =
            entry("kubectl-edit", "Update", &json!({"f:data": {"f:hers": {}, "f:old": {}}}));
        let created = entry("kubectl-create", "Update", &json!({"f:data": {"f:old": {}}}));
        let live = object("ConfigMap", &all(&[edited, created]));
        let hers = json!({"f:data": {"f:hers": {}}});
        assert_eq!(managers(&live, &next), named(&[("kubectl-edit", hers), ("kdev", own.clone())]));
        assert_eq!(managers(&live, &own), []);
    }

    #[test]
    fn fields_that_rollback_has_restored_are_handed_over() {
        let template = |fields: Value| json!({"f:spec": {"f:template": fields}});
        let restarted = format!("f:{RESTARTED_AT}");
        let undone = json!({"f:spec": {"f:template": {"f:a": {}, "f:m": {restarted.clone(): {}}}, "f:x": {}}});
        let own = entry("kdev", "Apply", &template(json!({"f:b": {}})));
        let live = object("Deployment", &[entry("kubectl", "Update", &undone), own]);
        let rest = json!({"f:spec": {"f:template": {"f:m": {restarted: {}}}, "f:x": {}}});
        let all = template(json!({"f:a": {}, "f:b": {}}));
        let expected = named(&[("kubectl", rest), ("kdev", all)]);
        assert_eq!(managers(&live, &template(json!({"f:b": {}}))), expected);
    }

    #[test]
    fn string_data_of_secret_is_removed_from_data() {
        let own = json!({"f:stringData": {"f:gone": {}, "f:keep": {}, "f:old": {}}});
        let live = object("Secret", &[entry("kdev", "Apply", &own)]);
        let next = json!({"f:stringData": {"f:keep": {}}});
        let all = json!({"f:data": {"f:old": {}}, "f:stringData": {"f:gone": {}, "f:keep": {}, "f:old": {}}});
        assert_eq!(managers(&live, &next), named(&[("kdev", all)]));
        // Moved from `stringData` to `data`.
        let moved = json!({"f:stringData": {"f:keep": {}}, "f:data": {"f:old": {}}});
        assert_eq!(managers(&live, &moved), []);
        // After a client-side apply, which stores the keys in `data`.
        let last = json!({"stringData": {"old": ""}}).to_string();
        let data = json!({"f:data": {"f:old": {}, "f:keep": {}}});
        let mut live = object("Secret", &[entry(CLIENT_SIDE, "Update", &data)]);
        live["metadata"]["annotations"] = json!({LAST_APPLIED: last});
        let moved = json!({"f:data": {"f:old": {}}});
        assert_eq!(managers(&live, &json!({})), named(&[("kdev", moved)]));
    }
}
