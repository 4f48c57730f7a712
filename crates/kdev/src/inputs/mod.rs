//! The files that a build and a deployment of a package depend on. More files than necessary may
//! be listed, but none may be missing: an unnecessary build finds everything in its cache.
//!
//! - `cargo.rs`: the sources and the files that configure cargo
//! - `docker.rs`: the Dockerfile and what it copies from the build context
//! - `manifests.rs`: the manifests and the files that they name
//! - `packages.rs`: the package and its path dependencies
//! - `settings.rs`: the settings of kdev and the kubeconfigs
//! - `snapshot.rs`: the content of all inputs at one time
//! - `sources.rs`: the sources of the last build
//! - `tree.rs`: lists the files of a folder

mod cargo;
mod docker;
mod manifests;
mod packages;
mod settings;
pub(crate) mod snapshot;
mod sources;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::cluster::kubeconfig::ClusterTarget;
use crate::config::Config;
use crate::cx::Cx;
use crate::project::{Project, canonical};

pub use kdev_core::watch::need::InputClass;

/// What is known about the last `cargo build`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum LastBuild {
    /// Only what cargo has left in its target directory.
    #[default]
    Unknown,
    /// It failed, so its dependency files may lack a source.
    Failed,
}

/// A file on which a build or a deployment depends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Input {
    /// The classes, and why the file belongs to each.
    pub(crate) uses: BTreeMap<InputClass, String>,
}

/// The inputs of a package.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inputs {
    /// The inputs by absolute path. One that does not exist counts as soon as it is created.
    /// Folders are listed if an image contains them even when they are empty.
    pub(crate) files: BTreeMap<PathBuf, Input>,
    /// Existing folders in which a file may be created, changed, or deleted, without the folders
    /// in them.
    pub(crate) folders: BTreeSet<PathBuf>,
    /// Why more files are listed than are probably necessary, and similar facts.
    pub(crate) notes: BTreeSet<String>,
    /// The folders of the files as the file system has them.
    real_folders: BTreeMap<PathBuf, PathBuf>,
}

impl Inputs {
    /// Finds the inputs of a package. Never fails: a file that cannot be read names no others.
    pub(crate) fn find(
        cx: &Cx,
        project: &Project,
        config: &Config,
        target: &ClusterTarget,
        last_build: LastBuild,
    ) -> Self {
        let mut inputs = Self::default();
        settings::find(&mut inputs, project, target);
        manifests::find(&mut inputs, config);
        cargo::find(&mut inputs, cx, project, config, last_build);
        docker::find(&mut inputs, config);
        inputs.add_folders();
        inputs
    }

    /// Adds a file, which need not exist.
    fn add(&mut self, path: &Path, class: InputClass, reason: impl Into<String>) {
        let path = self.real_path(path);
        let input = self.files.entry(path).or_default();
        input.uses.entry(class).or_insert_with(|| reason.into());
    }

    /// Returns the path with its folder as the file system has it, so that each file has one path.
    /// The file itself may be a symbolic link, or not exist.
    fn real_path(&mut self, path: &Path) -> PathBuf {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return canonical(path);
        };
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        if let Some(real) = self.real_folders.get(parent) {
            return real.join(name);
        }
        let real = real_folder(parent);
        self.real_folders.insert(parent.to_owned(), real.clone());
        real.join(name)
    }

    /// Adds a folder in which new files are inputs.
    fn watch(&mut self, folder: &Path) {
        self.folders.extend(existing_folder(folder));
    }

    /// Adds the folder of each file, and of the file behind a symbolic link.
    fn add_folders(&mut self) {
        let mut folders: BTreeSet<PathBuf> = BTreeSet::new();
        for path in self.files.keys() {
            let behind = path.is_symlink().then(|| path.canonicalize().ok()).flatten();
            for file in [Some(path.clone()), behind].into_iter().flatten() {
                folders.extend(file.parent().map(Path::to_owned));
            }
        }
        self.folders.extend(folders.iter().filter_map(|folder| existing_folder(folder)));
    }
}

/// Returns the folder, or the nearest one above it that exists.
fn existing_folder(folder: &Path) -> Option<PathBuf> {
    folder.ancestors().find(|folder| folder.is_dir())?.canonicalize().ok()
}

/// Returns a folder without symbolic links, as far as it exists.
fn real_folder(folder: &Path) -> PathBuf {
    match (folder.canonicalize(), folder.parent(), folder.file_name()) {
        (Ok(real), _, _) => real,
        (Err(_), Some(parent), Some(name)) => real_folder(parent).join(name),
        _ => folder.to_owned(),
    }
}
