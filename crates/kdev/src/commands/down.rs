//! `cargo kdev down`: deletes what `up` applied, including objects that are no longer in the
//! manifests.

use kdev_core::kube::applyset::{Parent, Set};
use kdev_core::text::list;

use crate::apply::{delete, prune};
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
    /// Also delete namespaces, CustomResourceDefinitions, and volume claims.
    pub delete_data: bool,
}

/// Deletes every object that has the label of the package's apply set, and then the ConfigMap
/// that records the set. Objects that hold data stay without `delete_data`, and so does the
/// ConfigMap, which then lists only them. The images stay on the nodes.
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
    let objects = prune::labeled_objects(cx, &cluster, &set)?;
    let kept = delete::delete(cx, &cluster, &objects, request.delete_data)?;
    if kept.is_empty() {
        let inventory = (parent.namespace.clone(), parent.object());
        delete::delete_at_once(cx, &cluster, std::iter::once(inventory))?;
        return Ok(());
    }
    let ids: Vec<&String> = kept.iter().map(|(_, id)| id).collect();
    let (stays, them) = if ids.len() == 1 { ("stays", "it") } else { ("stay", "them") };
    let text = format!("{} {stays}; pass `--delete-data` to delete {them}", list(&ids));
    cx.emit(Event::Note { text });
    prune::record(cx, &cluster, &Set { members: delete::as_members(&kept), ..set })?;
    Ok(())
}
