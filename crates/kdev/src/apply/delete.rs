//! Deletes objects of an apply set in an order in which each deletion can complete.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kdev_core::kube::apply_order::{self, DeletionPhase};
use kdev_core::kube::applyset::{Member, Set};
use kdev_core::kube::deletion::{must_stay, owners_of};
use kdev_core::kube::origin;
use kdev_core::text::list;
use serde_json::Value;

use crate::apply::error::Result;
use crate::apply::members::{by_namespace, live_member};
use crate::apply::origin::release;
use crate::apply::sharing::Shared;
use crate::apply::{data, finalizers, lookup};
use crate::cluster::Cluster;
use crate::cx::Cx;
use crate::event::Event;
use crate::process::Command;

/// Limits the deletion of objects that Kubernetes itself deletes, such as workloads with their
/// pods.
const BUILT_IN_LIMIT: Duration = Duration::from_secs(90);
/// Limits the deletion of custom resources and their definitions, which can wait for a
/// controller that does not run.
const CUSTOM_LIMIT: Duration = Duration::from_secs(20);
/// What `kubectl` needs besides the wait, which applies to each object.
const KUBECTL_MARGIN: Duration = Duration::from_secs(15);

/// The objects of an apply set, divided into those that a deletion deletes and keeps.
pub(crate) struct Deletion<'a> {
    set: &'a Set,
    /// Objects that will be deleted.
    deleted: BTreeMap<Member, Value>,
    /// Objects whose deletion would delete other objects or stored data, those that an annotation
    /// keeps, and their owners.
    kept: BTreeSet<Member>,
    /// Owners of objects that stay also if data is deleted.
    owners: BTreeSet<Member>,
    /// Objects that kdev has not created.
    foreign: BTreeMap<Member, Value>,
}

/// The objects of a set that a deletion has kept.
pub(crate) struct Kept {
    /// All of them.
    pub(crate) all: BTreeSet<Member>,
    /// Those that a deletion of data deletes.
    pub(crate) data: BTreeSet<Member>,
}

impl<'a> Deletion<'a> {
    /// Plans the deletion of objects. Without `delete_data`, those that must stay are kept.
    pub(crate) fn new(
        set: &'a Set,
        objects: BTreeMap<Member, Value>,
        shared: &Shared,
        delete_data: bool,
    ) -> Self {
        let (mut foreign, ours): (BTreeMap<_, _>, BTreeMap<_, _>) =
            objects.into_iter().partition(|(member, live)| origin::is_foreign(set, member, live));
        let (kept, mut deleted): (BTreeMap<_, _>, BTreeMap<_, _>) =
            ours.into_iter().partition(|((_, id), live)| must_stay(id, live) && !delete_data);
        let of_kept = owners_of(kept.values(), &deleted);
        deleted.retain(|member, _| !of_kept.contains(member));
        // The contents of a deleted namespace go with it, which the question says.
        foreign.retain(|(namespace, _), _| !has_namespace(&deleted, namespace));
        let is_staying = |(namespace, _): &&Member| !has_namespace(&deleted, namespace);
        let shared = shared.objects().filter(|(member, _)| is_staying(member));
        let owners = owners_of(foreign.values().chain(shared.map(|(_, live)| live)), &deleted);
        deleted.retain(|member, _| !owners.contains(member));
        Self { set, deleted, kept: kept.into_keys().chain(of_kept).collect(), owners, foreign }
    }

    /// Whether the objects of a namespace will be deleted with it.
    pub(crate) fn deletes_namespace(&self, namespace: &str) -> bool {
        has_namespace(&self.deleted, namespace)
    }

    /// Asks the user if data will be deleted, unless the user has confirmed it.
    pub(crate) fn confirm(&self, cx: &Cx, cluster: &Cluster, is_confirmed: bool) -> Result<()> {
        data::confirm(cx, cluster, &self.set.parent, &self.deleted, is_confirmed)
    }

    /// Only removes the objects from the set that kdev has not created. Returns the others.
    pub(crate) fn release_foreign(self, cx: &Cx, cluster: &Cluster) -> Result<BTreeSet<Member>> {
        release(cx, cluster, self.set, &self.foreign)?;
        Ok(self.deleted.into_keys().chain(self.kept).chain(self.owners).collect())
    }

    /// Deletes the objects, and waits for the deletion. Returns those that it keeps.
    pub(crate) fn run(self, cx: &Cx, cluster: &Cluster) -> Result<Kept> {
        delete(cx, cluster, self.deleted.into_keys())?;
        release(cx, cluster, self.set, &self.foreign)?;
        if !self.owners.is_empty() {
            cx.emit(Event::Note { text: owners_note(&self.owners) });
        }
        let all = self.kept.iter().chain(&self.owners).cloned().collect();
        Ok(Kept { all, data: self.kept })
    }
}

/// Describes objects that stay because Kubernetes would delete others with them.
fn owners_note(owners: &BTreeSet<Member>) -> String {
    let ids: Vec<&String> = owners.iter().map(|(_, id)| id).collect();
    let (own, them) = if ids.len() == 1 {
        ("stays, because it owns", "it")
    } else {
        ("stay, because they own", "them")
    };
    format!(
        "{} {own} objects that stay; remove the references from `metadata.ownerReferences` of these objects to delete {them}",
        list(&ids)
    )
}

fn has_namespace(objects: &BTreeMap<Member, Value>, namespace: &str) -> bool {
    objects.contains_key(&(String::new(), format!("namespace/{namespace}")))
}

/// Deletes objects in the order in which each deletion can complete.
fn delete(cx: &Cx, cluster: &Cluster, objects: impl Iterator<Item = Member>) -> Result<()> {
    let mut phases: BTreeMap<DeletionPhase, BTreeSet<Member>> = BTreeMap::new();
    for member in objects {
        phases.entry(apply_order::deletion_phase(&member.1)).or_default().insert(member);
    }
    if let Some(definitions) = phases.get(&DeletionPhase::Definitions) {
        let resources = custom_resources(cx, cluster, definitions);
        phases.entry(DeletionPhase::Custom).or_default().extend(resources);
    }
    for (phase, members) in phases {
        delete_at_once(cx, cluster, members.into_iter(), limit(phase))?;
    }
    Ok(())
}

fn limit(phase: DeletionPhase) -> Duration {
    match phase {
        DeletionPhase::Custom | DeletionPhase::Definitions => CUSTOM_LIMIT,
        DeletionPhase::BuiltIn | DeletionPhase::Namespaces => BUILT_IN_LIMIT,
    }
}

/// Deletes one object that no finalizer keeps.
pub(crate) fn delete_one(cx: &Cx, cluster: &Cluster, object: Member) -> Result<()> {
    delete_at_once(cx, cluster, std::iter::once(object), BUILT_IN_LIMIT)
}

/// Deletes objects with one `kubectl` per namespace.
fn delete_at_once(
    cx: &Cx,
    cluster: &Cluster,
    objects: impl Iterator<Item = Member>,
    limit: Duration,
) -> Result<()> {
    for (namespace, ids) in by_namespace(objects) {
        let sh = cx.shell()?;
        let namespace = Some(namespace.as_str()).filter(|namespace| !namespace.is_empty());
        let cmd = cluster.cmd(&sh, namespace).arg("delete").args(&ids).arg("--ignore-not-found");
        let command = delete_command(cmd, limit);
        if cx.is_dry_run() {
            cx.emit(Event::WouldRun { command: command.to_string() });
            continue;
        }
        if let Err(failure) = command.read(cx) {
            finalizers::explain(cx, cluster, namespace, &ids, failure)?;
        }
        cx.emit(Event::Deleted { objects: ids, context: cluster.context.clone() });
    }
    Ok(())
}

/// Returns the custom resources of definitions that will be deleted with them. The controllers,
/// which must remove their finalizers, can be among the objects that are deleted in between.
fn custom_resources(cx: &Cx, cluster: &Cluster, definitions: &BTreeSet<Member>) -> Vec<Member> {
    let names = definitions.iter().filter_map(|(_, id)| id.split('/').nth(1));
    let objects = names.flat_map(|name| lookup::custom_resources(cx, cluster, name));
    objects.map(|object| live_member(&object)).collect()
}

fn delete_command(cmd: xshell::Cmd, limit: Duration) -> Command {
    let wait = format!("--timeout={}s", limit.as_secs());
    Command::new(cmd.arg(wait)).timeout(limit + KUBECTL_MARGIN)
}
