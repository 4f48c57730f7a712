//! Stores the layers of an image in the cache.

use kdev_core::image::assembly::{self, Entry};

use crate::build::error::Result;
use crate::layers::cache::{Blob, LayerCache};
use crate::process;

/// Writes a layer to the cache. Returns its diffID and its size in bytes.
pub(super) fn store(cache: &LayerCache, entries: Vec<Entry>) -> Result<(String, u64)> {
    let mut tar = Vec::new();
    let stored = assembly::write_layer(&mut tar, assembly::with_parents(entries))
        .and_then(|()| cache.store(&*tar))
        .map_err(process::Error::write("the layer cache"))?;
    match stored.1 {
        Blob::Layer(layer) => Ok((layer.diff_id, layer.size)),
        // A tar archive begins with a path.
        Blob::Config | Blob::Discarded { .. } => unreachable!("a layer is a tar archive"),
    }
}
