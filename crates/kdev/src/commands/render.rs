//! `cargo kdev render`: the manifests as `up` would apply them. Nothing is built,
//! nothing is applied, and no cluster is asked.

use std::path::PathBuf;

use kdev_manifest::report::{ImageField, Mention};
use kdev_manifest::update::ImageUpdate;
use serde::Serialize;

use crate::build;
use crate::cluster::kubeconfig::ClusterTarget;
use crate::config::{Config, ConfigLayer};
use crate::cx::Cx;
use crate::docker::Docker;
use crate::error::Result;
use crate::manifests::{self, Manifest};
use crate::project::{Project, PackageSelection};

/// What a user may say about one rendering.
#[derive(Clone, Debug, Default)]
pub struct RenderRequest {
    /// Which package.
    pub selection: PackageSelection,
    /// Settings from flags and variables.
    pub flags: ConfigLayer,
}

/// A manifest, before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rendering {
    /// Where its text comes from.
    pub path: PathBuf,
    /// The text as it was written.
    #[serde(skip)]
    pub source: String,
    /// The text as it is applied.
    pub text: String,
    /// Each field that names an image, and what becomes of it.
    pub fields: Vec<ImageField>,
    /// What else holds our image's name, and stays.
    pub mentions: Vec<Mention>,
}

/// Renders the manifests for the last build. What holds the image's name and
/// stays as it is, comes as a note.
pub fn render(cx: &Cx, request: &RenderRequest) -> Result<Vec<Rendering>> {
    let project = Project::read(cx, &request.selection)?;
    let config = Config::resolve_without_build(&project, request.flags.clone())?;
    // No cluster is named: a chart is made for the namespace of the current context.
    let manifests = Manifest::read_all(cx, &config, &ClusterTarget::default())?;
    manifests::collect_objects(&manifests, &config)?;
    manifests::check(cx, &manifests, &config)?;
    let build = build::last_build(cx, &Docker::connect(cx)?, &config, &request.selection)?;
    let want = manifests::image_update(&config, build.tag().unwrap_or_default());
    manifests.into_iter().map(|manifest| rendering(manifest, &want)).collect()
}

fn rendering(manifest: Manifest, want: &ImageUpdate) -> Result<Rendering> {
    let kdev_manifest::Rendered { text, places, untouched } = manifest.render(want)?;
    let Manifest { path, text: source, .. } = manifest;
    Ok(Rendering { path, source, text, fields: places, mentions: untouched })
}
