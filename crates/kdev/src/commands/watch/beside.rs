//! What runs beside the cycles: logs, forwarded ports, and a command after each cycle. The events of
//! the cycles start and stop it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use xshell::cmd;

use crate::commands::forward;
use crate::commands::live_pods::LiveProject;
use crate::commands::logs;
use crate::commands::watch::request::WatchRequest;
use crate::config::Config;
use crate::cx::{Cx, Interrupt};
use crate::error::{Error, Result};
use crate::event::{CycleOutcome, Event, Message};
use crate::inputs::InputClass;
use crate::logs::Show;
use crate::process::Command;

/// Time that passes between the apply and the first request for logs at most.
const REQUEST_DELAY: Duration = Duration::from_secs(2);

/// An event of a cycle.
enum Notice {
    Began { has_new_settings: bool },
    Built { package: Option<String>, image: String },
    Applied { package: Option<String>, context: String },
    Ended { is_ready: bool },
}

/// Runs the cycles, and the rest beside them.
pub(super) fn run(
    cx: &Cx,
    request: &WatchRequest,
    show_log: Show,
    cycles: impl FnOnce(&Cx) -> Result<()>,
) -> Result<()> {
    let (send, notices) = mpsc::channel();
    let end = cx.interrupt().child();
    let beside_cx = cx.clone().with_interrupt(end.clone());
    thread::scope(|scope| {
        let beside = Beside { cx: &beside_cx, request, show_log, started: Instant::now() };
        scope.spawn(move || beside.run(&notices, &end));
        // Dropped with the sender at the end of the cycles.
        let on_event = move |message: Message| {
            if let Some(notice) = Notice::new(&message) {
                let _ = send.send(notice);
            }
            cx.forward(message);
        };
        cycles(&cx.with_events(&on_event))
    })
}

impl Notice {
    fn new(message: &Message) -> Option<Self> {
        Some(match &message.event {
            Event::CycleBegan { classes, .. } => {
                Self::Began { has_new_settings: classes.contains(&InputClass::Config.as_str()) }
            }
            Event::Built { image, .. } => {
                Self::Built { package: message.package.clone(), image: image.clone() }
            }
            Event::Applied { context, .. } | Event::Unchanged { context } => {
                Self::Applied { package: message.package.clone(), context: context.clone() }
            }
            Event::CycleEnded { outcome, .. } => Self::Ended {
                is_ready: matches!(outcome, CycleOutcome::Ready | CycleOutcome::Unchanged),
            },
            _ => return None,
        })
    }
}

/// A thread, and the flag that stops it.
struct Task<'scope> {
    stop: Interrupt,
    thread: ScopedJoinHandle<'scope, ()>,
}

impl Task<'_> {
    fn end(self) {
        self.stop.raise();
        let _ = self.thread.join();
    }
}

#[derive(Clone, Copy)]
struct Beside<'a> {
    cx: &'a Cx<'a>,
    request: &'a WatchRequest,
    show_log: Show<'a>,
    started: Instant,
}

/// The current state of the cycles.
#[derive(Default)]
struct State<'scope> {
    context: String,
    /// The images by package.
    images: BTreeMap<Option<String>, String>,
    /// Whether the settings may have changed since the last apply.
    has_new_settings: bool,
    /// The applied packages; none if only one is watched.
    applied: BTreeSet<String>,
    then: Option<Task<'scope>>,
    logs: Live<'scope>,
    ports: Live<'scope>,
}

/// A task that follows the pods.
#[derive(Default)]
struct Live<'scope> {
    task: Option<Task<'scope>>,
    /// What it depends on: the namespaces, and the images or the ports.
    scope: [Vec<String>; 2],
    /// When it was ended.
    ended: Option<Instant>,
}

impl Live<'_> {
    fn is_running(&self) -> bool {
        self.task.as_ref().is_some_and(|task| !task.thread.is_finished())
    }

    /// Ends the task, unless it still runs with this scope. Returns whether it has ended.
    fn end_unless(&mut self, scope: [Vec<String>; 2]) -> bool {
        if self.is_running() && self.scope == scope {
            return false;
        }
        self.scope = scope;
        if let Some(task) = self.task.take() {
            task.end();
            self.ended = Some(Instant::now());
        }
        true
    }
}

impl<'a> Beside<'a> {
    fn run(self, notices: &Receiver<Notice>, end: &Interrupt) {
        thread::scope(|scope| {
            let mut state = State::default();
            for notice in notices {
                self.handle(scope, &mut state, notice);
            }
            end.raise();
        });
    }

    fn handle<'scope>(
        self,
        scope: &'scope Scope<'scope, 'a>,
        state: &mut State<'scope>,
        notice: Notice,
    ) where
        'a: 'scope,
    {
        match notice {
            Notice::Began { has_new_settings } => {
                state.has_new_settings |= has_new_settings;
                if let Some(then) = state.then.take() {
                    then.end();
                }
            }
            Notice::Built { package, image } => {
                state.images.insert(package, image);
            }
            Notice::Applied { package, context } => {
                state.context = context;
                let is_new = package.is_some_and(|package| state.applied.insert(package));
                // Which of several packages has a port is known when all of them are applied.
                let finds_ports = self.request.ports.is_empty() || state.applied.is_empty();
                self.follow(scope, state, is_new, finds_ports);
            }
            Notice::Ended { is_ready } => {
                if state.ports.task.is_none() && !state.applied.is_empty() {
                    self.follow(scope, state, true, true);
                }
                if !is_ready {
                    return;
                }
                let Some(command) = &self.request.then else { return };
                let images: Vec<&str> = state.images.values().map(String::as_str).collect();
                let (images, context) = (images.join(" "), state.context.clone());
                let run = move |cx: &Cx| run_then(cx, command, &images, &context);
                state.then = Some(self.start(scope, run));
            }
        }
    }

    fn start<'scope>(
        self,
        scope: &'scope Scope<'scope, 'a>,
        run: impl FnOnce(&Cx) + Send + 'scope,
    ) -> Task<'scope>
    where
        'a: 'scope,
    {
        let stop = self.cx.interrupt().child();
        let cx = self.cx.clone().with_interrupt(stop.clone());
        Task { stop, thread: scope.spawn(move || run(&cx)) }
    }

    /// Starts the logs and the forwarded ports, and again if the settings that they depend on have
    /// changed, or if an error has ended all of them.
    fn follow<'scope>(
        self,
        scope: &'scope Scope<'scope, 'a>,
        state: &mut State<'scope>,
        has_new_package: bool,
        finds_ports: bool,
    ) where
        'a: 'scope,
    {
        let WatchRequest { up, logs, forward, ports, .. } = self.request;
        let is_running = state.logs.is_running() || state.ports.is_running();
        let has_changed = state.has_new_settings || has_new_package;
        if !(*logs || *forward) || (is_running && !has_changed) {
            return;
        }
        let mut target = up.target.clone();
        target.context = Some(state.context.clone());
        let read = || LiveProject::read(self.cx, &up.selection, &target, &up.flags);
        let (Ok(of_logs), Ok(mut of_ports)) = (read(), read()) else { return };
        state.has_new_settings = false;
        let images = |project: &LiveProject| {
            project.configs.iter().map(|config| config.image.name().to_string()).collect()
        };
        if *logs && state.logs.end_unless([of_logs.namespaces.clone(), images(&of_logs)]) {
            // Lines that were already shown are not repeated.
            let shown = state.logs.ended.map(|ended| ended.elapsed());
            let since = shown.unwrap_or_else(|| self.started.elapsed() + REQUEST_DELAY);
            let run = move |cx: &Cx| {
                let result = logs::follow_project(cx, &of_logs, since, self.show_log);
                note_end(cx, "the logs are not shown", result);
            };
            state.logs.task = Some(self.start(scope, run));
        }
        // A package that is not applied yet has no workload whose ports could be forwarded.
        let is_applied =
            |config: &Config| state.applied.is_empty() || state.applied.contains(&config.package);
        of_ports.configs.retain(is_applied);
        let of_settings = of_ports.configs.iter().flat_map(|config| config.forward.clone());
        let targets = images(&of_ports).into_iter().chain(of_settings).collect();
        if *forward && finds_ports && state.ports.end_unless([of_ports.namespaces.clone(), targets])
        {
            let run = move |cx: &Cx| match forward::forward_live(cx, &of_ports, ports) {
                // Without a request, a workload needs no port.
                Err(Error::Forward(error)) if ports.is_empty() && error.is_missing_port() => {}
                result => note_end(cx, "no port is forwarded", result),
            };
            state.ports.task = Some(self.start(scope, run));
        }
    }
}

fn note_end(cx: &Cx, text: &str, result: Result<()>) {
    if let Err(error) = result
        && !error.is_interrupt()
    {
        cx.emit(Event::Note { text: format!("{text}: {error}") });
    }
}

/// Runs the command of the user, and reports its failure.
fn run_then(cx: &Cx, command: &str, images: &str, context: &str) {
    let Ok(sh) = cx.shell() else { return };
    let cmd = cmd!(sh, "sh -c {command}");
    let cmd = cmd.env("KDEV_CYCLE_IMAGE", images).env("KDEV_CYCLE_CONTEXT", context);
    let started = Instant::now();
    Command::new(cmd).run_with_rest(cx, "then", |result| match result {
        Err(failure) if failure.is_interrupt() => {}
        result => {
            let command = command.to_owned();
            let failure = result.err().map(|failure| failure.outcome.to_string());
            cx.emit(Event::CommandEnded { command, failure, duration: started.elapsed() });
        }
    });
}
