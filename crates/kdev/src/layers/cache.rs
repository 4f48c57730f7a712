//! Stores the layers that builds have changed, uncompressed, in the cache directory. A layer
//! can then be sent to several nodes, and layers of earlier builds are compression
//! dictionaries for new ones.
//!
//! The header of a layer in an archive contains its size, which is only known after Docker
//! has sent all of it. So the layer is written to a file first. Whole images are not.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use flate2::read::GzDecoder;
use kdev_core::image::digest::Hasher;
use kdev_core::image::partial_archive::SentLayer;
use tempfile::NamedTempFile;

/// Larger layers are sent, but not kept for the next build.
pub(crate) const MAX_KEPT_LAYER_BYTES: u64 = 256 << 20;
/// The maximum size of the directory.
const MAX_CACHE_BYTES: u64 = 1 << 30;
/// A blob that begins like JSON is read as a configuration, up to this size.
const MAX_CONFIG_BYTES: u64 = 8 << 20;
/// How many digests are kept per endpoint.
const MAX_KNOWN_DIGESTS: usize = 10_000;

/// The cache directory. Files are created atomically, so that several runs can share it.
#[derive(Clone, Debug)]
pub(crate) struct LayerCache {
    dir: PathBuf,
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
        File::open(&self.path)
    }
}

impl LayerCache {
    pub(crate) fn open_in(dir: &Path) -> io::Result<Self> {
        let dir = dir.join("layers");
        fs::create_dir_all(&dir)?;
        Ok(Self { dir })
    }

    /// Returns a layer, if it is in the directory.
    pub(crate) fn get(&self, diff_id: &str) -> Option<Layer> {
        let path = self.path(diff_id, "tar");
        let size = fs::metadata(&path).ok()?.len();
        Some(Layer { diff_id: diff_id.to_owned(), size, path })
    }

    /// Returns a configuration, if it is in the directory and undamaged.
    pub(crate) fn config(&self, digest: &str) -> Option<Vec<u8>> {
        let bytes = fs::read(self.path(digest, "json")).ok()?;
        (kdev_core::image::digest::sha256(&bytes) == digest).then_some(bytes)
    }

    /// Removes a layer, if it is in the directory.
    pub(crate) fn evict(&self, diff_id: &str) {
        let _ = fs::remove_file(self.path(diff_id, "tar"));
    }

    /// Decompresses a blob and stores it. Also returns the digest of the compressed blob.
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
            fs::rename(file, self.path(diff_id, "tar"))?;
        }
        Ok(is_expected)
    }

    fn store_config(&self, body: impl Read) -> io::Result<Blob> {
        let mut bytes = Vec::new();
        body.take(MAX_CONFIG_BYTES).read_to_end(&mut bytes)?;
        let mut file = NamedTempFile::new_in(&self.dir)?;
        file.write_all(&bytes)?;
        file.persist(self.path(&kdev_core::image::digest::sha256(&bytes), "json"))?;
        Ok(Blob::Config)
    }

    fn store_layer(&self, tar: impl Read, is_requested: impl Fn(&str) -> bool) -> io::Result<Blob> {
        let mut file = NamedTempFile::new_in(&self.dir)?;
        let mut tar = Hasher::new(tar);
        let size = io::copy(&mut tar, &mut file)?;
        let diff_id = tar.digest();
        if !is_requested(&diff_id) {
            return Ok(Blob::Discarded { diff_id });
        }
        let path = self.path(&diff_id, "tar");
        file.persist(&path)?;
        Ok(Blob::Layer(Layer { diff_id, size, path }))
    }

    /// Removes layers that are too large to keep, and the oldest files until the rest fits.
    /// Errors are ignored.
    pub(crate) fn trim(&self) {
        let mut files: Vec<(SystemTime, u64, PathBuf)> = self.files().unwrap_or_default();
        files.sort_by_key(|(modified, ..)| std::cmp::Reverse(*modified));
        let mut held = 0;
        for (_, size, path) in files {
            held += size;
            if held > MAX_CACHE_BYTES || size > MAX_KEPT_LAYER_BYTES {
                held -= size;
                let _ = fs::remove_file(path);
            }
        }
    }

    fn files(&self) -> io::Result<Vec<(SystemTime, u64, PathBuf)>> {
        let entries = fs::read_dir(&self.dir)?.filter_map(Result::ok);
        let facts = entries.filter_map(|entry| {
            let meta = entry.metadata().ok()?;
            Some((meta.modified().ok()?, meta.len(), entry.path()))
        });
        Ok(facts.collect())
    }

    /// Returns the diffIDs of the last builds of an image, the latest build first.
    pub(crate) fn build_history(&self, image: &str) -> Vec<Vec<String>> {
        read_json(&self.path(&kdev_core::image::digest::sha256(image.as_bytes()), "builds"))
    }

    /// Records that a build of an image has been loaded.
    pub(crate) fn record_build(&self, image: &str, layers: &[String]) {
        let mut history = self.build_history(image);
        history.retain(|build| build != layers);
        history.insert(0, layers.to_vec());
        history.truncate(3);
        self.write_json(
            &self.path(&kdev_core::image::digest::sha256(image.as_bytes()), "builds"),
            &history,
        );
    }

    /// Returns the digests under which Docker has pushed layers to an endpoint, with the
    /// diffIDs of the layers.
    pub(crate) fn known_digests(&self, endpoint: &str) -> BTreeMap<String, String> {
        read_json(&self.dir.join(format!("{endpoint}.digests")))
    }

    pub(crate) fn record_digests(&self, endpoint: &str, digests: &BTreeMap<String, String>) {
        let mut known = self.known_digests(endpoint);
        if known.len() > MAX_KNOWN_DIGESTS {
            known.clear();
        }
        known.extend(digests.clone());
        self.write_json(&self.dir.join(format!("{endpoint}.digests")), &known);
    }

    /// Returns the bytes per second of the last transfer to a host.
    pub(crate) fn rate(&self, host: &str) -> Option<f64> {
        read_json(&self.path(&kdev_core::image::digest::sha256(host.as_bytes()), "rate"))
    }

    pub(crate) fn record_rate(&self, host: &str, rate: f64) {
        self.write_json(
            &self.path(&kdev_core::image::digest::sha256(host.as_bytes()), "rate"),
            &rate,
        );
    }

    fn write_json(&self, path: &Path, value: &impl serde::Serialize) {
        let written = NamedTempFile::new_in(&self.dir).and_then(|mut file| {
            serde_json::to_writer(&mut file, value)?;
            Ok(file.persist(path)?)
        });
        let _ = written;
    }

    fn path(&self, digest: &str, kind: &str) -> PathBuf {
        self.dir.join(format!("{}.{kind}", digest.replace(':', "-")))
    }
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

/// Returns the default value if the file cannot be read: it is only a cache.
fn read_json<T: serde::de::DeserializeOwned + Default>(path: &Path) -> T {
    let bytes = fs::read(path).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}
