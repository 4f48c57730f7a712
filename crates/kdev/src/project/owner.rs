//! Identifies a project, so that two repositories with a package of one name are not confused,
//! and two clones of one repository are the same project.

use std::path::Path;

use kdev_core::kube::owner::{Address, Identity, Owner};

use crate::cx::Cx;
use crate::project::error::{Error, Result};
use crate::project::machine::Machine;
use crate::project::repository::{self, Repository};

/// Identifies the package in this directory: by `project_id`, if the configuration sets it,
/// else by its git repository, else by the directory on this machine.
pub(crate) fn find(
    cx: &Cx,
    package: &str,
    directory: &Path,
    project_id: Option<&str>,
) -> Result<Owner> {
    let Machine { host, name: machine, earlier_name, unstored } = Machine::find(cx);
    let path = directory.to_string_lossy().into_owned();
    let owner = |identity, repository, fallback_cause| Owner {
        package: package.to_owned(),
        identity,
        machine: machine.clone(),
        earlier_machine: earlier_name,
        host,
        directory: path.clone(),
        manifests: Vec::new(),
        repository,
        fallback_cause,
    };
    if let Some(id) = project_id {
        return Ok(owner(Identity::from_key(id), None, None));
    }
    let repository = repository::read(cx, directory, &machine)?;
    let depends_on_machine = match &repository {
        Ok(Repository { address, .. }) => matches!(address, Address::Local(_)),
        Err(_) => true,
    };
    if let Some(unstored) = unstored.filter(|_| depends_on_machine) {
        return Err(Error::MachineIdNotStored { path: unstored.path, source: unstored.error });
    }
    Ok(match repository {
        Ok(Repository { root: Some(root), address, path }) => {
            let identity = Identity::from_repository(&root, &address, &path);
            owner(identity, address.remote(), None)
        }
        Ok(Repository { root: None, address, path }) => {
            let cause = "the repository is a shallow clone".to_owned();
            owner(Identity::from_shallow_clone(&address, &path), address.remote(), Some(cause))
        }
        Err(cause) => owner(Identity::from_folder(&machine, &path), None, Some(cause)),
    })
}
