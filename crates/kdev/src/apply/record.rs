//! The record of an apply set: a ConfigMap, which is the parent of the set.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{Timestamp, Unit};
use kdev_core::kube::applyset::{self, Parent, Set};
use kdev_core::kube::object::{self, text};
use kdev_core::kube::owner::Owner;
use serde_json::{Map, Value};

use crate::apply::error::{Error, Result};
use crate::apply::lookup::{self, Query};
use crate::cluster::{self, Cluster};
use crate::cx::Cx;
use crate::event::Event;
use crate::process::Command;

/// The field manager of what only the record says: where the set was applied from. An apply of
/// the manifests, which compares the record, leaves its fields alone.
const ORIGIN_MANAGER: &str = "--field-manager=kdev-applyset";
const MANAGER: &str = "--field-manager=kdev";
/// The field manager of the completed Jobs, which are recorded after the rollout.
const JOBS_MANAGER: &str = "--field-manager=kdev-jobs";
/// Limits one run of `kubectl`.
const RECORD_TIMEOUT: Duration = Duration::from_secs(120);

/// The recorded apply sets of a project.
pub(crate) struct Records {
    pub(crate) ours: Option<Set>,
    /// Whether everything that the record lists was applied.
    pub(crate) is_complete: bool,
    /// The set that an older kdev has recorded for the name of the package.
    pub(crate) older: Option<Set>,
}

impl Records {
    /// Reads the records, with one `kubectl`.
    pub(crate) fn read(cx: &Cx, cluster: &Cluster, owner: &Owner, parent: &Parent) -> Result<Self> {
        let older = Parent::without_identity(&owner.package, &parent.namespace);
        let records = get(cx, cluster, &parent.namespace, &[parent, &older])?;
        let set = |parent: &Parent| {
            let record = records.get(&parent.name).filter(|record| parent.is_record(record));
            record.map(|record| Set::read(parent.clone(), record))
        };
        let is_complete = records.get(&parent.name).is_some_and(applyset::is_complete);
        Ok(Self { ours: set(parent), is_complete, older: set(&older) })
    }
}

/// Like [`get`], but returns `None` if reading the records is forbidden.
pub(crate) fn get_if_allowed(
    cx: &Cx,
    cluster: &Cluster,
    namespace: &str,
    parents: &[&Parent],
) -> Result<Option<BTreeMap<String, Value>>> {
    match get(cx, cluster, namespace, parents) {
        Ok(records) => Ok(Some(records)),
        Err(Error::Cluster(cluster::Error::Rejected { .. })) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns the records of these parents by name, without those that do not exist.
fn get(
    cx: &Cx,
    cluster: &Cluster,
    namespace: &str,
    parents: &[&Parent],
) -> Result<BTreeMap<String, Value>> {
    let ids: Vec<String> = parents.iter().map(|parent| parent.object()).collect();
    let records = lookup::get(cx, cluster, Some(namespace), Query::Ids(&ids))?;
    let named = |record: Value| (text(&record, "/metadata/name").to_owned(), record);
    Ok(records.into_iter().map(named).collect())
}

/// Returns the records of all namespaces, or only of the cluster's if those are forbidden.
pub(crate) fn list_all(cx: &Cx, cluster: &Cluster) -> Result<Vec<Value>> {
    let list = |namespaces: &[&str]| {
        let sh = cx.shell()?;
        let cmd = cluster.cmd(&sh, None).args(["get", "configmaps"]).args(namespaces);
        let cmd = cmd.args(["--selector", applyset::ID, "--output=json"]);
        cluster.get_json::<Value>(cx, cmd, "list the apply sets")
    };
    let listed = match list(&["--all-namespaces"]) {
        Err(cluster::Error::Rejected { .. }) => list(&[]),
        listed => listed,
    };
    match listed {
        Ok(listed) => Ok(object::list(&listed["items"]).cloned().collect()),
        Err(cluster::Error::Rejected { .. }) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

/// Writes the record before anything is applied, so that a missing permission is an error first,
/// and an interrupted run leaves no objects without a record.
pub(crate) fn begin(cx: &Cx, cluster: &Cluster, owner: &Owner, set: &Set) -> Result<()> {
    let user = nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten();
    let user = user.map(|user| user.name).unwrap_or_default();
    let now = Timestamp::now().round(Unit::Second).map(|time| time.to_string());
    let origin = owner.annotations(&user, &now.unwrap_or_default());
    write(cx, cluster, set, &set.record(false, &origin), ORIGIN_MANAGER)
}

/// Writes the record after everything is applied.
pub(crate) fn finish(cx: &Cx, cluster: &Cluster, set: &Set, is_complete: bool) -> Result<()> {
    write(cx, cluster, set, &set.record(is_complete, &Map::new()), MANAGER)
}

/// Writes the completed Jobs to the record of the set.
pub(crate) fn write_completed_jobs(
    cx: &Cx,
    cluster: &Cluster,
    set: &Set,
    document: &str,
) -> Result<()> {
    write(cx, cluster, set, document, JOBS_MANAGER)
}

fn write(cx: &Cx, cluster: &Cluster, set: &Set, record: &str, manager: &str) -> Result<()> {
    let sh = cx.shell()?;
    let cmd = cluster.cmd(&sh, Some(&set.parent.namespace));
    let cmd = cmd.args(["apply", "--server-side", manager, "--force-conflicts"]);
    let command = Command::new(cmd.args(["--filename", "-"])).stdin(record);
    let command = command.timeout(RECORD_TIMEOUT);
    if cx.is_dry_run() {
        cx.emit(Event::WouldRun { command: command.to_string() });
        return Ok(());
    }
    command.read(cx).map_err(|f| cluster.request_error(f, "record the apply set"))?;
    Ok(())
}
