//! Apply sets that the same project has recorded under another identity, or with an older kdev.

use std::collections::{BTreeMap, BTreeSet};

use kdev_core::kube::applyset::{Member, Parent, Set};
use kdev_core::kube::membership::Owners;
use kdev_core::kube::owner::Owner;
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
    /// Objects that only the record of an older kdev lists, and its parent.
    refused: Option<(Parent, Vec<String>)>,
}

impl Takeover {
    /// Finds the sets: those from the same folder of this machine that contain an object of
    /// `now`, and that of an older kdev, if every object of it is in the manifests. Otherwise,
    /// another project with the same package name may have recorded it.
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
        let Some(older) = &records.older else { return Ok(takeover) };
        let objects = labeled_objects(cx, cluster, older, &older.parent.selector())?;
        let is_other = |(namespace, id): &&Member| !now.has(namespace, id);
        let others: Vec<String> =
            objects.keys().filter(is_other).map(|(_, id)| id.clone()).collect();
        if others.is_empty() {
            takeover.sets.push((older.clone(), objects));
        } else {
            takeover.refused = Some((older.parent.clone(), others));
        }
        Ok(takeover)
    }

    /// Whether one of these objects belongs to a set of a package with the same name.
    pub(crate) fn is_possible(ours: &Parent, live: &[Value]) -> bool {
        let others = live.iter().flat_map(|object| Owners::read(object).others(ours));
        others.into_iter().any(|other| ours.is_namesake(&other))
    }

    /// Whether there is nothing to take over or to report.
    pub(crate) fn is_empty(&self) -> bool {
        self.sets.is_empty() && self.refused.is_none()
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
        self.refused.is_none()
    }

    /// Deletes the records of the sets, whose objects belong to the project's set now.
    pub(crate) fn finish(&self, cx: &Cx, cluster: &Cluster) -> Result<()> {
        for parent in self.parents() {
            delete::delete_one(cx, cluster, (parent.namespace.clone(), parent.object()))?;
        }
        if let Some((parent, others)) = &self.refused {
            let text = refusal(parent, others, &cluster.display_command(None));
            cx.emit(Event::Note { text });
        }
        Ok(())
    }
}

/// Describes a set of an older kdev that is not taken over.
fn refusal(parent: &Parent, others: &[String], kubectl: &str) -> String {
    let (verb, them) = if others.len() == 1 { ("is", "it") } else { ("are", "them") };
    format!(
        "{} {verb} not in the manifests, and an older kdev recorded {them} in `{}` without the project; run `{kubectl} delete {}` if this project applied {them}",
        list(others),
        parent.object(),
        others.join(" ")
    )
}
