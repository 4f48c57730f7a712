//! Takes what the user selected and gives the package, its workspace and their kdev tables.

mod error;

use std::path::{Path, PathBuf};

use cargo_metadata::{Metadata, MetadataCommand, Package};
use kdev_core::shell;
use kdev_core::text::list;
use serde_json::Value;

use crate::cx::Cx;
use crate::process::Task;
use crate::tools;

pub use error::Error;
pub(crate) use error::Result;

/// Which package is meant; by default that of the current folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Path of a Cargo.toml.
    pub manifest_path: Option<PathBuf>,
    /// Name of a package in the workspace.
    pub package: Option<String>,
}

impl Selection {
    /// Whether nobody has said which package it is.
    pub(crate) fn is_open(&self) -> bool {
        *self == Self::default()
    }

    /// The flags by which `cargo kdev` finds the same package, each after a blank.
    pub(crate) fn flags_by_hand(&self) -> String {
        let path = self.manifest_path.as_ref().map(|path| path.display().to_string());
        shell::flags([("--package", self.package.clone()), ("--manifest-path", path)])
    }
}

/// A package, and what its Cargo.toml and its workspace's say of kdev.
#[derive(Clone, Debug)]
pub(crate) struct Project {
    /// The package's name.
    pub(crate) package: String,
    /// The package's folder.
    pub(crate) dir: PathBuf,
    /// The workspace's folder; the package's own where there is no workspace.
    pub(crate) workspace_root: PathBuf,
    /// Where cargo puts what it builds.
    pub(crate) target_dir: PathBuf,
    /// `[package.metadata.kdev]`.
    pub(crate) package_table: Value,
    /// `[workspace.metadata.kdev]`.
    pub(crate) workspace_table: Value,
}

impl Project {
    /// For what can be done outside of a project.
    pub(crate) fn none() -> Self {
        Self {
            package: "none".to_owned(),
            dir: PathBuf::from("."),
            workspace_root: PathBuf::from("."),
            target_dir: PathBuf::from("target"),
            package_table: Value::Null,
            workspace_table: Value::Null,
        }
    }

    /// The same for those who need none: `None` where the current folder belongs to no
    /// project, and nobody has said that it does.
    pub(crate) fn read_if_any(cx: &Cx, selection: &Selection) -> Result<Option<Self>> {
        match Self::read(cx, selection) {
            Err(error) if selection.is_open() && is_elsewhere(&error) => Ok(None),
            project => project.map(Some),
        }
    }

    /// The same, `None` also where several packages could be meant.
    pub(crate) fn read_if_clear(cx: &Cx, selection: &Selection) -> Result<Option<Self>> {
        match Self::read_if_any(cx, selection) {
            Err(Error::AmbiguousPackage { .. }) if selection.is_open() => Ok(None),
            project => project,
        }
    }

    /// Reads it with `cargo metadata`.
    pub(crate) fn read(cx: &Cx, selection: &Selection) -> Result<Self> {
        let mut command = MetadataCommand::new();
        command.no_deps();
        if let Some(path) = &selection.manifest_path {
            command.manifest_path(path);
        }
        let answer = Task::from(command.cargo_command()).read(cx);
        let answer = answer.map_err(Error::Metadata)?;
        let metadata = MetadataCommand::parse(answer.text())
            .map_err(|error| tools::Error::unexpected("cargo", error))?;
        let package = choose(&metadata, selection)?;
        let manifest = package.manifest_path.as_std_path();
        Ok(Self {
            package: package.name.to_string(),
            dir: manifest.parent().unwrap_or(Path::new("/")).to_owned(),
            workspace_root: metadata.workspace_root.clone().into_std_path_buf(),
            target_dir: metadata.target_directory.clone().into_std_path_buf(),
            package_table: kdev_table(&package.metadata),
            workspace_table: kdev_table(&metadata.workspace_metadata),
        })
    }
}

/// The named package, or that of the folder, or the only one that there is,
/// or the only one that has a kdev table.
fn choose<'a>(metadata: &'a Metadata, selection: &Selection) -> Result<&'a Package> {
    let packages = metadata.workspace_packages();
    let names: Vec<&str> = packages.iter().map(|p| p.name.as_str()).collect();
    if let Some(name) = &selection.package {
        let found = packages.iter().find(|p| p.name.as_str() == name);
        return found.copied().ok_or_else(|| Error::AmbiguousPackage {
            reason: format!("the workspace has no package `{name}`, but {}", list(&names)),
        });
    }
    if let Some(root) = metadata.root_package() {
        return Ok(root);
    }
    let configured: Vec<_> =
        packages.iter().filter(|p| !kdev_table(&p.metadata).is_null()).collect();
    match (packages.as_slice(), configured.as_slice()) {
        ([one], _) => Ok(one),
        (_, [one]) => Ok(one),
        _ => Err(Error::AmbiguousPackage { reason: format!("the workspace has {}", list(&names)) }),
    }
}

fn kdev_table(metadata: &Value) -> Value {
    metadata.get("kdev").cloned().unwrap_or_default()
}

/// Whether the only fault is that the folder belongs to no project.
fn is_elsewhere(error: &Error) -> bool {
    matches!(error, Error::Metadata(failure) if failure.stderr.contains("could not find `Cargo.toml`"))
}
