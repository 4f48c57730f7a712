//! Apply sets that the same project has recorded under another identity, or with an older kdev.

use std::collections::{BTreeMap, BTreeSet};

use kdev_core::kube::applyset::{Member, Parent, Set};
use kdev_core::kube::membership::Owners;
use kdev_core::kube::owner::Owner;
use kdev_core::kube::predecessor::Doubt;
use kdev_core::text::list;
use serde_json::Value;

use crate::apply::delete;
use crate::apply::error::Result;
use crate::apply::members::{labeled_objects, recorded_objects};
use crate::apply::record::Records;
use crate::apply::sharing::OtherSets;
use crate::cluster::Cluster;
use crate::cx::Cx;
use crate::event::Event;

/// The sets that become part of the project's set.
#[derive(Default)]
pub(crate) struct Takeover {
    /// Each set with its objects.
    sets: Vec<(Set, BTreeMap<Member, Value>)>,
    refused: Vec<Refused>,
}

/// A set that is not taken over.
struct Refused {
    parent: Parent,
    /// Its objects that are not in the manifests.
    others: Vec<String>,
    cause: Cause,
}

/// Why it is not certain that a set belongs to the project.
enum Cause {
    /// An older kdev did not record the project.
    NoProject,
    /// An older kdev recorded only the host name of the machine.
    HostNameOnly,
    /// This package of the same folder, or of the same folder of the repository, has recorded it.
    Package(String),
}

impl Takeover {
    /// Finds the sets: those from the same folder of this machine that contain an object of
    /// `now`, and those that another project may have recorded, if every object of them is in the
    /// manifests.
    pub(crate) fn find(
        cx: &Cx,
        cluster: &Cluster,
        owner: &Owner,
        now: &Set,
        live: &[Value],
        records: &Records,
    ) -> Result<Self> {
        let mut takeover = Self::default();
        let others = OtherSets::read(cx, cluster, &now.parent, live.iter())?;
        for set in others.predecessors(owner) {
            let objects = recorded_objects(cx, cluster, &set)?;
            takeover.sets.push((set, objects));
        }
        for (set, package, doubt) in others.possible_predecessors(owner) {
            let objects = recorded_objects(cx, cluster, &set)?;
            let cause = match doubt {
                Doubt::Renamed => Cause::Package(package),
                Doubt::HostNameOnly => Cause::HostNameOnly,
            };
            takeover.take_or_refuse(now, (set, objects), cause);
        }
        if let Some(older) = &records.older {
            let objects = labeled_objects(cx, cluster, older, &older.parent.selector())?;
            takeover.take_or_refuse(now, (older.clone(), objects), Cause::NoProject);
        }
        Ok(takeover)
    }

    /// Takes a set over if every object of it is in the manifests.
    fn take_or_refuse(
        &mut self,
        now: &Set,
        (set, objects): (Set, BTreeMap<Member, Value>),
        cause: Cause,
    ) {
        let is_other = |(namespace, id): &&Member| !now.has(namespace, id);
        let others: Vec<String> =
            objects.keys().filter(is_other).map(|(_, id)| id.clone()).collect();
        if others.is_empty() {
            self.sets.push((set, objects));
        } else {
            self.refused.push(Refused { parent: set.parent, others, cause });
        }
    }

    /// Whether one of these objects belongs to a set of a package with the same name.
    pub(crate) fn is_possible(ours: &Parent, live: &[Value]) -> bool {
        let others = live.iter().flat_map(|object| Owners::read(object).others(ours));
        others.into_iter().any(|other| ours.is_namesake(&other))
    }

    /// Whether there is nothing to take over or to report.
    pub(crate) fn is_empty(&self) -> bool {
        self.sets.is_empty() && self.refused.is_empty()
    }

    /// Returns the sets.
    pub(crate) fn sets(&self) -> impl Iterator<Item = &Set> {
        self.sets.iter().map(|(set, _)| set)
    }

    /// Returns the parents of the sets.
    pub(crate) fn parents(&self) -> BTreeSet<Parent> {
        self.sets().map(|set| set.parent.clone()).collect()
    }

    /// Returns the sets with their objects that are no longer in the manifests.
    pub(crate) fn leftovers(&self, now: &Set) -> Vec<(Set, BTreeMap<Member, Value>)> {
        let leftovers = |(set, objects): &(Set, BTreeMap<Member, Value>)| {
            let mut objects = objects.clone();
            objects.retain(|(namespace, id), _| !now.has(namespace, id));
            (set.clone(), objects)
        };
        self.sets.iter().map(leftovers).collect()
    }

    /// Whether the next run has nothing to take over.
    pub(crate) fn is_complete(&self) -> bool {
        self.refused.is_empty()
    }

    /// Deletes the records of the sets, whose objects belong to the project's set now.
    pub(crate) fn finish(&self, cx: &Cx, cluster: &Cluster) -> Result<()> {
        for parent in self.parents() {
            delete::delete_one(cx, cluster, (parent.namespace.clone(), parent.object()))?;
        }
        for refused in &self.refused {
            let text = refused.describe(&cluster.display_command(None));
            cx.emit(Event::Note { text });
        }
        Ok(())
    }
}

impl Refused {
    /// Describes the set, and how it is taken over.
    fn describe(&self, kubectl: &str) -> String {
        let Self { parent, others, cause } = self;
        let (verb, them) = if others.len() == 1 { ("is", "it") } else { ("are", "them") };
        let record = parent.object();
        let (recorded, condition) = match cause {
            Cause::NoProject => (
                format!("an older kdev recorded {them} in `{record}` without the project"),
                format!("this project applied {them}"),
            ),
            Cause::HostNameOnly => (
                format!(
                    "an older kdev recorded {them} in `{record}` without the ID of the machine"
                ),
                format!("this project applied {them}"),
            ),
            Cause::Package(package) => (
                format!("package `{package}` of this project recorded {them} in `{record}`"),
                format!("package `{package}` was renamed"),
            ),
        };
        format!(
            "{} {verb} not in the manifests, and {recorded}; run `{kubectl} delete {}` if {condition}",
            list(others),
            others.join(" ")
        )
    }
}
