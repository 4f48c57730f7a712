//! Identifies a project, so that two repositories with a package of one name are not confused,
//! and two clones of one repository are the same project.

use std::fs;
use std::path::Path;

use kdev_core::kube::owner::{self, Identity, Owner};

use crate::cx::Cx;
use crate::project::Result;
use crate::project::repository::{self, Repository};

/// Identifies the package in this directory: by `project_id`, if the configuration sets it,
/// else by its git repository, else by the directory on this machine.
pub(crate) fn find(
    cx: &Cx,
    package: &str,
    directory: &Path,
    project_id: Option<&str>,
) -> Result<Owner> {
    let host = nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned();
    let machine_id = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let machine = owner::machine(&host, &machine_id);
    let path = directory.to_string_lossy().into_owned();
    let owner = |identity, repository, fallback_cause| Owner {
        package: package.to_owned(),
        identity,
        machine: machine.clone(),
        host,
        directory: path.clone(),
        manifests: Vec::new(),
        repository,
        fallback_cause,
    };
    if let Some(id) = project_id {
        return Ok(owner(Identity::from_key(id), None, None));
    }
    Ok(match repository::read(cx, directory, &machine)? {
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
