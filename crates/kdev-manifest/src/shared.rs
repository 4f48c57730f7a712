//! Workloads that run the image of another package of the workspace. Their build stays the one
//! that runs in the cluster.

use kdev_core::image::reference::{CONTENT_TAG_PREFIX, Name, Reference, has_digest, split_tag};
use serde_json::Value;

use crate::error::Error;
use crate::expected::{self, Container, ExpectedWorkload};
use crate::pull_policy::PullPolicy;
use crate::update::ImageUpdate;
use crate::{documents, render};

/// A workload in the manifests with the image of another package.
#[derive(Clone, Debug)]
pub struct SharedWorkload {
    /// The other package.
    pub package: String,
    /// The image of the other package.
    pub image: Name,
    /// The workload, with the containers that run this image.
    pub workload: ExpectedWorkload,
    /// Whether another of its containers runs the image of the project.
    pub uses_own_image: bool,
}

/// What happens to a workload with the image of another package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Its image stays as written.
    Keep,
    /// Its image becomes that of the live object.
    UseLive {
        /// The live tag.
        tag: String,
        /// The live pull policy, unless it is `Always`.
        policy: Option<PullPolicy>,
    },
    /// It is not applied: its image was never deployed, and it does not run the project's.
    LeaveOut,
    /// It cannot be applied, because its image was never deployed.
    NotDeployed,
}

impl SharedWorkload {
    /// Decides what happens to the workload, given the live object.
    pub fn decide(&self, live: Option<&Value>) -> Decision {
        let is_complete = self.workload.containers.iter().all(|c| is_complete(&c.image));
        let live_containers = live.map(expected::containers).unwrap_or_default();
        let same = live_containers.iter().find(|live| self.is_same(live));
        match same.map(|container| (container, split_tag(&container.image).1)) {
            Some((container, Some(tag))) if !is_complete || tag.starts_with(CONTENT_TAG_PREFIX) => {
                let policy = PullPolicy::parse(&container.policy);
                Decision::UseLive { tag: tag.to_owned(), policy }
            }
            Some(_) => Decision::Keep,
            None if is_complete => Decision::Keep,
            None if live.is_some() || self.uses_own_image => Decision::NotDeployed,
            None => Decision::LeaveOut,
        }
    }

    /// Returns whether a live container is one of these, with the image under any tag.
    fn is_same(&self, live: &Container) -> bool {
        let is_image = Reference::parse(&live.image).is_ok_and(|r| *r.name() == self.image);
        let is_named = self.workload.containers.iter().any(|known| known.name == live.name);
        is_image && is_named && !has_digest(&live.image)
    }

    /// Returns whether an object is this workload.
    pub fn is(&self, kind: &str, name: &str, namespace: Option<&str>) -> bool {
        let ExpectedWorkload { kind: own_kind, name: own_name, namespace: own, .. } =
            &self.workload;
        own_kind == kind && own_name == name && own.as_deref() == namespace
    }

    fn is_value(&self, object: &Value) -> bool {
        let text = |path| object.pointer(path).and_then(Value::as_str);
        let names = (text("/kind"), text("/metadata/name"));
        matches!(names, (Some(kind), Some(name)) if self.is(kind, name, text("/metadata/namespace")))
    }
}

/// Returns whether an image is meant to be pulled: it has a registry, a digest, or a tag that is
/// not only a default.
fn is_complete(image: &str) -> bool {
    let (name, tag) = split_tag(image);
    let host = name.split_once('/').map(|(host, _)| host);
    let has_registry = host.is_some_and(|h| h.contains(['.', ':']) || h == "localhost");
    has_registry || has_digest(image) || tag.is_some_and(|tag| tag != "latest")
}

/// Returns a text with these decisions. `policy` replaces a live pull policy that is not known.
pub fn apply(
    text: &str,
    decisions: &[(&SharedWorkload, Decision)],
    policy: PullPolicy,
) -> Result<String, Error> {
    let concerns = |object: &Value| {
        decisions
            .iter()
            .any(|(shared, decision)| *decision != Decision::Keep && shared.is_value(object))
    };
    let documents = documents::split(text);
    let is_concerned = |document: &&str| expected::objects_in(document).iter().any(concerns);
    if !documents.iter().any(is_concerned) {
        return Ok(text.to_owned());
    }
    let mut parts = Vec::new();
    for document in documents {
        for part in without_left_out(document, decisions) {
            parts.push(update_document(part, decisions, policy)?);
        }
    }
    let parts: Vec<String> = parts.iter().map(|p| format!("---\n{}\n", p.trim_end())).collect();
    Ok(parts.concat())
}

/// Returns a document without the objects that are left out; of a list, the other items.
fn without_left_out(document: &str, decisions: &[(&SharedWorkload, Decision)]) -> Vec<String> {
    let is_left_out = |object: &Value| {
        let mut left_out = decisions.iter().filter(|(_, it)| *it == Decision::LeaveOut);
        left_out.any(|(shared, _)| shared.is_value(object))
    };
    let objects = expected::objects_in(document);
    if !objects.iter().any(is_left_out) {
        return vec![document.to_owned()];
    }
    objects.iter().filter(|object| !is_left_out(object)).map(Value::to_string).collect()
}

fn update_document(
    mut document: String,
    decisions: &[(&SharedWorkload, Decision)],
    default: PullPolicy,
) -> Result<String, Error> {
    let objects = expected::objects_in(&document);
    for (shared, decision) in decisions {
        let Decision::UseLive { tag, policy } = decision else { continue };
        if objects.iter().any(|object| shared.is_value(object)) {
            let (name, policy) = (&shared.image, policy.unwrap_or(default));
            document = render(&document, &ImageUpdate { name, tag, policy, paths: &[] })?.text;
        }
    }
    Ok(document)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const TEXT: &str = "kind: Deployment\nmetadata: {name: web}\nspec: {template: {spec: {containers: [{name: c, image: web}]}}}\n---\nkind: Deployment\nmetadata: {name: api}\nspec:\n  template:\n    spec:\n      containers:\n      - name: c\n        image: api # as built\n";

    fn shared(text: &str) -> SharedWorkload {
        let image = Reference::parse("api").unwrap().name().clone();
        let workload = expected::all(&[text.to_owned()], &image).remove(0);
        SharedWorkload { package: "api".into(), image, workload, uses_own_image: false }
    }

    fn live(image: &str) -> Value {
        json!({"spec": {"template": {"spec": {"containers": [
            {"name": "c", "image": image, "imagePullPolicy": "Never"}]}}}, "kind": "Deployment"})
    }

    #[test]
    fn decision_depends_on_live_image_and_written_image() {
        let use_live =
            |tag: &str| Decision::UseLive { tag: tag.to_owned(), policy: Some(PullPolicy::Never) };
        let table = [
            ("api", Some("api:kdev-1"), use_live("kdev-1")),
            ("api:latest", Some("docker.io/library/api:kdev-1"), use_live("kdev-1")),
            ("api:7", Some("api:kdev-1"), use_live("kdev-1")),
            ("api:8", Some("api:7"), Decision::Keep),
            ("api", Some("api:7"), use_live("7")),
            ("api", Some("api"), Decision::Keep),
            ("api:7", None, Decision::Keep),
            ("api:7", Some("other:1"), Decision::Keep),
            ("api", Some("other:1"), Decision::NotDeployed),
            ("api", None, Decision::LeaveOut),
            ("api:latest", None, Decision::LeaveOut),
        ];
        for (written, found, expected) in table {
            let shared = shared(&TEXT.replace("image: api ", &format!("image: {written} ")));
            let live = found.map(live);
            assert_eq!(shared.decide(live.as_ref()), expected, "{written} {found:?}");
        }
        let mixed = SharedWorkload { uses_own_image: true, ..shared(TEXT) };
        assert_eq!(mixed.decide(None), Decision::NotDeployed);
    }

    #[test]
    fn complete_image_names_its_origin() {
        let digest = format!("api@sha256:{}", "a".repeat(64));
        for image in ["api:1", "ghcr.io/me/api", "localhost/api", "host:5000/api", &digest] {
            assert!(is_complete(image), "{image}");
        }
        for image in ["api", "api:latest", "me/api"] {
            assert!(!is_complete(image), "{image}");
        }
    }

    #[test]
    fn only_concerned_objects_change() {
        let shared = shared(TEXT);
        let decide =
            |decision: Decision| apply(TEXT, &[(&shared, decision)], PullPolicy::Never).unwrap();
        assert_eq!(decide(Decision::Keep), TEXT);
        let (tag, policy) = ("kdev-1".to_owned(), Some(PullPolicy::IfNotPresent));
        let new = "image: api:kdev-1 # as built\n        imagePullPolicy: IfNotPresent\n";
        assert_eq!(
            decide(Decision::UseLive { tag, policy }),
            format!("---\n{}", TEXT.replace("image: api # as built\n", new))
        );
        let (first, _) = TEXT.split_once("---\n").unwrap();
        assert_eq!(decide(Decision::LeaveOut), format!("---\n{first}"));
    }

    #[test]
    fn other_items_of_list_stay() {
        let text = "kind: List\nitems:\n- {kind: Service, metadata: {name: s}}\n- kind: Deployment\n  metadata: {name: api}\n  spec: {template: {spec: {containers: [{name: c, image: api}]}}}\n";
        let shared = shared(text);
        let left = apply(text, &[(&shared, Decision::LeaveOut)], PullPolicy::Never).unwrap();
        assert_eq!(left, "---\n{\"kind\":\"Service\",\"metadata\":{\"name\":\"s\"}}\n");
    }
}
