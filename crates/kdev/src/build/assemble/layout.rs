//! Writes an image to an OCI image layout, and removes the blobs of the builds that it replaces.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use kdev_core::image::digest::Hasher;
use kdev_core::image::image_layout::{
    INDEX_FILE, ImageLayout, LAYOUT_FILE, blob_path, digests_in, is_index,
};
use kdev_core::image::partial_archive::SentLayer;
use nix::fcntl::{Flock, FlockArg};
use tempfile::NamedTempFile;

use crate::layers::cache::Layer;

/// The permissions of the files.
const MODE: u32 = 0o644;
/// Manifests and configurations are smaller.
const MAX_JSON: u64 = 4 << 20;

/// Writes the index last: without it, the other files are not an image.
pub(super) fn write(dir: &Path, layout: &ImageLayout<Layer>) -> io::Result<()> {
    let path = |name: &str| dir.join(name);
    fs::create_dir_all(path("blobs/sha256"))?;
    // Otherwise another run could keep a blob that this one removes.
    let lock = Flock::lock(File::open(dir)?, FlockArg::LockExclusive).ok();
    replace(&path(LAYOUT_FILE), |file| copy(&*ImageLayout::<Layer>::layout_file(), file))?;
    for (name, bytes) in layout.blobs() {
        replace(&path(&name), |file| copy(bytes, file))?;
    }
    for (name, layer) in layout.layers() {
        if !has_digest(&path(&name), layer.diff_id()) {
            replace(&path(&name), |file| copy(layer.open()?, file))?;
        }
    }
    let existing = read_if_exists(&path(INDEX_FILE))?;
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "its `index.json` is damaged");
    let index = layout.index(existing.as_deref()).ok_or_else(damaged)?;
    replace(&path(INDEX_FILE), |file| copy(&*index, file))?;
    if let (Some(existing), Some(_)) = (existing, &lock) {
        remove_unused(dir, &layout.earlier_builds(&existing), &index);
    }
    Ok(())
}

/// Removes the blobs of these manifests that no image of the index uses. A blob that is not removed
/// only needs space.
fn remove_unused(dir: &Path, manifests: &BTreeSet<String>, index: &[u8]) {
    let Some(used) = used_blobs(dir, index) else { return };
    for manifest in manifests.difference(&used) {
        let blobs = read_json(dir, manifest).ok().flatten();
        for digest in blobs.iter().flatten().chain([manifest]).filter(|one| !used.contains(*one)) {
            if let Some(path) = blob_path(digest) {
                let _ = fs::remove_file(dir.join(path));
            }
        }
    }
}

/// Returns the blobs of all images of an index; `None` if one of them cannot be read.
fn used_blobs(dir: &Path, index: &[u8]) -> Option<BTreeSet<String>> {
    let listed = digests_in(index)?;
    let mut used = BTreeSet::new();
    let mut waiting: Vec<String> = listed.iter().cloned().collect();
    while let Some(digest) = waiting.pop() {
        match read_json(dir, &digest) {
            Ok(Some(more)) => waiting.extend(more.difference(&used).cloned()),
            Ok(None) if !listed.contains(&digest) => {}
            Ok(None) | Err(_) => return None,
        }
        used.insert(digest);
    }
    Some(used)
}

/// Returns the digests in a blob; `None` if it does not exist or is not JSON, such as a layer.
fn read_json(dir: &Path, digest: &str) -> io::Result<Option<BTreeSet<String>>> {
    let Some(path) = blob_path(digest) else { return Ok(None) };
    let mut file = match File::open(dir.join(path)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let size = file.metadata()?.len();
    if size > MAX_JSON {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(digests_in(&bytes))
}

/// Returns the directory of a path.
pub(super) fn parent(path: &Path) -> &Path {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

/// Returns whether a directory is an OCI image layout to which an image can be added.
pub(super) fn is_layout(dir: &Path) -> io::Result<bool> {
    if !dir.join(LAYOUT_FILE).is_file() {
        return Ok(false);
    }
    Ok(read_if_exists(&dir.join(INDEX_FILE))?.is_none_or(|index| is_index(&index)))
}

/// Reads a file; `None` if it does not exist. One that cannot be read must not be replaced.
fn read_if_exists(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    }
}

/// Returns whether a file exists and has this content.
fn has_digest(path: &Path, digest: &str) -> bool {
    let Ok(mut file) = File::open(path) else { return false };
    let mut content = Hasher::new(&mut file);
    io::copy(&mut content, &mut io::sink()).is_ok() && content.digest() == digest
}

fn copy(mut from: impl Read, to: &mut File) -> io::Result<()> {
    io::copy(&mut from, to).map(drop)
}

/// Writes a file under another name first, so that it is never incomplete.
pub(super) fn replace(
    path: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let mut file = NamedTempFile::new_in(parent(path))?;
    write(file.as_file_mut())?;
    file.as_file().set_permissions(Permissions::from_mode(MODE))?;
    file.persist(path)?;
    Ok(())
}
