//! Provides the layers of an image: from an archive, or from the cache, for which Docker
//! pushes missing layers to a local endpoint.
//!
//! - `archive.rs`: unpacks an archive that the user passes
//! - `cache.rs`: stores the layers that builds have changed
//! - `export.rs`: gets single layers from BuildKit
//! - `extract.rs`: extracts layers from the output of `docker save`
//! - `layout.rs`: reads an image that a builder has written as an OCI image layout
//! - `podman.rs`: gets single layers from Podman
//! - `push.rs`: the endpoint that Docker pushes to
//! - `records.rs`: stores what earlier runs have learned
//! - `save.rs`: runs one `docker save` and streams it to several nodes

pub(crate) mod archive;
pub(crate) mod cache;
mod error;
pub(crate) mod export;
pub(crate) mod extract;
pub(crate) mod layout;
mod podman;
pub(crate) mod push;
mod records;
pub(crate) mod save;

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use kdev_core::image::built::BuiltImage;
use kdev_core::shell::quote;

use crate::cx::Cx;
use crate::docker::{Docker, Engine, ImageStore, LayerSource, Podman};
use crate::layers::archive::UnpackedArchive;
use crate::layers::cache::{Layer, LayerCache};
use crate::layers::push::LayerRequest;
use crate::layers::save::SharedSave;

pub use error::Error;

/// Where the image comes from.
pub(crate) enum ImageSource<'a> {
    Docker(&'a Docker, BuiltImage),
    Podman(&'a Podman, BuiltImage),
    Archive(UnpackedArchive),
}

impl<'a> ImageSource<'a> {
    /// Returns the source of an image that Docker or Podman has.
    pub(crate) fn new(store: &'a ImageStore, image: BuiltImage) -> Self {
        match store {
            ImageStore::Docker(docker) => Self::Docker(docker, image),
            ImageStore::Podman(podman) => Self::Podman(podman, image),
        }
    }

    /// Returns the image under its first name.
    pub(crate) fn image(&self) -> &BuiltImage {
        &self.images()[0]
    }

    /// Returns the image under each of its names; never empty.
    pub(crate) fn images(&self) -> &[BuiltImage] {
        match self {
            Self::Docker(_, image) | Self::Podman(_, image) => std::slice::from_ref(image),
            Self::Archive(unpacked) => &unpacked.images,
        }
    }
}

/// The layers of one image.
pub(crate) struct LayerProvider<'a> {
    pub(crate) source: &'a ImageSource<'a>,
    pub(crate) image: &'a BuiltImage,
    /// The directory with the layers to send.
    layers: Option<LayerCache>,
    /// The cache directory, with the history of earlier loads.
    cache: Option<LayerCache>,
    /// Whether Docker has failed to provide layers. The lock makes one thread request
    /// layers at a time; the others then find them in the cache.
    has_failed: Mutex<bool>,
    /// Cached layers of earlier builds that are not in the image, per build, the latest
    /// first.
    pub(crate) previous_builds: Vec<Vec<Layer>>,
    /// The archive of the whole image, from `docker save`.
    pub(crate) shared_save: SharedSave,
}

/// The content of a partial archive.
pub(crate) struct ImageParts {
    pub(crate) config: Vec<u8>,
    pub(crate) layers: Vec<Layer>,
}

impl ImageParts {
    /// Returns the size of the layers in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.layers.iter().map(|layer| layer.size).sum()
    }
}

impl<'a> LayerProvider<'a> {
    /// Provides the layers of one of the source's images.
    pub(crate) fn new(cx: &Cx, source: &'a ImageSource<'a>, image: &'a BuiltImage) -> Self {
        let cache = cx.cache_dir().and_then(|dir| LayerCache::open_in(dir).ok());
        let previous_builds =
            cache.as_ref().map(|cache| previous_builds(cache, image)).unwrap_or_default();
        let layers = match source {
            ImageSource::Archive(unpacked) => Some(unpacked.layers.clone()),
            // Without a cache the whole image is sent, which is slower.
            ImageSource::Docker(..) | ImageSource::Podman(..) if !image.layers.is_empty() => {
                cache.clone()
            }
            ImageSource::Docker(..) | ImageSource::Podman(..) => None,
        };
        Self {
            source,
            image,
            layers,
            cache,
            has_failed: Mutex::new(false),
            previous_builds,
            shared_save: SharedSave::default(),
        }
    }

    /// Returns whether layer by layer is the fastest way to read the image. Docker takes longer
    /// to write an archive from the containerd image store than to push or to export all
    /// layers as they are stored.
    pub(crate) fn reads_layers(&self, cx: &Cx) -> bool {
        match self.source {
            ImageSource::Archive(_) => true,
            ImageSource::Docker(docker, _) => {
                let source = docker.layer_source(cx);
                self.layers.is_some()
                    && !docker.uses_config_digest_as_id()
                    && matches!(source, LayerSource::Push | LayerSource::Layout)
            }
            ImageSource::Podman(..) => false,
        }
    }

    fn is_archive(&self) -> bool {
        matches!(self.source, ImageSource::Archive(_))
    }

    /// Returns Docker, if it exports layers because it cannot push them.
    fn exported_from(&self, cx: &Cx) -> Option<&'a Docker> {
        let ImageSource::Docker(docker, _) = self.source else { return None };
        (docker.layer_source(cx) == LayerSource::Layout).then_some(docker)
    }

    /// Returns the command line that exports the image, for messages.
    pub(crate) fn display_save(&self) -> Option<String> {
        let save =
            |engine: Engine, name: &str| format!("{} save {}", engine.program(), quote(name));
        match self.source {
            ImageSource::Docker(..) => Some(save(Engine::Docker, &self.image.reference.familiar())),
            ImageSource::Podman(..) => {
                Some(save(Engine::Podman, &Podman::local_name(&self.image.reference)))
            }
            ImageSource::Archive(_) => None,
        }
    }

    /// Returns the bytes per second of the last transfer to a host.
    pub(crate) fn rate(&self, host: &str) -> Option<f64> {
        self.cache.as_ref()?.rate(host)
    }

    pub(crate) fn record_rate(&self, host: &str, rate: f64) {
        if let Some(cache) = &self.cache {
            cache.record_rate(host, rate);
        }
    }

    /// Makes Docker push the layers that it has never pushed, or Podman write those that no
    /// earlier build had, while the nodes are being connected to, because they probably need
    /// them. With Docker, if a large image is entirely new, its
    /// layers are not transferred. Docker then only learns their digests, so that the next
    /// load can be partial.
    pub(crate) fn prefetch(&self, cx: &Cx) {
        if cx.is_dry_run() {
            return;
        }
        let _one_at_a_time = self.has_failed.lock();
        if let (ImageSource::Podman(podman, image), Some(layers)) = (self.source, &self.layers) {
            let new = podman::new_layers(image, layers);
            if !new.is_empty() && new.len() < image.layers.len() {
                let _ = podman::save_layers(cx, podman, image, layers, &new);
            }
            return;
        }
        if self.exported_from(cx).is_none() {
            self.push(cx, &LayerRequest::Unpushed);
        }
        // The push may have been refused. A build has already exported its new layers.
        if let (Some(docker), Some(layers)) = (self.exported_from(cx), &self.layers)
            && layers.config(&self.image.config_digest).is_none()
        {
            let _ = export::export_new(cx, docker, self.image, layers);
        }
    }

    /// Returns the configuration and these layers, or `None` if they are unavailable and
    /// the whole image must be sent.
    pub(crate) fn parts(&self, cx: &Cx, diff_ids: &BTreeSet<&str>) -> Option<ImageParts> {
        let mut has_failed = self.has_failed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(parts) = self.cached(diff_ids) {
            return Some(parts);
        }
        if *has_failed {
            return None;
        }
        let layers = self.layers.as_ref()?;
        let missing = diff_ids.iter().filter(|diff_id| layers.get(diff_id).is_none());
        if let ImageSource::Podman(podman, image) = self.source {
            // The cache shows which layers were saved.
            let _ = podman::save_layers(cx, podman, image, layers, &missing.copied().collect());
            let parts = self.cached(diff_ids);
            *has_failed = parts.is_none();
            return parts;
        }
        let missing: BTreeSet<&str> = missing.copied().collect();
        // The cache shows which layers were exported or pushed.
        let export = || {
            let docker = self.exported_from(cx)?;
            let _ = export::export(cx, docker, self.image, layers, |id| missing.contains(id));
            self.cached(diff_ids)
        };
        let exports = self.exported_from(cx).is_some();
        if let Some(parts) = export() {
            return Some(parts);
        }
        let these = missing.iter().map(|diff_id| (*diff_id).to_owned()).collect();
        let has_pushed = self.push(cx, &LayerRequest::These(these));
        let mut parts = self.cached(diff_ids);
        // The push may have been refused.
        if parts.is_none() && !exports {
            parts = export();
        }
        if parts.is_none() && !has_pushed && diff_ids.len() < self.image.layers.len() {
            if let ImageSource::Docker(docker, image) = self.source {
                let _ = extract::extract(cx, docker, image, layers, diff_ids);
            }
            parts = self.cached(diff_ids);
        }
        *has_failed = parts.is_none();
        parts
    }

    fn cached(&self, diff_ids: &BTreeSet<&str>) -> Option<ImageParts> {
        let layers = self.layers.as_ref()?;
        let config = layers.config(&self.image.config_digest)?;
        let layers = diff_ids.iter().map(|diff_id| layers.get(diff_id)).collect::<Option<_>>()?;
        Some(ImageParts { config, layers })
    }

    /// Makes Docker push the requested layers and returns whether the push succeeded. The
    /// caller checks which layers are in the cache afterwards.
    fn push(&self, cx: &Cx, request: &LayerRequest) -> bool {
        let (Some(layers), ImageSource::Docker(docker, _)) = (&self.layers, self.source) else {
            return false;
        };
        push::push(cx, docker, layers, request, self.image).has_succeeded
    }

    /// Removes the image's layers from the cache, so that Docker provides them again. One of
    /// them may be damaged.
    pub(crate) fn evict(&self) {
        if let (Some(layers), false) = (&self.layers, self.is_archive()) {
            self.image.layers.iter().for_each(|diff_id| layers.evict(diff_id));
        }
    }

    /// Records the build, and trims the cache.
    pub(crate) fn record_build(&self) {
        if let (Some(layers), false) = (&self.layers, self.is_archive()) {
            layers.record_build(&self.image.reference.name().to_string(), &self.image.layers);
            layers.trim();
        }
    }
}

impl Drop for LayerProvider<'_> {
    fn drop(&mut self) {
        if let ImageSource::Docker(docker, _) = self.source {
            docker.close_endpoint();
        }
    }
}

/// Returns the cached layers of earlier builds that are not in the image.
fn previous_builds(cache: &LayerCache, image: &BuiltImage) -> Vec<Vec<Layer>> {
    let builds = cache.build_history(&image.reference.name().to_string()).into_iter();
    let cached = |build: Vec<String>| {
        let old = build.iter().filter(|diff_id| !image.layers.contains(diff_id));
        old.filter_map(|diff_id| cache.get(diff_id)).collect()
    };
    builds.map(cached).collect()
}
