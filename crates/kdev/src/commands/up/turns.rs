//! When each of several packages is applied. Packages are deployed at the same time, unless one of
//! them concerns another one.

use std::collections::BTreeSet;

use kdev_manifest::objects::Object;
use kdev_manifest::shared::SharedWorkload;

use crate::commands::order::Order;
use crate::cx::Cx;
use crate::error::Result;
use crate::parallel::Shared;
use crate::project::Project;

/// The packages of one run.
pub(super) struct Turns {
    packages: Vec<String>,
    /// The packages that a package is deployed after.
    after: Vec<BTreeSet<usize>>,
    /// The same with those that these are deployed after.
    after_all: Vec<BTreeSet<usize>>,
    state: Shared<Vec<State>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// Its manifests are not known yet.
    Reading,
    Building,
    Applying,
    Applied,
    Ended,
}

struct State {
    stage: Stage,
    /// Whether it is repeated after the others.
    is_deferred: bool,
    manifests: Manifests,
}

/// What the manifests of a package contain.
#[derive(Clone, Default)]
pub(super) struct Manifests {
    /// The namespace, kind, and name of each object.
    objects: BTreeSet<(String, String, String)>,
    /// The packages whose images they contain.
    siblings: BTreeSet<String>,
    /// Whether objects of others may need one of theirs: a Namespace or a
    /// CustomResourceDefinition.
    has_definitions: bool,
}

impl Manifests {
    pub(super) fn new(objects: &[Object], shared: &[SharedWorkload], namespace: &str) -> Self {
        let id = |object: &Object| {
            let namespace = object.namespace.as_deref().unwrap_or(namespace);
            (namespace.to_owned(), object.kind.clone(), object.name.clone())
        };
        let is_definition =
            |object: &Object| matches!(&*object.kind, "Namespace" | "CustomResourceDefinition");
        Self {
            objects: objects.iter().map(id).collect(),
            siblings: shared.iter().map(|one| one.package.clone()).collect(),
            has_definitions: objects.iter().any(is_definition),
        }
    }
}

/// The turn of one package. It ends when this is dropped.
pub(super) struct Turn<'a> {
    all: &'a Turns,
    index: usize,
}

impl Turns {
    /// The packages are in the order of their turns.
    pub(super) fn new(projects: &[Project], order: &Order) -> Self {
        let after = |one: &Project| {
            let others = projects.iter().enumerate();
            let others = others.filter(|(_, other)| order.is_after(one, other));
            others.map(|(index, _)| index).collect::<BTreeSet<usize>>()
        };
        let packages = projects.iter().map(|project| project.package.clone()).collect();
        Self::with_order(packages, projects.iter().map(after).collect())
    }

    fn with_order(packages: Vec<String>, after: Vec<BTreeSet<usize>>) -> Self {
        let mut after_all: Vec<BTreeSet<usize>> = Vec::new();
        // They are sorted, so those of earlier packages are complete.
        for direct in &after {
            let inherited = direct.iter().filter_map(|index| after_all.get(*index));
            let inherited: BTreeSet<usize> = inherited.flatten().copied().collect();
            after_all.push(direct.union(&inherited).copied().collect());
        }
        let state = |_: &String| State {
            stage: Stage::Reading,
            is_deferred: false,
            manifests: Manifests::default(),
        };
        let state = Shared::new(packages.iter().map(state).collect());
        Self { packages, after, after_all, state }
    }

    pub(super) fn turn(&self, index: usize) -> Turn<'_> {
        Turn { all: self, index }
    }

    /// Waits until `take` returns something.
    fn wait<T>(&self, cx: &Cx, mut take: impl FnMut(&mut [State]) -> Option<T>) -> Result<T> {
        self.state.wait(|| Ok(cx.check_interrupt()?), |state| take(state))
    }

    /// Returns whether two packages must not be applied at the same time.
    fn concern_each_other(&self, state: &[State], one: usize, other: usize) -> bool {
        let (a, b) = (&state[one].manifests, &state[other].manifests);
        !a.objects.is_disjoint(&b.objects)
            || a.siblings.contains(&self.packages[other])
            || b.siblings.contains(&self.packages[one])
    }

    /// Returns whether a package is applied before another one. Those with definitions come first,
    /// as far as `after` allows it.
    fn precedes(&self, state: &[State], one: usize, other: usize) -> bool {
        let must_precede =
            state[one].manifests.has_definitions || self.concern_each_other(state, one, other);
        let is_late = |index: usize| {
            let mut awaited = self.after_all[index].iter().chain([&index]);
            awaited.any(|awaited| state[*awaited].is_deferred)
        };
        must_precede && !is_late(one) && {
            let order = self.order(state);
            let position = |index| order.iter().position(|one| *one == index);
            position(one) < position(other)
        }
    }

    /// Returns an order without cycles.
    fn order(&self, state: &[State]) -> Vec<usize> {
        let mut left: BTreeSet<usize> = (0..self.packages.len()).collect();
        let defines = |index: usize| state[index].manifests.has_definitions;
        let is_needed = |index: usize| {
            defines(index)
                || self
                    .others(index)
                    .any(|one| defines(one) && self.after_all[one].contains(&index))
        };
        let mut order = Vec::new();
        while let Some(next) = left
            .iter()
            .copied()
            .filter(|index| self.after[*index].is_disjoint(&left))
            .min_by_key(|index| (!is_needed(*index), *index))
        {
            left.remove(&next);
            order.push(next);
        }
        order
    }

    /// Returns the other packages.
    fn others(&self, index: usize) -> impl Iterator<Item = usize> + use<> {
        (0..self.packages.len()).filter(move |other| *other != index)
    }

    /// Returns whether a package can be applied at any time.
    fn is_independent(&self, state: &[State], index: usize) -> bool {
        self.after[index].is_empty()
            && self.others(index).all(|other| {
                !self.concern_each_other(state, index, other)
                    && (!self.precedes(state, other, index) || state[other].stage >= Stage::Applied)
            })
    }

    fn may_apply(&self, state: &[State], index: usize) -> bool {
        let has_ended = |other: &usize| state[*other].stage == Stage::Ended;
        are_read(state)
            && self.after[index].iter().all(has_ended)
            && self.others(index).all(|other| {
                let is_applying = state[other].stage == Stage::Applying;
                !(is_applying && self.concern_each_other(state, index, other))
                    && (!self.precedes(state, other, index) || state[other].stage >= Stage::Applied)
            })
    }

    /// Returns whether a deferred package can be repeated: all others have ended, except for those
    /// that wait for it.
    fn may_repeat(&self, state: &[State], index: usize) -> bool {
        self.others(index).all(|other| {
            state[other].stage == Stage::Ended
                || (state[other].is_deferred && other > index)
                || self.after_all[other].contains(&index)
        })
    }
}

/// Returns whether the manifests of all packages are known.
fn are_read(state: &[State]) -> bool {
    state.iter().all(|one| one.stage != Stage::Reading)
}

impl Turn<'_> {
    /// Announces the manifests of the package.
    pub(super) fn announce(&self, manifests: Manifests) {
        self.set(|state| {
            state.manifests = manifests;
            state.stage = Stage::Building;
        });
    }

    /// Returns whether the package can be applied at any time. Waits until all manifests are known.
    pub(super) fn is_independent(&self, cx: &Cx) -> Result<bool> {
        let Self { all, index } = *self;
        all.wait(cx, |state| are_read(state).then(|| all.is_independent(state, index)))
    }

    /// Waits until the package may be applied.
    pub(super) fn begin(&self, cx: &Cx) -> Result<()> {
        let Self { all, index } = *self;
        all.wait(cx, |state| {
            let may_apply = all.may_apply(state, index);
            may_apply.then(|| state[index].stage = Stage::Applying)
        })
    }

    /// Lets others be applied.
    pub(super) fn end_apply(&self) {
        self.set(|state| state.stage = Stage::Applied);
    }

    /// Waits until all others have ended, except for those that wait for this one, so that it can
    /// be repeated.
    pub(super) fn defer(&self, cx: &Cx) -> Result<()> {
        let Self { all, index } = *self;
        self.set(|state| {
            state.is_deferred = true;
            // Others need not wait for its manifests.
            state.stage = Stage::Building;
        });
        all.wait(cx, |state| all.may_repeat(state, index).then_some(()))
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        self.all.state.change(|state| change(&mut state[self.index]));
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.set(|state| state.stage = Stage::Ended);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packages with these objects, and the packages that they are deployed after.
    fn turns(packages: &[(&[&str], &[usize])]) -> Turns {
        let names = (0..packages.len()).map(|index| index.to_string()).collect();
        let after = packages.iter().map(|(_, after)| after.iter().copied().collect()).collect();
        let turns = Turns::with_order(names, after);
        for (state, (objects, _)) in turns.state.lock().iter_mut().zip(packages) {
            let id = |name: &&str| (String::new(), "Kind".to_owned(), (*name).to_owned());
            state.manifests.objects = objects.iter().map(id).collect();
            state.manifests.has_definitions = objects.contains(&"definition");
            state.stage = Stage::Building;
        }
        turns
    }

    /// The packages that may be applied.
    fn free(turns: &Turns) -> Vec<usize> {
        let state = turns.state.lock();
        let is_free = |index: &usize| {
            state[*index].stage == Stage::Building && turns.may_apply(&state, *index)
        };
        (0..state.len()).filter(is_free).collect()
    }

    fn set(turns: &Turns, index: usize, stage: Stage) {
        turns.state.lock()[index].stage = stage;
    }

    #[test]
    fn packages_with_common_objects_are_applied_in_order() {
        let turns = turns(&[(&["a"], &[]), (&["b"], &[]), (&["b", "c"], &[]), (&["c"], &[])]);
        let is_independent = |index| turns.is_independent(&turns.state.lock(), index);
        assert_eq!([0, 1, 2, 3].map(is_independent), [true, false, false, false]);
        assert_eq!(free(&turns), [0, 1]);
        set(&turns, 1, Stage::Applying);
        assert_eq!(free(&turns), [0]);
        set(&turns, 1, Stage::Applied);
        assert_eq!(free(&turns), [0, 2]);
        // Also if it has failed before.
        set(&turns, 2, Stage::Ended);
        assert_eq!(free(&turns), [0, 3]);
    }

    #[test]
    fn nothing_is_applied_before_all_manifests_are_known() {
        let turns = turns(&[(&["a"], &[]), (&["b"], &[])]);
        set(&turns, 1, Stage::Reading);
        assert_eq!(free(&turns), [0; 0]);
        set(&turns, 1, Stage::Ended);
        assert_eq!(free(&turns), [0]);
    }

    #[test]
    fn package_is_applied_after_the_end_of_others() {
        let turns = turns(&[(&["a"], &[]), (&["b"], &[0]), (&["c"], &[1])]);
        for (stage, expected) in [(Stage::Applied, vec![]), (Stage::Ended, vec![1])] {
            set(&turns, 0, stage);
            assert_eq!(free(&turns), expected, "{stage:?}");
        }
    }

    #[test]
    fn definitions_are_applied_first_without_deadlock() {
        let turns = turns(&[(&["a"], &[]), (&["b"], &[]), (&["definition", "a"], &[1])]);
        // The order of `after` counts, too.
        assert_eq!(free(&turns), [1]);
        set(&turns, 1, Stage::Ended);
        assert_eq!(free(&turns), [2]);
        set(&turns, 2, Stage::Applied);
        assert_eq!(free(&turns), [0]);
    }

    #[test]
    fn deferred_package_is_repeated_last() {
        let turns = turns(&[(&["a"], &[]), (&["a", "d"], &[]), (&["c"], &[0]), (&["c", "d"], &[])]);
        turns.state.lock()[0].is_deferred = true;
        let may_repeat = || turns.may_repeat(&turns.state.lock(), 0);
        // The others need not wait for it, nor for those that do.
        assert_eq!(free(&turns), [0, 1]);
        assert!(!may_repeat());
        set(&turns, 1, Stage::Ended);
        assert_eq!(free(&turns), [0, 3]);
        set(&turns, 3, Stage::Ended);
        assert!(may_repeat());
    }
}
