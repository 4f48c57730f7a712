//! Rolls back to the previous revision after a failed rollout.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kdev_core::kube::applyset::{self, Member};
use kdev_core::kube::kinds;
use kdev_core::kube::object;
use kdev_core::kube::revision::{self, Undo};
use kdev_manifest::objects::Object;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::cluster::snapshot::Snapshot;
use crate::cx::Cx;
use crate::event::Event;
use crate::process::Command;
use crate::rollout::error::{Error, Result};

/// Limits one `kubectl rollout undo`.
const UNDO_TIMEOUT: Duration = Duration::from_secs(60);

/// Returns whether a rollback can fix the error.
pub(crate) fn is_recoverable_by_rollback(error: &Error) -> bool {
    matches!(
        error,
        Error::Failed { .. }
            | Error::TimedOut { .. }
            | Error::Mutated { .. }
            | Error::ImageRejected { .. }
    )
}

/// Returns whether `kubectl rollout` supports an object with this id.
fn has_rollout(id: &str) -> bool {
    let mut kinds = kinds::BUILT_IN.iter().filter(|kind| kind.has_rollout);
    kinds.any(|kind| id.starts_with(&kind.id_prefix()))
}

/// The workloads of the manifests whose kinds keep a history, as they are in the cluster.
#[derive(Debug, Default)]
pub(crate) struct Workloads(BTreeMap<Member, Value>);

impl Workloads {
    /// Fetches the workloads. A rollback must know them before the apply, because the previous
    /// revision may be older than that.
    pub(crate) fn fetch(cx: &Cx, cluster: &Cluster, objects: &[Object]) -> Result<Self> {
        let mut resources: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for object in objects {
            let kind = kinds::BUILT_IN.find(&object.kind).filter(|kind| kind.has_rollout);
            let namespace = object.namespace.as_ref().unwrap_or(&cluster.namespace);
            resources.entry(namespace).or_default().extend(kind.map(|kind| kind.resource));
        }
        let mut workloads = BTreeMap::new();
        for (namespace, resources) in resources.iter().filter(|(_, kinds)| !kinds.is_empty()) {
            let snapshot = Snapshot::fetch_resources(cx, cluster, Some(namespace), resources)?;
            let member = |item: &Value| ((*namespace).to_owned(), applyset::id(item));
            workloads.extend(snapshot.items().iter().map(|item| (member(item), item.clone())));
        }
        Ok(Self(workloads))
    }
}

/// Rolls back the applied workloads whose pods this run has changed, and reports why others
/// are not rolled back. A failed rollback is only a note, because the error of the rollout is
/// more important.
pub(crate) fn roll_back(
    cx: &Cx,
    cluster: &Cluster,
    before: &Workloads,
    after: &Workloads,
    applied: &[Member],
    failed: Option<&str>,
) -> Result<()> {
    for (member, live) in after.0.iter().filter(|((_, id), _)| has_rollout(id)) {
        let is_applied = applied.contains(member);
        let undo = match revision::undo(before.0.get(member), live) {
            _ if !is_applied => Undo::SamePods,
            undo => undo,
        };
        let (namespace, workload) = member;
        let result = match undo {
            Undo::ToRevision(revision) => undo_rollout(cx, cluster, namespace, workload, revision)?,
            Undo::Created => Err("this run has created it, so it has no previous revision".into()),
            Undo::SamePods if is_applied || failed == Some(&object::id(live)) => {
                Err("this run has not changed its pods".into())
            }
            Undo::SamePods => continue,
        };
        let workload = workload.clone();
        cx.emit(match result {
            Ok(()) => Event::RolledBack { workload },
            Err(reason) => {
                Event::Note { text: format!("{workload} was not rolled back: {reason}") }
            }
        });
    }
    Ok(())
}

/// Runs `kubectl rollout undo`. Returns the reason if it fails.
fn undo_rollout(
    cx: &Cx,
    cluster: &Cluster,
    namespace: &str,
    workload: &str,
    revision: Option<&str>,
) -> Result<Result<(), String>> {
    let sh = cx.shell()?;
    let cmd = cluster.cmd(&sh, Some(namespace)).args(["rollout", "undo", workload]);
    let cmd = cmd.args(revision.map(|revision| format!("--to-revision={revision}")));
    let undone = Command::new(cmd).timeout(UNDO_TIMEOUT).read(cx);
    let reason = |message: String| message.trim_start_matches("error: ").to_owned();
    Ok(undone.map(|_| ()).map_err(|failure| reason(failure.message())))
}
