//! Writes the planned files: all of them, or none.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::init::{FileAction, InitFile, Result};
use crate::process;

/// What has been written, to undo it.
enum Written {
    Directory(PathBuf),
    File(PathBuf),
    /// The length before.
    Appended(PathBuf, u64),
}

/// Writes the files. If one fails, the others are removed again.
pub(crate) fn write(files: &[InitFile]) -> Result<()> {
    let mut written = Vec::new();
    let result = files.iter().try_for_each(|file| {
        write_file(file, &mut written).map_err(process::Error::write(&file.path))
    });
    if result.is_err() {
        written.into_iter().rev().for_each(undo);
    }
    result.map_err(Into::into)
}

fn write_file(file: &InitFile, written: &mut Vec<Written>) -> io::Result<()> {
    let path = &file.path;
    match file.action {
        FileAction::Keep => Ok(()),
        FileAction::Append => {
            let mut target = OpenOptions::new().append(true).open(path)?;
            let length = target.metadata()?.len();
            // An editor may have saved the file since it was read.
            let added = file.text.strip_prefix(&file.before);
            let added = added.filter(|_| length == file.before.len() as u64);
            let added = added.ok_or_else(|| io::Error::other("the file has changed"))?;
            written.push(Written::Appended(path.clone(), length));
            target.write_all(added.as_bytes())
        }
        FileAction::Create | FileAction::CreateExecutable => {
            create_parents(path, written)?;
            let mode = if file.action == FileAction::Create { 0o666 } else { 0o777 };
            // Fails if the file exists.
            let mut target =
                OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
            written.push(Written::File(path.clone()));
            target.write_all(file.text.as_bytes())
        }
    }
}

fn create_parents(path: &Path, written: &mut Vec<Written>) -> io::Result<()> {
    let missing: Vec<&Path> = path.ancestors().skip(1).take_while(|dir| !dir.exists()).collect();
    for dir in missing.into_iter().rev() {
        fs::create_dir(dir)?;
        written.push(Written::Directory(dir.to_owned()));
    }
    Ok(())
}

/// Removes what was written. Best effort: the error that led here is reported.
fn undo(written: Written) {
    let _ = match written {
        Written::Directory(path) => fs::remove_dir(path),
        Written::File(path) => fs::remove_file(path),
        Written::Appended(path, length) => {
            File::options().write(true).open(path).and_then(|file| file.set_len(length))
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: PathBuf, action: FileAction, before: &str, text: &str) -> InitFile {
        let (before, text) = (before.to_owned(), text.to_owned());
        InitFile { path, action, before, text }
    }

    #[test]
    fn failed_write_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("Cargo.toml"), "[package]\n").unwrap();
        fs::write(at("scripts"), "a file").unwrap();
        let files = [
            file(at("k8s/a.yaml"), FileAction::Create, "", "a"),
            file(at("Cargo.toml"), FileAction::Append, "[package]\n", "[package]\nx = 1\n"),
            file(at("scripts/onboard.sh"), FileAction::CreateExecutable, "", "b"),
        ];
        let error = write(&files).unwrap_err().to_string();
        assert!(error.contains("scripts/onboard.sh"), "{error}");
        assert_eq!(fs::read_to_string(at("Cargo.toml")).unwrap(), "[package]\n");
        assert!(!at("k8s").exists());
        fs::remove_file(at("scripts")).unwrap();
        write(&files).unwrap();
        assert_eq!(fs::read_to_string(at("Cargo.toml")).unwrap(), "[package]\nx = 1\n");
        let mode = std::os::unix::fs::PermissionsExt::mode;
        let script = fs::metadata(at("scripts/onboard.sh")).unwrap().permissions();
        assert_eq!(mode(&script) & 0o100, 0o100);
        // No file is written over.
        assert!(write(&files[..1]).is_err());
    }

    #[test]
    fn read_only_directory_is_error() {
        // Also root cannot create files there.
        let path = PathBuf::from("/proc/kdev/Dockerfile");
        assert!(write(&[file(path, FileAction::Create, "", "x")]).is_err());
    }

    #[test]
    fn file_that_has_changed_is_not_appended_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("Cargo.toml");
        fs::write(&path, "new content").unwrap();
        let changed = file(path.clone(), FileAction::Append, "old", "old and more");
        assert!(write(&[changed]).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "new content");
    }
}
