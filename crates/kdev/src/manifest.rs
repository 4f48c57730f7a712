//! Manifests: text in, text out. Only the image and the pull policy of
//! containers that run our image change; no byte around them does.
//!
//! Pure but for [`Manifest::read_all`]. Every edit is proven: source and
//! result are read with `serde_yaml`, and must differ in just these fields.

use std::fs;
use std::path::{Path, PathBuf};

use saphyr_parser::ScalarStyle;
use serde::Deserialize;
use serde_yaml::{Mapping, Value};

use crate::config::{Config, PullPolicy};
use crate::error::{Error, Reason, Result};
use crate::image::{self, Name, Reference};
use crate::placement::PodSpec;
use crate::yaml::{self, Fault, Kind, Node};

/// The fields of a pod's spec that hold containers.
const CONTAINER_LISTS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];
const POLICY_KEY: &str = "imagePullPolicy";

/// A file of Kubernetes objects, as its author wrote it.
#[derive(Clone, Debug)]
pub(crate) struct Manifest {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

/// What the containers that run an image get.
#[derive(Clone, Debug)]
pub(crate) struct Want<'a> {
    /// Which containers: those whose image has this name, whatever its tag.
    pub(crate) name: &'a Name,
    /// The tag that their image gets.
    pub(crate) tag: &'a str,
    /// The pull policy that they get.
    pub(crate) policy: PullPolicy,
}

/// A Kubernetes object of a manifest.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) namespace: Option<String>,
    /// The pods that it makes, if it makes any.
    pub(crate) pod: Option<PodSpec>,
    /// The images of its containers, as written.
    pub(crate) images: Vec<String>,
}

impl Manifest {
    /// Reads every file that the configured globs match, in the order of the
    /// globs, and by name within one.
    pub(crate) fn read_all(config: &Config) -> Result<Vec<Self>> {
        let mut paths: Vec<PathBuf> = Vec::new();
        for pattern in &config.manifests {
            let matches = glob::glob(&pattern.to_string_lossy()).map_err(|e| Error::BadValue {
                key: "manifests".into(),
                place: "the settings".into(),
                reason: Reason(format!("`{}`: {e}", pattern.display())),
            })?;
            paths.extend(matches.filter_map(std::result::Result::ok).filter(|p| p.is_file()));
        }
        if paths.is_empty() {
            let patterns = config.manifests.iter().map(|p| p.display().to_string()).collect();
            return Err(Error::NoManifest { patterns });
        }
        paths.into_iter().map(|path| Self::read(&path)).collect()
    }

    fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(|source| Error::File {
            what: "read",
            path: path.to_owned(),
            source,
        })?;
        Ok(Self { path: path.to_owned(), text })
    }

    /// The objects that it declares.
    pub(crate) fn objects(&self) -> Result<Vec<Object>> {
        let values = values(&self.text).map_err(|fault| self.error(fault))?;
        let mut objects = Vec::new();
        for value in &values {
            collect_objects(value, &mut objects);
        }
        Ok(objects)
    }

    /// The text as it will be applied.
    pub(crate) fn render(&self, want: &Want) -> Result<String> {
        render(&self.text, want).map_err(|fault| self.error(fault))
    }

    fn error(&self, fault: Fault) -> Error {
        let Fault { line, column, reason } = fault;
        Error::Manifest { path: self.path.clone(), line, column, reason: Reason(reason) }
    }
}

/// Makes sure that a container runs the image, and gives all objects.
pub(crate) fn objects_using(manifests: &[Manifest], image: &Reference) -> Result<Vec<Object>> {
    let mut objects = Vec::new();
    for manifest in manifests {
        objects.extend(manifest.objects()?);
    }
    if objects.iter().any(|object| object.uses(image.name())) {
        return Ok(objects);
    }
    let mut found: Vec<String> = objects.into_iter().flat_map(|object| object.images).collect();
    found.sort();
    found.dedup();
    Err(Error::ImageUnused {
        image: image.name().familiar(),
        files: manifests.iter().map(|m| m.path.display().to_string()).collect(),
        found,
    })
}

impl Object {
    /// Whether one of its containers runs this image.
    pub(crate) fn uses(&self, name: &Name) -> bool {
        self.images.iter().any(|image| is_ours(image, name))
    }

    /// Kind and name, as kubectl takes them.
    pub(crate) fn id(&self) -> String {
        format!("{}/{}", self.kind.to_lowercase(), self.name)
    }
}

/// The documents of a text, without what is between them. A line that begins
/// with `---` ends a document wherever it stands (YAML 1.2, 9.1.2), and kubectl
/// splits there, too; a block scalar's lines are indented.
pub(crate) fn split(text: &str) -> Vec<&str> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (mut documents, mut begun, mut at) = (Vec::new(), 0, 0);
    for line in text.split_inclusive('\n') {
        let is_mark = line
            .strip_prefix("---")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
        if is_mark {
            documents.push(&text[begun..at]);
            // What follows on the mark's own line belongs to the document.
            let comment =
                line[3..].trim_start().is_empty() || line[3..].trim_start().starts_with('#');
            begun = if comment { at + line.len() } else { at + 3 };
        }
        at += line.len();
    }
    documents.push(&text[begun..]);
    // Comments and directives alone are no document.
    let is_talk = |line: &str| line.trim().is_empty() || line.starts_with(['#', '%']);
    documents.retain(|document| !document.lines().all(is_talk));
    documents
}

/// The namespace that the first object of a document names.
pub(crate) fn namespace(document: &str) -> Option<String> {
    let mut objects = Vec::new();
    for value in values(document).ok()? {
        collect_objects(&value, &mut objects);
    }
    objects.into_iter().next()?.namespace
}

fn is_ours(image: &str, name: &Name) -> bool {
    Reference::parse(image).is_ok_and(|reference| reference.name() == name)
}

fn render(text: &str, want: &Want) -> std::result::Result<String, Fault> {
    let body = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mark = &text[..text.len() - body.len()];
    let documents = yaml::documents(body)?;
    let mut edits = Vec::new();
    for document in &documents {
        collect_edits(body, document, want, &mut edits)?;
    }
    edits.sort_by_key(|edit: &Edit| edit.bytes.start);
    let mut rendered = body.to_owned();
    for edit in edits.iter().rev() {
        rendered.replace_range(edit.bytes.clone(), &edit.text);
    }
    prove(body, &rendered, want)?;
    Ok(format!("{mark}{rendered}"))
}

/// A change of the text.
#[derive(Debug)]
struct Edit {
    bytes: std::ops::Range<usize>,
    text: String,
}

fn collect_edits(
    text: &str,
    node: &Node,
    want: &Want,
    edits: &mut Vec<Edit>,
) -> std::result::Result<(), Fault> {
    match &node.kind {
        Kind::Sequence(items) => {
            items.iter().try_for_each(|item| collect_edits(text, item, want, edits))
        }
        Kind::Mapping(entries) => entries.iter().try_for_each(|(key, value)| {
            if let (Kind::Sequence(items), Some(true)) =
                (&value.kind, key.text().map(|key| CONTAINER_LISTS.contains(&key)))
            {
                items.iter().try_for_each(|item| edit_container(text, item, want, edits))?;
            }
            collect_edits(text, value, want, edits)
        }),
        _ => Ok(()),
    }
}

fn edit_container(
    text: &str,
    container: &Node,
    want: &Want,
    edits: &mut Vec<Edit>,
) -> std::result::Result<(), Fault> {
    let Some((key, value)) = container.entry("image") else {
        return Ok(());
    };
    let Some(image) = value.text().filter(|image| is_ours(image, want.name)) else {
        return Ok(());
    };
    if image.contains('@') {
        return Err(value.fault(
            "the image is pinned by digest, and an imported image has none of a registry; name it by tag",
        ));
    }
    let name = image::split_tag(image).0;
    edits.push(replace(value, &format!("{name}:{}", want.tag))?);
    match container.entry(POLICY_KEY) {
        Some((_, policy)) if policy.text() == Some(want.policy.as_str()) => {}
        Some((_, policy)) => edits.push(replace(policy, want.policy.as_str())?),
        None => edits.push(insert_policy(text, container, key, value, want.policy)),
    }
    Ok(())
}

/// A new text for a scalar, in the quotes that it has.
fn replace(node: &Node, new: &str) -> std::result::Result<Edit, Fault> {
    let text = match &node.kind {
        Kind::Scalar { style: ScalarStyle::SingleQuoted, .. } => format!("'{new}'"),
        Kind::Scalar { style: ScalarStyle::DoubleQuoted, .. } => format!("\"{new}\""),
        Kind::Scalar { style: ScalarStyle::Plain, .. } | Kind::Alias(_) => new.to_owned(),
        _ => return Err(node.fault("an image or a pull policy must stand on one line")),
    };
    Ok(Edit { bytes: node.bytes.clone(), text })
}

/// The pull policy behind the image: on a line of its own, or, in a flow
/// mapping, behind a comma, quoted as the image's key is.
fn insert_policy(
    text: &str,
    container: &Node,
    key: &Node,
    value: &Node,
    policy: PullPolicy,
) -> Edit {
    let policy = policy.as_str();
    let end = value.bytes.end;
    if text[container.bytes.start..].starts_with('{') {
        let added = match &key.kind {
            Kind::Scalar { style: ScalarStyle::DoubleQuoted, .. } => {
                format!(", \"{POLICY_KEY}\": \"{policy}\"")
            }
            _ => format!(", {POLICY_KEY}: {policy}"),
        };
        return Edit { bytes: end..end, text: added };
    }
    let line_end = text[end..].find('\n').map_or(text.len(), |at| end + at);
    let (at, newline) = match text[..line_end].strip_suffix('\r') {
        Some(line) => (line.len(), "\r\n"),
        None => (line_end, if text.contains("\r\n") { "\r\n" } else { "\n" }),
    };
    let indent = " ".repeat(key.column);
    Edit { bytes: at..at, text: format!("{newline}{indent}{POLICY_KEY}: {policy}") }
}

/// Makes sure that the texts mean the same but for what is wanted.
fn prove(source: &str, rendered: &str, want: &Want) -> std::result::Result<(), Fault> {
    let mut expected = values(source)?;
    for value in &mut expected {
        want_in(value, want);
    }
    if expected == values(rendered)? {
        return Ok(());
    }
    let reason = "an alias or a merge key brings in a container's image; write the image in the container itself";
    Err(Fault { line: 1, column: 1, reason: reason.into() })
}

/// Sets the wanted fields in a value, as the edits set them in the text.
fn want_in(value: &mut Value, want: &Want) {
    match value {
        Value::Sequence(items) => items.iter_mut().for_each(|item| want_in(item, want)),
        Value::Mapping(map) => {
            for (key, value) in map.iter_mut() {
                if let (Value::Sequence(items), Some(true)) =
                    (&mut *value, key.as_str().map(|key| CONTAINER_LISTS.contains(&key)))
                {
                    items
                        .iter_mut()
                        .filter_map(Value::as_mapping_mut)
                        .for_each(|c| want_in_container(c, want));
                }
                want_in(value, want);
            }
        }
        _ => {}
    }
}

fn want_in_container(container: &mut Mapping, want: &Want) {
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default().to_owned();
    if is_ours(&image, want.name) {
        let image = format!("{}:{}", image::split_tag(&image).0, want.tag);
        container.insert("image".into(), image.into());
        container.insert(POLICY_KEY.into(), want.policy.as_str().into());
    }
}

/// Every document of a text, aliases and merge keys resolved.
fn values(text: &str) -> std::result::Result<Vec<Value>, Fault> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut values = Vec::new();
    for document in serde_yaml::Deserializer::from_str(text) {
        let mut value = Value::deserialize(document).map_err(|error| fault(text, &error))?;
        value.apply_merge().map_err(|error| fault(text, &error))?;
        values.push(value);
    }
    Ok(values)
}

fn fault(text: &str, error: &serde_yaml::Error) -> Fault {
    let (line, column) = error.location().map_or((1, 1), |at| (at.line(), at.column()));
    let reason = if text.contains("{{") {
        "it holds templates (`{{ }}`); render it first".to_owned()
    } else {
        error.to_string()
    };
    Fault { line, column, reason }
}

/// The objects of a document, those of a `List` one by one.
fn collect_objects(value: &Value, objects: &mut Vec<Object>) {
    let text = |path: &[&str]| at(value, path).and_then(Value::as_str).map(str::to_owned);
    let Some(kind) = text(&["kind"]) else { return };
    if let Some(Value::Sequence(items)) = value.get("items").filter(|_| kind.ends_with("List")) {
        for item in items {
            collect_objects(item, objects);
        }
        return;
    }
    let mut images = Vec::new();
    collect_images(value, &mut images);
    objects.push(Object {
        name: text(&["metadata", "name"]).unwrap_or_default(),
        namespace: text(&["metadata", "namespace"]),
        pod: at(value, pod_path(&kind)).and_then(|spec| serde_yaml::from_value(spec.clone()).ok()),
        kind,
        images,
    });
}

fn collect_images(value: &Value, images: &mut Vec<String>) {
    match value {
        Value::Sequence(items) => items.iter().for_each(|item| collect_images(item, images)),
        Value::Mapping(map) => {
            for (key, value) in map {
                if let (Value::Sequence(items), Some(true)) =
                    (value, key.as_str().map(|key| CONTAINER_LISTS.contains(&key)))
                {
                    let named = items.iter().filter_map(|item| item.get("image")?.as_str());
                    images.extend(named.map(str::to_owned));
                }
                collect_images(value, images);
            }
        }
        _ => {}
    }
}

fn pod_path(kind: &str) -> &'static [&'static str] {
    match kind {
        "Pod" => &["spec"],
        "CronJob" => &["spec", "jobTemplate", "spec", "template", "spec"],
        _ => &["spec", "template", "spec"],
    }
}

fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, key| value.get(*key))
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
