//! The places where a text defines objects, and the errors of objects that cannot be applied.

use serde_yaml::Value;

use crate::error::Error;
use crate::image_fields::{self, ObjectType};
use crate::values::values;
use crate::yaml::{self, Kind, Node};

/// An object in a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// Line of the object, from 1.
    pub line: usize,
    pub group: String,
    pub kind: String,
    pub namespace: Option<String>,
    pub name: String,
    /// The whole object.
    pub content: Value,
}

/// A reason why a value cannot be applied, with its line, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unappliable {
    pub line: usize,
    pub cause: UnappliableCause,
}

/// A reason why a value cannot be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnappliableCause {
    /// It has no kind, so it is not an object.
    NotAnObject,
    /// It is the input of `kubectl kustomize`.
    Kustomization,
    /// Its name would be generated, so a second apply cannot find it.
    GeneratedName,
    /// It has no name.
    NoName,
}

/// Returns each object of a text with its place.
pub fn definitions(text: &str) -> Result<Vec<Definition>, Error> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut found = Vec::new();
    for document in yaml::documents(text)? {
        image_fields::each_node(&document, &mut |object_type, node| {
            found.push(definition(object_type, node));
        });
    }
    // Both parsers find the same objects.
    let mut contents = Vec::new();
    for mut document in values(text)? {
        image_fields::each_value(&mut document, &mut |_, object| contents.push(object.clone()));
    }
    for (definition, content) in found.iter_mut().zip(contents) {
        definition.content = content;
    }
    Ok(found)
}

impl Definition {
    /// Returns whether a message of kubectl or the API server names the object, such as
    /// `Deployment.apps "web" is invalid`, `(n/web; apps/v1, Kind=Deployment)`, or `job/migrate`.
    pub fn is_named_in(&self, message: &str) -> bool {
        let Self { group, kind, name, .. } = self;
        let dot = if group.is_empty() { "" } else { "." };
        let quoted = |kind: String| format!("{kind} \"{name}\"");
        let patterns = [
            quoted(kind.clone()),
            quoted(format!("{kind}{dot}{group}")),
            quoted(format!("{kind}s{dot}{group}")),
            format!("{kind}/{name}"),
        ];
        let message = message.to_lowercase();
        let is_part = |c: char| c.is_alphanumeric() || "-./".contains(c);
        let names = |pattern: &String| {
            let mut found = message.match_indices(pattern.as_str());
            found.any(|(at, text)| {
                !message[..at].ends_with(is_part)
                    && !message[at + text.len()..].starts_with(is_part)
            })
        };
        let typed = |start: &str| {
            let (before, after) = (format!("{start}{name}; "), format!(", kind={kind})"));
            let (before, after) = (before.to_lowercase(), after.to_lowercase());
            let rest = message.split(before.as_str()).nth(1);
            rest.and_then(|rest| rest.split_once(')'))
                .is_some_and(|(rest, _)| format!("{rest})").ends_with(&after))
        };
        patterns.map(|pattern| pattern.to_lowercase()).iter().any(names) || typed("/") || typed("(")
    }
}

fn definition(object_type: ObjectType, node: &Node) -> Definition {
    let text = |key| metadata(node, key).and_then(Node::text).map(str::to_owned);
    Definition {
        line: node.line,
        group: object_type.group().unwrap_or_default().to_owned(),
        kind: object_type.kind.to_owned(),
        namespace: text("namespace"),
        name: text("name").unwrap_or_default(),
        content: Value::Null,
    }
}

/// Returns the first value in a text that cannot be applied.
pub fn find_unappliable(text: &str) -> Result<Option<Unappliable>, Error> {
    let mut found = None;
    for document in yaml::documents(text.strip_prefix('\u{feff}').unwrap_or(text))? {
        image_fields::each_typed_node(&document, &mut |object_type, node| {
            found = found.or_else(|| unappliable(object_type, node));
        });
    }
    Ok(found)
}

fn unappliable(object_type: Option<ObjectType>, node: &Node) -> Option<Unappliable> {
    let at = |node: &Node, cause| Some(Unappliable { line: node.line, cause });
    let Some(object_type) = object_type else {
        return if is_empty(node) { None } else { at(node, UnappliableCause::NotAnObject) };
    };
    if object_type.group() == Some("kustomize.config.k8s.io") {
        return at(node, UnappliableCause::Kustomization);
    }
    let has_text = |field: &&Node| field.text().is_some_and(|text| !text.is_empty());
    let is_list = object_type.item_kind().is_some() && node.get("items").is_some();
    if is_list || metadata(node, "name").is_some_and(|name| has_text(&name)) {
        return None;
    }
    match metadata(node, "generateName").filter(has_text) {
        Some(field) => at(field, UnappliableCause::GeneratedName),
        None => at(node, UnappliableCause::NoName),
    }
}

fn metadata<'a>(node: &'a Node, key: &str) -> Option<&'a Node> {
    node.get("metadata")?.get(key)
}

/// Returns whether a document has no content, as between two separators.
fn is_empty(node: &Node) -> bool {
    matches!(&node.kind, Kind::Scalar { text, .. } if ["", "~", "null"].contains(&text.as_str()))
}

#[cfg(test)]
mod tests {
    use super::UnappliableCause::{GeneratedName, Kustomization, NoName, NotAnObject};
    use super::*;

    #[test]
    fn definition_has_line_identity_and_content() {
        let text = "# first\nkind: Pod\nmetadata: {name: p, namespace: n}\n---\napiVersion: apps/v1\nkind: DeploymentList\nitems:\n- metadata:\n    name: d\n- metadata: {name: e}\n";
        let found = definitions(text).unwrap();
        let identity = |d: &Definition| {
            let namespace = d.namespace.clone().unwrap_or_default();
            format!("{} {} {} {namespace} {}", d.line, d.group, d.kind, d.name)
        };
        let found_identities: Vec<String> = found.iter().map(identity).collect();
        assert_eq!(
            found_identities,
            ["2  Pod n p", "8 apps Deployment  d", "10 apps Deployment  e"]
        );
        assert_eq!(found[0].content["metadata"]["name"], "p");
        assert_eq!(found[2].content["metadata"]["name"], "e");
    }

    #[test]
    fn object_is_found_in_messages() {
        let text = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n---\nkind: Job\nmetadata: {name: web}\n---\nkind: CronJob\nmetadata: {name: web}\n";
        let found = definitions(text).unwrap();
        // The message, and the kind that it names.
        let table = [
            ("Deployment.apps \"web\" is invalid: spec.x", "Deployment"),
            ("The Deployment \"web\" is invalid: spec.x", "Deployment"),
            ("deployments.apps \"web\" is forbidden: User", "Deployment"),
            (
                "error: failed to create typed patch object (n/web; apps/v1, Kind=Deployment): .spec",
                "Deployment",
            ),
            ("cannot change immutable fields of `job/web`", "Job"),
            ("cronjob/web", "CronJob"),
            ("Deployment.apps \"web-2\" is invalid", ""),
            ("deployment/web-2, other-job/web", ""),
            ("(n/web-2; apps/v1, Kind=Deployment)", ""),
        ];
        for (message, expected) in table {
            let kinds = found.iter().filter(|d| d.is_named_in(message)).map(|d| d.kind.as_str());
            assert_eq!(kinds.collect::<Vec<_>>().join(" "), expected, "{message}");
        }
    }

    #[test]
    fn value_that_cannot_be_applied_is_found() {
        let table = [
            ("kind: Pod\nmetadata: {name: p}\n", None),
            ("# only a comment\n", None),
            ("---\n---\n# comment\n---\nkind: Pod\nmetadata: {name: p}\n", None),
            ("null\n", None),
            ("kind: List\nitems: []\n", None),
            ("kind: PodList\nitems:\n- metadata: {name: p}\n", None),
            ("kind: AllowList\nmetadata: {name: p}\n", None),
            ("&a kind: Pod\nmetadata: &m\n  <<: {name: p}\n", None),
            ("# values\nreplicas: 2\n", Some((2, NotAnObject))),
            ("- op: replace\n", Some((1, NotAnObject))),
            ("{}\n", Some((1, NotAnObject))),
            ("text\n", Some((1, NotAnObject))),
            ("kind: Pod\nmetadata: {name: p}\n---\nservices:\n  web: {}\n", Some((4, NotAnObject))),
            (
                "kind: List\nitems:\n- kind: Pod\n  metadata: {name: p}\n- a: 1\n",
                Some((5, NotAnObject)),
            ),
            (
                "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n",
                Some((1, Kustomization)),
            ),
            ("kind: Job\nmetadata:\n  labels: {}\n  generateName: a-\n", Some((4, GeneratedName))),
            ("kind: Job\nmetadata:\n  generateName: a-\n  name: a\n", None),
            ("kind: Job\nmetadata: {name: ''}\n", Some((1, NoName))),
            ("kind: Job\nspec: {}\n", Some((1, NoName))),
        ];
        for (text, expected) in table {
            let found = find_unappliable(text).unwrap().map(|found| (found.line, found.cause));
            assert_eq!(found, expected, "{text}");
        }
    }
}
