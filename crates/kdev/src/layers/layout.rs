//! Reads images that a builder has written as an OCI image layout (OCI image spec, "Image
//! Layout"): a directory with one file per blob.
//!
//! `BuildKit` and Podman skip a blob if a file with its name exists, and do not read that file.
//! So empty files, placeholders, stand for the layers that are not needed. Two builds in one
//! directory disturb each other, so each has its own.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use kdev_core::image::archive::{Files, Image};

use crate::cx::Cx;
use crate::docker;
use crate::layers::cache::{BLOBS, INGEST, LayerCache, blob_path};
use crate::layers::unavailable::Unavailable;
use crate::process::Disk;
use crate::process::scratch_dir::ScratchDir;

/// The first part of the names of the directories.
const DIR_PREFIX: &str = "layout-";
/// The file that refers to the manifests.
const INDEX: &str = "index.json";
/// Larger files are not read as JSON.
const MAX_JSON_BYTES: u64 = 8 << 20;

/// A directory for one export. It is deleted on drop.
pub(crate) struct Layout {
    dir: ScratchDir,
    disk: Disk,
}

impl Layout {
    /// Creates a directory in the cache directory, so that layers can be moved to the cache.
    pub(crate) fn create(cx: &Cx) -> io::Result<Self> {
        let parent = cx.cache_dir().ok_or(io::ErrorKind::NotFound)?;
        fs::create_dir_all(parent)?;
        let dir = ScratchDir::create_in(parent, DIR_PREFIX)?;
        fs::create_dir_all(dir.path().join(BLOBS))?;
        Ok(Self { dir, disk: Disk::of(parent) })
    }

    /// Returns the directory on a disk that is almost full.
    #[cfg(test)]
    pub(crate) fn on_full_disk(self) -> Self {
        Self { disk: Disk::full(self.path()), ..self }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Creates placeholders for the blobs with these digests.
    pub(crate) fn add_placeholders<'a>(
        &self,
        digests: impl IntoIterator<Item = &'a str>,
    ) -> io::Result<()> {
        let paths = digests.into_iter().filter_map(|digest| self.blob(digest));
        paths.map(File::create).try_for_each(|file| file.map(drop))
    }

    /// Returns the image for a platform (`os/architecture`), or the only image.
    pub(crate) fn read(&self, platform: Option<&str>) -> Result<Image, String> {
        let images = read_images(self.path())?;
        let fits = |image: &&Image| platform.is_none_or(|platform| image.is_for(platform));
        let mut fitting = images.iter().filter(fits);
        match (fitting.next(), fitting.next()) {
            (Some(image), None) if image.layers.len() == image.diff_ids.len() => Ok(image.clone()),
            (Some(_), None) => Err("its layers do not match its configuration".to_owned()),
            (Some(_), Some(_)) => Err("it contains several images".to_owned()),
            (None, _) => Err("it contains no image for the platform".to_owned()),
        }
    }

    /// Returns the digest of the manifest, if the index has only one.
    pub(crate) fn manifest_digest(&self) -> Option<String> {
        let index = fs::read(self.path().join(INDEX)).ok()?;
        let index: serde_json::Value = serde_json::from_slice(&index).ok()?;
        match index["manifests"].as_array()?.as_slice() {
            [manifest] => manifest["digest"].as_str().map(str::to_owned),
            _ => None,
        }
    }

    /// Returns whether a builder has begun to write.
    pub(crate) fn is_written(&self) -> bool {
        let files = |dir| fs::read_dir(self.path().join(dir)).into_iter().flatten().flatten();
        let is_blob = |entry: fs::DirEntry| entry.metadata().is_ok_and(|meta| meta.len() > 0);
        files(INGEST).next().is_some() || files(BLOBS).any(is_blob)
    }

    /// Returns the disk on which a builder writes; it leaves incomplete files behind.
    pub(crate) fn disk(&self) -> Disk {
        self.disk.clone()
    }

    /// Returns why a builder has not written the layers.
    pub(crate) fn failure(&self, error: docker::Error) -> Unavailable {
        let stderr = error.failure().map_or("", |failure| &failure.stderr);
        let is_named = stderr.contains(&*self.path().to_string_lossy());
        if error.full_disk_owner().is_some() && (is_named || self.disk.check().is_err()) {
            return Unavailable::cache_disk_full(self.disk.full_message());
        }
        error.into()
    }

    /// Moves the configuration, and the layers that are not placeholders, to the cache. Fails
    /// if one of them is another layer than the configuration lists.
    pub(crate) fn move_to(&self, cache: &LayerCache, image: &Image) -> io::Result<()> {
        cache.store(image.config.as_slice())?;
        for (path, diff_id) in image.layers.iter().zip(&image.diff_ids) {
            let file = self.path().join(path);
            match fs::metadata(&file) {
                Ok(meta) if meta.len() > 0 => cache.store_file(&file, diff_id)?,
                // It is a placeholder, or the image has the same layer twice.
                _ => {}
            }
        }
        Ok(())
    }

    fn blob(&self, digest: &str) -> Option<PathBuf> {
        blob_path(self.path(), digest)
    }
}

/// Reads the images of a layout.
pub(crate) fn read_images(dir: &Path) -> Result<Vec<Image>, String> {
    read_json(dir).map_err(|error| error.to_string())?.images()
}

fn read_json(dir: &Path) -> io::Result<Files> {
    let mut files = Files::default();
    files.add_json(INDEX, fs::read(dir.join(INDEX))?);
    for entry in fs::read_dir(dir.join(BLOBS))? {
        let entry = entry?;
        let name = entry.file_name();
        if let Some(json) = read_json_file(&entry.path(), entry.metadata()?.len())? {
            files.add_json(&format!("{BLOBS}/{}", name.to_string_lossy()), json);
        }
    }
    Ok(files)
}

/// Returns the digests of the blobs of an image, with the diffIDs of their layers.
pub(crate) fn digests(image: &Image) -> BTreeMap<String, String> {
    let digest = |path: &String| path.strip_prefix(BLOBS)?.strip_prefix('/').map(str::to_owned);
    let layers = image.layers.iter().zip(&image.diff_ids);
    layers
        .filter_map(|(path, id)| Some((format!("sha256:{}", digest(path)?), id.clone())))
        .collect()
}

/// Reads a file if it can be JSON.
fn read_json_file(path: &Path, size: u64) -> io::Result<Option<Vec<u8>>> {
    if size == 0 || size > MAX_JSON_BYTES {
        return Ok(None);
    }
    let (mut file, mut bytes) = (File::open(path)?, vec![0; 1]);
    file.read_exact(&mut bytes)?;
    if bytes != b"{" {
        return Ok(None);
    }
    file.read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use kdev_core::image::digest::sha256;

    use super::*;
    use crate::process::{Failure, Outcome};

    /// A cache directory with an export of one image with these layers.
    struct Export {
        dir: tempfile::TempDir,
        layout: Layout,
        diff_ids: Vec<String>,
    }

    impl Export {
        fn new(layers: &[&[u8]]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let emit = |_| {};
            let layout = Layout::create(&Cx::new(&emit).with_cache_dir(dir.path())).unwrap();
            let diff_ids: Vec<String> = layers.iter().map(|tar| sha256(tar)).collect();
            let put = |bytes: &[u8]| {
                let path = layout.blob(&sha256(bytes)).unwrap();
                if !path.exists() {
                    fs::write(path, bytes).unwrap();
                }
                format!(r#"{{"digest":"{}"}}"#, sha256(bytes))
            };
            let blobs: Vec<String> = layers.iter().map(|tar| put(tar)).collect();
            let config = format!(
                r#"{{"os":"linux","architecture":"amd64","rootfs":{{"diff_ids":{diff_ids:?}}}}}"#
            );
            let config = put(config.as_bytes());
            let manifest = format!(r#"{{"config":{config},"layers":[{}]}}"#, blobs.join(","));
            let index = format!(r#"{{"manifests":[{}]}}"#, put(manifest.as_bytes()));
            fs::write(layout.path().join(INDEX), index).unwrap();
            Self { dir, layout, diff_ids }
        }

        fn cache(&self) -> LayerCache {
            LayerCache::open_in(self.dir.path()).unwrap()
        }
    }

    #[test]
    fn full_disk_is_named() {
        let Export { dir: _dir, layout, .. } = Export::new(&[]);
        let failure = |layout: &Layout, outcome, stderr: &str| {
            let (command, stderr) = ("docker buildx build -".to_owned(), stderr.to_owned());
            let source = Failure { command, outcome, stderr };
            layout.failure(docker::Error::Command { action: "export".to_owned(), source })
        };
        let cache = layout.disk.full_message();
        let own = format!("write {}/ingest/1: no space left on device", layout.path().display());
        let other = "write /var/lib/docker/tmp: no space left on device";
        let daemon = "the disk of the Docker daemon is full".to_owned();
        let exit = || Outcome::Code(1);
        let table = [
            (exit(), own.as_str(), cache.clone(), "XDG_CACHE_HOME"),
            (Outcome::DiskFull(cache.clone()), "", cache.clone(), "XDG_CACHE_HOME"),
            (exit(), other, daemon, "`docker system df`"),
        ];
        for (outcome, stderr, reason, help) in table {
            let unavailable = failure(&layout, outcome, stderr);
            assert_eq!(unavailable.reason, reason);
            assert!(unavailable.help.unwrap().contains(help));
        }
        assert_eq!(failure(&layout, exit(), "no such image"), "failed to export".into());
        // The message does not name the file.
        let full = layout.on_full_disk();
        assert!(failure(&full, exit(), "no space left on device").is_cache_disk_full());
    }

    #[test]
    fn layers_without_placeholder_are_moved_to_cache() {
        let export = Export::new(&[b"base layer", b"changed layer"]);
        // As if it had existed before the export.
        export.layout.add_placeholders([export.diff_ids[0].as_str()]).unwrap();
        let image = export.layout.read(Some("linux/amd64")).unwrap();
        assert_eq!(image.diff_ids, export.diff_ids);
        let cache = export.cache();
        export.layout.move_to(&cache, &image).unwrap();
        assert!(cache.get(&export.diff_ids[0]).is_none());
        assert_eq!(cache.get(&export.diff_ids[1]).unwrap().read().unwrap(), b"changed layer");
        assert!(cache.config(&image.config_digest).is_some());
        assert!(!export.layout.blob(&export.diff_ids[1]).unwrap().exists());
        let expected = export.diff_ids.iter().map(|id| (id.clone(), id.clone())).collect();
        assert_eq!(digests(&image), expected);
    }

    #[test]
    fn blob_with_other_content_is_rejected() {
        for bytes in [b"other".to_vec(), zstd::encode_all(&b"other"[..], 1).unwrap()] {
            let export = Export::new(&[b"layer"]);
            fs::write(export.layout.blob(&export.diff_ids[0]).unwrap(), bytes).unwrap();
            let image = export.layout.read(None).unwrap();
            assert!(export.layout.move_to(&export.cache(), &image).is_err());
            assert!(export.cache().get(&export.diff_ids[0]).is_none());
        }
    }

    #[test]
    fn compressed_blob_is_decompressed() {
        let export = Export::new(&[b"layer"]);
        let blob = export.layout.blob(&export.diff_ids[0]).unwrap();
        fs::write(blob, zstd::encode_all(&b"layer"[..], 1).unwrap()).unwrap();
        let image = export.layout.read(None).unwrap();
        export.layout.move_to(&export.cache(), &image).unwrap();
        assert_eq!(export.cache().get(&export.diff_ids[0]).unwrap().read().unwrap(), b"layer");
    }

    #[test]
    fn incomplete_export_is_an_error() {
        let export = Export::new(&[b"layer"]);
        assert!(export.layout.read(Some("linux/arm64")).is_err());
        fs::remove_file(export.layout.path().join(INDEX)).unwrap();
        assert!(export.layout.read(None).is_err());
    }

    #[test]
    fn placeholder_stays_in_blob_directory() {
        let export = Export::new(&[b"layer"]);
        export.layout.add_placeholders(["sha256:../../x", "sha512:ab", "", "sha256:"]).unwrap();
        assert_eq!(fs::read_dir(export.layout.path().join(BLOBS)).unwrap().count(), 3);
    }
}
