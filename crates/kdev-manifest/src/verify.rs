//! Proves an edit: another parser reads source and result, and they must
//! differ in just the wanted fields.

use std::rc::Rc;

use kdev_core::image::reference::{self, is_ours, pinned};
use serde_yaml::{Mapping, Value};

use crate::error::Fault;
use crate::image_fields;
use crate::report::{Fate, Place};
use crate::update::Want;
use crate::values::values;
use crate::yaml::{Kind, MERGE_KEY, Node};

const SHARED: &str = "an alias or a merge key shares this between a container of ours and what must stay as it is; write it out in both";
const FORM: &str = "kdev cannot edit it in the form in which it is written; give the image and the pull policy a line each";

/// Makes sure that the texts mean the same but for what is wanted.
pub fn prove(
    source: &str,
    rendered: &str,
    documents: &[Rc<Node>],
    places: &[Place],
    want: &Want,
) -> Result<(), Fault> {
    let edited = places.iter().find(|place| matches!(place.fate, Fate::Ours { .. }));
    let (line, column) = edited.map_or((1, 1), |place| (place.line, place.column));
    let form = Fault { line, column, reason: FORM.to_owned() };
    let mut expected = values(source)?;
    for document in &mut expected {
        want_in(document, want);
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
    // Both parsers count the same documents, but for a text that is none.
    match documents.get(at) {
        Some(document) => Err(blame(document, &path)),
        None => Err(form),
    }
}

/// Sets the wanted fields in a value, as the edits set them in the text.
fn want_in(document: &mut Value, want: &Want) {
    image_fields::each_value(document, &mut |kind, object| {
        for route in kind.routes(want.paths) {
            route.values(object, &mut |holder| {
                want_in_holder(holder, &route.image, route.policy, want);
            });
        }
    });
}

fn want_in_holder(holder: &mut Mapping, key: &str, policy: Option<&str>, want: &Want) {
    let image = holder.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    if !is_ours(&image, want.name) || pinned(&image) {
        return;
    }
    let new = format!("{}:{}", reference::split_tag(&image).0, want.tag);
    holder.insert(key.into(), new.into());
    if let Some(policy) = policy {
        holder.insert(policy.into(), want.policy.as_str().into());
    }
}

/// A step from a value into it.
enum Step {
    Key(String),
    Index(usize),
}

fn first_difference(one: &Value, other: &Value, path: &mut Vec<Step>) {
    match (one, other) {
        (Value::Mapping(one), Value::Mapping(other)) => {
            let keys = one.keys().chain(other.keys());
            let Some(key) = keys.into_iter().find(|key| one.get(*key) != other.get(*key)) else {
                return;
            };
            path.push(Step::Key(key.as_str().unwrap_or_default().to_owned()));
            if let (Some(one), Some(other)) = (one.get(key), other.get(key)) {
                first_difference(one, other, path);
            }
        }
        (Value::Sequence(one), Value::Sequence(other)) => {
            let pairs = one.iter().zip(other);
            if let Some((at, (one, other))) =
                pairs.enumerate().find(|(_, (one, other))| one != other)
            {
                path.push(Step::Index(at));
                first_difference(one, other, path);
            }
        }
        _ => {}
    }
}

/// The last alias or merge key on the way to a difference, else where it is.
fn blame(document: &Node, path: &[Step]) -> Fault {
    let (mut node, mut shared) = (document, None);
    for step in path {
        let next = match step {
            Step::Index(at) => node.items().and_then(|items| items.get(*at)).map(|item| &**item),
            Step::Key(key) => {
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
        Some(shared) => shared.fault(SHARED),
        None => node.fault(if has_alias(document) { SHARED } else { FORM }),
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
