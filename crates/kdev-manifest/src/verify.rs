//! Verifies an edit: a second parser reads source and result, which may differ in the
//! edited fields only.

use std::rc::Rc;

use kdev_core::image::reference::{self, has_digest, matches_name};
use serde_yaml::{Mapping, Value};

use crate::error::Error;
use crate::image_fields;
use crate::report::{FieldOutcome, ImageField};
use crate::update::ImageUpdate;
use crate::values::values;
use crate::yaml::{Kind, MERGE_KEY, Node};

const SHARED: &str = "an alias or merge key shares this with a field that must not change; write it out in both places";
const FORM: &str =
    "kdev cannot edit this YAML style; put the image and the pull policy on separate lines";

/// Checks that the texts have the same meaning except for the edited fields.
pub fn verify(
    source: &str,
    rendered: &str,
    documents: &[Rc<Node>],
    fields: &[ImageField],
    update: &ImageUpdate,
) -> Result<(), Error> {
    let edited = fields.iter().find(|field| matches!(field.outcome, FieldOutcome::Updated { .. }));
    let (line, column) = edited.map_or((1, 1), |field| (field.line, field.column));
    let form = Error { line, column, reason: FORM.to_owned() };
    let mut expected = values(source)?;
    for document in &mut expected {
        update_document(document, update);
    }
    let Ok(found) = values(rendered) else {
        return Err(form);
    };
    if expected == found {
        return Ok(());
    }
    let at = (0..expected.len()).find(|at| found.get(*at) != expected.get(*at)).unwrap_or_default();
    let mut path = Vec::new();
    if let (Some(expected), Some(found)) = (expected.get(at), found.get(at)) {
        first_difference(expected, found, &mut path);
    }
    // Both parsers find the same documents, except in an empty text.
    match documents.get(at) {
        Some(document) => Err(locate_cause(document, &path)),
        None => Err(form),
    }
}

/// Makes the edits in a value that were made in the text.
fn update_document(document: &mut Value, update: &ImageUpdate) {
    image_fields::each_value(document, &mut |kind, object| {
        for field_path in kind.field_paths(update.paths) {
            field_path.values(object, &mut |holder| {
                update_holder(holder, &field_path.image, field_path.policy, update);
            });
        }
    });
}

fn update_holder(holder: &mut Mapping, key: &str, policy: Option<&str>, update: &ImageUpdate) {
    let image = holder.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    if !matches_name(&image, update.name) || has_digest(&image) {
        return;
    }
    let new = format!("{}:{}", reference::split_tag(&image).0, update.tag);
    holder.insert(key.into(), new.into());
    if let Some(policy) = policy {
        holder.insert(policy.into(), update.policy.as_str().into());
    }
}

/// A component of the path to a value.
enum PathStep {
    Key(String),
    Index(usize),
}

fn first_difference(one: &Value, other: &Value, path: &mut Vec<PathStep>) {
    match (one, other) {
        (Value::Mapping(one), Value::Mapping(other)) => {
            let keys = one.keys().chain(other.keys());
            let Some(key) = keys.into_iter().find(|key| one.get(*key) != other.get(*key)) else {
                return;
            };
            path.push(PathStep::Key(key.as_str().unwrap_or_default().to_owned()));
            if let (Some(one), Some(other)) = (one.get(key), other.get(key)) {
                first_difference(one, other, path);
            }
        }
        (Value::Sequence(one), Value::Sequence(other)) => {
            let pairs = one.iter().zip(other);
            if let Some((at, (one, other))) =
                pairs.enumerate().find(|(_, (one, other))| one != other)
            {
                path.push(PathStep::Index(at));
                first_difference(one, other, path);
            }
        }
        _ => {}
    }
}

/// Returns an error at the last alias or merge key on the path to a difference, or at the
/// difference itself.
fn locate_cause(document: &Node, path: &[PathStep]) -> Error {
    let (mut node, mut shared) = (document, None);
    for step in path {
        let next = match step {
            PathStep::Index(at) => {
                node.items().and_then(|items| items.get(*at)).map(|item| &**item)
            }
            PathStep::Key(key) => {
                let merge = node.entry(MERGE_KEY).filter(|_| node.entry(key).is_none());
                shared = merge.map(|(merge, _)| &**merge).or(shared);
                node.get(key)
            }
        };
        let Some(next) = next else { break };
        node = next;
        if matches!(node.kind, Kind::Alias(_)) {
            shared = Some(node);
        }
    }
    match shared {
        Some(shared) => shared.error(SHARED),
        None => node.error(if has_alias(document) { SHARED } else { FORM }),
    }
}

fn has_alias(node: &Node) -> bool {
    match &node.kind {
        Kind::Alias(_) => true,
        Kind::Scalar { .. } => false,
        Kind::Sequence(items) => items.iter().any(|item| has_alias(item)),
        Kind::Mapping(entries) => entries.iter().any(|(_, value)| has_alias(value)),
    }
}
