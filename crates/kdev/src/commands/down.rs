//! `cargo kdev down`: deletes what `up` applied, including objects that are no longer in the
//! manifests.

use std::collections::BTreeSet;

use kdev_core::kube::applyset::Parent;

use crate::apply::prune;
use crate::cluster::Cluster;
use crate::cluster::kubeconfig::{ClusterTarget, Kubeconfig};
use crate::config::{Config, ConfigLayer};
use crate::cx::Cx;
use crate::error::Result;
use crate::event::Event;
use crate::project::{PackageSelection, Project};

/// The options of [`down`].
#[derive(Clone, Debug, Default)]
pub struct DownRequest {
    /// The package.
    pub selection: PackageSelection,
    /// The cluster.
    pub target: ClusterTarget,
    /// Settings from flags and environment variables.
    pub flags: ConfigLayer,
}

/// Deletes every object that has the label of the package's apply set, and then the ConfigMap
/// that records the set. The images stay on the nodes.
pub fn down(cx: &Cx, request: &DownRequest) -> Result<()> {
    let project = Project::read(cx, &request.selection)?;
    let config = Config::resolve_without_build(&project, request.flags.clone())?;
    let kubeconfig = Kubeconfig::read(cx, &request.target)?;
    let cluster = Cluster::select(cx, kubeconfig, &request.target, &config)?;
    let parent = Parent::for_package(&config.package, &cluster.namespace);
    let Some(set) = prune::recorded_set(cx, &cluster, &parent)? else {
        let (package, namespace) = (&config.package, &cluster.namespace);
        let text = format!(
            "nothing to delete: `up` has not applied `{package}` to namespace `{namespace}`"
        );
        cx.emit(Event::Note { text });
        return Ok(());
    };
    let objects = prune::all_objects(cx, &cluster, &set)?;
    prune::delete(cx, &cluster, &objects)?;
    let inventory = BTreeSet::from([(parent.namespace.clone(), parent.object())]);
    prune::delete(cx, &cluster, &inventory)?;
    Ok(())
}
