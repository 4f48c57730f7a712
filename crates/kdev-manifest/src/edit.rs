//! Edits of a manifest's text: the image and the pull policy of containers that use the
//! project's image, in the style in which they are written.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::rc::Rc;

use kdev_core::image::reference::{self, has_digest, matches_name};
use kdev_core::kube::object::format_id;
use saphyr_parser::ScalarStyle;

use crate::error::Error;
use crate::image_fields::{self, FieldPath, ObjectType};
use crate::parse_error;
use crate::report::{FieldOutcome, ImageField, PullPolicyOutcome};
use crate::update::ImageUpdate;
use crate::yaml::{Kind, MERGE_KEY, Node};

/// The edits to make in a text.
#[derive(Debug, Default)]
pub struct EditPlan {
    /// Each field that names an image, in the order of the text.
    pub fields: Vec<ImageField>,
    /// The byte positions of these images.
    pub values: HashSet<usize>,
    /// Keyed by start position, so that a node with two paths is edited once.
    edits: BTreeMap<(usize, usize), String>,
}

/// A mapping with an image field.
struct ImageHolder<'a> {
    object: String,
    field_path: Rc<FieldPath>,
    node: &'a Node,
}

impl EditPlan {
    pub fn new(text: &str, documents: &[Rc<Node>], update: &ImageUpdate) -> Result<Self, Error> {
        let mut holders = Vec::new();
        for document in documents {
            image_fields::each_node(document, &mut |kind, object| {
                find_image_holders(kind, object, update, &mut holders);
            });
        }
        let own: HashSet<usize> = holders.iter().filter_map(ImageHolder::own_image_key).collect();
        let mut plan = Self::default();
        for holder in &holders {
            plan.add(text, holder, &own, update)?;
        }
        Ok(plan)
    }

    /// Returns the text with all edits applied.
    pub fn apply(&self, text: &str) -> String {
        let mut edited = text.to_owned();
        for ((start, end), new) in self.edits.iter().rev() {
            edited.replace_range(*start..*end, new);
        }
        edited
    }

    fn add(
        &mut self,
        text: &str,
        holder: &ImageHolder,
        own: &HashSet<usize>,
        update: &ImageUpdate,
    ) -> Result<(), Error> {
        let Some((within, value)) = holder.node.effective(&holder.field_path.image) else {
            return Ok(());
        };
        let Some(image) = value.text() else { return Ok(()) };
        if image.contains("{{") {
            return Err(value.error(parse_error::CONTAINS_TEMPLATES));
        }
        self.values.insert(value.bytes.start);
        let outcome = if !matches_name(image, update.name) {
            FieldOutcome::OtherImage
        } else if has_digest(image) {
            FieldOutcome::HasDigest
        } else {
            let new = format!("{}:{}", reference::split_tag(image).0, update.tag);
            // A container that merges this one has its image, too.
            let carried = within.bytes.start != holder.node.target().bytes.start
                && own.contains(&within.bytes.start);
            self.edit(text, holder, &new, carried, update)?
        };
        self.fields.push(holder.image_field(value, image, outcome));
        Ok(())
    }

    fn edit(
        &mut self,
        text: &str,
        holder: &ImageHolder,
        new: &str,
        carried: bool,
        update: &ImageUpdate,
    ) -> Result<FieldOutcome, Error> {
        let (node, new_policy) = (holder.node, update.policy.as_str());
        let policy = holder
            .field_path
            .policy
            .map(|key| PullPolicyOutcome::new(node.get(key), update.policy));
        let missing = holder.field_path.policy.filter(|key| {
            let effective =
                if carried { Some(new_policy) } else { node.get(key).and_then(Node::text) };
            node.entry(key).is_none() && effective != Some(new_policy)
        });
        let mut lines: Vec<(&str, &str)> =
            missing.map(|key| (key, new_policy)).into_iter().collect();
        if let Some((key, policy)) = holder.field_path.policy.and_then(|key| node.entry(key)) {
            self.replace(text, key, policy, new_policy)?;
        }
        match (node.entry(&holder.field_path.image), node.entry(MERGE_KEY)) {
            (Some((key, value)), _) => {
                self.replace(text, key, value, new)?;
                self.insert_after(text, node, (key, value), &lines);
            }
            (None, Some((merge, _))) if !carried => {
                lines.insert(0, (&holder.field_path.image, new));
                self.insert_before(text, node, merge, &lines);
            }
            _ => {}
        }
        Ok(FieldOutcome::Updated { image: new.to_owned(), policy })
    }

    fn push_edit(&mut self, bytes: Range<usize>, new: String) {
        self.edits.insert((bytes.start, bytes.end), new);
    }

    /// Replaces a scalar and keeps its quotes.
    fn replace(&mut self, text: &str, key: &Node, value: &Node, new: &str) -> Result<(), Error> {
        let quoted = match &value.kind {
            Kind::Scalar { text, .. } if text == new => return Ok(()),
            // The value is empty, so the new one goes directly after the colon.
            Kind::Scalar { style: ScalarStyle::Plain, .. } if value.bytes.is_empty() => {
                let at = colon(text, key).ok_or_else(|| value.error(ONE_LINE))?;
                self.push_edit(at..at, format!(" {new}"));
                return Ok(());
            }
            Kind::Scalar { style: ScalarStyle::SingleQuoted, .. } => format!("'{new}'"),
            Kind::Scalar { style: ScalarStyle::DoubleQuoted, .. } => format!("\"{new}\""),
            Kind::Scalar { style: ScalarStyle::Plain, .. } | Kind::Alias(_) => plain(new),
            _ => return Err(value.error(ONE_LINE)),
        };
        if text[value.bytes.clone()].contains('\n') {
            return Err(value.error(ONE_LINE));
        }
        self.push_edit(value.bytes.clone(), quoted);
        Ok(())
    }

    /// Inserts entries after another one: on separate lines, or, in a flow mapping, after
    /// commas and quoted like that entry's key.
    fn insert_after(
        &mut self,
        text: &str,
        mapping: &Node,
        (key, value): (&Node, &Node),
        entries: &[(&str, &str)],
    ) {
        if entries.is_empty() {
            return;
        }
        let end = value.bytes.end;
        if is_flow(text, mapping) {
            let new = entries
                .iter()
                .map(|entry| format!(", {}", flow_entry(key, entry)))
                .collect::<Vec<_>>()
                .concat();
            return self.push_edit(end..end, new);
        }
        let line_end = text[end..].find('\n').map_or(text.len(), |at| end + at);
        let at = text[..line_end].strip_suffix('\r').map_or(line_end, str::len);
        let start = format!("{}{}", newline(text, end), " ".repeat(key.column));
        let new = entries
            .iter()
            .map(|(key, value)| format!("{start}{key}: {value}"))
            .collect::<Vec<_>>()
            .concat();
        self.push_edit(at..at, new);
    }

    /// Inserts entries before another one.
    fn insert_before(&mut self, text: &str, mapping: &Node, key: &Node, entries: &[(&str, &str)]) {
        let at = key.bytes.start;
        let new = if is_flow(text, mapping) {
            entries
                .iter()
                .map(|entry| format!("{}, ", flow_entry(key, entry)))
                .collect::<Vec<_>>()
                .concat()
        } else {
            let end = format!("{}{}", newline(text, at), " ".repeat(key.column));
            entries
                .iter()
                .map(|(key, value)| format!("{key}: {}{end}", plain(value)))
                .collect::<Vec<_>>()
                .concat()
        };
        self.push_edit(at..at, new);
    }
}

const ONE_LINE: &str = "an image or pull policy must be on one line";

fn find_image_holders<'a>(
    kind: ObjectType,
    object: &'a Node,
    update: &ImageUpdate,
    holders: &mut Vec<ImageHolder<'a>>,
) {
    let name = object.get("metadata").and_then(|metadata| metadata.get("name"));
    let name = name.and_then(Node::text).unwrap_or_default();
    for field_path in kind.field_paths(update.paths).into_iter().map(Rc::new) {
        field_path.nodes(object, &mut |node| {
            let object = format_id(kind.kind, name);
            holders.push(ImageHolder { object, field_path: Rc::clone(&field_path), node });
        });
    }
}

impl ImageHolder<'_> {
    /// Returns the start of the mapping, if the image is in the mapping itself.
    fn own_image_key(&self) -> Option<usize> {
        self.node.entry(&self.field_path.image).map(|_| self.node.target().bytes.start)
    }

    fn image_field(&self, value: &Node, image: &str, outcome: FieldOutcome) -> ImageField {
        let name = self.node.get("name").and_then(Node::text).map(str::to_owned);
        let field = self.field_path.to_string();
        let object = self.object.clone();
        let (line, column) = (value.line, value.column + 1);
        ImageField { line, column, object, field, name, image: image.to_owned(), outcome }
    }
}

/// Returns the text, in quotes if it would have another meaning without them, such as an IPv6
/// registry.
fn plain(text: &str) -> String {
    if text.starts_with('[') { format!("\"{text}\"") } else { text.to_owned() }
}

fn flow_entry(like: &Node, (key, value): &(&str, &str)) -> String {
    match &like.kind {
        Kind::Scalar { style: ScalarStyle::DoubleQuoted, .. } => format!("\"{key}\": \"{value}\""),
        _ => format!("{key}: {}", plain(value)),
    }
}

fn is_flow(text: &str, mapping: &Node) -> bool {
    text[mapping.target().bytes.start..].starts_with('{')
}

/// Returns the position after the colon of a key.
fn colon(text: &str, key: &Node) -> Option<usize> {
    let rest = &text[key.bytes.end..];
    let blank = rest.len() - rest.trim_start().len();
    rest[blank..].starts_with(':').then_some(key.bytes.end + blank + 1)
}

/// Returns the line ending of the line with a byte; for the last line, that of the first
/// one.
fn newline(text: &str, at: usize) -> &'static str {
    let end = text[at..].find('\n').map(|end| at + end).or_else(|| text.find('\n'));
    match end {
        Some(end) if text[..end].ends_with('\r') => "\r\n",
        _ => "\n",
    }
}
