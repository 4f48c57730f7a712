//! Members of an apply set: their grouping by namespace, and their labels.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kdev_core::kube::applyset::{self, Member, Set};
use kdev_core::kube::object::text;
use serde_json::Value;

use crate::apply::error::Result;
use crate::apply::lookup::{self, Query};
use crate::cluster::Cluster;
use crate::cx::Cx;
use crate::event::Event;
use crate::process::Command;

/// The field manager of the labels. It differs from that of the manifests, so that an apply
/// neither removes them nor conflicts with them.
const FIELD_MANAGER: &str = "--field-manager=kdev-applyset";
/// Limits one run of `kubectl`.
const LABEL_TIMEOUT: Duration = Duration::from_secs(120);

/// Returns the namespace of a live object, which is empty for cluster-scoped objects, and its id.
pub(super) fn live_member(object: &Value) -> Member {
    (text(object, "/metadata/namespace").to_owned(), applyset::id(object))
}

/// Lists the objects with the label of the apply set that its record lists, too. Other objects were
/// copied with their labels, for example by `kubectl get --output=yaml` and `kubectl apply`. The
/// first records listed no objects.
pub(crate) fn recorded_objects(
    cx: &Cx,
    cluster: &Cluster,
    set: &Set,
) -> Result<BTreeMap<Member, Value>> {
    let mut found = labeled_objects(cx, cluster, set, &set.parent.owner_label())?;
    if !set.members.is_empty() {
        found.retain(|(namespace, id), _| set.has(namespace, id));
    }
    Ok(found)
}

/// Lists the objects with a label of the apply set.
pub(super) fn labeled_objects(
    cx: &Cx,
    cluster: &Cluster,
    set: &Set,
    selector: &str,
) -> Result<BTreeMap<Member, Value>> {
    let mut found = BTreeMap::new();
    let kinds: Vec<String> = set.kinds.iter().cloned().collect();
    for namespace in set.all_namespaces() {
        let query = Query::Selected(&kinds, selector);
        let objects = lookup::get(cx, cluster, Some(namespace), query)?;
        // The objects show whether they are namespaced.
        found.extend(objects.into_iter().map(|object| (live_member(&object), object)));
    }
    Ok(found)
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

/// Changes labels of objects, given as arguments of `kubectl label`.
pub(super) fn label(
    cx: &Cx,
    cluster: &Cluster,
    members: impl Iterator<Item = Member>,
    changes: &[String],
) -> Result<()> {
    for (namespace, ids) in by_namespace(members) {
        let sh = cx.shell()?;
        let namespace = Some(namespace.as_str()).filter(|namespace| !namespace.is_empty());
        let cmd = cluster.cmd(&sh, namespace).arg("label").args(&ids).args(changes);
        let command = Command::new(cmd.args(["--overwrite", FIELD_MANAGER])).timeout(LABEL_TIMEOUT);
        if cx.is_dry_run() {
            cx.emit(Event::WouldRun { command: command.to_string() });
            continue;
        }
        command.read(cx).map_err(|f| cluster.request_error(f, "label the applied objects"))?;
    }
    Ok(())
}
