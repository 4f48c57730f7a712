//! The names of all packages in the workspace.

use cargo_metadata::MetadataCommand;

use crate::cx::Cx;
use crate::process::Command;
use crate::project::{Error, PackageSelection, Result};
use crate::tools;

/// Lists the packages of the workspace.
pub(crate) fn package_names(cx: &Cx, selection: &PackageSelection) -> Result<Vec<String>> {
    let mut command = MetadataCommand::new();
    command.no_deps();
    if let Some(path) = &selection.manifest_path {
        command.manifest_path(path);
    }
    let output = Command::from(command.cargo_command()).read(cx).map_err(Error::Metadata)?;
    let metadata = MetadataCommand::parse(output.text())
        .map_err(|error| tools::Error::unexpected("cargo", error))?;
    Ok(metadata.workspace_packages().iter().map(|package| package.name.to_string()).collect())
}
