//! `cargo kdev render`: prints the manifests as `up` would apply them. Builds and applies
//! nothing, and needs no cluster.

use std::path::PathBuf;

use kdev_core::image::reference::PLACEHOLDER_TAG;
use kdev_manifest::report::{ImageField, Mention};
use kdev_manifest::update::ImageUpdate;
use serde::Serialize;

use crate::build::{self, Error as BuildError};
use crate::cluster::kubeconfig::ClusterTarget;
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
    /// The package.
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
/// name of the image and stays unchanged.
pub fn render(cx: &Cx, request: &RenderRequest) -> Result<Vec<Rendering>> {
    let project = Project::read(cx, &request.selection)?;
    let config = Config::resolve_without_build(&project, request.flags.clone())?;
    // Without a cluster, charts are rendered for the namespace of the current context.
    let target = ClusterTarget::default();
    let manifests = Manifest::read_all(cx, &config, RenderTarget::Offline(&target))?;
    let objects = manifests::collect_objects(&manifests, &config)?;
    manifests::check(cx, &manifests, &config, config.namespace.as_deref())?;
    note_empty_lookup(cx, &manifests);
    let siblings = siblings::siblings(&project, &config);
    shared::note_unchanged(cx, &shared::shared_workloads(&manifests, &objects, &config, &siblings));
    let tag = last_tag(cx, &config, request)?;
    let update = manifests::image_update(&config, &tag);
    manifests.into_iter().map(|manifest| render_one(manifest, &update)).collect()
}

/// Returns the tag of the last build. Without a build, notes that the tag is a placeholder.
fn last_tag(cx: &Cx, config: &Config, request: &RenderRequest) -> Result<String> {
    let build = ImageStore::connect(cx, config)
        .map_err(Error::from)
        .and_then(|store| Ok(build::last_build(cx, &store, config, &request.selection)?));
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

fn render_one(manifest: Manifest, update: &ImageUpdate) -> Result<Rendering> {
    let kdev_manifest::Rendered { text, fields, mentions } = manifest.render(update)?;
    let Manifest { path, text: source, .. } = manifest;
    Ok(Rendering { path, source, text, fields, mentions })
}
