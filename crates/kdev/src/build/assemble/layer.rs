//! Stores the layers of an image in the cache.

use std::io::{self, BufWriter};
use std::thread;

use kdev_core::image::assembly::{self, Entry};

use crate::build::error::Result;
use crate::layers::cache::LayerCache;
use crate::parallel::join_thread;
use crate::process;

/// The bytes that are written to the pipe at once.
const CHUNK_BYTES: usize = 64 << 10;

/// Writes a layer to the cache. Above a base, it has no entries for the directories that contain
/// its files. Returns its diffID and its size in bytes. A pipe, because a second
/// copy of a large program would need much memory.
pub(super) fn store(
    cache: &LayerCache,
    entries: Vec<Entry>,
    is_above_base: bool,
) -> Result<(String, u64)> {
    let entries =
        if is_above_base { assembly::sorted(entries) } else { assembly::with_parents(entries) };
    let write = || {
        let (reader, writer) = io::pipe()?;
        thread::scope(|scope| {
            let stored = scope.spawn(move || cache.store_tar(reader));
            let writer = BufWriter::with_capacity(CHUNK_BYTES, writer);
            let written = assembly::write_layer(writer, entries);
            // If the cache cannot be written to, the pipe is closed, which explains nothing.
            let stored = join_thread(stored)?;
            written.map(|()| stored)
        })
    };
    let layer = write().map_err(process::Error::write("the layer cache"))?;
    Ok((layer.diff_id, layer.size))
}
