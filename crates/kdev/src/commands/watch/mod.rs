//! `cargo kdev up --watch`: deploys again after each change of an input.
//!
//! - `beside.rs`: logs, forwarded ports, and a command, which run beside the cycles
//! - `cycle.rs`: runs one cycle, which a newer change may stop
//! - `failure.rs`: which errors a change of a file can fix
//! - `progress.rs`: the events of a cycle, and the times of its stages
//! - `remove.rs`: deletes at the end the packages that the watch has created
//! - `request.rs`: the options
//! - `services.rs`: the selected packages and their inputs

mod beside;
mod cycle;
mod failure;
mod progress;
mod remove;
mod request;
mod services;

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime};

use kdev_core::watch::retry::Retry;
use kdev_core::watch::stops::Stops;

use crate::commands::up::UpRequest;
use crate::commands::watch::cycle::{End, Trigger};
use crate::commands::watch::progress::Progress;
use crate::commands::watch::remove::Removal;
use crate::commands::watch::services::Services;
use crate::commands::{forward, live_pods};
use crate::cx::Cx;
use crate::error::{Error, Result};
use crate::event::{CycleOutcome, Event};
use crate::inputs::{InputClass, LastBuild};
use crate::process;
use crate::session::Session;
use crate::watch::changes::Changes;
use crate::watch::control::WatchControl;
use crate::watch::service::Service;

pub use request::{WatchOutput, WatchRequest};

/// How often requests of the user are noticed.
const CONTROL_INTERVAL: Duration = Duration::from_millis(100);

/// Deploys the selected packages, and again after each change of an input, until the run is
/// interrupted.
///
/// An error that no change of a file can fix ends the watch if it occurs in the first cycle. Later,
/// the cycle is repeated.
pub fn watch(cx: &Cx, request: &WatchRequest, output: WatchOutput) -> Result<()> {
    forward::check_ports(&request.ports)?;
    let removal =
        if request.down_on_exit { Some(Removal::prepare(cx, &request.up)?) } else { None };
    beside::run(cx, request, output.show_log, |cx| {
        run_cycles(cx, request, removal, output.show_error)
    })
}

fn run_cycles(
    cx: &Cx,
    request: &WatchRequest,
    removal: Option<Removal>,
    show_error: &dyn Fn(&Error),
) -> Result<()> {
    let (mut request, control) = (request.up.clone(), &request.control);
    request.apply_options.restart = true;
    let mut services = Services::default();
    let before = SystemTime::now();
    let found = services.read(cx, &request)?;
    // The settings may have changed between their reading and the first comparison.
    let are_settings_outdated = found.iter().any(|service| service.has_newer_settings(before));
    let session = Session::for_watch();
    let _open = session.close_at_end(cx);
    let changes = Changes::new(cx, &request.target, found);
    let mut trigger = Trigger::everything(&changes);
    let mut watch = Watch {
        cx,
        request,
        control,
        services,
        session: &session,
        changes,
        stops: Stops::default(),
        retry: Retry::default(),
        last_error: None,
        pending: BTreeSet::new(),
        are_settings_outdated,
        is_first: true,
        has_applied: false,
        busy_cycles: 0,
        removal,
        show_error,
    };
    loop {
        let next = watch.run(&mut trigger).and_then(|end| watch.wait(&trigger, &end));
        trigger = match next {
            Ok(next) => next,
            Err(error) => return watch.end(error),
        };
    }
}

/// How many cycles in a row may follow each other without a pause. A build that writes a file with
/// another name each time would never end. A change in a pause is one of the user, and ends it.
const MAX_BUSY_CYCLES: u32 = 2;

/// A running watch.
struct Watch<'a> {
    cx: &'a Cx<'a>,
    request: UpRequest,
    control: &'a WatchControl,
    services: Services,
    session: &'a Session,
    changes: Changes,
    stops: Stops,
    retry: Retry,
    /// The text of the error of the last cycle.
    last_error: Option<String>,
    /// The packages whose last cycle did not run to its end.
    pending: BTreeSet<String>,
    are_settings_outdated: bool,
    is_first: bool,
    has_applied: bool,
    /// The number of cycles in a row during which inputs have changed.
    busy_cycles: u32,
    /// What to delete at the end.
    removal: Option<Removal>,
    show_error: &'a dyn Fn(&Error),
}

impl Watch<'_> {
    /// Runs a cycle. Returns how it has ended, unless the watch ends.
    fn run(&mut self, trigger: &mut Trigger) -> Result<End> {
        let started = Instant::now();
        self.cx.emit(trigger.event(|path| self.services.display(path)));
        let (result, progress) = self.deploy(trigger);
        self.has_applied |= progress.context.is_some();
        // Another current context does not change the cluster of a watch, nor is this one confirmed
        // again.
        if self.request.target.explicit_context().is_none() {
            self.request.target.context.clone_from(&progress.context);
            self.control.set_context(progress.context.as_deref());
        }
        let end = match result {
            Ok(()) if progress.has_finished => End::Ready,
            Ok(()) => End::Unchanged,
            Err(error) if error.is_interrupt() && self.cx.interrupt().is_raised() => {
                return Err(error);
            }
            Err(error) if error.is_interrupt() => End::Stopped,
            Err(error) if failure::is_fixed_by_change(&error) => End::Failed(error),
            Err(error) if self.is_first => return Err(error),
            Err(error) => End::Unavailable(error),
        };
        self.is_first = false;
        self.record(trigger, &end);
        let (outcome, duration) = (self.report(&end), started.elapsed());
        let stages = progress.stages.totals();
        self.cx.emit(Event::CycleEnded { outcome, duration, stages });
        Ok(end)
    }

    /// Changes since the last comparison are newer ones, also those of settings that are read.
    fn deploy(&mut self, trigger: &mut Trigger) -> (Result<()>, Progress) {
        self.changes.services.iter_mut().for_each(Service::begin_cycle);
        self.are_settings_outdated |= trigger.classes().contains(&InputClass::Config);
        if self.are_settings_outdated {
            self.session.forget_settings();
            match self.services.read_again(self.cx, &self.request, &mut self.changes) {
                Ok(new) => trigger.packages.extend(new),
                Err(error) => return (Err(error), Progress::default()),
            }
            // Packages can leave the workspace.
            let services = &self.changes.services;
            let is_known =
                |package: &String| services.iter().any(|one| one.project.package == *package);
            trigger.packages.retain(is_known);
            self.pending.retain(is_known);
        }
        self.are_settings_outdated = false;
        trigger.plan(&self.session.images);
        let (packages, stops) = (&trigger.packages, &mut self.stops);
        cycle::run(self.cx, &self.request, self.session, packages, &mut self.changes, stops)
    }

    /// Records the result for the next cycles.
    fn record(&mut self, trigger: &Trigger, end: &End) {
        if matches!(end, End::Stopped) {
            self.stops.record();
        } else {
            self.stops.reset();
        }
        let is_done = match end {
            End::Ready | End::Unchanged => true,
            End::Failed(_) => !self.are_settings_outdated,
            End::Stopped | End::Unavailable(_) => false,
        };
        for package in &trigger.packages {
            if is_done {
                self.pending.remove(package);
            } else {
                self.pending.insert(package.clone());
            }
        }
        let has_failed = matches!(end, End::Failed(Error::Build(_) | Error::Services(_)));
        for service in &mut self.changes.services {
            if trigger.packages.contains(&service.project.package) {
                service.last_build =
                    if has_failed { LastBuild::Failed } else { LastBuild::Unknown };
            }
        }
    }

    /// Prints the error of a cycle, unless it is that of the cycle before.
    fn report(&mut self, end: &End) -> CycleOutcome {
        let error = match end {
            End::Stopped => return CycleOutcome::Stopped,
            End::Ready | End::Unchanged => {
                self.last_error = None;
                let is_ready = matches!(end, End::Ready);
                return if is_ready { CycleOutcome::Ready } else { CycleOutcome::Unchanged };
            }
            End::Failed(error) | End::Unavailable(error) => error,
        };
        let text = failure::full_text(error);
        if self.last_error.as_ref() == Some(&text) {
            return CycleOutcome::FailedAgain;
        }
        (self.show_error)(error);
        self.last_error = Some(text);
        CycleOutcome::Failed
    }

    /// Waits until a cycle must run.
    fn wait(&mut self, last: &Trigger, end: &End) -> Result<Trigger> {
        // The build may have changed the inputs, and their files.
        self.changes.compare(self.cx);
        self.changes.services.iter_mut().for_each(Service::end_cycle);
        // A file that is left out from now on is deployed once more, in case the user has saved it.
        let next = self.next_trigger(matches!(end, End::Stopped));
        self.leave_out_own_writes(last);
        self.busy_cycles = if next.is_some() { self.busy_cycles + 1 } else { 0 };
        let must_pause = matches!(end, End::Unavailable(_)) || self.busy_cycles > MAX_BUSY_CYCLES;
        let deadline = must_pause.then(|| Instant::now() + self.retry.fail());
        if !must_pause {
            self.retry.reset();
        }
        match next {
            Some(trigger) if !must_pause && !self.control.is_paused() => Ok(trigger),
            _ => self.wait_for_trigger(deadline),
        }
    }

    fn wait_for_trigger(&mut self, deadline: Option<Instant>) -> Result<Trigger> {
        let mut newer = 0;
        let inputs = self.changes.count_inputs();
        self.cx.emit(Event::Watching { inputs, newer });
        loop {
            let limit = Instant::now() + CONTROL_INTERVAL;
            // A paused watch waits longer.
            let rest = deadline.filter(|deadline| *deadline > Instant::now());
            let limit = rest.map_or(limit, |deadline| deadline.min(limit));
            let interrupt = self.cx.interrupt();
            let changed = self.changes.wait(self.cx, interrupt, Some(limit));
            // No build has changed them.
            self.changes.own_writes.include(&changed);
            if interrupt.is_raised() {
                return Err(process::Error::Interrupted(process::Interrupted).into());
            }
            if self.control.take_deploy() {
                self.are_settings_outdated = true;
                return Ok(Trigger::everything(&self.changes));
            }
            let is_over = deadline.is_some_and(|deadline| deadline <= Instant::now());
            match self.next_trigger(is_over) {
                Some(trigger) if !self.control.is_paused() => return Ok(trigger),
                Some(_) if !changed.is_empty() => {
                    newer += 1;
                    self.cx.emit(Event::Watching { inputs: self.changes.count_inputs(), newer });
                }
                _ => {}
            }
        }
    }

    /// Deletes the packages if that was requested, or reports after an interrupt that nothing was
    /// deleted.
    fn end(&self, error: Error) -> Result<()> {
        if let Err(failed) = self.delete_or_keep(&error) {
            if error.is_interrupt() {
                return Err(failed);
            }
            (self.show_error)(&failed);
        }
        if error.is_interrupt() && self.control.has_ended() { Ok(()) } else { Err(error) }
    }

    /// Deletes what the watch has created, if that was requested, or says that it stays.
    fn delete_or_keep(&self, error: &Error) -> Result<()> {
        if !self.has_applied {
            return Ok(());
        }
        if let Some(removal) = &self.removal {
            return removal.run(self.cx, &self.request);
        }
        if !error.is_interrupt() {
            return Ok(());
        }
        let UpRequest { selection, target, flags, .. } = &self.request;
        let flags = live_pods::repeatable_flags(selection, target, flags);
        let text = format!("the pods keep running; run `cargo kdev down{flags}` to delete them");
        self.cx.emit(Event::Note { text });
        Ok(())
    }

    /// Leaves out files that each build writes.
    fn leave_out_own_writes(&mut self, last: &Trigger) {
        let changed = self.changes.services.iter().flat_map(|service| service.changes(|_| false));
        let changed = changed.map(|change| change.path).collect();
        for path in self.changes.own_writes.filter(&last.changed, changed) {
            let path = self.services.display(&path);
            let text = format!(
                "each build writes `{path}`, so its changes during a build are ignored; write it to `OUT_DIR` instead"
            );
            self.cx.emit(Event::Note { text });
        }
    }

    /// Returns why a cycle must run: because of changes since the start of the last one, or because
    /// packages are pending.
    fn next_trigger(&self, is_pending_due: bool) -> Option<Trigger> {
        let changed = Trigger::find(&self.changes);
        if changed.is_none() && !is_pending_due {
            return None;
        }
        let mut trigger = changed.unwrap_or_default();
        trigger.packages.extend(self.pending.iter().cloned());
        Some(trigger)
    }
}
