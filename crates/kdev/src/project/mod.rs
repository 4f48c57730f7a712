//! Reads the selected package, its workspace and their `kdev` tables with `cargo metadata`.
//!
//! - `names.rs`: the names of all packages
//! - `owner.rs`: what identifies the project
//! - `repository.rs`: the git repository

mod error;
pub(crate) mod names;
pub(crate) mod owner;
mod repository;

use std::path::{Path, PathBuf};

use cargo_metadata::{Metadata, MetadataCommand, Package};
use kdev_core::shell;
use serde_json::Value;

use crate::cx::Cx;
use crate::process::Command;
use crate::tools;

pub use error::Error;
pub(crate) use error::Result;

/// Selects a package; by default the one in the current directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackageSelection {
    /// Path of a Cargo.toml.
    pub manifest_path: Option<PathBuf>,
    /// Name of a package in the workspace.
    pub package: Option<String>,
}

impl PackageSelection {
    /// Returns whether no package is selected.
    pub(crate) fn is_unset(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the flags of `cargo kdev` that select the same package, each after a space.
    pub(crate) fn to_flags(&self) -> String {
        let path = self.manifest_path.as_ref().map(|path| path.display().to_string());
        shell::flags([("--package", self.package.clone()), ("--manifest-path", path)])
    }
}

/// A package with the `kdev` tables of its Cargo.toml and its workspace's.
#[derive(Clone, Debug)]
pub(crate) struct Project {
    /// The package's name.
    pub(crate) package: String,
    /// The program that `cargo run` runs, if the package sets one.
    pub(crate) default_run: Option<String>,
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
            dir: PathBuf::from("."),
            workspace_root: PathBuf::from("."),
            target_dir: PathBuf::from("target"),
            package_table: Value::Null,
            workspace_table: Value::Null,
            others: Vec::new(),
        }
    }

    /// Reads the project if there is one. Returns `None` if no package is selected and the
    /// current directory does not belong to a project.
    pub(crate) fn read_if_present(cx: &Cx, selection: &PackageSelection) -> Result<Option<Self>> {
        match Self::read(cx, selection) {
            Err(error) if selection.is_unset() && is_outside_project(&error) => Ok(None),
            project => project.map(Some),
        }
    }

    /// Like [`Self::read_if_present`], but also returns `None` if the workspace has several
    /// packages and none is selected.
    pub(crate) fn read_if_unambiguous(
        cx: &Cx,
        selection: &PackageSelection,
    ) -> Result<Option<Self>> {
        match Self::read_if_present(cx, selection) {
            Err(Error::AmbiguousPackage { .. }) if selection.is_unset() => Ok(None),
            project => project,
        }
    }

    /// Returns the other packages of the workspace.
    pub(crate) fn siblings(&self) -> Vec<Self> {
        let sibling = |(package, dir, table): &(String, PathBuf, Value)| Self {
            package: package.clone(),
            dir: dir.clone(),
            package_table: table.clone(),
            others: Vec::new(),
            ..self.clone()
        };
        self.others.iter().map(sibling).collect()
    }

    /// Reads the project with `cargo metadata`.
    pub(crate) fn read(cx: &Cx, selection: &PackageSelection) -> Result<Self> {
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
        let package = select_package(&metadata, selection, manifest)?;
        let others = metadata.workspace_packages().into_iter().filter(|p| p.id != package.id);
        Ok(Self {
            package: package.name.to_string(),
            default_run: package.default_run.clone(),
            dir: package_dir(package),
            others: others
                .map(|p| (p.name.to_string(), package_dir(p), kdev_table(&p.metadata)))
                .collect(),
            workspace_root: metadata.workspace_root.clone().into_std_path_buf(),
            target_dir: metadata.target_directory.clone().into_std_path_buf(),
            package_table: kdev_table(&package.metadata),
            workspace_table: kdev_table(&metadata.workspace_metadata),
        })
    }
}

fn package_dir(package: &Package) -> PathBuf {
    let manifest = package.manifest_path.as_std_path();
    manifest.parent().unwrap_or(Path::new("/")).to_owned()
}

/// Returns the package that `cargo build` selects: that of `--package`, that of the nearest
/// `Cargo.toml`, or the only default member of the workspace.
fn select_package<'a>(
    metadata: &'a Metadata,
    selection: &PackageSelection,
    manifest: Option<PathBuf>,
) -> Result<&'a Package> {
    let names = |packages: &[&Package]| packages.iter().map(|p| p.name.to_string()).collect();
    let packages = metadata.workspace_packages();
    if let Some(name) = &selection.package {
        let found = packages.iter().find(|p| p.name.as_str() == name);
        return found.copied().ok_or_else(|| Error::PackageNotFound {
            package: name.clone(),
            available: names(&packages),
        });
    }
    let manifest = manifest.and_then(|path| path.canonicalize().ok());
    let is_at_manifest = |package: &&&Package| {
        package.manifest_path.as_std_path().canonicalize().ok() == manifest && manifest.is_some()
    };
    if let Some(package) = packages.iter().find(is_at_manifest) {
        return Ok(package);
    }
    match metadata.workspace_default_packages().as_slice() {
        [] => Err(Error::NoPackage),
        [package] => Ok(package),
        several => Err(Error::AmbiguousPackage { available: names(several) }),
    }
}

/// Returns the `Cargo.toml` in the current directory or the nearest one above, as cargo does.
fn nearest_manifest(cx: &Cx) -> Result<Option<PathBuf>> {
    let dir = cx.shell()?.current_dir();
    Ok(dir.ancestors().map(|dir| dir.join("Cargo.toml")).find(|path| path.is_file()))
}

fn kdev_table(metadata: &Value) -> Value {
    metadata.get("kdev").cloned().unwrap_or_default()
}

/// Returns whether the error is only that the directory does not belong to a project.
fn is_outside_project(error: &Error) -> bool {
    matches!(error, Error::Metadata(failure) if failure.stderr.contains("could not find `Cargo.toml`"))
}
