//! The content of all inputs at one time. Two snapshots are compared by content, so a file that
//! is written again with the same bytes has not changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use kdev_core::image::digest::Hasher;

use crate::inputs::{InputClass, Inputs};

/// The time stamps of files have the resolution of the kernel's clock tick.
const CLOCK_TICK: Duration = Duration::from_millis(20);

/// The content of all inputs.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    taken: SystemTime,
    files: BTreeMap<PathBuf, Fingerprint>,
    folders: BTreeMap<PathBuf, Option<Stat>>,
}

/// A difference between two snapshots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) path: PathBuf,
    pub(crate) kind: ChangeKind,
    /// What the change requires.
    pub(crate) classes: BTreeSet<InputClass>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    Created,
    Modified,
    Deleted,
}

/// The content of one input.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fingerprint {
    stat: Option<Stat>,
    content: Content,
    classes: BTreeSet<InputClass>,
}

/// The properties with which a file has most likely not changed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stat {
    size: u64,
    modified: (i64, i64),
    /// Also changes if a file replaces another one.
    status_changed: (i64, i64),
    inode: u64,
    /// Of the file behind a symbolic link.
    behind: Option<Box<Stat>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    Missing,
    /// The permissions of a folder.
    Folder(u32),
    /// The permissions and the SHA-256 of a file.
    File(u32, String),
    /// The target of a symbolic link, and what is there.
    Link(PathBuf, Box<Content>),
    /// A file that cannot be read, or something else than a file.
    Unreadable,
}

impl Snapshot {
    /// Reads all inputs. Files whose stat has not changed since `earlier` are not read again.
    pub(crate) fn take(inputs: &Inputs, earlier: Option<&Self>) -> Self {
        let taken = SystemTime::now();
        let known = |path: &Path| earlier.and_then(|earlier| earlier.files.get(path));
        let files = inputs.files.iter().map(|(path, input)| {
            let classes = input.uses.keys().copied().collect();
            (path.clone(), Fingerprint::read(path, classes, known(path)))
        });
        let files = files.collect();
        let folders = inputs.folders.iter().map(|path| (path.clone(), Stat::read(path))).collect();
        Self { taken, files, folders }
    }

    /// Returns whether a file or a folder may have changed since then. Reads no content.
    pub(crate) fn may_be_outdated(&self) -> bool {
        self.folders.iter().any(|(path, stat)| Stat::read(path) != *stat)
            || self.files.iter().any(|(path, known)| Stat::read(path) != known.stat)
    }

    /// Returns whether an input of this class was changed after a time.
    pub(crate) fn has_newer(&self, class: InputClass, time: SystemTime) -> bool {
        let mut files = self.files.values();
        files.any(|file| file.classes.contains(&class) && file.is_newer_than(time))
    }

    /// Takes over a file of a later snapshot that did not exist in this one.
    pub(crate) fn adopt_new(&mut self, path: &Path, later: &Self) {
        let is_missing = |file: &Fingerprint| file.content == Content::Missing;
        if self.files.get(path).is_none_or(is_missing)
            && let Some(file) = later.files.get(path)
        {
            self.files.insert(path.to_owned(), file.clone());
        }
    }

    /// Returns the inputs whose content differs. A file that is an input only of the new snapshot
    /// has changed if it is newer than the old one; a file that is an input only of the old one
    /// has changed if it was deleted.
    pub(crate) fn changes(old: &Self, new: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        for (path, after) in &new.files {
            let before = old.files.get(path);
            let has_changed = match before {
                Some(before) => before.content != after.content,
                None => after.is_newer_than(old.taken),
            };
            if has_changed {
                let kind = change_kind(before.map(|before| &before.content), &after.content);
                changes.push(Change { path: path.clone(), kind, classes: after.classes.clone() });
            }
        }
        let gone = old.files.iter().filter(|(path, _)| !new.files.contains_key(*path));
        for (path, before) in gone.filter(|(path, _)| fs::symlink_metadata(path).is_err()) {
            if before.content != Content::Missing {
                let (path, classes) = (path.clone(), before.classes.clone());
                changes.push(Change { path, kind: ChangeKind::Deleted, classes });
            }
        }
        changes
    }
}

fn change_kind(before: Option<&Content>, after: &Content) -> ChangeKind {
    match (before, after) {
        (_, Content::Missing) => ChangeKind::Deleted,
        (None | Some(Content::Missing), _) => ChangeKind::Created,
        _ => ChangeKind::Modified,
    }
}

impl Fingerprint {
    fn read(path: &Path, classes: BTreeSet<InputClass>, known: Option<&Self>) -> Self {
        let stat = Stat::read(path);
        let content = match known {
            Some(known) if known.stat == stat => known.content.clone(),
            _ => Content::read(path, true),
        };
        Self { stat, content, classes }
    }

    /// Returns whether it exists and was changed after a time.
    fn is_newer_than(&self, time: SystemTime) -> bool {
        let Some(stat) = &self.stat else { return false };
        let (seconds, nanoseconds) = stat.status_changed;
        let changed = Duration::new(
            u64::try_from(seconds).unwrap_or_default(),
            u32::try_from(nanoseconds).unwrap_or_default(),
        );
        SystemTime::UNIX_EPOCH + changed + CLOCK_TICK >= time
    }
}

impl Stat {
    fn read(path: &Path) -> Option<Self> {
        let data = fs::symlink_metadata(path).ok()?;
        let behind = data.is_symlink().then(|| fs::metadata(path).ok()).flatten();
        let behind = behind.map(|behind| Box::new(Self::new(&behind, None)));
        Some(Self::new(&data, behind))
    }

    fn new(data: &Metadata, behind: Option<Box<Self>>) -> Self {
        Self {
            size: data.size(),
            modified: (data.mtime(), data.mtime_nsec()),
            status_changed: (data.ctime(), data.ctime_nsec()),
            inode: data.ino(),
            behind,
        }
    }
}

impl Content {
    fn read(path: &Path, is_first: bool) -> Self {
        let Ok(data) = fs::symlink_metadata(path) else { return Self::Missing };
        if data.is_dir() {
            return Self::Folder(permissions(&data));
        }
        if data.is_symlink() && is_first {
            let behind = path.canonicalize().map_or(Self::Missing, |path| Self::read(&path, false));
            return Self::Link(fs::read_link(path).unwrap_or_default(), Box::new(behind));
        }
        // Opening a pipe would wait for a writer.
        match data.is_file().then(|| hash(path)).flatten() {
            Some(hash) => Self::File(permissions(&data), hash),
            None => Self::Unreadable,
        }
    }
}

fn permissions(data: &Metadata) -> u32 {
    data.mode() & 0o7777
}

fn hash(path: &Path) -> Option<String> {
    let mut hasher = Hasher::new(File::open(path).ok()?);
    io::copy(&mut hasher, &mut io::sink()).ok()?;
    Some(hasher.digest())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::inputs::Input;

    fn inputs(dir: &Path, names: &[&str]) -> Inputs {
        let input = || Input { uses: [(InputClass::Docker, String::new())].into() };
        let mut inputs = Inputs::default();
        inputs.files.extend(names.iter().map(|name| (dir.join(name), input())));
        inputs.folders.insert(dir.to_owned());
        inputs
    }

    /// Changes a file after a snapshot of `before`, and compares it with one of `after`.
    fn changes(before: &[&str], change: fn(&Path), after: &[&str]) -> Vec<(String, ChangeKind)> {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        fs::write(dir.join("a"), "a").unwrap();
        fs::write(dir.join("b"), "b").unwrap();
        symlink("b", dir.join("link")).unwrap();
        // Older than the snapshot by more than a clock tick.
        std::thread::sleep(2 * CLOCK_TICK);
        let old = Snapshot::take(&inputs(dir, before), None);
        assert!(!old.may_be_outdated());
        change(dir);
        let new = Snapshot::take(&inputs(dir, after), Some(&old));
        let changes = Snapshot::changes(&old, &new);
        if before == after && !changes.is_empty() {
            assert!(old.may_be_outdated());
        }
        let name = |path: &Path| path.strip_prefix(dir).unwrap().display().to_string();
        changes.iter().map(|change| (name(&change.path), change.kind)).collect()
    }

    #[test]
    fn content_decides_what_has_changed() {
        use ChangeKind::{Created, Deleted, Modified};
        type Row<'a> = (&'a [&'a str], fn(&Path), &'a [&'a str], &'a [(&'a str, ChangeKind)]);
        let write = |dir: &Path| fs::write(dir.join("a"), "A").unwrap();
        let table: [Row; 14] = [
            (&["a", "b"], |_| {}, &["a", "b"], &[]),
            (&["a", "b"], write, &["a", "b"], &[("a", Modified)]),
            // The same bytes, with another time and another inode.
            (&["a"], |dir| fs::write(dir.join("a"), "a").unwrap(), &["a"], &[]),
            (&["a"], replace_by_same, &["a"], &[]),
            (
                &["a"],
                |dir| fs::rename(dir.join("b"), dir.join("a")).unwrap(),
                &["a"],
                &[("a", Modified)],
            ),
            (&["a"], make_executable, &["a"], &[("a", Modified)]),
            (&["a"], |dir| fs::remove_file(dir.join("a")).unwrap(), &["a"], &[("a", Deleted)]),
            // A glob no longer matches a file that was deleted.
            (&["a"], |dir| fs::remove_file(dir.join("a")).unwrap(), &[], &[("a", Deleted)]),
            (&["a"], write, &[], &[]),
            (&["c"], |dir| fs::write(dir.join("c"), "").unwrap(), &["c"], &[("c", Created)]),
            (&["c"], |_| {}, &[], &[]),
            // A file that has become an input is only a change if it is new.
            (&[], |_| {}, &["a"], &[]),
            (&[], |dir| fs::write(dir.join("c"), "").unwrap(), &["c"], &[("c", Created)]),
            (
                &["link"],
                |dir| fs::write(dir.join("b"), "B").unwrap(),
                &["link"],
                &[("link", Modified)],
            ),
        ];
        for (row, (before, change, after, expected)) in table.into_iter().enumerate() {
            let expected: Vec<_> =
                expected.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect();
            assert_eq!(changes(before, change, after), expected, "row {row}");
        }
    }

    fn replace_by_same(dir: &Path) {
        fs::write(dir.join("new"), "a").unwrap();
        fs::rename(dir.join("new"), dir.join("a")).unwrap();
    }

    fn make_executable(dir: &Path) {
        fs::set_permissions(dir.join("a"), fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn new_file_in_folder_makes_snapshot_outdated() {
        let dir = tempfile::tempdir().unwrap();
        let snapshot = Snapshot::take(&inputs(dir.path(), &[]), None);
        std::thread::sleep(CLOCK_TICK);
        fs::write(dir.path().join("new"), "").unwrap();
        assert!(snapshot.may_be_outdated());
    }

    #[test]
    fn pipe_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(Content::read(&path, true), Content::Unreadable);
    }

    #[test]
    fn newer_input_of_class_is_found() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), "").unwrap();
        let inputs = inputs(dir.path(), &["a", "missing"]);
        let has_newer = |class, time| Snapshot::take(&inputs, None).has_newer(class, time);
        let (minute, now) = (Duration::from_secs(60), SystemTime::now());
        assert!(has_newer(InputClass::Docker, now - minute));
        assert!(!has_newer(InputClass::Docker, now + minute));
        assert!(!has_newer(InputClass::Config, now - minute));
    }
}
