//! `cargo kdev render`: prints the manifests as `up` would apply them. Builds and applies
//! nothing, and needs no cluster.

use std::path::{Path, PathBuf};

use kdev_core::image::reference::PLACEHOLDER_TAG;
use kdev_manifest::report::{FieldOutcome, ImageField, Mention};
use kdev_manifest::shared::SharedWorkload;
use serde::Serialize;

use crate::build::{self, Error as BuildError};
use crate::cluster::kubeconfig::ClusterTarget;
use crate::commands::several;
use crate::config::{Config, ConfigLayer, siblings};
use crate::cx::Cx;
use crate::docker::ImageStore;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::manifests::{self, Manifest, RenderTarget, shared};
use crate::project::{PackageSelection, Project};

/// The options of [`render`].
#[derive(Clone, Debug, Default)]
pub struct RenderRequest {
    /// The packages.
    pub selection: PackageSelection,
    /// Settings from flags and environment variables.
    pub flags: ConfigLayer,
}

/// A manifest before and after rendering.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rendering {
    /// The file, or the folder that was rendered.
    pub path: PathBuf,
    /// The text before rendering.
    #[serde(skip)]
    pub source: String,
    /// The text that `up` would apply.
    pub text: String,
    /// The fields that contain an image, and how each changes.
    pub fields: Vec<ImageField>,
    /// Other places that contain the name of the image; they stay unchanged.
    pub mentions: Vec<Mention>,
}

/// Renders the manifests for the last build. Emits a note for each place that contains the
/// name of the image and stays unchanged. A manifest of several packages is rendered once, with the
/// images of all of them.
pub fn render(cx: &Cx, request: &RenderRequest) -> Result<Vec<Rendering>> {
    let projects = Project::read_all(cx, &request.selection)?;
    several::check_images(&projects, &request.flags)?;
    let packages = several::collect(cx, &projects, |cx, project| {
        PackageManifests::read(cx, request, project, projects.len() > 1)
    })?;
    let mut rendered = Vec::new();
    several::collect(cx, &projects, |cx, project| {
        let package = packages.iter().find(|package| package.config.package == project.package);
        let Some(package) = package else { return Ok(()) };
        package.note_unchanged(cx, &packages);
        package.add_to(&mut rendered)
    })?;
    Ok(rendered)
}

/// The manifests of a package, and the tag of its last build.
struct PackageManifests {
    config: Config,
    manifests: Vec<Manifest>,
    tag: String,
    /// The workloads with the image of another package, for each manifest.
    shared: Vec<Vec<SharedWorkload>>,
}

impl PackageManifests {
    fn read(
        cx: &Cx,
        request: &RenderRequest,
        project: &Project,
        is_one_of_several: bool,
    ) -> Result<Self> {
        let config = Config::resolve_without_build(project, request.flags.clone())?;
        // Without a cluster, charts are rendered for the namespace of the current context.
        let target = ClusterTarget::default();
        let manifests = Manifest::read_all(cx, &config, RenderTarget::Offline(&target))?;
        let objects = manifests::collect_objects(&manifests, &config)?;
        manifests::check(cx, &manifests, &config, config.namespace.as_deref())?;
        note_empty_lookup(cx, &manifests);
        let siblings = siblings::siblings(project, &config);
        let shared_in = |manifest: &Manifest| {
            let manifest = std::slice::from_ref(manifest);
            shared::shared_workloads(manifest, &objects, &config, &siblings)
        };
        let shared = manifests.iter().map(shared_in).collect();
        let selection = request.selection.of_package(&project.package);
        let selection = if is_one_of_several { &selection } else { &request.selection };
        let tag = last_tag(cx, &config, selection)?;
        Ok(Self { config, manifests, tag, shared })
    }

    /// Notes the images of other packages, unless that package is selected and has the manifest.
    fn note_unchanged(&self, cx: &Cx, selected: &[Self]) {
        for (manifest, shared) in self.manifests.iter().zip(&self.shared) {
            let is_rendered = |shared: &SharedWorkload| {
                let mut owners = selected.iter().filter(|one| one.config.package == shared.package);
                owners.any(|one| one.manifests.iter().any(|own| is_same(own, manifest)))
            };
            let unchanged: Vec<SharedWorkload> =
                shared.iter().filter(|shared| !is_rendered(shared)).cloned().collect();
            shared::note_unchanged(cx, &unchanged);
        }
    }

    /// Renders the manifests, or what another package has rendered of them.
    fn add_to(&self, rendered: &mut Vec<Rendering>) -> Result<()> {
        let update = manifests::image_update(&self.config, &self.tag);
        for manifest in self.manifests.iter().cloned() {
            let is_same = |known: &&mut Rendering| {
                known.source == manifest.text && is_same_file(&known.path, &manifest.path)
            };
            let own = manifest.render(&update)?;
            match rendered.iter_mut().find(is_same) {
                Some(known) => {
                    let again = Manifest { text: known.text.clone(), ..manifest };
                    known.text = again.render(&update)?.text;
                    known.add(own.fields, own.mentions);
                }
                None => rendered.push(Rendering {
                    path: manifest.path,
                    source: manifest.text,
                    text: own.text,
                    fields: own.fields,
                    mentions: own.mentions,
                }),
            }
        }
        Ok(())
    }
}

impl Rendering {
    /// Adds the fields and mentions of another package's image. The fields are the same, and those
    /// with its image have another outcome.
    fn add(&mut self, fields: Vec<ImageField>, mentions: Vec<Mention>) {
        for field in fields {
            let is_same =
                |known: &&mut ImageField| (known.line, known.column) == (field.line, field.column);
            match self.fields.iter_mut().find(is_same) {
                Some(known) if known.outcome == FieldOutcome::OtherImage => *known = field,
                Some(_) => {}
                None => self.fields.push(field),
            }
        }
        self.fields.sort_by_key(|field| (field.line, field.column));
        self.mentions.extend(mentions);
    }
}

fn is_same(one: &Manifest, other: &Manifest) -> bool {
    one.text == other.text && is_same_file(&one.path, &other.path)
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    one == other
        || one.canonicalize().ok().is_some_and(|one| other.canonicalize().ok() == Some(one))
}

/// Returns the tag of the last build. Without a build, notes that the tag is a placeholder.
fn last_tag(cx: &Cx, config: &Config, selection: &PackageSelection) -> Result<String> {
    let build = ImageStore::connect(cx, config)
        .map_err(Error::from)
        .and_then(|store| Ok(build::last_build(cx, &store, config, selection)?));
    let cause = match build {
        Ok(build) => return Ok(build.tag().unwrap_or_default().to_owned()),
        Err(
            error @ (Error::Build(BuildError::NotBuilt { .. }) | Error::Docker(_) | Error::Tool(_)),
        ) if !error.is_interrupt() => error.to_string(),
        Err(error) => return Err(error),
    };
    let text = format!(
        "{cause}, so the tag `{PLACEHOLDER_TAG}` in the output is a placeholder; `up` builds the image"
    );
    cx.emit(Event::Note { text });
    Ok(PLACEHOLDER_TAG.to_owned())
}

fn note_empty_lookup(cx: &Cx, manifests: &[Manifest]) {
    for manifest in manifests.iter().filter(|manifest| manifest.uses_lookup) {
        let text = format!(
            "`lookup` returned nothing in chart `{}`, because `render` does not connect to a cluster; `up` renders it with the live objects",
            manifest.path.display()
        );
        cx.emit(Event::Note { text });
    }
}
