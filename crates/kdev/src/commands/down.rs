//! Takes away what `up` has applied, also what has left the manifests since.

use std::collections::BTreeSet;

use kdev_core::kube::applyset::Parent;

use crate::apply::prune;
use crate::cluster::Cluster;
use crate::cluster::kubeconfig::{Kubeconfig, ClusterTarget};
use crate::config::{Config, ConfigLayer};
use crate::cx::Cx;
use crate::error::Result;
use crate::event::Event;
use crate::project::{Project, PackageSelection};

/// What a user may say about one `down`.
#[derive(Clone, Debug, Default)]
pub struct DownRequest {
    /// Which package.
    pub selection: PackageSelection,
    /// Which cluster.
    pub target: ClusterTarget,
    /// Settings from flags and variables.
    pub flags: ConfigLayer,
}

/// Deletes every object that bears the label of this package's set, and then
/// the account of them. The images stay on the nodes.
pub fn down(cx: &Cx, request: &DownRequest) -> Result<()> {
    let project = Project::read(cx, &request.selection)?;
    let config = Config::resolve_without_build(&project, request.flags.clone())?;
    let kubeconfig = Kubeconfig::read(cx, &request.target)?;
    let cluster = Cluster::select(cx, kubeconfig, &request.target, &config)?;
    let parent = Parent::for_package(&config.package, &cluster.namespace);
    let Some(set) = prune::recorded_set(cx, &cluster, &parent)? else {
        let (package, namespace) = (&config.package, &cluster.namespace);
        let text = format!("`up` has applied nothing of `{package}` to namespace `{namespace}`");
        cx.emit(Event::Note { text });
        return Ok(());
    };
    let all = prune::all_objects(cx, &cluster, &set)?;
    prune::delete(cx, &cluster, &all)?;
    let account = BTreeSet::from([(parent.namespace.clone(), parent.object())]);
    prune::delete(cx, &cluster, &account)?;
    Ok(())
}
