//! Extracts layers from the output of `docker save`, for daemons that cannot push to this
//! machine because they run on another one or in a virtual machine.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};

use kdev_core::image::built::BuiltImage;

use crate::cx::Cx;
use crate::docker::{self, Docker};
use crate::layers::cache::{Blob, Layer, LayerCache};
use crate::layers::export::BLOBS;

/// Stores the configuration of the image and the layers that earlier builds of it did not
/// have, because the nodes probably need them: Docker takes seconds to write the archive
/// once more. Returns the digest of the configuration.
pub(crate) fn extract_new_layers(
    cx: &Cx,
    docker: &Docker,
    image: &BuiltImage,
    cache: &LayerCache,
) -> docker::Result<String> {
    let history = cache.build_history(&image.reference.name().to_string());
    let known: BTreeSet<&String> = history.iter().flatten().collect();
    let is_new = |diff_id: &String| !known.is_empty() && !known.contains(diff_id);
    let new = image.layers.iter().filter(|diff_id| is_new(diff_id));
    extract(cx, docker, image, cache, &new.map(String::as_str).collect())
}

/// Stores the configuration of the image and the layers with these diffIDs. Returns the
/// digest of the configuration.
pub(crate) fn extract(
    cx: &Cx,
    docker: &Docker,
    image: &BuiltImage,
    cache: &LayerCache,
    requested: &BTreeSet<&str>,
) -> docker::Result<String> {
    let known = cache.known_digests(BLOBS);
    let mut digests = BTreeMap::new();
    let store = |path: &str, body: &mut dyn Read| -> io::Result<()> {
        let diff_id = blob_digest(path).and_then(|digest| known.get(&digest));
        let is_unneeded = |diff_id: &String| !requested.contains(diff_id.as_str());
        // Reading a blob means decompressing it.
        if requested.is_empty() || diff_id.is_some_and(is_unneeded) {
            return Ok(());
        }
        let (digest, blob) = cache.store_if(body, |diff_id| requested.contains(diff_id))?;
        if let Blob::Layer(Layer { diff_id, .. }) | Blob::Discarded { diff_id } = blob {
            digests.insert(digest, diff_id);
        }
        Ok(())
    };
    let saved = docker.read_saved(cx, image, store)?;
    // Without it, the image is sent as a whole.
    let _ = cache.store(saved.config.as_slice());
    if !digests.is_empty() {
        cache.record_digests(BLOBS, &digests);
    }
    Ok(saved.config_digest)
}

/// Returns the digest of a blob in an OCI image layout from its path (OCI image spec, "Image
/// Layout").
fn blob_digest(path: &str) -> Option<String> {
    path.strip_prefix("blobs/sha256/").map(|hex| format!("sha256:{hex}"))
}
