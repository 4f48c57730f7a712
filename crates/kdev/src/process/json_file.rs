//! JSON files with what earlier runs have learned. A file that cannot be read counts as missing.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use kdev_core::image::digest::sha256;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::NamedTempFile;

/// Longer file names are replaced by a digest. File systems permit 255 bytes.
const MAX_NAME_BYTES: usize = 200;

/// How many files [`write_limited`] keeps in a directory.
const MAX_FILES: usize = 256;

/// Reads a file.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Writes a file atomically, so that several runs can share it.
pub(crate) fn write(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(dir)?;
    let mut file = NamedTempFile::new_in(dir)?;
    serde_json::to_writer(&mut file, value)?;
    file.persist(path)?;
    Ok(())
}

/// Writes a file, and removes those files of its directory that were written the longest ago, so
/// that at most 256 stay. Temporary files of runs that were killed count, too.
pub(crate) fn write_limited(path: &Path, value: &impl Serialize) -> io::Result<()> {
    write(path, value)?;
    let entries = path.parent().map(fs::read_dir).transpose()?.into_iter().flatten();
    let others = entries.filter_map(Result::ok).map(|entry| entry.path());
    let others: Vec<PathBuf> = others.filter(|other| other != path).collect();
    let excess = (others.len() + 1).saturating_sub(MAX_FILES);
    if excess == 0 {
        return Ok(());
    }
    let mut others: Vec<_> = others
        .into_iter()
        .filter_map(|path| Some((path.symlink_metadata().ok()?.modified().ok()?, path)))
        .collect();
    others.sort();
    // Another run may have removed a file.
    others.iter().take(excess).for_each(|(_, path)| drop(fs::remove_file(path)));
    Ok(())
}

/// Returns a file name that differs for each name. Image names contain `/`.
pub(crate) fn file_name(name: &str) -> String {
    let mut encoded = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b':' | b'@' => {
                encoded.push(byte.into());
            }
            other => {
                let _ = write!(encoded, "%{other:02X}");
            }
        }
    }
    if encoded.len() > MAX_NAME_BYTES { sha256(name.as_bytes()) } else { encoded }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn file_name_is_readable_and_stays_in_directory() {
        let table = [
            ("docker.io/library/app", "docker.io%2Flibrary%2Fapp"),
            ("127.0.0.1:47600@root@far", "127.0.0.1:47600@root@far"),
            ("../a b", "..%2Fa%20b"),
        ];
        for (name, expected) in table {
            assert_eq!(file_name(name), expected);
        }
        assert_eq!(file_name(&"x".repeat(300)), sha256("x".repeat(300).as_bytes()));
    }

    #[test]
    fn damaged_file_counts_as_missing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b.json");
        assert_eq!(read::<u32>(&path), None);
        write(&path, &7).unwrap();
        assert_eq!(read::<u32>(&path), Some(7));
        fs::write(&path, "damaged").unwrap();
        assert_eq!(read::<u32>(&path), None);
        assert_eq!(fs::read_dir(dir.path().join("a")).unwrap().count(), 1);
    }

    #[test]
    fn number_of_files_is_limited_and_oldest_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = |number: usize| dir.path().join(format!("{number}.json"));
        for number in 0..MAX_FILES {
            write_limited(&path(number), &number).unwrap();
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(number as u64);
            File::open(path(number)).unwrap().set_modified(time).unwrap();
        }
        // A file that exists takes no place.
        write_limited(&path(0), &"again").unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), MAX_FILES);
        write_limited(&path(MAX_FILES), &"new").unwrap();
        write_limited(&path(MAX_FILES + 1), &"new").unwrap();
        let is_kept = |number: usize| path(number).exists();
        let kept = [0, 1, 2, 3, MAX_FILES, MAX_FILES + 1].map(is_kept);
        assert_eq!(kept, [true, false, false, true, true, true]);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), MAX_FILES);
    }
}
