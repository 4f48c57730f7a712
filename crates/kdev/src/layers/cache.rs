//! Stores the layers that builds have changed, uncompressed, in the cache directory. A layer
//! can then be sent to several nodes, and layers of earlier builds are compression
//! dictionaries for new ones.
//!
//! The header of a layer in an archive contains its size, which is only known after Docker
//! has sent all of it. So the layer is written to a file first. Whole images are not.
//!
//! The directory is an OCI image layout (OCI image spec, "Image Layout"), so that other programs
//! can read it. The name of a layer is the digest of the uncompressed tar, its diffID.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use flate2::read::GzDecoder;
use kdev_core::image::digest::{Hasher, sha256};
use kdev_core::image::partial_archive::SentLayer;
use tempfile::NamedTempFile;

use crate::process::Disk;

/// Larger layers are sent, but not kept for the next build.
pub(crate) const MAX_KEPT_LAYER_BYTES: u64 = 256 << 20;
/// The maximum size of the directory.
const MAX_CACHE_BYTES: u64 = 1 << 30;
/// A blob that begins like JSON is read as a configuration, up to this size.
const MAX_CONFIG_BYTES: u64 = 8 << 20;
/// A file that is not complete, and was not written to for this long, was left by a run that
/// was killed.
const MAX_INGEST_AGE: Duration = Duration::from_secs(60 * 60);
/// The directory of the blobs.
pub(super) const BLOBS: &str = "blobs/sha256";
/// The directory of the files that are not complete, as in containerd's content store.
pub(super) const INGEST: &str = "ingest";
const LAYOUT_JSON: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;
const INDEX_JSON: &str =
    r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;

/// The cache directory. Files are created atomically, so that several runs can share it.
#[derive(Clone, Debug)]
pub(crate) struct LayerCache {
    dir: PathBuf,
    disk: Disk,
}

/// A blob that was read.
#[derive(Debug)]
pub(crate) enum Blob {
    /// The image's configuration, which is now in the directory.
    Config,
    /// A layer, which is now in the directory.
    Layer(Layer),
    /// A layer that was not requested, and is not in the directory.
    Discarded { diff_id: String },
}

/// A layer in the directory.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    /// Digest of the uncompressed tar (OCI image spec, "Layer `DiffID`").
    pub(crate) diff_id: String,
    /// Bytes of the uncompressed tar.
    pub(crate) size: u64,
    path: PathBuf,
}

impl Layer {
    pub(crate) fn read(&self) -> io::Result<Vec<u8>> {
        mark_used(&self.path);
        fs::read(&self.path)
    }
}

impl SentLayer for Layer {
    fn diff_id(&self) -> &str {
        &self.diff_id
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn open(&self) -> io::Result<impl Read> {
        mark_used(&self.path);
        File::open(&self.path)
    }
}

impl LayerCache {
    pub(crate) fn open_in(dir: &Path) -> io::Result<Self> {
        let layers = dir.join("layers");
        create_layout(&layers)?;
        Ok(Self { dir: layers, disk: Disk::of(dir) })
    }

    /// Returns the cache directory on a disk that is almost full.
    #[cfg(test)]
    pub(super) fn on_full_disk(self) -> Self {
        Self { disk: Disk::full(&self.dir), ..self }
    }

    /// Returns a layer, if it is in the directory.
    pub(crate) fn get(&self, diff_id: &str) -> Option<Layer> {
        let path = self.blob(diff_id)?;
        let size = fs::metadata(&path).ok()?.len();
        Some(Layer { diff_id: diff_id.to_owned(), size, path })
    }

    /// Like [`Self::get`], and makes the layer the last one to be trimmed.
    pub(crate) fn get_and_mark(&self, diff_id: &str) -> Option<Layer> {
        self.get(diff_id).inspect(|layer| mark_used(&layer.path))
    }

    /// Returns a configuration, if it is in the directory and undamaged.
    pub(crate) fn config(&self, digest: &str) -> Option<Vec<u8>> {
        let path = self.blob(digest)?;
        let mut bytes = Vec::new();
        File::open(&path).ok()?.take(MAX_CONFIG_BYTES).read_to_end(&mut bytes).ok()?;
        mark_used(&path);
        (sha256(&bytes) == digest).then_some(bytes)
    }

    /// Removes a layer, if it is in the directory.
    pub(crate) fn evict(&self, diff_id: &str) {
        let _ = self.blob(diff_id).map(fs::remove_file);
    }

    /// Removes a layer if it is damaged.
    pub(crate) fn evict_damaged(&self, diff_id: &str) {
        let Some(mut file) = self.blob(diff_id).and_then(|path| File::open(path).ok()) else {
            return;
        };
        let mut tar = Hasher::new(&mut file);
        let is_read = io::copy(&mut tar, &mut io::sink()).is_ok();
        if !is_read || tar.digest() != diff_id {
            self.evict(diff_id);
        }
    }

    /// Decompresses a blob and stores it. Also returns the digest of the compressed blob. Fails
    /// instead of filling the disk, and leaves nothing then.
    pub(crate) fn store(&self, blob: impl Read) -> io::Result<(String, Blob)> {
        self.store_if(blob, |_| true)
    }

    /// Like [`Self::store`], but stores a layer only if `is_requested` is true for its
    /// diffID.
    pub(crate) fn store_if(
        &self,
        blob: impl Read,
        is_requested: impl Fn(&str) -> bool,
    ) -> io::Result<(String, Blob)> {
        let mut hashed = Hasher::new(blob);
        let mut first = [0; 4];
        let count = fill(&mut hashed, &mut first)?;
        let first = &first[..count];
        let body = first.chain(&mut hashed);
        let blob = match first {
            [b'{', ..] => self.store_config(body)?,
            [0x1f, 0x8b, ..] => {
                self.store_layer(GzDecoder::new(BufReader::new(body)), is_requested)?
            }
            [0x28, 0xb5, 0x2f, 0xfd] => {
                self.store_layer(zstd::Decoder::new(body)?, is_requested)?
            }
            _ => self.store_layer(body, is_requested)?,
        };
        // A decoder may not read up to the end of the blob.
        io::copy(&mut hashed, &mut io::sink())?;
        Ok((hashed.digest(), blob))
    }

    /// Moves a blob into the directory if it is the layer with this diffID. A compressed blob is
    /// decompressed.
    pub(crate) fn store_file(&self, file: &Path, diff_id: &str) -> io::Result<()> {
        let is_stored = if is_compressed(file)? {
            let (_, blob) = self.store_if(File::open(file)?, |found| found == diff_id)?;
            matches!(blob, Blob::Layer(_))
        } else {
            self.move_layer(file, diff_id)?
        };
        let error = || io::Error::new(io::ErrorKind::InvalidData, "another layer");
        is_stored.then_some(()).ok_or_else(error)
    }

    /// Moves an uncompressed layer, so that it is not written twice. Returns false if it has
    /// another diffID.
    fn move_layer(&self, file: &Path, diff_id: &str) -> io::Result<bool> {
        let mut tar = Hasher::new(File::open(file)?);
        io::copy(&mut tar, &mut io::sink())?;
        let is_expected = tar.digest() == diff_id;
        if is_expected {
            let path = self.blob(diff_id).ok_or(io::ErrorKind::InvalidInput)?;
            fs::rename(file, &path)?;
            mark_used(&path);
        }
        Ok(is_expected)
    }

    fn store_config(&self, body: impl Read) -> io::Result<Blob> {
        let mut bytes = Vec::new();
        body.take(MAX_CONFIG_BYTES).read_to_end(&mut bytes)?;
        self.store_bytes(&bytes)?;
        Ok(Blob::Config)
    }

    /// Stores a configuration. Returns its digest.
    pub(crate) fn store_bytes(&self, bytes: &[u8]) -> io::Result<String> {
        let digest = sha256(bytes);
        let mut file = self.temporary_file()?;
        file.write_all(bytes)?;
        self.persist(file, &digest)?;
        Ok(digest)
    }

    fn store_layer(&self, tar: impl Read, is_requested: impl Fn(&str) -> bool) -> io::Result<Blob> {
        let (file, diff_id, size) = self.receive(tar)?;
        if !is_requested(&diff_id) {
            return Ok(Blob::Discarded { diff_id });
        }
        let path = self.persist(file, &diff_id)?;
        Ok(Blob::Layer(Layer { diff_id, size, path }))
    }

    /// Stores an uncompressed layer. [`Self::store`] would read one whose first path begins with `{` as a
    /// configuration.
    pub(crate) fn store_tar(&self, tar: impl Read) -> io::Result<Layer> {
        let (file, diff_id, size) = self.receive(tar)?;
        let path = self.persist(file, &diff_id)?;
        Ok(Layer { diff_id, size, path })
    }

    /// Writes a layer to a temporary file. Returns its diffID and its size in bytes, too.
    fn receive(&self, tar: impl Read) -> io::Result<(NamedTempFile, String, u64)> {
        let mut file = self.temporary_file()?;
        let mut tar = Hasher::new(tar);
        let size = io::copy(&mut tar, &mut self.disk.writer(&mut file))?;
        Ok((file, tar.digest(), size))
    }

    /// Removes layers that are too large to keep, and those whose last use was longest ago
    /// until the rest fits. Errors are ignored.
    pub(crate) fn trim(&self) {
        self.trim_to(MAX_CACHE_BYTES, MAX_KEPT_LAYER_BYTES);
    }

    /// Like [`Self::trim`], but without the layers that are too large to keep: they are of builds
    /// that are not loaded yet.
    pub(crate) fn trim_small(&self) {
        let mut blobs = self.files(BLOBS);
        blobs.retain(|(_, size, _)| *size <= MAX_KEPT_LAYER_BYTES);
        self.trim_files(blobs, MAX_CACHE_BYTES, MAX_KEPT_LAYER_BYTES);
    }

    /// Removes a layer if it is too large to keep.
    pub(crate) fn evict_large(&self, diff_id: &str) {
        if self.get(diff_id).is_some_and(|layer| layer.size > MAX_KEPT_LAYER_BYTES) {
            self.evict(diff_id);
        }
    }

    fn trim_to(&self, max_bytes: u64, max_layer_bytes: u64) {
        self.trim_files(self.files(BLOBS), max_bytes, max_layer_bytes);
    }

    fn trim_files(
        &self,
        mut blobs: Vec<(SystemTime, u64, PathBuf)>,
        max_bytes: u64,
        max_layer_bytes: u64,
    ) {
        blobs.sort_by_key(|(used, ..)| std::cmp::Reverse(*used));
        let mut held = 0;
        for (_, size, path) in blobs {
            held += size;
            if held > max_bytes || size > max_layer_bytes {
                held -= size;
                let _ = fs::remove_file(path);
            }
        }
        for (written, _, path) in self.files(INGEST) {
            if written.elapsed().is_ok_and(|age| age > MAX_INGEST_AGE) {
                let _ = fs::remove_file(path);
            }
        }
    }

    /// Returns the files of a subdirectory with modification time and size.
    fn files(&self, subdirectory: &str) -> Vec<(SystemTime, u64, PathBuf)> {
        let entries = fs::read_dir(self.dir.join(subdirectory)).into_iter().flatten().flatten();
        let facts = entries.filter_map(|entry| {
            let meta = entry.metadata().ok()?;
            Some((meta.modified().ok()?, meta.len(), entry.path()))
        });
        facts.collect()
    }

    /// Creates a file that can be moved to its place in this directory.
    pub(super) fn temporary_file(&self) -> io::Result<NamedTempFile> {
        NamedTempFile::new_in(self.dir.join(INGEST))
    }

    /// Returns the directory of what earlier runs have learned.
    pub(super) fn records_dir(&self) -> PathBuf {
        self.dir.with_file_name("records")
    }

    /// Makes a blob the last one to be trimmed.
    pub(super) fn mark_used(&self, digest: &str) {
        if let Some(path) = self.blob(digest) {
            mark_used(&path);
        }
    }

    /// Returns the path of a blob; `None` if the digest is malformed.
    fn blob(&self, digest: &str) -> Option<PathBuf> {
        blob_path(&self.dir, digest)
    }

    /// Moves a complete file to the path of a blob.
    fn persist(&self, file: NamedTempFile, digest: &str) -> io::Result<PathBuf> {
        let path = self.blob(digest).ok_or(io::ErrorKind::InvalidInput)?;
        file.persist(&path)?;
        Ok(path)
    }
}

/// Writes the files that make a directory an OCI image layout, if they are missing, and
/// removes the files of versions that had another layout.
///
/// The index lists no images: the manifest of an image differs from node to node, and the
/// layers of its base are usually not in the directory. The specification requires the file.
fn create_layout(dir: &Path) -> io::Result<()> {
    for subdirectory in [BLOBS, INGEST] {
        fs::create_dir_all(dir.join(subdirectory))?;
    }
    let (index, marker) = (dir.join("index.json"), dir.join("oci-layout"));
    if !index.exists() {
        write_file(dir, &index, INDEX_JSON)?;
    }
    if !marker.exists() {
        remove_old_files(dir)?;
        // Last, so that an interrupted run does not leave old files behind.
        write_file(dir, &marker, LAYOUT_JSON)?;
    }
    Ok(())
}

fn write_file(dir: &Path, path: &Path, content: &str) -> io::Result<()> {
    let mut file = NamedTempFile::new_in(dir.join(INGEST))?;
    file.write_all(content.as_bytes())?;
    file.persist(path)?;
    Ok(())
}

fn remove_old_files(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(is_old_name) && entry.file_type()?.is_file() {
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(())
}

/// Returns whether a file of this name was written by a version with another layout.
fn is_old_name(name: &str) -> bool {
    let Some((stem, kind)) = name.rsplit_once('.') else { return false };
    match kind {
        // The temporary file of a run that was killed.
        _ if stem.is_empty() => kind.len() == 9 && kind.starts_with("tmp"),
        "tar" | "json" | "builds" | "rate" => stem.strip_prefix("sha256-").is_some_and(is_hex),
        "digests" => ["archives", "configs"].contains(&stem) || stem.starts_with("127."),
        _ => false,
    }
}

/// Returns the path of a blob in an OCI image layout; `None` for another algorithm or a
/// malformed digest.
pub(super) fn blob_path(layout: &Path, digest: &str) -> Option<PathBuf> {
    let hex = digest.strip_prefix("sha256:")?;
    is_hex(hex).then(|| layout.join(BLOBS).join(hex))
}

fn is_hex(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Sets the modification time, by which the files are trimmed. The access time is not always
/// recorded.
fn mark_used(path: &Path) {
    let _ = File::open(path).and_then(|file| file.set_modified(SystemTime::now()));
}

/// Returns whether a blob begins like gzip or zstd.
fn is_compressed(file: &Path) -> io::Result<bool> {
    let mut first = [0; 4];
    let count = fill(&mut File::open(file)?, &mut first)?;
    Ok(matches!(first[..count], [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd]))
}

/// Fills the buffer, or less of it at the end of the input.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut count = 0;
    while count < buffer.len() {
        match input.read(&mut buffer[count..])? {
            0 => break,
            more => count += more,
        }
    }
    Ok(count)
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
