//! What a project has applied, kept as an `ApplySet` (KEP-3659): each object
//! bears a label that names its set, and the set's parent, a `ConfigMap`, says
//! in which kinds and namespaces to look for them. Pure.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::wanted;

/// On each object of a set: the set's identity.
pub(crate) const PART_OF: &str = "applyset.kubernetes.io/part-of";
const ID: &str = "applyset.kubernetes.io/id";
const TOOLING: &str = "applyset.kubernetes.io/tooling";
const KINDS: &str = "applyset.kubernetes.io/contains-group-kinds";
const NAMESPACES: &str = "applyset.kubernetes.io/additional-namespaces";

/// An object's namespace, and what kubectl calls it: `deployment.apps/hello`.
pub(crate) type Member = (String, String);

/// Which set: by its parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parent {
    pub(crate) name: String,
    pub(crate) namespace: String,
}

/// A set, and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Set {
    pub(crate) parent: Parent,
    /// As `Deployment.apps`.
    pub(crate) kinds: BTreeSet<String>,
    /// Those beside the parent's own.
    pub(crate) namespaces: BTreeSet<String>,
    /// As `NAMESPACE deployment.apps/hello`.
    pub(crate) members: BTreeSet<String>,
}

impl Parent {
    /// The parent of what this package has applied to this namespace.
    pub(crate) fn of(package: &str, namespace: &str) -> Self {
        let name = format!("kdev-{}", package.to_lowercase().replace('_', "-"));
        Self { name, namespace: namespace.to_owned() }
    }

    /// The set's identity, as the specification makes it.
    pub(crate) fn id(&self) -> String {
        let text = format!("{}.{}.ConfigMap.", self.name, self.namespace);
        let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(text.as_bytes()));
        format!("applyset-{hash}-v1")
    }

    /// What selects the set's objects.
    pub(crate) fn selector(&self) -> String {
        format!("{PART_OF}={}", self.id())
    }

    /// As kubectl names it.
    pub(crate) fn object(&self) -> String {
        format!("configmap/{}", self.name)
    }
}

impl Set {
    /// The set of the objects in these documents.
    pub(crate) fn of<'a>(parent: Parent, documents: impl IntoIterator<Item = &'a String>) -> Self {
        let (mut kinds, mut namespaces, mut members) =
            (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for object in documents.into_iter().flat_map(|document| wanted::objects_in(document)) {
            kinds.insert(group_kind(&object));
            let (namespace, id) = member(&parent)(&object);
            members.insert(format!("{namespace} {id}"));
            if namespace != parent.namespace {
                namespaces.insert(namespace);
            }
        }
        Self { parent, kinds, namespaces, members }
    }

    /// A set as its parent in the cluster tells it.
    pub(crate) fn read(parent: Parent, live: &Value) -> Self {
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
        }
    }

    /// Its parent, to be applied.
    pub(crate) fn document(&self) -> String {
        let join = |items: &BTreeSet<String>, by: &str| {
            items.iter().map(String::as_str).collect::<Vec<_>>().join(by)
        };
        let mut annotations = json!({TOOLING: "kdev/v1", KINDS: join(&self.kinds, ",")});
        if !self.namespaces.is_empty() {
            annotations[NAMESPACES] = json!(join(&self.namespaces, ","));
        }
        let metadata = json!({"name": self.parent.name, "labels": {ID: self.parent.id()},
            "annotations": annotations});
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata,
            "data": {"members": join(&self.members, "\n")}})
        .to_string()
    }

    /// With what another one holds, so that it is found again.
    pub(crate) fn with(mut self, other: Self) -> Self {
        self.kinds.extend(other.kinds);
        self.namespaces.extend(other.namespaces);
        self.members.extend(other.members);
        self
    }

    /// Each member's namespace and id.
    pub(crate) fn members(&self) -> impl Iterator<Item = Member> {
        let members = self.members.iter().filter_map(|member| member.split_once(' '));
        members.map(|(namespace, id)| (namespace.to_owned(), id.to_owned()))
    }

    /// All namespaces in which it has objects.
    pub(crate) fn all_namespaces(&self) -> impl Iterator<Item = &str> {
        let others = self.namespaces.iter().map(String::as_str);
        std::iter::once(self.parent.namespace.as_str()).chain(others)
    }

    /// Its kinds, as kubectl takes them.
    pub(crate) fn resources(&self) -> String {
        self.kinds.iter().map(String::as_str).collect::<Vec<_>>().join(",")
    }

    pub(crate) fn has(&self, namespace: &str, object: &str) -> bool {
        self.members.contains(&format!("{namespace} {object}"))
            // Objects of no namespace are listed from each.
            || self.members.iter().any(|member| {
                member.split_once(' ').is_some_and(|(_, known)| known == object)
                    && !is_namespaced(object)
            })
    }
}

/// Of built-in kinds only: others are taken for namespaced ones, which almost
/// all are.
pub(crate) fn is_namespaced(object: &str) -> bool {
    const CLUSTERS: [&str; 10] = [
        "namespace",
        "clusterrole.rbac.authorization.k8s.io",
        "clusterrolebinding.rbac.authorization.k8s.io",
        "persistentvolume",
        "storageclass.storage.k8s.io",
        "priorityclass.scheduling.k8s.io",
        "ingressclass.networking.k8s.io",
        "customresourcedefinition.apiextensions.k8s.io",
        "validatingwebhookconfiguration.admissionregistration.k8s.io",
        "mutatingwebhookconfiguration.admissionregistration.k8s.io",
    ];
    let kind = object.split('/').next().unwrap_or_default();
    !CLUSTERS.contains(&kind)
}

fn group_kind(object: &Value) -> String {
    let kind = object["kind"].as_str().unwrap_or_default();
    match object["apiVersion"].as_str().unwrap_or_default().split_once('/') {
        Some((group, _)) => format!("{kind}.{group}"),
        None => kind.to_owned(),
    }
}

/// As kubectl names an object: `deployment.apps/hello`.
pub(crate) fn id(object: &Value) -> String {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    format!("{}/{name}", group_kind(object).to_lowercase())
}

/// An object's namespace, that of the set unless it names one, and its id.
pub(crate) fn member(parent: &Parent) -> impl Fn(&Value) -> Member {
    |object| {
        let named = object["metadata"]["namespace"].as_str();
        (named.unwrap_or(&parent.namespace).to_owned(), id(object))
    }
}

/// Whether no set claims an object.
pub(crate) fn is_unlabelled(object: &Value) -> bool {
    object["metadata"]["labels"][PART_OF].is_null()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(documents: &[&str]) -> Set {
        let documents: Vec<String> = documents.iter().map(|text| (*text).to_owned()).collect();
        Set::of(Parent::of("My_App", "n"), &documents)
    }

    const DEPLOYMENT: &str = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: d}}";
    const MAP: &str = "{apiVersion: v1, kind: ConfigMap, metadata: {name: c, namespace: other}}";

    #[test]
    fn the_identity_is_as_the_specification_makes_it() {
        let parent = Parent::of("My_App", "n");
        // printf kdev-my-app.n.ConfigMap. | sha256sum | xxd -r -p | base64
        assert_eq!(parent.name, "kdev-my-app");
        assert_eq!(parent.id(), "applyset-I8VPSMD6XuX2H49KafrJRanm-4n3aHy7zNrerP5_3IQ-v1");
    }

    #[test]
    fn a_set_is_read_as_it_was_written() {
        let written = set(&[DEPLOYMENT, MAP]);
        assert_eq!(written.resources(), "ConfigMap,Deployment.apps");
        assert_eq!(written.all_namespaces().collect::<Vec<_>>(), ["n", "other"]);
        let live: Value = serde_json::from_str(&written.document()).unwrap();
        assert_eq!(Set::read(written.parent.clone(), &live), written);
    }

    #[test]
    fn what_has_left_is_no_member() {
        let now = set(&[DEPLOYMENT, "{apiVersion: v1, kind: Namespace, metadata: {name: other}}"]);
        assert!(now.has("n", "deployment.apps/d"));
        assert!(!now.has("other", "deployment.apps/d"));
        assert!(!now.has("other", "configmap/c"));
        assert!(now.has("other", "namespace/other"));
        let both = now.with(set(&[MAP]));
        assert!(both.has("other", "configmap/c") && both.has("n", "deployment.apps/d"));
    }

    #[test]
    fn objects_are_named_as_kubectl_names_them() {
        let object = |version: &str, kind: &str| {
            id(&json!({"apiVersion": version, "kind": kind, "metadata": {"name": "x"}}))
        };
        assert_eq!(object("apps/v1", "Deployment"), "deployment.apps/x");
        assert_eq!(object("v1", "Service"), "service/x");
    }
}
