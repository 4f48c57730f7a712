//! The outputs of a build with `BuildKit`: Docker's image store, and a directory of this machine
//! if the daemon cannot push its new layers.

use std::ffi::OsStr;
use std::fs;

use serde::Deserialize;
use tempfile::NamedTempFile;

use crate::config::Config;
use crate::cx::Cx;
use crate::docker::{DockerFacts, ImageStore, LayerSource};
use crate::layers::cache::LayerCache;
use crate::layers::export;
use crate::layers::layout::Layout;

/// The argument of `docker build` that selects Docker's default output. The settings do not
/// permit other outputs.
const LOAD: &str = "--load";
/// The argument that names the file for the digests.
const METADATA: &str = "--metadata-file";

/// The outputs of a build; the default one if kdev does not select any.
#[derive(Default)]
pub(crate) struct Outputs {
    /// The value of `--output` for Docker's store.
    image: Option<String>,
    /// The directory for the new layers, with the value of `--output`.
    layout: Option<(Layout, String)>,
    cache: Option<LayerCache>,
    /// The file in which buildx writes the digests of the image. In the containerd image store,
    /// `--iidfile` may have the digest of the configuration, which is not the ID of the image.
    metadata: Option<NamedTempFile>,
}

/// The digests that buildx writes.
#[derive(Deserialize)]
struct Metadata {
    #[serde(rename = "containerimage.digest")]
    manifest: String,
    #[serde(rename = "containerimage.config.digest")]
    config: Option<String>,
}

impl Outputs {
    /// Selects the outputs, unless the user has selected some.
    pub(crate) fn select(cx: &Cx, store: &ImageStore, config: &Config) -> Self {
        let ImageStore::Docker(docker) = store else { return Self::default() };
        if cx.is_dry_run() || docker.uses_config_digest_as_id() {
            return Self::default();
        }
        let facts = docker.facts(cx, config.builder_name()).ok();
        // The legacy builder does not have any of these options.
        let Some(facts) = facts.filter(|facts| facts.driver().is_some()) else {
            return Self::default();
        };
        let cache = cx.cache_dir().and_then(|dir| LayerCache::open_in(dir).ok());
        let metadata = match config.docker_build_flag(METADATA) {
            // Its file is for the user.
            Some(_) => None,
            None => NamedTempFile::new().ok(),
        };
        let mut outputs = Self { cache, metadata, ..Self::default() };
        if config.docker_build.iter().all(|arg| arg.split('=').next() != Some(LOAD)) {
            outputs.add(cx, &facts, config);
        }
        outputs
    }

    fn add(&mut self, cx: &Cx, facts: &DockerFacts, config: &Config) {
        self.image = facts.image_output();
        if let (Some(_), Some(cache), LayerSource::Layout) =
            (&self.image, &self.cache, facts.layer_source())
        {
            let layout = export::prepare(cx, cache, &config.image).ok();
            self.layout = layout.map(|layout| {
                let output = facts.layout_output(layout.path());
                (layout, output)
            });
        }
    }

    /// Returns the arguments of `docker build`.
    pub(crate) fn args(&self) -> Vec<&OsStr> {
        let layout = self.layout.iter().map(|(_, output)| output);
        let outputs = self.image.iter().chain(layout).flat_map(|output| ["--output", output]);
        let metadata = self.metadata.iter().map(|file| file.path().as_os_str());
        let metadata = metadata.flat_map(|path| [METADATA.as_ref(), path]);
        outputs.map(OsStr::new).chain(metadata).collect()
    }

    /// Returns whether a failed build has failed while it was writing the layers.
    pub(crate) fn is_written(&self) -> bool {
        self.layout.as_ref().is_some_and(|(layout, _)| layout.is_written())
    }

    /// Removes the directory for the new layers.
    pub(crate) fn without_layout(self) -> Self {
        Self { layout: None, ..self }
    }

    /// Moves the new layers to the cache. Returns the ID of the image in Docker's store, if
    /// buildx has reported it.
    pub(crate) fn read_id(&self, config: &Config) -> Option<String> {
        if let (Some((layout, _)), Some(cache)) = (&self.layout, &self.cache) {
            // Otherwise the image is exported again.
            let _ = export::take(layout, cache, config.platform.as_deref());
        }
        let text = fs::read(self.metadata.as_ref()?.path()).ok()?;
        let Metadata { manifest, config } = serde_json::from_slice(&text).ok()?;
        if let (Some(config), Some(cache)) = (config, &self.cache) {
            export::record_config(cache, &manifest, &config);
        }
        Some(manifest)
    }
}
