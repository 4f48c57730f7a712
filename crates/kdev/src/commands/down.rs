//! `cargo kdev down`: deletes what `up` applied, including objects that are no longer in the
//! manifests.

use std::collections::BTreeMap;

use kdev_core::kube::applyset::{Parent, Set};
use kdev_core::kube::object::text;
use kdev_core::kube::owner::{Origin, Owner};
use kdev_core::kube::predecessor::{Doubt, doubt};
use kdev_core::text::list;
use serde_json::Value;

use crate::apply::delete::{self, Deletion, Kept};
use crate::apply::record::{self, Records};
use crate::apply::sharing::{self, Shared};
use crate::apply::{members, origin};
use crate::cluster::Cluster;
use crate::cluster::kubeconfig::{ClusterTarget, Kubeconfig};
use crate::commands::prune;
use crate::commands::several;
use crate::config::{Config, ConfigLayer};
use crate::cx::Cx;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::project::{PackageSelection, Project, owner};

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
    /// Delete them without a question.
    pub yes: bool,
    /// Also remove the builds of the image from the nodes.
    pub images: bool,
}

/// Deletes every object that has the label of the package's apply set, and then the ConfigMap
/// that records the set. Objects that hold data stay without `delete_data`, and so does the
/// ConfigMap, which then lists only them. The images stay on the nodes without `images`.
pub fn down(cx: &Cx, request: &DownRequest) -> Result<()> {
    let projects = Project::read_explicit(cx, &request.selection)?;
    let mut deleted = BTreeMap::new();
    let result = several::for_each(cx, &request.selection, &projects, |cx, _, project| {
        let (config, cluster) = connect(cx, request, project)?;
        delete_applied(cx, request, &config, &cluster)?;
        deleted.insert(project.package.clone(), (config, cluster));
        Ok(())
    });
    if !request.images || result.as_ref().is_err_and(Error::is_interrupt) {
        return result;
    }
    // The pods of one package can run the image of another one.
    let removed = several::for_each(cx, &request.selection, &projects, |cx, _, project| {
        match deleted.get(&project.package) {
            Some((config, cluster)) => prune::remove_all(cx, cluster, config),
            None => Ok(()),
        }
    });
    several::join(result, removed)
}

fn connect(cx: &Cx, request: &DownRequest, project: &Project) -> Result<(Config, Cluster)> {
    let config = Config::resolve_without_build(project, request.flags.clone())?;
    let kubeconfig = Kubeconfig::read(cx, &request.target)?;
    let cluster = Cluster::select(cx, kubeconfig, &request.target, &config)?;
    Ok((config, cluster))
}

/// A package, and whether it is applied.
pub(crate) struct AppliedPackage {
    pub(crate) package: String,
    pub(crate) context: String,
    pub(crate) namespace: String,
    pub(crate) is_applied: bool,
}

/// Returns whether each of the packages is applied to its namespace. Read-only, so no context needs
/// permission.
pub(crate) fn find_applied(cx: &Cx, request: &DownRequest) -> Result<Vec<AppliedPackage>> {
    let mut found = Vec::new();
    for project in Project::read_all(cx, &request.selection)? {
        let config = Config::resolve_without_build(&project, request.flags.clone())?;
        let kubeconfig = Kubeconfig::read(cx, &request.target)?;
        let namespace = config.namespace.clone();
        let cluster = Cluster::connect_read_only(kubeconfig, &request.target, namespace)?;
        let owner = owner::find(cx, &config.package, &config.dir, config.project_id.as_deref())?;
        let parent = Parent::new(&owner.package, &cluster.namespace, &owner.identity);
        let records = Records::read(cx, &cluster, &owner, &parent)?;
        found.push(AppliedPackage {
            package: config.package.clone(),
            context: cluster.context.clone(),
            namespace: cluster.namespace.clone(),
            is_applied: records.ours.is_some() || records.older.is_some(),
        });
    }
    Ok(found)
}

/// Deletes the objects, and the record of the apply set.
fn delete_applied(
    cx: &Cx,
    request: &DownRequest,
    config: &Config,
    cluster: &Cluster,
) -> Result<()> {
    let owner = owner::find(cx, &config.package, &config.dir, config.project_id.as_deref())?;
    let parent = Parent::new(&owner.package, &cluster.namespace, &owner.identity);
    let records = Records::read(cx, cluster, &owner, &parent)?;
    let Some(set) = records.ours else {
        return report_nothing_to_delete(cx, cluster, &owner, records.older.as_ref());
    };
    let mut objects = members::recorded_objects(cx, cluster, &set)?;
    if !records.is_complete {
        objects.extend(origin::find_unlabeled(cx, cluster, &set)?);
    }
    let mut shared = Shared::take_from(cx, cluster, &parent, &mut objects)?;
    let deletion = Deletion::new(&set, objects, &shared, request.delete_data);
    shared.leave_out(|namespace| deletion.deletes_namespace(namespace));
    deletion.confirm(cx, cluster, request.yes)?;
    let Kept { all, data } = deletion.run(cx, cluster)?;
    shared.release(cx, cluster, &owner)?;
    if all.is_empty() {
        let inventory = (parent.namespace.clone(), parent.object());
        delete::delete_one(cx, cluster, inventory)?;
        return Ok(());
    }
    let ids: Vec<&String> = data.iter().map(|(_, id)| id).collect();
    let (stays, them) = if ids.len() == 1 { ("stays", "it") } else { ("stay", "them") };
    if !ids.is_empty() {
        let text = format!("{} {stays}; pass `--delete-data` to delete {them}", list(&ids));
        cx.emit(Event::Note { text });
    }
    let set = Set { members: members::as_members(&all), ..set };
    record::finish(cx, cluster, &set, records.is_complete)?;
    Ok(())
}

/// Reports that `up` has applied nothing to this namespace, and which record could be meant: of
/// an older kdev, of this project in other namespaces, or of another project. A namespace that
/// does not exist is an error.
fn report_nothing_to_delete(
    cx: &Cx,
    cluster: &Cluster,
    owner: &Owner,
    older: Option<&Set>,
) -> Result<()> {
    let (package, namespace) = (&owner.package, &cluster.namespace);
    if let Some(older) = older {
        let text = format!(
            "nothing is deleted: an older kdev recorded `{package}` in `{}` without the project; run `cargo kdev up` to take over its objects",
            older.parent.object()
        );
        cx.emit(Event::Note { text });
        return Ok(());
    }
    let records = record::list_all(cx, cluster)?;
    let place = |record: &Value| text(record, "/metadata/namespace").to_owned();
    let is_ours = |record: &&Value| {
        let parent = Parent::new(package, &place(record), &owner.identity);
        text(record, "/metadata/name") == parent.name
    };
    let applied_to: Vec<String> = records.iter().filter(is_ours).map(place).collect();
    cluster.require_namespace_or(cx, &applied_to)?;
    let mut note =
        format!("nothing to delete: `up` has not applied `{package}` to namespace `{namespace}`");
    if !applied_to.is_empty() {
        let name = if applied_to.len() == 1 { "namespace" } else { "namespaces" };
        note = format!("{note}, but to {name} {}", list(&applied_to));
    }
    cx.emit(Event::Note { text: note });
    let in_namespace = records.iter().filter(|record| place(record) == *namespace);
    for text in in_namespace.filter_map(|record| describe_other(owner, record)) {
        cx.emit(Event::Note { text });
    }
    Ok(())
}

/// Describes a record that could be meant, and how its objects become those of the package.
fn describe_other(owner: &Owner, record: &Value) -> Option<String> {
    let origin = Origin::read(record)?;
    let [name, namespace] =
        ["name", "namespace"].map(|key| text(record, &format!("/metadata/{key}")));
    let parent = Parent { name: name.to_owned(), namespace: namespace.to_owned() };
    let described = origin.describe();
    match doubt(owner, &parent, &origin) {
        Some(Doubt::Renamed) => Some(format!(
            "this project has applied {described}; run `cargo kdev up` to take over its objects if the package was renamed"
        )),
        Some(Doubt::HostNameOnly) => Some(format!(
            "a machine with this name has applied {described}; run `cargo kdev up` to take over its objects if it is this machine"
        )),
        None if origin.package == owner.package => {
            let advice = sharing::identity_advice(owner);
            Some(format!("another project has applied {described}; {advice}"))
        }
        None => None,
    }
}
