//! Deletes objects of an apply set in an order in which each deletion can complete.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kdev_core::kube::apply_order::{self, DeletionPhase};
use kdev_core::kube::applyset::Member;

use crate::apply::error::Result;
use crate::cluster::Cluster;
use crate::cx::Cx;
use crate::event::Event;
use crate::process::Command;

/// Limits one run of `kubectl`, including the deletion of workloads with their pods.
const DELETE_TIMEOUT: Duration = Duration::from_secs(120);

/// Deletes objects, and waits for the deletion. Keeps those whose deletion would delete other
/// objects or stored data, unless `delete_data` is set, and returns them.
pub(crate) fn delete(
    cx: &Cx,
    cluster: &Cluster,
    objects: &BTreeSet<Member>,
    delete_data: bool,
) -> Result<BTreeSet<Member>> {
    let is_kept = |(_, id): &Member| apply_order::holds_data(id) && !delete_data;
    let (kept, deleted): (BTreeSet<Member>, BTreeSet<Member>) =
        objects.iter().cloned().partition(is_kept);
    let mut phases: BTreeMap<DeletionPhase, Vec<Member>> = BTreeMap::new();
    for member in deleted {
        phases.entry(apply_order::deletion_phase(&member.1)).or_default().push(member);
    }
    for members in phases.into_values() {
        delete_at_once(cx, cluster, members.into_iter())?;
    }
    Ok(kept)
}

/// Deletes objects with one `kubectl` per namespace.
pub(crate) fn delete_at_once(
    cx: &Cx,
    cluster: &Cluster,
    objects: impl Iterator<Item = Member>,
) -> Result<()> {
    for (namespace, ids) in by_namespace(objects) {
        let sh = cx.shell()?;
        let namespace = Some(namespace.as_str()).filter(|namespace| !namespace.is_empty());
        let cmd = cluster.cmd(&sh, namespace).arg("delete").args(&ids);
        let command =
            Command::new(cmd.args(["--ignore-not-found", "--timeout=90s"])).timeout(DELETE_TIMEOUT);
        if cx.is_dry_run() {
            cx.emit(Event::WouldRun { command: command.to_string() });
            continue;
        }
        command.read(cx).map_err(|f| cluster.request_error(f, "delete objects"))?;
        cx.emit(Event::Deleted { objects: ids, context: cluster.context.clone() });
    }
    Ok(())
}

/// Formats members as a recorded set lists them.
pub(crate) fn as_members(objects: &BTreeSet<Member>) -> BTreeSet<String> {
    objects.iter().map(|(namespace, id)| format!("{namespace} {id}")).collect()
}

/// Groups members by namespace, which is empty for cluster-scoped objects.
pub(super) fn by_namespace(members: impl Iterator<Item = Member>) -> BTreeMap<String, Vec<String>> {
    let mut namespaces: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (namespace, id) in members {
        namespaces.entry(namespace).or_default().push(id);
    }
    namespaces
}
