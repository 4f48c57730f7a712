//! Finds objects that were applied but are no longer in the manifests, by the label of the
//! apply set, and deletes them with `--prune`.

use std::collections::{BTreeMap, BTreeSet};

use kdev_core::kube::applyset::{self, Member, Parent, Set};
use kdev_core::kube::owner::Owner;
use kdev_core::text::list;
use serde_json::Value;

use crate::apply::delete::Deletion;
use crate::apply::diff::ObjectDiff;
use crate::apply::error::Result;
use crate::apply::members;
use crate::apply::origin;
use crate::apply::record::{self, Records};
use crate::apply::server_side::ApplyOptions;
use crate::apply::sharing::{self, Shared};
use crate::apply::takeover::Takeover;
use crate::cluster::Cluster;
use crate::cx::Cx;
use crate::event::Event;

/// The recorded apply set, the objects of the cluster, and the stale ones among them.
pub(crate) struct PrunePlan<'a> {
    cx: &'a Cx<'a>,
    cluster: &'a Cluster,
    owner: &'a Owner,
    before: Option<Set>,
    /// The set that an older kdev has recorded.
    older: Option<Set>,
    /// The members of the new set that exist.
    live: Vec<Value>,
    /// Objects that are no longer in the manifests.
    stale: BTreeMap<Member, Value>,
    /// Objects that are no longer in the manifests, and that other sets contain.
    shared: Shared,
    takeover: Takeover,
    /// Objects of the sets to take over that are no longer in the manifests.
    leftovers: Vec<Leftovers>,
    /// Whether nothing has to be recorded.
    is_unchanged: bool,
}

/// Objects of a set to take over that are no longer in the manifests.
struct Leftovers {
    taken: Set,
    objects: BTreeMap<Member, Value>,
    /// Those that sets of other projects contain, too.
    shared: Shared,
}

impl<'a> PrunePlan<'a> {
    /// Finds the objects in the cluster that are no longer in the apply set. If the set does not
    /// differ from the recorded one, this makes no request.
    pub(crate) fn new(
        cx: &'a Cx<'a>,
        cluster: &'a Cluster,
        owner: &'a Owner,
        now: &Set,
        compared: &[ObjectDiff],
        set_differs: bool,
    ) -> Result<Self> {
        let unchanged = Self {
            cx,
            cluster,
            owner,
            before: Some(now.clone()),
            older: None,
            live: origin::compared_members(now, compared),
            stale: BTreeMap::new(),
            shared: Shared::none(&now.parent),
            takeover: Takeover::default(),
            leftovers: Vec::new(),
            is_unchanged: true,
        };
        if !set_differs && !Takeover::is_possible(&now.parent, &unchanged.live) {
            return Ok(unchanged);
        }
        let records = Records::read(cx, cluster, owner, &now.parent)?;
        let live = origin::live_members(cx, cluster, now, compared)?;
        let takeover = Takeover::find(cx, cluster, owner, now, &live, &records)?;
        let is_recorded = records.is_complete && records.ours.as_ref() == Some(now);
        if is_recorded && takeover.is_empty() {
            return Ok(unchanged);
        }
        let Records { ours: before, older, is_complete } = records;
        let has_left = |set: &Set| set.members().any(|(namespace, id)| !now.has(&namespace, &id));
        let mut stale = match &before {
            Some(set) if has_left(set) => members::recorded_objects(cx, cluster, set)?,
            _ => BTreeMap::new(),
        };
        if let Some(set) = before.as_ref().filter(|set| !is_complete && has_left(set)) {
            stale.extend(origin::find_unlabeled(cx, cluster, set)?);
        }
        stale.retain(|(namespace, id), _| !now.has(namespace, id));
        let mut ours = takeover.parents();
        ours.insert(now.parent.clone());
        let shared = Shared::take_from_except(cx, cluster, &now.parent, &ours, &mut stale)?;
        let mut leftovers = Vec::new();
        for (taken, mut objects) in takeover.leftovers(now) {
            let is_stale = |member: &Member| stale.contains_key(member) || shared.contains(member);
            objects.retain(|member, _| !is_stale(member));
            let shared = Shared::take_from_except(cx, cluster, &taken.parent, &ours, &mut objects)?;
            leftovers.push(Leftovers { taken, objects, shared });
        }
        let is_unchanged = false;
        Ok(Self {
            before,
            older,
            live,
            stale,
            shared,
            takeover,
            leftovers,
            is_unchanged,
            ..unchanged
        })
    }

    /// Whether the namespace of the record is one of the objects that do not exist yet.
    pub(crate) fn creates_namespace(&self, now: &Set) -> bool {
        let id = format!("namespace/{}", now.parent.namespace);
        now.has("", &id) && !self.live.iter().any(|object| applyset::id(object) == id)
    }

    /// Writes the record before anything is applied.
    pub(crate) fn begin(&self, now: &Set) -> Result<()> {
        if self.is_unchanged {
            return Ok(());
        }
        let sets = self.before.iter().chain(self.takeover.sets()).cloned();
        let set = sets.fold(now.clone(), Set::with);
        record::begin(self.cx, self.cluster, self.owner, &set)
    }

    /// Labels the objects, deletes or reports the stale ones, and then records the apply set. If
    /// this is interrupted, the next run repeats it, because the recorded set still differs.
    /// `deleted` are objects that were recreated, as they were before, and `applied` objects as they
    /// are now.
    pub(crate) fn finish(
        mut self,
        now: Set,
        deleted: &[Value],
        applied: &[Value],
        options: ApplyOptions,
    ) -> Result<()> {
        let (cx, cluster) = (self.cx, self.cluster);
        let replaced = self.takeover.parents();
        let before = [self.live.as_slice(), deleted].concat();
        let joining = sharing::Joining { before: &before, applied };
        joining.join(cx, cluster, &now, &replaced, !self.is_unchanged)?;
        if self.is_unchanged {
            return Ok(());
        }
        let mut set = now;
        for leftovers in std::mem::take(&mut self.leftovers) {
            let kept = self.prune_leftovers(&set.parent, leftovers, options)?;
            if !kept.members.is_empty() {
                set = set.with(kept);
            }
        }
        if let Some(before) = self.before.take() {
            let kept = self.prune(&before, options)?;
            if !kept.is_empty() {
                // Stale objects stay in the recorded set, so that a later run finds them.
                let members = members::as_members(&kept);
                set = set.with(Set { members, ..before });
            }
        }
        self.shared.release(cx, cluster, self.owner)?;
        record::finish(cx, cluster, &set, self.takeover.is_complete())?;
        self.takeover.finish(cx, cluster)
    }

    /// Marks the objects that kdev has not created, before it applies them.
    pub(crate) fn mark_existing(&self, now: &Set) -> Result<()> {
        if self.cx.is_dry_run() && self.is_unchanged {
            return Ok(());
        }
        let (before, older) = (self.before.as_ref(), self.older.as_ref());
        origin::mark_existing(self.cx, self.cluster, now, before, older, &self.live)
    }

    /// Asks the user if a prune will delete data.
    pub(crate) fn confirm(&self, options: ApplyOptions) -> Result<()> {
        if !options.prune {
            return Ok(());
        }
        let stale = self.before.iter().map(|before| (before, &self.stale, &self.shared));
        let taken = self
            .leftovers
            .iter()
            .map(|leftovers| (&leftovers.taken, &leftovers.objects, &leftovers.shared));
        for (set, objects, shared) in stale.chain(taken) {
            let deletion = Deletion::new(set, objects.clone(), shared, options.delete_data);
            deletion.confirm(self.cx, self.cluster, options.yes)?;
        }
        Ok(())
    }

    /// Deletes or reports the stale objects, and returns those that stay in the set.
    fn prune(&mut self, before: &Set, options: ApplyOptions) -> Result<BTreeSet<Member>> {
        let deletion = Deletion::new(before, self.stale.clone(), &self.shared, options.delete_data);
        self.shared.leave_out(|namespace| options.prune && deletion.deletes_namespace(namespace));
        self.delete_or_report(deletion, options)
    }

    /// Deletes or reports the leftovers of a set, and returns the part of the set that stays. Its
    /// objects become members of `ours`, so that a later run finds them.
    fn prune_leftovers(
        &self,
        ours: &Parent,
        leftovers: Leftovers,
        options: ApplyOptions,
    ) -> Result<Set> {
        let Leftovers { taken, mut objects, mut shared } = leftovers;
        let deletion = Deletion::new(&taken, objects.clone(), &shared, options.delete_data);
        shared.leave_out(|namespace| options.prune && deletion.deletes_namespace(namespace));
        let kept = self.delete_or_report(deletion, options)?;
        objects.retain(|member, _| kept.contains(member));
        let replaced = self.takeover.parents();
        sharing::move_objects(self.cx, self.cluster, ours, &replaced, &objects)?;
        shared.release(self.cx, self.cluster, self.owner)?;
        Ok(Set { members: members::as_members(&kept), ..taken })
    }

    fn delete_or_report(
        &self,
        deletion: Deletion,
        options: ApplyOptions,
    ) -> Result<BTreeSet<Member>> {
        if options.prune {
            let kept = deletion.run(self.cx, self.cluster)?;
            self.report_stale(&kept.data, "--prune --delete-data");
            return Ok(kept.all);
        }
        let kept = deletion.release_foreign(self.cx, self.cluster)?;
        self.report_stale(&kept, "--prune");
        Ok(kept)
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
