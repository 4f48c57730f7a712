//! What runs beside the cycles: logs, forwarded ports, and a command after each cycle. The events of
//! the cycles start and stop it.

use std::collections::BTreeMap;
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use xshell::cmd;

use crate::commands::forward;
use crate::commands::live_pods::LiveProject;
use crate::commands::logs;
use crate::commands::watch::request::WatchRequest;
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
    Applied { context: String },
    Ready,
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
                Self::Applied { context: context.clone() }
            }
            Event::CycleEnded {
                outcome: CycleOutcome::Ready | CycleOutcome::Unchanged, ..
            } => Self::Ready,
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
    /// What the logs and the forwarded ports depend on.
    scope: Option<LiveScope>,
    then: Option<Task<'scope>>,
    live: Vec<Task<'scope>>,
}

/// What the logs and the forwarded ports depend on.
#[derive(PartialEq, Eq)]
struct LiveScope {
    namespaces: Vec<String>,
    images: Vec<String>,
    forward: Vec<String>,
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
            Notice::Applied { context } => {
                state.context = context;
                self.follow(scope, state);
            }
            Notice::Ready => {
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
    fn follow<'scope>(self, scope: &'scope Scope<'scope, 'a>, state: &mut State<'scope>)
    where
        'a: 'scope,
    {
        let WatchRequest { up, logs, forward, ports, .. } = self.request;
        let is_running = state.live.iter().any(|task| !task.thread.is_finished());
        if !(*logs || *forward) || (is_running && !state.has_new_settings) {
            return;
        }
        let mut target = up.target.clone();
        target.context = Some(state.context.clone());
        let read = || LiveProject::read(self.cx, &up.selection, &target, &up.flags);
        let (Ok(of_logs), Ok(of_ports)) = (read(), read()) else { return };
        state.has_new_settings = false;
        let live_scope = Some(LiveScope::new(&of_logs));
        if is_running && state.scope == live_scope {
            return;
        }
        state.live.drain(..).for_each(Task::end);
        state.scope = live_scope;
        let since = self.started.elapsed() + REQUEST_DELAY;
        if *logs {
            let run = move |cx: &Cx| {
                let result = logs::follow_project(cx, &of_logs, since, self.show_log);
                note_end(cx, "the logs are not shown", result);
            };
            state.live.push(self.start(scope, run));
        }
        if *forward {
            let run = move |cx: &Cx| match forward::forward_live(cx, &of_ports, ports) {
                // Without a request, a workload needs no port.
                Err(Error::Forward(error)) if ports.is_empty() && error.is_missing_port() => {}
                result => note_end(cx, "no port is forwarded", result),
            };
            state.live.push(self.start(scope, run));
        }
    }
}

impl LiveScope {
    fn new(project: &LiveProject) -> Self {
        let configs = &project.configs;
        Self {
            namespaces: project.namespaces.clone(),
            images: configs.iter().map(|config| config.image.name().to_string()).collect(),
            forward: configs.iter().flat_map(|config| config.forward.clone()).collect(),
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
    match Command::new(cmd).run(cx, "then") {
        Err(failure) if failure.is_interrupt() => {}
        result => {
            let command = command.to_owned();
            let failure = result.err().map(|failure| failure.outcome.to_string());
            cx.emit(Event::CommandEnded { command, failure, duration: started.elapsed() });
        }
    }
}
