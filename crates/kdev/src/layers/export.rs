//! Gets single layers from `BuildKit`, for daemons that cannot push to this machine.
//!
//! A build writes its new layers into a directory. Placeholders stand for the layers of earlier
//! builds, which the nodes have. If a node does not have one of them, the image is exported
//! again, without this placeholder.

use std::collections::BTreeSet;
use std::io;

use kdev_core::image::archive::Image;
use kdev_core::image::built::BuiltImage;
use kdev_core::image::reference::Reference;

use crate::cx::Cx;
use crate::docker::Docker;
use crate::layers::cache::LayerCache;
use crate::layers::layout::{self, Layout};
use crate::layers::unavailable::Unavailable;

/// The name under which the cache records the digests of the blobs of builders.
pub(crate) const BLOBS: &str = "archives";
/// The name under which the cache records the digests of configurations, by image ID.
const CONFIGS: &str = "configs";

/// An image that was exported. Its configuration and new layers are in the cache.
pub(crate) struct Exported {
    pub(crate) image: Image,
    /// The digest of its manifest, which is its ID in the containerd image store; `None` if
    /// there are several.
    manifest_digest: Option<String>,
}

/// Creates the directory for the export of a build, with placeholders for the layers that
/// earlier builds of the image had.
pub(crate) fn prepare(cx: &Cx, cache: &LayerCache, name: &Reference) -> io::Result<Layout> {
    let history = cache.build_history(&name.name().to_string());
    let old: BTreeSet<&str> = history.iter().flatten().map(String::as_str).collect();
    let layout = Layout::create(cx)?;
    add_placeholders(&layout, cache, |diff_id| {
        old.contains(diff_id) || cache.get(diff_id).is_some()
    })?;
    layout.add_placeholders(old)?;
    Ok(layout)
}

/// Creates placeholders for the known blobs of layers.
fn add_placeholders(
    layout: &Layout,
    cache: &LayerCache,
    is_unneeded: impl Fn(&str) -> bool,
) -> io::Result<()> {
    let known = cache.known_digests(BLOBS);
    let unneeded = known.iter().filter(|(_, diff_id)| is_unneeded(diff_id));
    layout.add_placeholders(unneeded.map(|(digest, _)| digest.as_str()))
}

/// Moves the content of a directory to the cache.
pub(crate) fn take(
    layout: &Layout,
    cache: &LayerCache,
    platform: Option<&str>,
) -> Result<Exported, Unavailable> {
    let image = layout.read(platform)?;
    layout.move_to(cache, &image)?;
    cache.record_digests(BLOBS, &layout::digests(&image));
    Ok(Exported { manifest_digest: layout.manifest_digest(), image })
}

/// Stores the configuration of an image in Docker's store, and these of its layers.
pub(crate) fn export(
    cx: &Cx,
    docker: &Docker,
    image: &BuiltImage,
    cache: &LayerCache,
    is_needed: impl Fn(&str) -> bool,
) -> Result<Exported, Unavailable> {
    let layout = create_layout(cx, image, cache, is_needed)?;
    docker.export_layout(cx, image, layout.path()).map_err(|error| layout.failure(error))?;
    take(&layout, cache, Some(&image.platform))
}

/// Creates the directory for an export of an image, with placeholders for the layers that are
/// not needed.
pub(crate) fn create_layout(
    cx: &Cx,
    image: &BuiltImage,
    cache: &LayerCache,
    is_needed: impl Fn(&str) -> bool,
) -> io::Result<Layout> {
    let layout = Layout::create(cx)?;
    let unneeded = image.layers.iter().map(String::as_str).filter(|diff_id| !is_needed(diff_id));
    let unneeded: BTreeSet<&str> = unneeded.collect();
    add_placeholders(&layout, cache, |diff_id| unneeded.contains(diff_id))?;
    layout.add_placeholders(unneeded.iter().copied())?;
    Ok(layout)
}

/// Stores the configuration of an image, and the layers that earlier builds did not have.
pub(crate) fn export_new(
    cx: &Cx,
    docker: &Docker,
    image: &BuiltImage,
    cache: &LayerCache,
) -> Result<Exported, Unavailable> {
    let history = cache.build_history(&image.reference.name().to_string());
    let old: BTreeSet<&String> = history.iter().flatten().collect();
    export(cx, docker, image, cache, |diff_id| !old.iter().any(|one| *one == diff_id))
}

/// Identifies an image by an export, which also stores its new layers. Returns `None` if the
/// export is not proven to be the same image.
pub(crate) fn identify(
    cx: &Cx,
    docker: &Docker,
    image: &BuiltImage,
    cache: &LayerCache,
) -> Option<String> {
    let exported = export_new(cx, docker, image, cache).ok()?;
    let is_same = exported.manifest_digest.as_ref() == Some(&image.id);
    is_same.then_some(exported.image.config_digest)
}

/// Returns the digest of the configuration of the image with this ID, if it is known.
pub(crate) fn known_config(cache: &LayerCache, id: &str) -> Option<String> {
    cache.known_digests(CONFIGS).remove(id)
}

/// Records the digest of the configuration of the image with this ID.
pub(crate) fn record_config(cache: &LayerCache, id: &str, config_digest: &str) {
    cache.record_digests(CONFIGS, &[(id.to_owned(), config_digest.to_owned())].into());
}
