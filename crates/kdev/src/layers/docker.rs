//! Images in Docker. Layers come from the cheapest of these ways:
//!
//! - Docker pushes them (`push.rs`)
//! - BuildKit exports them, if Docker cannot push to this machine (`export.rs`)
//! - they are extracted from the output of `docker save` (`extract.rs`)

use kdev_core::image::built::BuiltImage;
use kdev_core::shell::quote;

use crate::cx::Cx;
use crate::docker::{Docker, Engine, LayerSource};
use crate::layers::cache::LayerCache;
use crate::layers::push::LayerRequest;
use crate::layers::unavailable::Unavailable;
use crate::layers::wanted::WantedLayers;
use crate::layers::{export, extract, push};
use crate::process::Command;

/// An image in Docker.
pub(crate) struct DockerSource<'a> {
    docker: &'a Docker,
    image: BuiltImage,
}

impl<'a> DockerSource<'a> {
    pub(super) fn new(docker: &'a Docker, image: BuiltImage) -> Self {
        Self { docker, image }
    }

    pub(super) fn image(&self) -> &BuiltImage {
        &self.image
    }

    /// Returns whether Docker takes longer to write an archive than to push or to export all
    /// layers as they are stored, as the containerd image store does.
    pub(super) fn prefers_layers(&self, cx: &Cx) -> bool {
        let source = self.docker.layer_source(cx);
        !self.docker.uses_config_digest_as_id()
            && matches!(source, LayerSource::Push | LayerSource::Layout)
    }

    /// Returns whether BuildKit exports the layers because Docker cannot push them.
    fn exports(&self, cx: &Cx) -> bool {
        self.docker.layer_source(cx) == LayerSource::Layout
    }

    /// Makes Docker push the layers that it has never pushed. If a large image is entirely new,
    /// its layers are not transferred. Docker then only learns their digests, so that the next
    /// load can be partial.
    pub(super) fn prefetch(&self, cx: &Cx, cache: &LayerCache) {
        if !self.exports(cx) {
            push::push(cx, self.docker, cache, &LayerRequest::Unpushed, &self.image);
        }
        // The push may have been refused. A build has already exported its new layers.
        if self.exports(cx) && cache.config(&self.image.config_digest).is_none() {
            let _ = export::export_new(cx, self.docker, &self.image, cache);
        }
    }

    pub(super) fn fetch(&self, cx: &Cx, wanted: &WantedLayers) -> Result<(), Unavailable> {
        let exported_first = self.exports(cx);
        let mut result = Ok(());
        if exported_first {
            result = self.export(cx, wanted);
            if wanted.parts().is_some() {
                return Ok(());
            }
        }
        let these = wanted.missing().into_iter().map(str::to_owned).collect();
        let request = LayerRequest::These(these);
        let pushed = push::push(cx, self.docker, wanted.cache, &request, &self.image);
        result = result.and(pushed.failure.map_or(Ok(()), Err));
        // The push may have been refused.
        if wanted.parts().is_none() && !exported_first && self.exports(cx) {
            result = self.export(cx, wanted);
        }
        if wanted.parts().is_none() && !pushed.has_succeeded && !wanted.is_whole_image() {
            let save = || self.save_command(cx);
            result = result.and(extract::extract_shared(cx, save, wanted));
        }
        result
    }

    /// Makes BuildKit export the missing layers.
    fn export(&self, cx: &Cx, wanted: &WantedLayers) -> Result<(), Unavailable> {
        let missing = wanted.missing();
        let is_missing = |id: &str| missing.contains(id);
        export::export(cx, self.docker, &self.image, wanted.cache, is_missing).map(drop)
    }

    pub(super) fn save_command(&self, cx: &Cx) -> Option<Command> {
        self.docker.save_command(cx, &self.image).ok()
    }

    pub(super) fn display_save(&self) -> String {
        format!("{} save {}", Engine::Docker.program(), quote(&self.image.reference.familiar()))
    }
}

impl Drop for DockerSource<'_> {
    fn drop(&mut self) {
        self.docker.close_endpoint();
    }
}
