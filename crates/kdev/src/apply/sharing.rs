//! Objects that several apply sets contain, such as a Namespace in the manifests of two
//! projects. An object goes with its last set.

use std::collections::{BTreeMap, BTreeSet};

use kdev_core::kube::applyset::{self, Member, Parent, Set};
use kdev_core::kube::membership::Owners;
use kdev_core::kube::owner::{Origin, Owner};
use kdev_core::kube::predecessor::{Doubt, doubt};
use kdev_core::text::{join, list};
use serde_json::Value;

use crate::apply::error::{ContestedObject, Error, Result};
use crate::apply::members::{label, live_member};
use crate::apply::record;
use crate::cluster::Cluster;
use crate::cx::Cx;
use crate::event::Event;

/// The project that applies.
#[derive(Clone, Copy)]
pub(crate) struct Applier<'a> {
    pub(crate) owner: &'a Owner,
    pub(crate) parent: &'a Parent,
}

/// The records of other apply sets. A set without a record has no members.
#[derive(Default)]
pub(crate) struct OtherSets(BTreeMap<Parent, Option<Value>>);

impl OtherSets {
    /// Reads the records of the sets, other than `ours`, that contain these objects.
    pub(crate) fn read<'a>(
        cx: &Cx,
        cluster: &Cluster,
        ours: &Parent,
        objects: impl Iterator<Item = &'a Value>,
    ) -> Result<Self> {
        let parents: BTreeSet<Parent> =
            objects.flat_map(|object| Owners::read(object).others(ours)).collect();
        let mut namespaces: BTreeMap<&str, Vec<&Parent>> = BTreeMap::new();
        for parent in &parents {
            namespaces.entry(&parent.namespace).or_default().push(parent);
        }
        let mut sets = BTreeMap::new();
        for (namespace, parents) in namespaces {
            let records = record::get_if_allowed(cx, cluster, namespace, &parents)?;
            for parent in parents {
                match &records {
                    Some(records) => {
                        if let Some(record) = records.get(&parent.name) {
                            sets.insert(parent.clone(), Some(record.clone()));
                        }
                    }
                    // Without the permission to read it, the set may exist.
                    None => drop(sets.insert(parent.clone(), None)),
                }
            }
        }
        Ok(Self(sets))
    }

    /// Returns the sets that the same folder of this machine has recorded, when the project had
    /// another identity.
    pub(crate) fn predecessors(&self, owner: &Owner) -> Vec<Set> {
        let is_ours = |record: &&Value| {
            Origin::read(record).is_some_and(|origin| owner.is_successor_of(&origin))
        };
        let set = |(parent, record): (&Parent, &Option<Value>)| {
            record.as_ref().filter(is_ours).map(|record| Set::read(parent.clone(), record))
        };
        self.0.iter().filter_map(set).collect()
    }

    /// Returns the sets that the same project may have recorded, with the names of their packages.
    pub(crate) fn possible_predecessors(&self, owner: &Owner) -> Vec<(Set, String, Doubt)> {
        let set = |(parent, record): (&Parent, &Option<Value>)| {
            let record = record.as_ref()?;
            let origin = Origin::read(record)?;
            let doubt = doubt(owner, parent, &origin)?;
            Some((Set::read(parent.clone(), record), origin.package, doubt))
        };
        self.0.iter().filter_map(set).collect()
    }

    /// Returns the parents of the other sets that contain an object.
    fn containing(&self, ours: &Parent, object: &Value) -> BTreeSet<Parent> {
        let others = Owners::read(object).others(ours);
        others.into_iter().filter(|parent| self.0.contains_key(parent)).collect()
    }

    /// Describes the other sets that contain an object, except for those of the same folder and
    /// those of the same manifests.
    pub(crate) fn of_other_projects(
        &self,
        owner: &Owner,
        ours: &Parent,
        object: &Value,
    ) -> Vec<String> {
        let is_other = |parent: &&Parent| {
            let origin = self.origin(parent);
            !origin.is_some_and(|origin| {
                owner.is_successor_of(&origin)
                    || owner.has_manifests_of(&origin)
                    || doubt(owner, parent, &origin) == Some(Doubt::Renamed)
            })
        };
        let others = self.containing(ours, object);
        others.iter().filter(is_other).map(|parent| self.describe(parent)).collect()
    }

    fn origin(&self, parent: &Parent) -> Option<Origin> {
        self.0.get(parent)?.as_ref().and_then(Origin::read)
    }

    /// Describes the set in a message.
    fn describe(&self, parent: &Parent) -> String {
        let Parent { name, namespace } = parent;
        self.origin(parent).map_or_else(
            || format!("apply set `{name}` in namespace `{namespace}`"),
            |origin| origin.describe(),
        )
    }
}

/// Fails if other projects apply one of these objects, which would be deleted and recreated without
/// their fields.
pub(crate) fn check_recreation(
    cx: &Cx,
    cluster: &Cluster,
    Applier { owner, parent }: Applier,
    live: &[Value],
) -> Result<()> {
    let others = OtherSets::read(cx, cluster, parent, live.iter())?;
    let objects = live.iter().map(|object| ContestedObject {
        id: applyset::id(object),
        projects: others.of_other_projects(owner, parent, object),
    });
    let objects: Vec<ContestedObject> =
        objects.filter(|object| !object.projects.is_empty()).collect();
    if objects.is_empty() {
        return Ok(());
    }
    Err(Error::shared_immutable(cluster.context.clone(), objects))
}

/// The objects of an apply set that other sets contain, too.
pub(crate) struct Shared {
    ours: Parent,
    objects: BTreeMap<Member, Value>,
    others: OtherSets,
}

impl Shared {
    /// Returns no objects.
    pub(crate) fn none(ours: &Parent) -> Self {
        Self { ours: ours.clone(), objects: BTreeMap::new(), others: OtherSets::default() }
    }

    /// Removes the shared objects from `objects`.
    pub(crate) fn take_from(
        cx: &Cx,
        cluster: &Cluster,
        ours: &Parent,
        objects: &mut BTreeMap<Member, Value>,
    ) -> Result<Self> {
        Self::take_from_except(cx, cluster, ours, &BTreeSet::new(), objects)
    }

    /// Removes the objects from `objects` that sets of other projects contain. The sets of
    /// `same_project` do not count.
    pub(crate) fn take_from_except(
        cx: &Cx,
        cluster: &Cluster,
        ours: &Parent,
        same_project: &BTreeSet<Parent>,
        objects: &mut BTreeMap<Member, Value>,
    ) -> Result<Self> {
        let mut others = OtherSets::read(cx, cluster, ours, objects.values())?;
        others.0.retain(|parent, _| !same_project.contains(parent));
        let is_shared = |object: &Value| {
            !others.containing(ours, object).is_empty()
                || Owners::read(object).foreign_set(ours).is_some()
        };
        let (shared, only_ours): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(objects).into_iter().partition(|(_, object)| is_shared(object));
        *objects = only_ours;
        Ok(Self { ours: ours.clone(), objects: shared, others })
    }

    pub(crate) fn objects(&self) -> impl Iterator<Item = (&Member, &Value)> {
        self.objects.iter()
    }

    pub(crate) fn contains(&self, member: &Member) -> bool {
        self.objects.contains_key(member)
    }

    /// Leaves out the objects of namespaces that will be deleted, and so cannot stay.
    pub(crate) fn leave_out(&mut self, is_deleted: impl Fn(&str) -> bool) {
        self.objects.retain(|(namespace, _), _| !is_deleted(namespace));
    }

    /// Removes the objects from the set and reports that they stay.
    pub(crate) fn release(self, cx: &Cx, cluster: &Cluster, owner: &Owner) -> Result<()> {
        let mut changes: BTreeMap<Vec<String>, Vec<Member>> = BTreeMap::new();
        let mut stays: BTreeMap<Vec<String>, Vec<&str>> = BTreeMap::new();
        let mut has_same_package = false;
        let mut renamed = BTreeSet::new();
        for (member, object) in &self.objects {
            let others = self.others.containing(&self.ours, object);
            let owners = Owners::read(object);
            let change = owners.labels_to_leave(&self.ours, &others);
            changes.entry(change).or_default().push(member.clone());
            let mut described: Vec<String> =
                others.iter().map(|parent| self.others.describe(parent)).collect();
            described
                .extend(owners.foreign_set(&self.ours).map(|id| self.describe_foreign(owner, id)));
            stays.entry(described).or_default().push(&member.1);
            has_same_package |= others
                .iter()
                .filter_map(|parent| self.others.origin(parent))
                .any(|origin| origin.package == owner.package);
            renamed.extend(others.iter().filter_map(|parent| {
                let origin = self.others.origin(parent)?;
                let is_renamed = doubt(owner, parent, &origin) == Some(Doubt::Renamed);
                is_renamed.then_some(origin.package)
            }));
        }
        change_labels(cx, cluster, changes)?;
        for (others, ids) in stays {
            let (stays, them) = if ids.len() == 1 { ("stays", "it") } else { ("stay", "them") };
            let apply = if others.len() == 1 { "applies" } else { "apply" };
            let text =
                format!("{} {stays} because {} also {apply} {them}", list(&ids), join(&others));
            cx.emit(Event::Note { text });
        }
        if has_same_package {
            cx.emit(Event::Note { text: identity_advice(owner) });
        }
        for package in renamed {
            cx.emit(Event::Note { text: rename_advice(&package) });
        }
        Ok(())
    }

    fn describe_foreign(&self, owner: &Owner, id: &str) -> String {
        let older = Parent::without_identity(&owner.package, &self.ours.namespace);
        if older.id() == id {
            format!("an older kdev, which recorded it in `{}`,", older.object())
        } else {
            format!("another tool with apply set `{id}`")
        }
    }
}

/// Returns how to make two projects one.
pub(crate) fn identity_advice(owner: &Owner) -> String {
    let cause = owner.fallback_cause.as_ref();
    let cause = cause.map(|cause| format!(", because {cause}")).unwrap_or_default();
    format!(
        "set the same `project-id` in `[package.metadata.kdev]` of both if they are one project{cause}"
    )
}

/// Returns how to delete the objects of a package that was renamed.
fn rename_advice(package: &str) -> String {
    format!(
        "if package `{package}` was renamed, set `name = \"{package}\"` in `Cargo.toml` and run `cargo kdev down` to delete the objects that it has applied"
    )
}

/// The objects that join a set: as they were before the apply, and as it has returned them.
pub(crate) struct Joining<'a> {
    pub(crate) before: &'a [Value],
    pub(crate) applied: &'a [Value],
}

impl Joining<'_> {
    /// Makes the members of `now` members of its set. Their memberships in the sets of `replaced`
    /// end. Objects that are not known are left out, unless `with_unknown`.
    pub(crate) fn join(
        &self,
        cx: &Cx,
        cluster: &Cluster,
        now: &Set,
        replaced: &BTreeSet<Parent>,
        with_unknown: bool,
    ) -> Result<()> {
        let ours = &now.parent;
        let mut changes: BTreeMap<Vec<String>, Vec<Member>> = BTreeMap::new();
        for member in now.members() {
            let before = find(self.before, &member);
            let applied = find(self.applied, &member);
            let Some(live) = applied.or(before).or(with_unknown.then_some(&Value::Null)) else {
                continue;
            };
            let owners = Owners::read(live);
            let mut change = owners.labels_to_join(ours, replaced);
            if let Some(before) = before.filter(|_| applied.is_some()) {
                change.extend(owners.lost_labels(&Owners::read(before), ours));
            }
            changes.entry(change).or_default().push(member);
        }
        change_labels(cx, cluster, changes)
    }
}

/// Makes objects members of `ours`. Their memberships in the sets of `replaced` end.
pub(crate) fn move_objects(
    cx: &Cx,
    cluster: &Cluster,
    ours: &Parent,
    replaced: &BTreeSet<Parent>,
    objects: &BTreeMap<Member, Value>,
) -> Result<()> {
    let mut changes: BTreeMap<Vec<String>, Vec<Member>> = BTreeMap::new();
    for (member, live) in objects {
        let change = Owners::read(live).labels_to_join(ours, replaced);
        changes.entry(change).or_default().push(member.clone());
    }
    change_labels(cx, cluster, changes)
}

fn find<'a>(objects: &'a [Value], (namespace, id): &Member) -> Option<&'a Value> {
    objects.iter().find(|object| {
        let (live_namespace, live_id) = live_member(object);
        live_id == *id && (live_namespace.is_empty() || live_namespace == *namespace)
    })
}

/// Changes labels, with one `kubectl` for all members with the same change.
fn change_labels(
    cx: &Cx,
    cluster: &Cluster,
    changes: BTreeMap<Vec<String>, Vec<Member>>,
) -> Result<()> {
    for (change, members) in changes.into_iter().filter(|(change, _)| !change.is_empty()) {
        label(cx, cluster, members.into_iter(), &change)?;
    }
    Ok(())
}
