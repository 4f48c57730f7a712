//! Runs one cycle, which a newer change may stop.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use kdev_core::watch::stops::Stops;

use crate::commands::up::{UpRequest, up_again};
use crate::commands::watch::progress::Progress;
use crate::cx::{Cx, Interrupt, NewerChanges};
use crate::error::{Error, Result};
use crate::event::{Event, Message};
use crate::inputs::InputClass;
use crate::parallel::join_thread;
use crate::project::Project;
use crate::session::Session;
use crate::session::images::KeptImages;
use crate::watch::changes::Changes;

/// Why a cycle runs.
#[derive(Clone, Debug, Default)]
pub(super) struct Trigger {
    /// The packages that it deploys.
    pub(super) packages: BTreeSet<String>,
    /// The inputs that have changed.
    pub(super) changed: BTreeSet<PathBuf>,
    /// Their classes in each package.
    pub(super) classes: BTreeMap<String, BTreeSet<InputClass>>,
}

/// How a cycle has ended.
pub(super) enum End {
    Ready,
    /// The build has created the deployed image again.
    Unchanged,
    /// An input has changed since its start.
    Stopped,
    /// With an error that a change of an input can fix.
    Failed(Error),
    /// With another error.
    Unavailable(Error),
}

impl Trigger {
    /// Deploys all packages.
    pub(super) fn everything(changes: &Changes) -> Self {
        let packages = changes.services.iter().map(|service| service.project.package.clone());
        Self { packages: packages.collect(), ..Self::default() }
    }

    /// Returns the changes since the start of the last cycle, if there are any.
    pub(super) fn find(changes: &Changes) -> Option<Self> {
        let mut trigger = Self::default();
        for service in &changes.services {
            for change in service.changes(|path| changes.own_writes.is_left_out(path)) {
                let package = &service.project.package;
                trigger.packages.insert(package.clone());
                trigger.changed.insert(change.path);
                trigger.classes.entry(package.clone()).or_default().extend(change.classes);
            }
        }
        (!trigger.changed.is_empty()).then_some(trigger)
    }

    /// Returns the classes of the inputs of a package that have changed.
    fn classes_of(&self, package: &str) -> BTreeSet<InputClass> {
        self.classes.get(package).cloned().unwrap_or_default()
    }

    /// Returns the classes of all changed inputs.
    pub(super) fn classes(&self) -> BTreeSet<InputClass> {
        self.classes.values().flatten().copied().collect()
    }

    /// Plans what a cycle does for each package.
    pub(super) fn plan(&self, images: &KeptImages) {
        for package in &self.packages {
            images.plan(package, &self.classes_of(package));
        }
    }

    pub(super) fn event(&self, display: impl Fn(&PathBuf) -> String) -> Event {
        let changed = self.changed.iter().map(display).collect();
        Event::CycleBegan {
            changed,
            classes: self.classes().iter().map(|one| one.as_str()).collect(),
        }
    }
}

/// Deploys packages, and notices newer changes during that.
pub(super) fn run(
    cx: &Cx,
    request: &UpRequest,
    session: &Session,
    packages: &BTreeSet<String>,
    changes: &mut Changes,
    stops: &mut Stops,
) -> (Result<()>, Progress) {
    let progress = Mutex::new(Progress::default());
    let started = changes.elapsed();
    let clock = Instant::now();
    let on_event = |message: Message| {
        let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
        let is_passed_on = progress.record(&message.event, clock.elapsed());
        drop(progress);
        if is_passed_on {
            cx.forward(message);
        }
    };
    let request = select(request, packages, changes);
    // A change of the settings has read them again.
    let projects = changes.services.iter().map(|service| &service.project);
    let projects = projects.filter(|project| packages.contains(&project.package));
    let projects: Vec<Project> = projects.cloned().collect();
    let (newer, done) = (NewerChanges::default(), cx.interrupt().child());
    let cycle_cx = cx.with_events(&on_event).with_newer_changes(newer.clone());
    // The others keep their images and their pods.
    let cycle_cx = match projects.as_slice() {
        [project] if changes.services.len() > 1 => cycle_cx.for_service(&project.package),
        _ => cycle_cx,
    };
    stops.begin(started);
    let result = thread::scope(|scope| {
        let noticing = scope.spawn(|| notice(cx, changes, &done, &newer, stops));
        let end = done.raise_at_end();
        let result = up_again(&cycle_cx, &request, projects, session);
        drop(end);
        join_thread(noticing);
        result
    });
    (result, progress.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Stops the cycle when an input has changed since its start.
fn notice(cx: &Cx, changes: &mut Changes, done: &Interrupt, newer: &NewerChanges, stops: &Stops) {
    let mut count = 0;
    while !changes.wait(cx, done, None).is_empty() {
        if Trigger::find(changes).is_none() {
            continue;
        }
        count += 1;
        cx.emit(Event::Watching { inputs: changes.count_inputs(), newer: count });
        if stops.may_stop_wait() {
            newer.wait.raise();
        }
        if stops.may_stop_build(changes.elapsed()) {
            newer.build.raise();
        }
    }
}

/// Returns the request for some of the selected packages.
fn select(request: &UpRequest, packages: &BTreeSet<String>, changes: &Changes) -> UpRequest {
    let mut request = request.clone();
    if changes.services.iter().any(|service| !packages.contains(&service.project.package)) {
        request.selection.packages = packages.iter().cloned().collect();
        request.selection.workspace = false;
        request.selection.exclude.clear();
    }
    request
}
