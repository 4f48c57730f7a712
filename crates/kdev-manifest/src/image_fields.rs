//! The fields that hold a container image: in every built-in workload kind, and those that
//! the configuration adds.

use std::fmt;

use kdev_core::kube::kinds;
use serde_yaml::{Mapping, Value};

use crate::yaml::Node;

/// The fields of a pod spec that list containers.
const CONTAINER_LISTS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];
/// The image and pull policy fields of a container.
const CONTAINER: (&str, Option<&str>) = ("image", Some("imagePullPolicy"));
/// The image and pull policy fields of an image volume.
const VOLUME: (&str, Option<&str>) = ("reference", Some("pullPolicy"));

/// A field from the configuration, such as `Rollout:spec.template.spec.image`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImagePath {
    kind: String,
    path: Vec<String>,
}

/// The path to mappings that have an image field. Lists on the path are expanded to their
/// items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldPath {
    path: Vec<String>,
    /// The key of the image.
    pub image: String,
    /// The key of the pull policy, if there is one.
    pub policy: Option<&'static str>,
}

/// The kind and API version of an object.
#[derive(Clone, Copy, Debug)]
pub struct ObjectType<'a> {
    pub kind: &'a str,
    /// Its `apiVersion`; without one, a built-in kind is assumed.
    pub version: Option<&'a str>,
}

impl ImagePath {
    /// Parses `KIND:FIELD.FIELD`; `\.` is a dot within a field's name.
    pub fn parse(text: &str) -> Result<Self, String> {
        let fail = || {
            format!("`{text}` is not of the form `KIND:FIELD.FIELD`, such as `MyKind:spec.image`")
        };
        let (kind, path) = text.split_once(':').ok_or_else(fail)?;
        let path: Vec<String> =
            path.replace("\\.", "\0").split('.').map(|field| field.replace('\0', ".")).collect();
        if kind.is_empty() || path.iter().any(String::is_empty) {
            return Err(fail());
        }
        Ok(Self { kind: kind.to_owned(), path })
    }

    fn field_path(&self) -> Option<FieldPath> {
        let (image, path) = self.path.split_last()?;
        let in_container = image == CONTAINER.0
            && path.last().is_some_and(|field| CONTAINER_LISTS.contains(&field.as_str()));
        let policy = CONTAINER.1.filter(|_| in_container);
        Some(FieldPath { path: path.to_vec(), image: image.clone(), policy })
    }
}

impl<'a> ObjectType<'a> {
    /// Returns the API group, which is empty for the core group.
    pub fn group(self) -> Option<&'a str> {
        self.version.map(|version| version.rsplit_once('/').map_or("", |(group, _)| group))
    }

    /// Returns the paths of its pod specs, if it is a workload.
    pub fn pod_specs(self) -> &'static [&'static [&'static str]] {
        kinds::BUILT_IN.in_group(self.kind, self.group()).map_or(&[], |kind| kind.pod_specs)
    }

    /// Returns the workload kind that is probably meant by a misspelled one.
    pub fn nearest_workload(self) -> Option<&'static str> {
        if self.item_kind().is_some() || kinds::BUILT_IN.find(self.kind).is_some() {
            return None;
        }
        kinds::BUILT_IN.nearest(self.kind, self.group()).map(|kind| kind.kind)
    }

    /// Returns every field that may hold an image.
    pub fn field_paths(self, paths: &[ImagePath]) -> Vec<FieldPath> {
        let mut routes = Vec::new();
        for spec in self.pod_specs() {
            let mut add = |rest: &[&str], (image, policy): (&str, Option<&'static str>)| {
                let path = spec.iter().chain(rest).map(|field| (*field).to_owned()).collect();
                routes.push(FieldPath { path, image: image.to_owned(), policy });
            };
            for list in CONTAINER_LISTS {
                add(&[list], CONTAINER);
            }
            add(&["volumes", "image"], VOLUME);
        }
        let configured = paths.iter().filter(|path| path.kind == self.kind);
        routes.extend(configured.filter_map(ImagePath::field_path));
        routes
    }

    /// Returns the kind of list items that do not set their own; `None` if this is not a
    /// list.
    pub(crate) fn item_kind(self) -> Option<&'a str> {
        self.kind.strip_suffix("List")
    }

    /// Returns the type of an item of this list: its own kind and version, or those of the
    /// list.
    fn item(self, kind: Option<&'a str>, version: Option<&'a str>) -> Option<Self> {
        let implied = self.item_kind().filter(|kind| !kind.is_empty());
        Some(Self { kind: kind.or(implied)?, version: version.or(self.version) })
    }
}

impl FieldPath {
    /// Visits the mappings at the end of the path.
    pub fn nodes<'a>(&self, object: &'a Node, visit: &mut dyn FnMut(&'a Node)) {
        nodes_at(object, &self.path, visit);
    }

    /// Visits the mappings at the end of the path, in a tree of values.
    pub fn values(&self, object: &mut Value, visit: &mut dyn FnMut(&mut Mapping)) {
        values_at(object, &self.path, visit);
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.iter().try_for_each(|field| write!(f, "{field}."))?;
        f.write_str(&self.image)
    }
}

fn nodes_at<'a>(node: &'a Node, path: &[String], visit: &mut dyn FnMut(&'a Node)) {
    if let Some(items) = node.items() {
        return items.iter().for_each(|item| nodes_at(item, path, visit));
    }
    match path.split_first() {
        Some((field, rest)) => {
            if let Some(value) = node.get(field) {
                nodes_at(value, rest, visit);
            }
        }
        None => visit(node),
    }
}

fn values_at(value: &mut Value, path: &[String], visit: &mut dyn FnMut(&mut Mapping)) {
    match (value, path.split_first()) {
        (Value::Sequence(items), _) => {
            for item in items {
                values_at(item, path, visit);
            }
        }
        (Value::Mapping(map), None) => visit(map),
        (Value::Mapping(map), Some((field, rest))) => {
            if let Some(value) = map.get_mut(field.as_str()) {
                values_at(value, rest, visit);
            }
        }
        _ => {}
    }
}

/// Visits the objects of a document, and the items of a list one by one.
pub fn each_node<'a>(document: &'a Node, visit: &mut dyn FnMut(ObjectType<'a>, &'a Node)) {
    each_typed_node(document, &mut |object_type, node| {
        if let Some(object_type) = object_type {
            visit(object_type, node);
        }
    });
}

/// The same, but also visits a document or an item without a kind.
pub fn each_typed_node<'a>(
    document: &'a Node,
    visit: &mut dyn FnMut(Option<ObjectType<'a>>, &'a Node),
) {
    each_node_in(LIST, document, visit);
}

/// The same among values.
pub fn each_value(document: &mut Value, visit: &mut dyn FnMut(ObjectType, &mut Value)) {
    each_value_in(LIST, document, visit);
}

/// The default type of a document: an item of a list without a kind.
const LIST: ObjectType<'static> = ObjectType { kind: "List", version: None };

fn each_node_in<'a>(
    list: ObjectType<'a>,
    node: &'a Node,
    visit: &mut dyn FnMut(Option<ObjectType<'a>>, &'a Node),
) {
    let text = |key| node.get(key).and_then(Node::text);
    let Some(object) = list.item(text("kind"), text("apiVersion")) else {
        return visit(None, node);
    };
    match node.get("items").and_then(Node::items) {
        Some(items) if object.item_kind().is_some() => {
            for item in items {
                each_node_in(object, item, visit);
            }
        }
        _ => visit(Some(object), node),
    }
}

fn each_value_in(
    list: ObjectType,
    value: &mut Value,
    visit: &mut dyn FnMut(ObjectType, &mut Value),
) {
    let text = |key| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let (kind, version) = (text("kind"), text("apiVersion"));
    let Some(object) = list.item(kind.as_deref(), version.as_deref()) else { return };
    let is_list =
        object.item_kind().is_some() && matches!(value.get("items"), Some(Value::Sequence(_)));
    match value.get_mut("items") {
        Some(Value::Sequence(items)) if is_list => {
            for item in items {
                each_value_in(object, item, visit);
            }
        }
        _ => visit(object, value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(kind: &str, version: Option<&str>) -> Option<usize> {
        ObjectType { kind, version }.pod_specs().first().map(|path| path.len())
    }

    #[test]
    fn only_built_in_workloads_are_known() {
        let table = [
            ("Pod", Some("v1"), Some(1)),
            ("PodTemplate", Some("v1"), Some(2)),
            ("ReplicationController", Some("v1"), Some(3)),
            ("Deployment", Some("apps/v1"), Some(3)),
            ("Deployment", Some("extensions/v1beta1"), Some(3)),
            ("DaemonSet", Some("apps/v1"), Some(3)),
            ("ReplicaSet", Some("apps/v1"), Some(3)),
            ("StatefulSet", Some("apps/v1"), Some(3)),
            ("Job", Some("batch/v1"), Some(3)),
            ("CronJob", Some("batch/v1"), Some(5)),
            ("Deployment", None, Some(3)),
            ("Deployment", Some("example.com/v1"), None),
            ("Job", Some("batch.volcano.sh/v1alpha1"), None),
            ("Rollout", Some("argoproj.io/v1alpha1"), None),
            ("ConfigMap", Some("v1"), None),
        ];
        for (kind, version, length) in table {
            assert_eq!(spec(kind, version), length, "{kind} {version:?}");
        }
    }

    #[test]
    fn misspelled_kind_is_recognized() {
        let table = [
            ("Deploymnt", Some("apps/v1"), Some("Deployment")),
            ("deployment", Some("apps/v1"), Some("Deployment")),
            ("StatefullSet", Some("apps/v1"), Some("StatefulSet")),
            ("DeamonSet", None, Some("DaemonSet")),
            ("Cronjob", Some("batch/v1"), Some("CronJob")),
            ("Pods", Some("v1"), Some("Pod")),
            ("Deployment", Some("apps/v1"), None),
            ("DeploymentList", Some("apps/v1"), None),
            ("Deploymnt", Some("example.com/v1"), None),
            ("Node", Some("v1"), None),
            ("PodMonitor", None, None),
            ("ControllerRevision", Some("apps/v1"), None),
        ];
        for (kind, version, expected) in table {
            assert_eq!(ObjectType { kind, version }.nearest_workload(), expected, "{kind}");
        }
    }

    #[test]
    fn configured_path_leads_to_image() {
        let field_path = |text: &str| ImagePath::parse(text).unwrap().field_path().unwrap();
        let custom = field_path("MyKind:spec.image");
        assert_eq!(
            (custom.path.as_slice(), custom.image.as_str()),
            (&["spec".to_owned()][..], "image")
        );
        assert_eq!(custom.policy, None);
        // A path into a container list has a pull policy, too.
        assert_eq!(field_path("Rollout:spec.template.spec.containers.image").policy, CONTAINER.1);
        assert_eq!(field_path(r"K:a.b\.c/d").image, "b.c/d");
        for text in ["spec.image", ":spec.image", "K:", "K:a..b"] {
            assert!(ImagePath::parse(text).is_err(), "{text}");
        }
    }
}
