//! Gets single layers from Podman.
//!
//! Podman writes an image as an OCI layout, a directory with one file per blob, and skips the
//! blobs that are already there. It checks nothing but their names, which are the diffIDs if
//! the layers are not compressed. So empty files stand for the layers that are not needed.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use kdev_core::image::built::BuiltImage;

use crate::cx::Cx;
use crate::docker::Podman;
use crate::layers::cache::LayerCache;
use crate::process::scratch_dir::ScratchDir;

/// Where an OCI layout has its blobs (OCI image spec, "Image Layout").
const BLOBS: &str = "blobs";

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
    let Some(parent) = cx.cache_dir() else { return Ok(()) };
    let layout = ScratchDir::create_in(parent, "kdev-")?;
    create_placeholders(layout.path(), image, wanted)?;
    podman.save_layout(cx, image, layout.path()).map_err(io::Error::other)?;
    let blobs = wanted.iter().copied().chain([image.config_digest.as_str()]);
    for digest in blobs {
        let path = blob_path(layout.path(), digest);
        cache.store_if(File::open(&path)?, |diff_id| diff_id == digest)?;
        // Otherwise the layers are on the disk twice.
        fs::remove_file(path)?;
    }
    Ok(())
}

fn create_placeholders(
    layout: &Path,
    image: &BuiltImage,
    wanted: &BTreeSet<&str>,
) -> io::Result<()> {
    for diff_id in image.layers.iter().filter(|diff_id| !wanted.contains(diff_id.as_str())) {
        let path = blob_path(layout, diff_id);
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        File::create(path)?;
    }
    Ok(())
}

/// Returns `blobs/sha256/HEX` in a layout.
fn blob_path(layout: &Path, digest: &str) -> std::path::PathBuf {
    layout.join(BLOBS).join(digest.replace(':', "/"))
}
