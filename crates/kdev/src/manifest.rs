//! Manifests: text in, text out. Only the image and the pull policy of
//! containers that run our image change; no byte around them does.
//!
//! Pure but for `Manifest::read_all`. Every edit is proven: source and
//! result are read with `serde_yaml`, and must differ in just these fields.

use std::fs;
use std::path::{Path, PathBuf};

use serde_yaml::Value;

use crate::config::{self, Config, PullPolicy};
use crate::cx::Cx;
use crate::details::Reason;
use crate::edit::Plan;
use crate::event::Event;
use crate::generator::Generator;
use crate::image::{Name, Reference, split_tag};
use crate::image_path::{self, ImagePath};
use crate::kubeconfig::Target;
use crate::manifests::{Error, Result};
use crate::place::{Fate, PINNED, Place, Untouched};
use crate::placement::PodSpec;
use crate::process::{self, quoted};
use crate::proof;
use crate::syntax;
use crate::untouched;
use crate::value;
use crate::yaml::{self, Fault};

/// A file of Kubernetes objects, as its author wrote it.
#[derive(Clone, Debug)]
pub(crate) struct Manifest {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
    /// The command that has made the text of a folder.
    pub(crate) made_by: Option<String>,
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
    /// Where else an image is named.
    pub(crate) paths: &'a [ImagePath],
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
    /// globs, and by name within one. A kustomization's or a chart's folder is
    /// rendered first, a chart for the namespace of this cluster.
    pub(crate) fn read_all(cx: &Cx, config: &Config, target: &Target) -> Result<Vec<Self>> {
        let mut manifests = Vec::new();
        for pattern in &config.manifests {
            for path in matches(pattern)? {
                manifests.extend(Self::read_any(cx, &path, config, target)?);
            }
        }
        if manifests.is_empty() {
            let patterns = config.manifests.iter().map(|p| p.display().to_string()).collect();
            let by = config.takes_default_manifests().then(|| first_manifest(cx, config));
            return Err(Error::NotFound { patterns, by: by.transpose()? });
        }
        Ok(manifests)
    }

    /// `None` for a folder from which nothing is made.
    fn read_any(cx: &Cx, path: &Path, config: &Config, target: &Target) -> Result<Option<Self>> {
        if path.is_file() {
            return Self::read(path).map(Some);
        }
        Generator::of(path).map(|generator| generator.run(cx, path, config, target)).transpose()
    }

    fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(process::Error::read(path))?;
        Ok(Self { path: path.to_owned(), text, made_by: None })
    }

    /// The objects that it declares.
    pub(crate) fn objects(&self, paths: &[ImagePath]) -> Result<Vec<Object>> {
        objects(&self.text, paths).map_err(|fault| self.error(fault))
    }

    /// The text as it will be applied, and why.
    pub(crate) fn render(&self, want: &Want) -> Result<Rendered> {
        render(&self.text, want).map_err(|fault| self.error(fault))
    }

    fn error(&self, fault: Fault) -> Error {
        let Fault { line, column, reason } = fault;
        let (path, made_by) = (self.path.clone(), self.made_by.clone());
        Error::Edit { path, made_by, line, column, reason: Reason(reason) }
    }
}

/// The command that writes a manifest to begin with.
fn first_manifest(cx: &Cx, config: &Config) -> Result<String> {
    let image = config.image.name().familiar();
    let name = image.rsplit('/').next().unwrap_or_default().replace(['_', '.'], "-");
    // A folder's whole path need not be shown to whoever is in it.
    let is_here = cx.shell()?.current_dir() == config.dir;
    let folder = if is_here { PathBuf::from("k8s") } else { config.dir.join("k8s") };
    let (folder, file) = (folder.to_string_lossy(), folder.join(format!("{name}.yaml")));
    Ok(format!(
        "mkdir -p {} && kubectl create deployment {name} --image {image} --dry-run=client --output yaml > {}",
        quoted(&folder),
        quoted(&file.to_string_lossy())
    ))
}

fn matches(pattern: &Path) -> Result<Vec<PathBuf>> {
    let paths = glob::glob(&pattern.to_string_lossy()).map_err(|error| {
        let reason = format!("`{}`: {error}", pattern.display());
        config::Error::invalid("manifests", "the settings", reason)
    })?;
    Ok(paths.filter_map(std::result::Result::ok).collect())
}

/// Makes sure that all can be rendered, and says what will stay as it is.
pub(crate) fn check(cx: &Cx, manifests: &[Manifest], config: &Config) -> Result<()> {
    let want = Want::of(config, "kdev-000000000000");
    for manifest in manifests {
        tell_untouched(cx, manifest, &manifest.render(&want)?);
    }
    Ok(())
}

/// Says what holds the image's name and stays as it is, each with its place.
pub(crate) fn tell_untouched(cx: &Cx, manifest: &Manifest, rendered: &Rendered) {
    let pinned = rendered.places.iter().filter(|place| place.fate == Fate::Pinned);
    let pinned = pinned.map(|place| (place.line, place.to_string()));
    let others = rendered.untouched.iter().map(|other| (other.line, other.to_string()));
    let mut notes: Vec<(usize, String)> = pinned.chain(others).collect();
    notes.sort();
    for (line, words) in notes {
        let text = format!("{}:{line}: {words}", manifest.path.display());
        cx.emit(Event::Note { text });
    }
}

/// Makes sure that a container runs the image, and gives all objects.
pub(crate) fn objects_using(manifests: &[Manifest], config: &Config) -> Result<Vec<Object>> {
    let image = &config.image;
    let mut objects = Vec::new();
    for manifest in manifests {
        objects.extend(manifest.objects(&config.image_paths)?);
    }
    if objects.iter().any(|object| object.uses(image.name())) {
        return Ok(objects);
    }
    if let Some(error) = pinned_alone(manifests, &Want::of(config, "latest")) {
        return Err(error);
    }
    if let Some(error) = mistyped_kind(manifests) {
        return Err(error);
    }
    let mut found: Vec<String> = objects.into_iter().flat_map(|object| object.images).collect();
    found.sort();
    found.dedup();
    let nearest = mistyped_image(manifests, &Want::of(config, "latest"));
    Err(Error::ImageNotUsed {
        image: image.name().familiar(),
        files: manifests.iter().map(|m| m.path.display().to_string()).collect(),
        found,
        nearest,
    })
}

/// An object that is no workload only since a letter of its kind is wrong.
fn mistyped_kind(manifests: &[Manifest]) -> Option<Error> {
    manifests.iter().find_map(|manifest| {
        let text = manifest.text.strip_prefix('\u{feff}').unwrap_or(&manifest.text);
        let mut fault = None;
        for document in yaml::documents(text).ok()? {
            image_path::each_node(&document, &mut |kind, object| {
                let Some((meant, node)) = kind.nearest_workload().zip(object.get("kind")) else {
                    return;
                };
                let words = format!(
                    "kind `{}` is none that Kubernetes brings; did you mean `{meant}`?",
                    kind.kind
                );
                fault.get_or_insert_with(|| node.fault(words));
            });
        }
        fault.map(|fault| manifest.error(fault))
    })
}

/// Where an image is named that looks most like ours: file, line and image.
fn mistyped_image(manifests: &[Manifest], want: &Want) -> Option<(PathBuf, usize, String)> {
    let name = want.name.familiar();
    let places = manifests.iter().filter_map(|manifest| {
        let places = manifest.render(want).ok()?.places.into_iter();
        let containers = places.filter(|place| place.field.rsplit('.').next() == Some("image"));
        Some(containers.map(|place| (manifest.path.clone(), place.line, place.image)))
    });
    let likeness = |image: &str| strsim::jaro_winkler(split_tag(image).0, &name);
    let alike = places.flatten().filter(|(_, _, image)| likeness(image) > 0.8);
    alike.max_by(|(_, _, a), (_, _, b)| likeness(a).total_cmp(&likeness(b)))
}

/// Where the image is pinned, if it is nowhere named by a tag.
fn pinned_alone(manifests: &[Manifest], want: &Want) -> Option<Error> {
    manifests.iter().find_map(|manifest| {
        let places = manifest.render(want).ok()?.places;
        let place = places.into_iter().find(|place| place.fate == Fate::Pinned)?;
        let (line, column) = (place.line, place.column);
        Some(manifest.error(Fault { line, column, reason: format!("`{}`: {PINNED}", place.image) }))
    })
}

impl<'a> Want<'a> {
    /// What the settings want for a build with this tag.
    pub(crate) fn of(config: &'a Config, tag: &'a str) -> Self {
        let name = config.image.name();
        Self { name, tag, policy: config.pull_policy, paths: &config.image_paths }
    }
}

impl Object {
    /// Whether it runs the newest build of this image.
    pub(crate) fn uses(&self, name: &Name) -> bool {
        self.images.iter().any(|image| is_ours(image, name) && !pinned(image))
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

fn objects(text: &str, paths: &[ImagePath]) -> std::result::Result<Vec<Object>, Fault> {
    // It refuses what the other parser would choke on.
    yaml::documents(text.strip_prefix('\u{feff}').unwrap_or(text))?;
    let mut objects = Vec::new();
    for mut document in values(text)? {
        collect_objects(&mut document, paths, &mut objects);
    }
    Ok(objects)
}

/// The namespace that the first object of a document names.
pub(crate) fn namespace(document: &str) -> Option<String> {
    let mut objects = Vec::new();
    for mut value in values(document).ok()? {
        collect_objects(&mut value, &[], &mut objects);
    }
    objects.into_iter().next()?.namespace
}

/// Whether a text names this image, whatever the version.
pub(crate) fn is_ours(image: &str, name: &Name) -> bool {
    Reference::parse(image).is_ok_and(|reference| reference.name() == name)
}

/// Whether a reference names one content, whatever its tag.
pub(crate) fn pinned(image: &str) -> bool {
    image.contains('@')
}

/// A text, and what has been made of it.
#[derive(Debug)]
pub(crate) struct Rendered {
    pub(crate) text: String,
    pub(crate) places: Vec<Place>,
    pub(crate) untouched: Vec<Untouched>,
}

pub(crate) fn render(text: &str, want: &Want) -> std::result::Result<Rendered, Fault> {
    let body = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mark = &text[..text.len() - body.len()];
    let documents = yaml::documents(body)?;
    let plan = Plan::of(body, &documents, want)?;
    let rendered = plan.apply(body);
    proof::prove(body, &rendered, &documents, &plan.places, want)?;
    let untouched = untouched::find(&documents, &plan.values, want.name);
    Ok(Rendered { text: format!("{mark}{rendered}"), places: plan.places, untouched })
}

/// Every document of a text, aliases and merge keys resolved.
pub(crate) fn values(text: &str) -> std::result::Result<Vec<Value>, Fault> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    value::read_all(text).map_err(|error| fault(text, &error))
}

fn fault(text: &str, error: &serde_yaml::Error) -> Fault {
    let (line, column) = error.location().map_or((1, 1), |at| (at.line(), at.column()));
    syntax::explain(text, Fault { line, column, reason: error.to_string() })
}

/// The objects of a document, those of a `List` one by one.
fn collect_objects(document: &mut Value, paths: &[ImagePath], objects: &mut Vec<Object>) {
    image_path::each_value(document, &mut |kind, object| {
        let mut images = Vec::new();
        for route in kind.routes(paths) {
            route.values(object, &mut |holder| {
                let image = holder.get(route.image.as_str()).and_then(Value::as_str);
                images.extend(image.map(str::to_owned));
            });
        }
        let text = |path: &[&str]| at(object, path).and_then(Value::as_str).map(str::to_owned);
        let pod = kind.pod_spec().and_then(|path| at(object, path));
        objects.push(Object {
            kind: kind.kind.to_owned(),
            name: text(&["metadata", "name"]).unwrap_or_default(),
            namespace: text(&["metadata", "namespace"]),
            pod: pod.and_then(|spec| serde_yaml::from_value(spec.clone()).ok()),
            images,
        });
    });
}

fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, key| value.get(*key))
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
