//! Lists the files of a folder.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Whether symbolic links to folders are followed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Links {
    Follow,
    Keep,
}

/// What happens with a file or folder.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// It is listed, and so is the content of a folder.
    Listed,
    /// Only the content of a folder is listed.
    Entered,
    Skipped,
}

/// A file or a folder below the folder that is listed.
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) is_dir: bool,
}

/// Returns everything below a folder for which `choose` does not say otherwise; it gets the path
/// and whether it is a folder. A folder that cannot be read is empty.
pub(super) fn list(
    folder: &Path,
    links: Links,
    choose: &dyn Fn(&Path, bool) -> Entry,
) -> Vec<Found> {
    let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
    let mut pending = vec![folder.to_owned()];
    while let Some(folder) = pending.pop() {
        // Links can form a cycle.
        if links == Links::Follow && !folder.canonicalize().is_ok_and(|real| seen.insert(real)) {
            continue;
        }
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
            let is_dir = match links {
                Links::Keep if is_link => false,
                _ => path.is_dir(),
            };
            let chosen = choose(&path, is_dir);
            if is_dir && chosen != Entry::Skipped {
                pending.push(path.clone());
            }
            if chosen == Entry::Listed {
                found.push(Found { path, is_dir });
            }
        }
    }
    found
}

/// Returns the paths that a glob matches; an invalid one matches none.
pub(super) fn matching(pattern: &Path) -> Vec<PathBuf> {
    glob::glob(&pattern.to_string_lossy()).into_iter().flatten().flatten().collect()
}

/// Returns the folders in which a file can be created that a glob matches, directly or with its
/// folder.
pub(super) fn parents(pattern: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for prefix in pattern.ancestors().skip(1) {
        found.extend(matching(prefix).into_iter().filter(|path| path.is_dir()));
        if !prefix.to_string_lossy().contains(['*', '?', '[']) || prefix.is_dir() {
            found.push(prefix.to_owned());
            break;
        }
    }
    found
}
