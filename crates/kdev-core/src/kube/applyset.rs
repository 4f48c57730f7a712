//! The objects that a project has applied, as an `ApplySet` (KEP-3659): each object has a
//! label with the ID of its set, and the parent of the set, a ConfigMap, lists the kinds
//! and namespaces of its members. That label has room for one set, so each object also has a
//! label for every set that it belongs to.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::kube::owner::{Identity, MANIFESTS};

/// Label on each member: the ID of its set.
pub const PART_OF: &str = "applyset.kubernetes.io/part-of";
/// Begins the label of objects that existed before a set applied them.
pub const EXISTED_PREFIX: &str = "existed-before.kdev/";
/// Begins the labels of a member that name the parents of its sets. The value is the parent's
/// namespace.
pub(crate) const OWNER_PREFIX: &str = "owner.kdev/";
/// Label on each parent: the ID of its set.
pub const ID: &str = "applyset.kubernetes.io/id";
const TOOLING: &str = "applyset.kubernetes.io/tooling";
const KINDS: &str = "applyset.kubernetes.io/contains-group-kinds";
const NAMESPACES: &str = "applyset.kubernetes.io/additional-namespaces";
/// Whether everything that the set lists has been applied, labeled, and pruned.
const STATE: &str = "kdev/state";
const COMPLETE: &str = "complete";
const INCOMPLETE: &str = "incomplete";
/// The longest part of a package name in the name of a parent. A label key has at most 63
/// characters.
const MAX_PACKAGE: usize = 40;

/// Namespace and id of an object, such as `deployment.apps/hello`.
pub type Member = (String, String);

/// The parent object of a set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Parent {
    pub name: String,
    pub namespace: String,
}

/// An apply set and its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    pub parent: Parent,
    /// Kinds with their groups, such as `Deployment.apps`.
    pub kinds: BTreeSet<String>,
    /// Namespaces other than the parent's.
    pub namespaces: BTreeSet<String>,
    /// Members as `NAMESPACE deployment.apps/hello`.
    pub members: BTreeSet<String>,
    /// Whether the members that existed before their first apply are marked. Sets of older
    /// versions have no marks.
    pub records_origin: bool,
    /// The files and globs of the manifests, if the settings name them.
    pub manifests: Vec<String>,
}

impl Parent {
    /// Returns the parent of the set that a package of this project applies to this namespace.
    pub fn new(package: &str, namespace: &str, identity: &Identity) -> Self {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
        let name: String = package.chars().map(plain).take(MAX_PACKAGE).collect();
        let digits = identity.digits(package, namespace);
        Self { name: format!("kdev-{name}-{digits}"), namespace: namespace.to_owned() }
    }

    /// Whether another parent belongs to a package of the same name, in the same namespace.
    pub fn is_namesake(&self, other: &Self) -> bool {
        let prefix = |parent: &Self| parent.name.rsplit_once('-').map(|(name, _)| name.to_owned());
        self != other && self.namespace == other.namespace && prefix(self) == prefix(other)
    }

    /// Returns the parent that an older kdev used, whatever the project.
    pub fn without_identity(package: &str, namespace: &str) -> Self {
        let name = format!("kdev-{}", package.to_lowercase().replace('_', "-"));
        Self { name, namespace: namespace.to_owned() }
    }

    /// Returns the ID of the set, as the specification defines it.
    pub fn id(&self) -> String {
        let text = format!("{}.{}.ConfigMap.", self.name, self.namespace);
        let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(text.as_bytes()));
        format!("applyset-{hash}-v1")
    }

    /// Returns whether a ConfigMap of this name is the record of the set, and not one of the user.
    pub fn is_record(&self, live: &Value) -> bool {
        live["metadata"]["labels"][ID].as_str() == Some(&self.id())
    }

    /// Returns the label of members that existed before their first apply. Each set has a
    /// separate one, because an object of one set can exist before another set.
    pub fn existed_label(&self) -> String {
        format!("{EXISTED_PREFIX}{}", self.id())
    }

    /// Whether a live object has a label of this set.
    pub fn has_member(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        labels[PART_OF] == self.id().as_str() || labels[self.owner_key()] == self.namespace.as_str()
    }

    /// Returns the label selector of the set's members.
    pub fn selector(&self) -> String {
        format!("{PART_OF}={}", self.id())
    }

    /// Returns the key of the label of its members. The label of the specification has room for
    /// one set; each set has one of these.
    pub fn owner_key(&self) -> String {
        format!("{OWNER_PREFIX}{}", self.name)
    }

    /// Returns the label of its members, which is also their selector.
    pub fn owner_label(&self) -> String {
        format!("{}={}", self.owner_key(), self.namespace)
    }

    /// Returns the parent's id for kubectl.
    pub fn object(&self) -> String {
        format!("configmap/{}", self.name)
    }
}

impl Set {
    /// Creates the set of these objects.
    pub fn from_objects(parent: Parent, objects: impl IntoIterator<Item = Value>) -> Self {
        let (mut kinds, mut namespaces, mut members) =
            (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for object in objects {
            kinds.insert(group_kind(&object));
            let (namespace, id) = member(&parent)(&object);
            members.insert(format!("{namespace} {id}"));
            if namespace != parent.namespace {
                namespaces.insert(namespace);
            }
        }
        Self { parent, kinds, namespaces, members, records_origin: true, manifests: Vec::new() }
    }

    /// Parses the set from its parent in the cluster.
    pub fn read(parent: Parent, live: &Value) -> Self {
        let list = |value: &Value, by: char| -> BTreeSet<String> {
            let text = value.as_str().unwrap_or_default();
            text.split(by).filter(|item| !item.is_empty()).map(str::to_owned).collect()
        };
        let annotations = &live["metadata"]["annotations"];
        Self {
            parent,
            kinds: list(&annotations[KINDS], ','),
            namespaces: list(&annotations[NAMESPACES], ','),
            members: list(&live["data"]["members"], '\n'),
            records_origin: !annotations[STATE].is_null(),
            manifests: {
                let paths = annotations[MANIFESTS].as_str().unwrap_or_default().lines();
                paths.map(str::to_owned).collect()
            },
        }
    }

    /// Returns the manifest of the parent when everything is applied. Its origin is not compared.
    pub fn document(&self) -> String {
        self.record(true, &Map::new())
    }

    /// Returns the manifest of the parent, with these annotations.
    pub fn record(&self, is_complete: bool, origin: &Map<String, Value>) -> String {
        let join = |items: &BTreeSet<String>, by: &str| {
            items.iter().map(String::as_str).collect::<Vec<_>>().join(by)
        };
        let state = if is_complete { COMPLETE } else { INCOMPLETE };
        let mut annotations = json!({TOOLING: "kdev/v1", KINDS: join(&self.kinds, ","), STATE: state,
            // Also if they are empty: two field managers write the record, and a removed
            // annotation of one would stay as that of the other.
            NAMESPACES: join(&self.namespaces, ","), MANIFESTS: self.manifests.join("\n")});
        for (key, value) in origin {
            annotations[key] = value.clone();
        }
        let metadata = json!({"name": self.parent.name, "labels": {ID: self.parent.id()},
            "annotations": annotations});
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata,
            "data": {"members": join(&self.members, "\n")}})
        .to_string()
    }

    /// Adds the members of another set, so that they are found again.
    #[must_use]
    pub fn with(mut self, other: Self) -> Self {
        self.kinds.extend(other.kinds);
        self.namespaces.extend(other.namespaces);
        self.members.extend(other.members);
        self
    }

    /// Returns the namespace and id of each member.
    pub fn members(&self) -> impl Iterator<Item = Member> {
        let members = self.members.iter().filter_map(|member| member.split_once(' '));
        members.map(|(namespace, id)| (namespace.to_owned(), id.to_owned()))
    }

    /// Returns all namespaces with members.
    pub fn all_namespaces(&self) -> impl Iterator<Item = &str> {
        let others = self.namespaces.iter().map(String::as_str);
        std::iter::once(self.parent.namespace.as_str()).chain(others)
    }

    /// Returns its resources as kubectl accepts them.
    pub fn resources(&self) -> String {
        self.kinds.iter().map(String::as_str).collect::<Vec<_>>().join(",")
    }

    /// Whether a live object is a member. Manifests do not say whether a kind is namespaced, so
    /// the namespace of a cluster-scoped object, which is empty, is not compared.
    pub fn has(&self, namespace: &str, object: &str) -> bool {
        self.members().any(|(known_namespace, known)| {
            known == object && (namespace.is_empty() || known_namespace == namespace)
        })
    }
}

fn group_kind(object: &Value) -> String {
    let kind = object["kind"].as_str().unwrap_or_default();
    match object["apiVersion"].as_str().unwrap_or_default().split_once('/') {
        Some((group, _)) => format!("{kind}.{group}"),
        None => kind.to_owned(),
    }
}

/// Returns the id of an object as kubectl prints it, such as `deployment.apps/hello`.
pub fn id(object: &Value) -> String {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    format!("{}/{name}", group_kind(object).to_lowercase())
}

/// Returns the namespace of an object, by default the set's, and its id.
pub fn member(parent: &Parent) -> impl Fn(&Value) -> Member {
    |object| {
        let named = object["metadata"]["namespace"].as_str();
        (named.unwrap_or(&parent.namespace).to_owned(), id(object))
    }
}

/// Whether the record of a set says that everything is applied.
pub fn is_complete(record: &Value) -> bool {
    record["metadata"]["annotations"][STATE] == COMPLETE
}

/// Whether an object belongs to no set.
pub fn is_unlabeled(object: &Value) -> bool {
    object["metadata"]["labels"][PART_OF].is_null()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(objects: &[&str]) -> Set {
        let objects = objects.iter().map(|text| serde_json::from_str(text).unwrap());
        Set::from_objects(Parent::without_identity("My_App", "n"), objects)
    }

    fn parent(key: &str) -> Parent {
        Parent::new("My_App", "n", &Identity::from_key(key))
    }

    const DEPLOYMENT: &str =
        r#"{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}}"#;
    const MAP: &str = r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "other"}}"#;
    const NAMESPACE: &str =
        r#"{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other"}}"#;

    #[test]
    fn id_matches_specification() {
        let parent = Parent::without_identity("My_App", "n");
        // printf kdev-my-app.n.ConfigMap. | sha256sum | xxd -r -p | base64
        assert_eq!(parent.name, "kdev-my-app");
        assert_eq!(parent.id(), "applyset-I8VPSMD6XuX2H49KafrJRanm-4n3aHy7zNrerP5_3IQ-v1");
    }

    #[test]
    fn parents_of_same_package_differ_by_project_and_namespace() {
        let ours = parent("a");
        assert!(ours.name.starts_with("kdev-my-app-"), "{ours:?}");
        assert_ne!(ours.name, parent("b").name);
        assert!(ours.is_namesake(&parent("b")) && !ours.is_namesake(&ours));
        let key = Identity::from_key("b");
        assert!(!ours.is_namesake(&Parent::new("My_App", "m", &key)));
        assert!(!ours.is_namesake(&Parent::new("My_App_2", "n", &key)));
        let identity = Identity::from_key("a");
        assert_ne!(ours.name, Parent::new("My_App", "m", &identity).name);
        // The names are ambiguous without the digits.
        assert_ne!(ours.name, Parent::new("my-app", "n", &identity).name);
        let long = Parent::new(&"größe".repeat(20), "n", &identity);
        assert!(long.name.is_ascii() && long.name.len() <= 63, "{long:?}");
    }

    #[test]
    fn set_round_trips_through_parent() {
        let written = set(&[DEPLOYMENT, MAP]);
        assert_eq!(written.resources(), "ConfigMap,Deployment.apps");
        assert_eq!(written.all_namespaces().collect::<Vec<_>>(), ["n", "other"]);
        let live: Value = serde_json::from_str(&written.document()).unwrap();
        assert_eq!(Set::read(written.parent.clone(), &live), written);
        let older = written.document().replace(STATE, "other");
        let live: Value = serde_json::from_str(&older).unwrap();
        assert!(!Set::read(written.parent, &live).records_origin);
    }

    #[test]
    fn removed_object_is_not_a_member() {
        let now = set(&[DEPLOYMENT, NAMESPACE]);
        assert!(now.has("n", "deployment.apps/d"));
        assert!(!now.has("other", "deployment.apps/d"));
        assert!(!now.has("other", "configmap/c"));
        assert!(now.has("", "namespace/other"));
        let both = now.with(set(&[MAP]));
        assert!(both.has("other", "configmap/c") && both.has("n", "deployment.apps/d"));
    }

    #[test]
    fn ids_match_kubectl() {
        let object = |version: &str, kind: &str| {
            id(&json!({"apiVersion": version, "kind": kind, "metadata": {"name": "x"}}))
        };
        assert_eq!(object("apps/v1", "Deployment"), "deployment.apps/x");
        assert_eq!(object("v1", "Service"), "service/x");
    }
}
