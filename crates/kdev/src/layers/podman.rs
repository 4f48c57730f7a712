//! Gets single layers from Podman, which writes an image as an OCI layout and skips the blobs
//! that are already there. The names of its blobs are known before: layers are not compressed,
//! so that their digests are the diffIDs.

use std::collections::BTreeSet;
use std::io;

use kdev_core::image::built::BuiltImage;

use crate::cx::Cx;
use crate::docker::Podman;
use crate::layers::cache::LayerCache;
use crate::layers::layout::Layout;

/// Returns the layers that no earlier build of the image had, because the nodes probably need
/// them; none if there was no earlier build.
pub(crate) fn new_layers<'a>(image: &'a BuiltImage, cache: &LayerCache) -> BTreeSet<&'a str> {
    let history = cache.build_history(&image.reference.name().to_string());
    let known: BTreeSet<&String> = history.iter().flatten().collect();
    let is_new = |diff_id: &&String| {
        !known.is_empty() && !known.contains(diff_id) && cache.get(diff_id).is_none()
    };
    image.layers.iter().filter(is_new).map(String::as_str).collect()
}

/// Stores the configuration of the image and these layers in the cache. The cache shows which
/// of them it has afterwards.
pub(crate) fn save_layers(
    cx: &Cx,
    podman: &Podman,
    image: &BuiltImage,
    cache: &LayerCache,
    wanted: &BTreeSet<&str>,
) -> io::Result<()> {
    let layout = Layout::create(cx)?;
    let others = image.layers.iter().map(String::as_str).filter(|id| !wanted.contains(id));
    layout.add_placeholders(others)?;
    podman.save_layout(cx, image, layout.path()).map_err(io::Error::other)?;
    let saved = layout.read(None).map_err(io::Error::other)?;
    layout.move_to(cache, &saved)
}
