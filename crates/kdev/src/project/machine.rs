//! Identifies this machine, so that folders with one path on two machines are not confused.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use kdev_core::kube::owner;
use tempfile::NamedTempFile;

use crate::cx::Cx;

/// The machine ID of systemd and D-Bus. Containers, minimal systems, and macOS do not have one.
const MACHINE_ID: &str = "/etc/machine-id";
/// The file in the folder for state with the ID that kdev has created.
const FILE: &str = "machine-id";
const ID_BYTES: usize = 16;

/// The names of this machine in records of apply sets.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) host: String,
    /// Differs between machines of the same host name.
    pub(super) name: String,
    /// The name that earlier versions recorded if the machine has no ID. Machines of the same host
    /// name have the same one.
    pub(super) earlier_name: Option<String>,
    /// Why the next run will have another name.
    pub(super) unstored: Option<Unstored>,
}

/// An ID could not be stored.
#[derive(Debug)]
pub(super) struct Unstored {
    pub(super) path: PathBuf,
    pub(super) error: io::Error,
}

impl Machine {
    /// Returns the names of this machine. Creates an ID if it has none.
    pub(super) fn find(cx: &Cx) -> Self {
        let host = nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned();
        Self::read(host, Path::new(MACHINE_ID), cx.state_dir().or(cx.cache_dir()))
    }

    fn read(host: String, machine_id: &Path, state_dir: Option<&Path>) -> Self {
        let text = fs::read_to_string(machine_id).unwrap_or_default();
        if is_id(&text) {
            let name = owner::machine(&host, &text);
            return Self { host, name, earlier_name: None, unstored: None };
        }
        let path = state_dir.map(|dir| dir.join(FILE)).unwrap_or_default();
        let (id, error) = match read_or_create(&path) {
            Ok(id) => (id, None),
            // A name that no other run has.
            Err(error) => (random_id().unwrap_or_default(), Some(error)),
        };
        let name = owner::machine(&host, &id);
        let earlier_name = Some(owner::machine(&host, &text));
        Self { host, name, earlier_name, unstored: error.map(|error| Unstored { path, error }) }
    }
}

/// Whether a text is an ID. systemd writes `uninitialized` before the first boot.
fn is_id(text: &str) -> bool {
    let id = text.trim();
    id.len() >= 2 * ID_BYTES
        && id.chars().all(|c| c.is_ascii_hexdigit() || c == '-')
        && id.chars().any(|c| !['0', '-'].contains(&c))
}

/// Returns the ID in a file. Of several runs that create it, one wins.
fn read_or_create(path: &Path) -> io::Result<String> {
    if let Some(id) = read_id(path) {
        return Ok(id);
    }
    let dir = path.parent().ok_or(io::ErrorKind::NotFound)?;
    fs::create_dir_all(dir)?;
    let mut file = NamedTempFile::new_in(dir)?;
    let id = random_id()?;
    writeln!(file, "{id}")?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(id),
        Err(error) => read_id(path).ok_or(error.error),
    }
}

fn read_id(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok().filter(|text| is_id(text))
}

fn random_id() -> io::Result<String> {
    let mut bytes = [0; ID_BYTES];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(dir: &Path, machine_id: Option<&str>, state: &str) -> Machine {
        let path = dir.join("etc");
        match machine_id {
            Some(text) => fs::write(&path, text).unwrap(),
            None => drop(fs::remove_file(&path)),
        }
        Machine::read("dev".to_owned(), &path, Some(&dir.join(state)))
    }

    #[test]
    fn machine_without_id_gets_one_that_stays() {
        let dir = tempfile::tempdir().unwrap();
        let missing = [None, Some(""), Some("uninitialized\n"), Some(&"0".repeat(32))];
        for (number, machine_id) in missing.into_iter().enumerate() {
            let read = |state: &str| machine(dir.path(), machine_id, &format!("{state}{number}"));
            let (first, other) = (read("a/b"), read("c"));
            assert_ne!(first.name, other.name, "{machine_id:?}");
            assert_eq!(first.name, read("a/b").name, "{machine_id:?}");
            assert_eq!(first.earlier_name, other.earlier_name);
            let earlier = owner::machine("dev", machine_id.unwrap_or_default());
            assert_eq!(first.earlier_name, Some(earlier));
            assert!(first.unstored.is_none());
        }
    }

    #[test]
    fn machine_with_id_has_its_earlier_name() {
        let dir = tempfile::tempdir().unwrap();
        let id = "3d1219c7c4c5404aaa1f6d2a48adfda4\n";
        let found = machine(dir.path(), Some(id), "state");
        assert_eq!((found.name, found.earlier_name), (owner::machine("dev", id), None));
        assert!(!dir.path().join("state").exists());
    }

    #[test]
    fn id_that_cannot_be_stored_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        let read = || machine(dir.path(), None, "file/state");
        let (one, other) = (read(), read());
        assert_ne!(one.name, other.name);
        assert!(one.unstored.unwrap().path.ends_with("file/state/machine-id"));
        // The ID is lost. A new one would be that of another machine.
        fs::create_dir(dir.path().join("damaged")).unwrap();
        fs::write(dir.path().join("damaged/machine-id"), "x").unwrap();
        assert!(machine(dir.path(), None, "damaged").unstored.is_some());
    }
}
