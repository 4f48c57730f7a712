//! Reads the selected packages, their workspace and the `kdev` tables with `cargo metadata`.
//!
//! - `machine.rs`: what identifies this machine
//! - `names.rs`: the names of all packages
//! - `owner.rs`: what identifies the project
//! - `repository.rs`: the git repository
//! - `selection.rs`: which packages of a workspace are selected

mod error;
mod machine;
pub(crate) mod names;
pub(crate) mod owner;
pub(crate) mod repository;
mod selection;

use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::{Metadata, MetadataCommand, Package};
use serde_json::Value;

use crate::cx::Cx;
use crate::event::Event;
use crate::process::Command;
use crate::project::selection::Candidate;
use crate::tools;

pub use error::Error;
pub(crate) use error::Result;
pub use selection::PackageSelection;

/// A package with the `kdev` tables of its Cargo.toml and its workspace's.
#[derive(Clone, Debug)]
pub(crate) struct Project {
    /// The package's name.
    pub(crate) package: String,
    /// The program that `cargo run` runs, if the package sets one.
    pub(crate) default_run: Option<String>,
    /// The names of its programs.
    pub(crate) programs: Vec<String>,
    /// The package's directory.
    pub(crate) dir: PathBuf,
    /// The workspace's directory; equal to `dir` without a workspace.
    pub(crate) workspace_root: PathBuf,
    /// cargo's target directory.
    pub(crate) target_dir: PathBuf,
    /// `[package.metadata.kdev]`.
    pub(crate) package_table: Value,
    /// `[workspace.metadata.kdev]`.
    pub(crate) workspace_table: Value,
    /// The other packages of the workspace: name, directory, and `[package.metadata.kdev]`.
    others: Vec<(String, PathBuf, Value)>,
}

impl Project {
    /// Returns a stand-in for commands that run outside of a project.
    pub(crate) fn placeholder() -> Self {
        Self {
            package: "none".to_owned(),
            default_run: None,
            programs: Vec::new(),
            dir: PathBuf::from("."),
            workspace_root: PathBuf::from("."),
            target_dir: PathBuf::from("target"),
            package_table: Value::Null,
            workspace_table: Value::Null,
            others: Vec::new(),
        }
    }

    /// Reads the selected packages. Returns none if no package is selected and the current
    /// directory does not belong to a project.
    pub(crate) fn read_all_if_present(cx: &Cx, selection: &PackageSelection) -> Result<Vec<Self>> {
        match Self::read_all(cx, selection) {
            Err(error) if selection.is_unset() && is_outside_project(&error) => Ok(Vec::new()),
            projects => projects,
        }
    }

    /// Like [`Self::read_all_if_present`], but also returns none if the workspace has several
    /// packages and it is unknown which of them are meant.
    pub(crate) fn read_all_if_unambiguous(
        cx: &Cx,
        selection: &PackageSelection,
    ) -> Result<Vec<Self>> {
        match Self::read_all_if_present(cx, selection) {
            Err(error) if selection.is_unset() && is_ambiguous(&error) => Ok(Vec::new()),
            projects => projects,
        }
    }

    /// Reads the only selected package, if there is one. Returns `None` if it is unknown which of
    /// several packages is meant.
    pub(crate) fn read_if_unambiguous(
        cx: &Cx,
        selection: &PackageSelection,
    ) -> Result<Option<Self>> {
        match Self::read(cx, selection) {
            Err(error)
                if selection.is_unset() && (is_ambiguous(&error) || is_outside_project(&error)) =>
            {
                Ok(None)
            }
            project => project.map(Some),
        }
    }

    /// Returns whether kdev can deploy the package: it has a Dockerfile or settings.
    pub(crate) fn is_service(&self) -> bool {
        is_service(&self.dir, &self.package_table)
    }

    /// Returns the other packages of the workspace.
    pub(crate) fn siblings(&self) -> Vec<Self> {
        let sibling = |(package, dir, table): &(String, PathBuf, Value)| Self {
            package: package.clone(),
            dir: dir.clone(),
            programs: Vec::new(),
            package_table: table.clone(),
            others: Vec::new(),
            ..self.clone()
        };
        self.others.iter().map(sibling).collect()
    }

    /// Reads the only selected package.
    pub(crate) fn read(cx: &Cx, selection: &PackageSelection) -> Result<Self> {
        let only_one = |error| match error {
            Error::AmbiguousPackage { available, .. } => {
                Error::AmbiguousPackage { available, allows_several: false }
            }
            error => error,
        };
        let mut projects = Self::read_all(cx, selection).map_err(only_one)?;
        match projects.pop() {
            Some(project) if projects.is_empty() => Ok(project),
            last => {
                projects.extend(last);
                let selected = projects.into_iter().map(|project| project.package).collect();
                Err(if selection.is_explicit() {
                    Error::SeveralSelected { selected }
                } else {
                    Error::AmbiguousPackage { available: selected, allows_several: false }
                })
            }
        }
    }

    /// Like [`Self::read_all`], but several packages must be selected explicitly.
    pub(crate) fn read_explicit(cx: &Cx, selection: &PackageSelection) -> Result<Vec<Self>> {
        if selection.is_explicit() {
            return Self::read_all(cx, selection);
        }
        let mut projects = Self::read_all(cx, selection)?;
        match projects.pop() {
            Some(project) if projects.is_empty() => Ok(vec![project]),
            last => {
                projects.extend(last);
                let available = projects.into_iter().map(|project| project.package).collect();
                Err(Error::AmbiguousPackage { available, allows_several: true })
            }
        }
    }

    /// Reads the selected packages with `cargo metadata`, in the order of the workspace; never
    /// empty.
    pub(crate) fn read_all(cx: &Cx, selection: &PackageSelection) -> Result<Vec<Self>> {
        let mut command = MetadataCommand::new();
        // kdev parses the messages.
        command.no_deps().env("CARGO_TERM_COLOR", "never");
        if let Some(path) = &selection.manifest_path {
            command.manifest_path(path);
        }
        let output = Command::from(command.cargo_command()).read(cx).map_err(Error::Metadata)?;
        let metadata = MetadataCommand::parse(output.text())
            .map_err(|error| tools::Error::unexpected("cargo", error))?;
        let manifest = match &selection.manifest_path {
            Some(path) => Some(path.clone()),
            None => nearest_manifest(cx)?,
        };
        let packages = select_packages(cx, &metadata, selection, manifest)?;
        Ok(packages.into_iter().map(|package| Self::new(&metadata, package)).collect())
    }

    fn new(metadata: &Metadata, package: &Package) -> Self {
        let others = metadata.workspace_packages().into_iter().filter(|p| p.id != package.id);
        Self {
            package: package.name.to_string(),
            default_run: package.default_run.clone(),
            programs: package
                .targets
                .iter()
                .filter(|target| target.is_bin())
                .map(|target| target.name.clone())
                .collect(),
            dir: package_dir(package),
            others: others
                .map(|p| (p.name.to_string(), package_dir(p), kdev_table(&p.metadata)))
                .collect(),
            workspace_root: metadata.workspace_root.clone().into_std_path_buf(),
            target_dir: metadata.target_directory.clone().into_std_path_buf(),
            package_table: kdev_table(&package.metadata),
            workspace_table: kdev_table(&metadata.workspace_metadata),
        }
    }
}

/// Returns a path without `..` and symbolic links, if it exists.
pub(crate) fn canonical(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// Returns whether kdev can deploy a package in this directory, with this `kdev` table.
fn is_service(dir: &Path, table: &Value) -> bool {
    let has = |name: &str| dir.join(name).is_file();
    has("Dockerfile") || has("Containerfile") || !table.is_null()
}

fn package_dir(package: &Package) -> PathBuf {
    let manifest = package.manifest_path.as_std_path();
    manifest.parent().unwrap_or(Path::new("/")).to_owned()
}

/// Returns the packages that `cargo build` selects: those of the flags, that of the nearest
/// `Cargo.toml`, or the default members of the workspace. Of several that are not named, only the
/// services are selected.
fn select_packages<'a>(
    cx: &Cx,
    metadata: &'a Metadata,
    selection: &PackageSelection,
    manifest: Option<PathBuf>,
) -> Result<Vec<&'a Package>> {
    let packages = metadata.workspace_packages();
    let candidates: Vec<Candidate> = packages.iter().map(|package| candidate(package)).collect();
    for name in selection::unknown_excluded(&candidates, selection) {
        let text = format!("excluded package `{name}` not found in the workspace");
        cx.emit(Event::Note { text });
    }
    if selection.is_explicit() {
        let chosen = selection::select(&candidates, selection)?;
        return Ok(chosen.into_iter().map(|index| packages[index]).collect());
    }
    let manifest = manifest.and_then(|path| path.canonicalize().ok());
    let is_at_manifest = |package: &&&Package| {
        package.manifest_path.as_std_path().canonicalize().ok() == manifest && manifest.is_some()
    };
    if let Some(package) = packages.iter().find(is_at_manifest) {
        return Ok(vec![package]);
    }
    let available = |packages: &[&Package]| packages.iter().map(|p| p.name.to_string()).collect();
    match metadata.workspace_default_packages().as_slice() {
        [] => Err(Error::NoPackage),
        [package] => Ok(vec![package]),
        several if !has_default_members(metadata) => {
            Err(Error::AmbiguousPackage { available: available(several), allows_several: true })
        }
        several => {
            let services = several.iter().copied().filter(|package| candidate(package).is_service);
            let services: Vec<&Package> = services.collect();
            if services.is_empty() {
                let available = available(several);
                return Err(Error::NoService { available, has_excluded: false });
            }
            Ok(services)
        }
    }
}

fn candidate(package: &Package) -> Candidate {
    let is_service = is_service(&package_dir(package), &kdev_table(&package.metadata));
    Candidate { name: package.name.to_string(), is_service }
}

/// Returns whether the workspace sets `default-members`. Without it, cargo reports all members.
fn has_default_members(metadata: &Metadata) -> bool {
    let path = metadata.workspace_root.join("Cargo.toml");
    let manifest = fs::read_to_string(path).unwrap_or_default();
    let manifest: toml::Table = manifest.parse().unwrap_or_default();
    manifest.get("workspace").is_some_and(|workspace| workspace.get("default-members").is_some())
}

/// Returns the `Cargo.toml` in the current directory or the nearest one above, as cargo does.
fn nearest_manifest(cx: &Cx) -> Result<Option<PathBuf>> {
    let dir = cx.shell()?.current_dir();
    Ok(dir.ancestors().map(|dir| dir.join("Cargo.toml")).find(|path| path.is_file()))
}

fn kdev_table(metadata: &Value) -> Value {
    metadata.get("kdev").cloned().unwrap_or_default()
}

/// Returns whether the error is only that the workspace has several packages.
fn is_ambiguous(error: &Error) -> bool {
    matches!(error, Error::AmbiguousPackage { .. } | Error::NoService { .. })
}

/// Returns whether the error is only that the directory does not belong to a project.
fn is_outside_project(error: &Error) -> bool {
    matches!(error, Error::Metadata(failure) if failure.stderr.contains("could not find `Cargo.toml`"))
}
