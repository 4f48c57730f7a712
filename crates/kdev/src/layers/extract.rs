//! Extracts layers from the output of `docker save`, for daemons that cannot push to this
//! machine because they run on another one or in a virtual machine.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};

use kdev_core::image::archive::{self, Image};
use kdev_core::image::built::BuiltImage;

use crate::cx::Cx;
use crate::docker::{self, Docker};
use crate::layers::cache::{Blob, Layer, LayerCache};
use crate::layers::export::BLOBS;
use crate::layers::save::CopyError;
use crate::layers::unavailable::Unavailable;
use crate::layers::wanted::WantedLayers;
use crate::process::Command;

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
    let saved = store_layers(cache, requested, |store| docker.read_saved(cx, image, store));
    saved.map_err(|(error, _)| error)
}

/// Stores the configuration of the image and its missing layers. A node that needs the whole image
/// reads the same archive.
pub(crate) fn extract_shared(
    cx: &Cx,
    save: impl Fn() -> Option<Command> + Sync,
    wanted: &WantedLayers,
) -> Result<(), Unavailable> {
    let read = |store: &mut StoreFile| {
        let platform = &wanted.image.platform;
        let read = |archive| archive::read_image(archive, platform, store);
        match wanted.shared_save.read(cx, save, read) {
            Ok(image) => image.map_err(Unavailable::from),
            Err(CopyError::Node) => Err("the archive is incomplete".into()),
            Err(CopyError::Docker(source)) => {
                let action = "read the image's archive".to_owned();
                Err(docker::Error::Command { action, source }.into())
            }
        }
    };
    let saved = store_layers(wanted.cache, &wanted.missing(), read);
    saved.map(drop).map_err(|(error, full)| full.unwrap_or(error))
}

/// Stores a file of an archive.
type StoreFile<'a> = dyn FnMut(&str, &mut dyn Read) -> io::Result<()> + Send + 'a;

/// Stores the configuration and these layers of an archive, which `read` reads. Returns the digest
/// of the configuration. An error has the full disk, if that is its cause.
fn store_layers<E>(
    cache: &LayerCache,
    requested: &BTreeSet<&str>,
    read: impl FnOnce(&mut StoreFile) -> Result<Image, E>,
) -> Result<String, (E, Option<Unavailable>)> {
    let known = cache.known_digests(BLOBS);
    let (mut digests, mut full) = (BTreeMap::new(), None);
    let mut store = |path: &str, body: &mut dyn Read| -> io::Result<()> {
        let diff_id = blob_digest(path).and_then(|digest| known.get(&digest));
        let is_unneeded = |diff_id: &String| !requested.contains(diff_id.as_str());
        // Reading a blob means decompressing it.
        if requested.is_empty() || diff_id.is_some_and(is_unneeded) {
            return Ok(());
        }
        let stored = cache.store_if(body, |diff_id| requested.contains(diff_id));
        let (digest, blob) = stored.inspect_err(|error| full = full_disk(error))?;
        if let Blob::Layer(Layer { diff_id, .. }) | Blob::Discarded { diff_id } = blob {
            digests.insert(digest, diff_id);
        }
        Ok(())
    };
    let saved = read(&mut store);
    let saved = saved.map_err(|error| (error, full))?;
    // Without it, the image is sent as a whole.
    let _ = cache.store(saved.config.as_slice());
    if !digests.is_empty() {
        cache.record_digests(BLOBS, &digests);
    }
    Ok(saved.config_digest)
}

fn full_disk(error: &io::Error) -> Option<Unavailable> {
    let is_full = error.kind() == io::ErrorKind::StorageFull;
    is_full.then(|| Unavailable::cache_disk_full(error.to_string()))
}

/// Returns the digest of a blob in an OCI image layout from its path (OCI image spec, "Image
/// Layout").
fn blob_digest(path: &str) -> Option<String> {
    path.strip_prefix("blobs/sha256/").map(|hex| format!("sha256:{hex}"))
}
