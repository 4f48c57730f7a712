//! Explains a deletion that does not end.

use kdev_core::kube::apply_order::{self, DeletionPhase};
use kdev_core::kube::applyset;
use kdev_core::kube::deletion::{self, Finalizer};
use kdev_core::kube::object::text;
use serde_json::Value;

use crate::apply::error::{Error, Result};
use crate::apply::lookup::{self, Query};
use crate::cluster::Cluster;
use crate::cx::Cx;
use crate::details::Details;
use crate::process::{Failure, Outcome};

/// Returns the error for a failed deletion. If objects were only not gone in time, the error
/// names the finalizers that prevent it. Succeeds if the objects are gone now.
pub(super) fn explain(
    cx: &Cx,
    cluster: &Cluster,
    namespace: Option<&str>,
    ids: &[String],
    failure: Failure,
) -> Result<()> {
    if !is_late(&failure) {
        return Err(cluster.request_error(failure, "delete objects").into());
    }
    let mut live = lookup::get(cx, cluster, namespace, Query::Ids(ids))?;
    live.retain(|object| !text(object, "/metadata/deletionTimestamp").is_empty());
    let finalizers = live.iter().flat_map(|object| pending(cx, cluster, object)).collect();
    held_error(cluster, finalizers)?;
    if live.is_empty() {
        return Ok(());
    }
    let remains: Vec<String> = live.iter().flat_map(deletion::namespace_remains).collect();
    Err(Error::NotDeleted {
        context: cluster.context.clone(),
        ids: live.iter().map(applyset::id).collect(),
        kubectl: display_command(cluster, namespace),
        reason: (!remains.is_empty()).then(|| Details(remains.join("; "))),
    })
}

fn display_command(cluster: &Cluster, namespace: Option<&str>) -> String {
    match namespace {
        Some(namespace) => cluster.display_command(Some(namespace)),
        None => cluster.display_cluster_command(),
    }
}

fn is_late(failure: &Failure) -> bool {
    failure.stderr.contains("timed out waiting for the condition")
        || matches!(failure.outcome, Outcome::TimedOut(_))
}

/// Returns the error for finalizers, if there are any.
fn held_error(cluster: &Cluster, finalizers: Vec<Finalizer>) -> Result<()> {
    let Some(first) = finalizers.first() else { return Ok(()) };
    let namespace = Some(first.namespace.as_str()).filter(|namespace| !namespace.is_empty());
    let kubectl = display_command(cluster, namespace);
    Err(Error::finalizers(cluster.context.clone(), finalizers, kubectl))
}

/// Returns the finalizers of an object, or those of the objects that are deleted with it: the
/// custom resources of a definition, and the contents of a namespace.
fn pending(cx: &Cx, cluster: &Cluster, object: &Value) -> Vec<Finalizer> {
    let name = text(object, "/metadata/name");
    let objects = match apply_order::deletion_phase(&applyset::id(object)) {
        DeletionPhase::Definitions => lookup::custom_resources(cx, cluster, name),
        DeletionPhase::Namespaces => lookup::namespace_contents(cx, cluster, name),
        DeletionPhase::Custom | DeletionPhase::BuiltIn => vec![object.clone()],
    };
    objects.iter().flat_map(deletion::pending_finalizers).collect()
}
