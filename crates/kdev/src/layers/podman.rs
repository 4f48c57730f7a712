//! Images in Podman, which writes an image as an OCI layout and skips the blobs
//! that are already there. The names of its blobs are known before: layers are not compressed,
//! so that their digests are the diffIDs.

use std::collections::BTreeSet;

use kdev_core::image::built::BuiltImage;
use kdev_core::shell::quote;

use crate::cx::Cx;
use crate::docker::{Engine, Podman};
use crate::layers::cache::LayerCache;
use crate::layers::layout::Layout;
use crate::layers::unavailable::Unavailable;
use crate::layers::wanted::WantedLayers;
use crate::process::Command;

/// An image in Podman.
pub(crate) struct PodmanSource<'a> {
    podman: &'a Podman,
    image: BuiltImage,
}

impl<'a> PodmanSource<'a> {
    pub(super) fn new(podman: &'a Podman, image: BuiltImage) -> Self {
        Self { podman, image }
    }

    pub(super) fn image(&self) -> &BuiltImage {
        &self.image
    }

    /// Stores the layers that no earlier build had, unless all are new.
    pub(super) fn prefetch(&self, cx: &Cx, cache: &LayerCache) {
        let new = new_layers(&self.image, cache);
        if !new.is_empty() && new.len() < self.image.layers.len() {
            let _ = self.save_layers(cx, cache, &new);
        }
    }

    pub(super) fn fetch(&self, cx: &Cx, wanted: &WantedLayers) -> Result<(), Unavailable> {
        self.save_layers(cx, wanted.cache, &wanted.missing())
    }

    /// Stores the configuration of the image and these layers in the cache.
    pub(super) fn save_layers(
        &self,
        cx: &Cx,
        cache: &LayerCache,
        diff_ids: &BTreeSet<&str>,
    ) -> Result<(), Unavailable> {
        let layout = Layout::create(cx)?;
        let layers = self.image.layers.iter().map(String::as_str);
        layout.add_placeholders(layers.filter(|id| !diff_ids.contains(id)))?;
        self.podman
            .save_layout(cx, &self.image, layout.path())
            .map_err(|error| layout.failure(error))?;
        let saved = layout.read(None)?;
        Ok(layout.move_to(cache, &saved)?)
    }

    pub(super) fn save_command(&self, cx: &Cx) -> Option<Command> {
        self.podman.save_command(cx, &self.image).ok()
    }

    pub(super) fn display_save(&self) -> String {
        let name = Podman::local_name(&self.image.reference);
        format!("{} save {}", Engine::Podman.program(), quote(&name))
    }
}

/// Returns the layers that no earlier build of the image had, because the nodes probably need
/// them; none if there was no earlier build.
fn new_layers<'a>(image: &'a BuiltImage, cache: &LayerCache) -> BTreeSet<&'a str> {
    let history = cache.build_history(&image.reference.name().to_string());
    let known: BTreeSet<&String> = history.iter().flatten().collect();
    let is_new = |diff_id: &&String| {
        !known.is_empty() && !known.contains(diff_id) && cache.get(diff_id).is_none()
    };
    image.layers.iter().filter(is_new).map(String::as_str).collect()
}
