//! The options of `up`.

use crate::apply::server_side::ApplyOptions;
use crate::cluster::kubeconfig::ClusterTarget;
use crate::config::ConfigLayer;
use crate::project::PackageSelection;

/// The options of [`up`](crate::up).
#[derive(Clone, Debug, Default)]
pub struct UpRequest {
    /// The package.
    pub selection: PackageSelection,
    /// The cluster.
    pub target: ClusterTarget,
    /// The nodes to load onto, regardless of the manifests; if empty, all nodes that can run
    /// the pods.
    pub nodes: Vec<String>,
    /// What the apply is allowed to do.
    pub apply_options: ApplyOptions,
    /// Roll back to the previous revision if the rollout fails.
    pub rollback: bool,
    /// Settings from flags and environment variables.
    pub flags: ConfigLayer,
}
