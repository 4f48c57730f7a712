//! The settings of kdev and the kubeconfigs.

use crate::cluster::kubeconfig::ClusterTarget;
use crate::config::LOCAL_FILE;
use crate::inputs::{InputClass, Inputs};
use crate::project::Project;

pub(super) fn find(inputs: &mut Inputs, project: &Project, target: &ClusterTarget) {
    for dir in [&project.dir, &project.workspace_root] {
        inputs.add(&dir.join(LOCAL_FILE), InputClass::Config, "personal settings");
        inputs.add(&dir.join("Cargo.toml"), InputClass::Config, "settings of the project");
    }
    for path in target.files() {
        inputs.add(path, InputClass::Config, "kubeconfig");
    }
}
