//! JSON files with what earlier runs have learned. A file that cannot be read counts as missing.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use kdev_core::image::digest::sha256;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::NamedTempFile;

/// Longer file names are replaced by a digest. File systems permit 255 bytes.
const MAX_NAME_BYTES: usize = 200;

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
}
