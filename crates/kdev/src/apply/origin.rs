//! Objects that existed before kdev applied them: they are marked before the first apply, and
//! neither `down` nor `--prune` deletes them.

use std::collections::{BTreeMap, BTreeSet};

use kdev_core::kube::apply_order;
use kdev_core::kube::applyset::{Member, Parent, Set};
use kdev_core::kube::membership::Owners;
use kdev_core::kube::origin;
use kdev_core::text::list;
use serde_json::Value;

use crate::apply::diff::ObjectDiff;
use crate::apply::error::Result;
use crate::apply::lookup::{self, Query};
use crate::apply::members::{by_namespace, label, live_member};
use crate::cluster::Cluster;
use crate::cx::Cx;
use crate::event::Event;

/// Returns the members of `set` that exist. `compared` are the objects that were already fetched.
pub(crate) fn live_members(
    cx: &Cx,
    cluster: &Cluster,
    set: &Set,
    compared: &[ObjectDiff],
) -> Result<Vec<Value>> {
    let known: BTreeSet<Member> = compared.iter().map(|diff| live_member(&diff.merged)).collect();
    let is_unknown = |(namespace, id): &Member| {
        let is_member = |(known_namespace, known): &Member| {
            known == id && (known_namespace.is_empty() || known_namespace == namespace)
        };
        !known.iter().any(is_member)
    };
    let mut live = compared_members(set, compared);
    for (namespace, ids) in &by_namespace(set.members().filter(is_unknown)) {
        live.extend(lookup::get(cx, cluster, Some(namespace), Query::Ids(ids))?);
    }
    Ok(live)
}

/// Returns the members of `set` that exist, if they were already fetched.
pub(crate) fn compared_members(set: &Set, compared: &[ObjectDiff]) -> Vec<Value> {
    let is_member = |object: &&Value| {
        let (namespace, id) = live_member(object);
        set.has(&namespace, &id)
    };
    compared.iter().map(|diff| &diff.live).filter(is_member).cloned().collect()
}

/// Returns the members that an interrupted apply has created, but not labeled.
pub(crate) fn find_unlabeled(
    cx: &Cx,
    cluster: &Cluster,
    set: &Set,
) -> Result<BTreeMap<Member, Value>> {
    let live = live_members(cx, cluster, set, &[])?.into_iter();
    let created = live.filter(|object| origin::is_created_without_label(set, object));
    Ok(created.map(|object| (live_member(&object), object)).collect())
}

/// Marks the members of `set` that exist and that kdev has not created. `before` is the recorded
/// set, and `older` that of an older kdev, which created its members.
pub(crate) fn mark_existing(
    cx: &Cx,
    cluster: &Cluster,
    set: &Set,
    before: Option<&Set>,
    older: Option<&Set>,
    live: &[Value],
) -> Result<()> {
    let parent = &set.parent;
    let existed = |object: &&Value| {
        let older =
            older.filter(|older| !parent.has_member(object) && older.parent.has_member(object));
        let (parent, before) = older.map_or((parent, before), |older| (&older.parent, Some(older)));
        origin::exists_before_apply(parent, before, object)
    };
    mark(cx, cluster, parent, live.iter().filter(existed))
}

/// Marks the objects of an apply that another field manager has created, after they were found
/// missing. `applied` are the responses of the API server.
pub(crate) fn mark_created_by_others(
    cx: &Cx,
    cluster: &Cluster,
    parent: &Parent,
    applied: &[Value],
) -> Result<()> {
    let new = applied.iter().filter(|object| !parent.has_member(object));
    mark(cx, cluster, parent, new.filter(|object| origin::existed_in_response(parent, object)))
}

fn mark<'a>(
    cx: &Cx,
    cluster: &Cluster,
    parent: &Parent,
    objects: impl Iterator<Item = &'a Value>,
) -> Result<()> {
    let mark = parent.existed_label();
    let unmarked = objects.filter(|object| object["metadata"]["labels"][&mark].is_null());
    let members: BTreeSet<Member> = unmarked.map(live_member).collect();
    label(cx, cluster, members.into_iter(), &[format!("{mark}=true")])
}

/// Removes objects that `up` has not created from the set, and reports that they stay.
pub(crate) fn release(
    cx: &Cx,
    cluster: &Cluster,
    set: &Set,
    foreign: &BTreeMap<Member, Value>,
) -> Result<()> {
    let mut changes: BTreeMap<Vec<String>, Vec<Member>> = BTreeMap::new();
    for (member, live) in foreign {
        let owners = Owners::read(live);
        let labels = owners.labels_to_leave(&set.parent, &owners.others(&set.parent));
        changes.entry(labels).or_default().push(member.clone());
    }
    for (labels, members) in changes.into_iter().filter(|(labels, _)| !labels.is_empty()) {
        label(cx, cluster, members.into_iter(), &labels)?;
    }
    for text in notes(set, foreign) {
        cx.emit(Event::Note { text });
    }
    Ok(())
}

/// Describes the objects that stay, and why.
fn notes(set: &Set, foreign: &BTreeMap<Member, Value>) -> Vec<String> {
    let is_unknown =
        |(member, _): &(&Member, &Value)| !set.records_origin && apply_order::holds_data(&member.1);
    let (unknown, existed): (Vec<_>, Vec<_>) = foreign.iter().partition(is_unknown);
    let ids = |objects: &[(&Member, &Value)]| -> Vec<String> {
        objects.iter().map(|((_, id), _)| id.clone()).collect()
    };
    let (unknown, existed) = (ids(&unknown), ids(&existed));
    let mut notes = Vec::new();
    let (stays, it) = verb(&existed);
    if !existed.is_empty() {
        notes.push(format!(
            "{} {stays}, because {it} existed before `up` applied {}",
            list(&existed),
            if existed.len() == 1 { "it" } else { "them" }
        ));
    }
    let (stays, it) = verb(&unknown);
    if !unknown.is_empty() {
        notes.push(format!(
            "{} {stays}, because an older version of kdev did not record whether {it} existed before",
            list(&unknown)
        ));
    }
    notes
}

fn verb(ids: &[String]) -> (&'static str, &'static str) {
    if ids.len() == 1 { ("stays", "it") } else { ("stay", "they") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_that_stay_are_reported_with_reason() {
        let parent = Parent::without_identity("app", "n");
        let set = Set::from_objects(parent, []);
        let object = |id: &str| ((String::new(), id.to_owned()), Value::Null);
        let foreign = BTreeMap::from(["namespace/a", "service/b"].map(object));
        let expected =
            "`namespace/a` and `service/b` stay, because they existed before `up` applied them";
        assert_eq!(notes(&set, &foreign), [expected]);
        let expected = [
            "`service/b` stays, because it existed before `up` applied it",
            "`namespace/a` stays, because an older version of kdev did not record whether it existed before",
        ];
        assert_eq!(notes(&Set { records_origin: false, ..set }, &foreign), expected);
    }
}
