//! Finds objects that were applied but are no longer in the manifests, by the label of the
//! apply set, and deletes them with `--prune`.

use std::collections::BTreeSet;
use std::time::Duration;

use kdev_core::kube::applyset::{self, Member, PART_OF, Parent, Set};
use kdev_core::kube::object::{self, text};
use kdev_core::text::list;
use serde_json::Value;

use crate::apply::delete;
use crate::apply::error::Result;
use crate::apply::server_side::ApplyOptions;
use crate::cluster::Cluster;
use crate::cx::Cx;
use crate::event::Event;
use crate::process::Command;

/// The field manager of the labels. It differs from that of the manifests, so that an apply
/// neither removes them nor conflicts with them.
const FIELD_MANAGER: &str = "--field-manager=kdev-applyset";
/// Limits one run of `kubectl`, including the deletion of workloads with their pods.
const PRUNE_TIMEOUT: Duration = Duration::from_secs(120);

/// The previous apply set, and the stale objects.
pub(crate) struct PrunePlan<'a> {
    cx: &'a Cx<'a>,
    cluster: &'a Cluster,
    before: Option<Set>,
    /// Objects that are no longer in the manifests.
    stale: BTreeSet<Member>,
}

impl<'a> PrunePlan<'a> {
    /// Finds the objects in the cluster that are no longer in the apply set.
    pub(crate) fn new(cx: &'a Cx<'a>, cluster: &'a Cluster, now: &Set) -> Result<Self> {
        let before = recorded_set(cx, cluster, &now.parent)?;
        let has_left = |set: &Set| set.members().any(|(namespace, id)| !now.has(&namespace, &id));
        let left = match &before {
            Some(set) if has_left(set) => {
                let mut all = labeled_objects(cx, cluster, set)?;
                all.retain(|(namespace, id)| !now.has(namespace, id));
                all
            }
            _ => BTreeSet::new(),
        };
        Ok(Self { cx, cluster, before, stale: left })
    }

    /// Shows the commands of a dry run; none if the apply set does not change.
    pub(crate) fn show_changes(self, now: Set, options: ApplyOptions) -> Result<()> {
        if self.before.as_ref() == Some(&now) {
            return Ok(());
        }
        self.prune_and_record(now, options)
    }

    /// Labels the objects, deletes or reports the stale ones, and then records the apply set. If
    /// this is interrupted, the next run repeats it, because the recorded set still differs.
    pub(crate) fn prune_and_record(self, now: Set, options: ApplyOptions) -> Result<()> {
        add_label(self.cx, self.cluster, &now.parent, now.members())?;
        let mut set = now;
        let kept = if options.prune {
            let kept = delete::delete(self.cx, self.cluster, &self.stale, options.delete_data)?;
            self.report_stale(&kept, "--prune --delete-data");
            kept
        } else {
            self.report_stale(&self.stale, "--prune");
            self.stale.clone()
        };
        if let Some(before) = self.before.filter(|_| !kept.is_empty()) {
            // Stale objects stay in the recorded set, so that a later run finds them.
            set = set.with(Set { members: delete::as_members(&kept), ..before });
        }
        record(self.cx, self.cluster, &set)
    }

    fn report_stale(&self, stale: &BTreeSet<Member>, flags: &str) {
        let ids: Vec<&String> = stale.iter().map(|(_, id)| id).collect();
        let (verb, them) = if ids.len() == 1 { ("is", "it") } else { ("are", "them") };
        if !ids.is_empty() {
            let text = format!(
                "{} {verb} no longer in the manifests; pass `{flags}` to delete {them}",
                list(&ids)
            );
            self.cx.emit(Event::Note { text });
        }
    }
}

/// Returns the recorded apply set, if there is one.
pub(crate) fn recorded_set(cx: &Cx, cluster: &Cluster, parent: &Parent) -> Result<Option<Set>> {
    let sh = cx.shell()?;
    let cmd = cluster.cmd(&sh, Some(&parent.namespace)).arg("get").arg(parent.object());
    let command =
        Command::new(cmd.args(["--ignore-not-found", "--output=json"])).timeout(PRUNE_TIMEOUT);
    let output = command.read(cx).map_err(|f| cluster.request_error(f, "get the apply set"))?;
    let live = serde_json::from_slice::<Value>(&output.stdout).ok();
    Ok(live.map(|live| Set::read(parent.clone(), &live)))
}

/// Lists the objects with the label of the apply set.
pub(crate) fn labeled_objects(cx: &Cx, cluster: &Cluster, set: &Set) -> Result<BTreeSet<Member>> {
    let mut found = BTreeSet::new();
    for namespace in set.all_namespaces() {
        let sh = cx.shell()?;
        let (resources, selector) = (set.resources(), set.parent.selector());
        let cmd = cluster.cmd(&sh, Some(namespace)).args(["get", &resources]);
        // The objects show whether they are namespaced.
        let cmd = cmd.args(["--selector", &selector, "--output=json"]);
        let list: Value = cluster.get_json(cx, cmd, "list the objects of the apply set")?;
        let member =
            |object: &Value| (text(object, "/metadata/namespace").to_owned(), applyset::id(object));
        found.extend(object::list(&list["items"]).map(member));
    }
    Ok(found)
}

/// Adds the label of the apply set to objects.
pub(crate) fn add_label(
    cx: &Cx,
    cluster: &Cluster,
    parent: &Parent,
    members: impl Iterator<Item = Member>,
) -> Result<()> {
    let label = format!("{PART_OF}={}", parent.id());
    for (namespace, ids) in delete::by_namespace(members) {
        let sh = cx.shell()?;
        let cmd = cluster.cmd(&sh, Some(&namespace)).arg("label").args(&ids);
        let command = Command::new(cmd.args([&label, FIELD_MANAGER])).timeout(PRUNE_TIMEOUT);
        if cx.is_dry_run() {
            cx.emit(Event::WouldRun { command: command.to_string() });
            continue;
        }
        command.read(cx).map_err(|f| cluster.request_error(f, "label the applied objects"))?;
    }
    Ok(())
}

pub(crate) fn record(cx: &Cx, cluster: &Cluster, set: &Set) -> Result<()> {
    let sh = cx.shell()?;
    let cmd = cluster.cmd(&sh, Some(&set.parent.namespace));
    let cmd = cmd.args(["apply", "--server-side", "--field-manager=kdev", "--force-conflicts"]);
    let command =
        Command::new(cmd.args(["--filename", "-"])).stdin(set.document()).timeout(PRUNE_TIMEOUT);
    if cx.is_dry_run() {
        cx.emit(Event::WouldRun { command: command.to_string() });
        return Ok(());
    }
    command.read(cx).map_err(|f| cluster.request_error(f, "record the apply set"))?;
    Ok(())
}
