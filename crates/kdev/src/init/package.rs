//! The program of the package.

use std::path::{Path, PathBuf};

use cargo_metadata::{MetadataCommand, Package, TargetKind};

use crate::cx::Cx;
use crate::init::{Error, Result};
use crate::process::Command;
use crate::project::{self, Project};
use crate::tools;

/// The program that the image contains.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) package: String,
    /// The name of the binary.
    pub(crate) binary: String,
    /// The other binaries of the package.
    pub(crate) others: Vec<String>,
    /// The main source file.
    pub(crate) main: PathBuf,
    pub(crate) edition: String,
    /// Whether the program uses the API of Kubernetes.
    pub(crate) uses_api: bool,
    /// The directory of the package.
    pub(crate) dir: PathBuf,
    pub(crate) workspace_root: PathBuf,
    pub(crate) target_dir: PathBuf,
    /// The directories of the packages in the workspace, relative to it; empty for its root.
    pub(crate) members: Vec<PathBuf>,
    /// The binaries of all packages in the workspace.
    pub(crate) binaries: Vec<String>,
    /// `[package.metadata.kdev]`.
    pub(crate) table: serde_json::Value,
}

impl Program {
    /// Reads the program that `cargo run` would start.
    pub(crate) fn read(cx: &Cx, project: &Project) -> Result<Self> {
        let mut command = MetadataCommand::new();
        command.no_deps().env("CARGO_TERM_COLOR", "never");
        command.manifest_path(project.dir.join("Cargo.toml"));
        let command = Command::from(command.cargo_command());
        let output = command.read(cx).map_err(project::Error::Metadata)?;
        let metadata = MetadataCommand::parse(output.text())
            .map_err(|error| tools::Error::unexpected("cargo", error))?;
        let packages = metadata.workspace_packages();
        let package = packages.iter().find(|package| package.name.as_str() == project.package);
        let package = package.ok_or(project::Error::NoPackage)?;
        let root = metadata.workspace_root.as_std_path();
        let folder = |package: &&Package| {
            let dir = package.manifest_path.as_std_path().parent().unwrap_or(Path::new("/"));
            dir.strip_prefix(root).map(Path::to_owned)
        };
        let (binary, main, others) = select_binary(package)?;
        Ok(Self {
            package: project.package.clone(),
            binary,
            main,
            others,
            edition: package.edition.to_string(),
            uses_api: package
                .dependencies
                .iter()
                .any(|one| ["kube", "k8s-openapi"].contains(&one.name.as_str())),
            dir: project.dir.clone(),
            workspace_root: root.to_owned(),
            target_dir: project.target_dir.clone(),
            members: packages.iter().map(folder).filter_map(Result::ok).collect(),
            binaries: packages.iter().flat_map(|one| binaries(one)).map(|(name, _)| name).collect(),
            table: project.package_table.clone(),
        })
    }

    /// Returns the path of the package in the workspace; empty for the root.
    pub(crate) fn path_in_workspace(&self) -> &Path {
        self.dir.strip_prefix(&self.workspace_root).unwrap_or(Path::new(""))
    }
}

fn binaries(package: &Package) -> Vec<(String, PathBuf)> {
    let targets = package.targets.iter();
    let programs = targets.filter(|target| target.kind.contains(&TargetKind::Bin));
    programs.map(|one| (one.name.clone(), one.src_path.clone().into_std_path_buf())).collect()
}

/// Returns the binary that `cargo run` selects, its main file, and the other binaries.
fn select_binary(package: &Package) -> Result<(String, PathBuf, Vec<String>)> {
    let all = binaries(package);
    let names: Vec<String> = all.iter().map(|(name, _)| name.clone()).collect();
    let default = package.default_run.as_ref();
    let selected = match all.as_slice() {
        [] => return Err(Error::NoBinary { package: package.name.to_string() }),
        [only] => only,
        several => several.iter().find(|(name, _)| Some(name) == default).ok_or_else(|| {
            let package = package.name.to_string();
            Error::AmbiguousBinary { package, binaries: names.clone() }
        })?,
    };
    let others = names.into_iter().filter(|name| *name != selected.0).collect();
    Ok((selected.0.clone(), selected.1.clone(), others))
}
