//! The context of a run, which every stage gets: event output, interrupt, dry run, cache.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::event::{Event, Message};

/// A terminal that is closed, and its shell, both send a signal. Signals in this time are one.
const SIGNAL_PAUSE: Duration = Duration::from_millis(200);

/// The context of one run. The library does not print, and does not read the arguments and
/// environment variables of its process: it gets everything from this context and from the
/// settings.
#[derive(Clone)]
pub struct Cx<'a> {
    events: &'a (dyn Fn(Message) + Sync),
    /// The package that the events belong to.
    package: Option<String>,
    confirm: Option<&'a (dyn Fn(&str) -> bool + Sync)>,
    interrupt: Interrupt,
    newer: NewerChanges,
    build_output: BuildOutput,
    dry_run: bool,
    cache_dir: Option<PathBuf>,
    state_dir: Option<PathBuf>,
    docker_settings: DockerSettings,
    cargo_home: Option<PathBuf>,
    program: Option<PathBuf>,
}

/// The settings of the Docker client that select a daemon, a builder, and a platform. The
/// client reads them itself; they are only needed to notice that they have changed.
#[derive(Clone, Debug, Default)]
pub struct DockerSettings {
    /// The variables that are set.
    pub variables: BTreeMap<String, String>,
    /// The client's directory.
    pub config_dir: Option<PathBuf>,
}

impl DockerSettings {
    /// The variables that belong to these settings.
    pub const VARIABLES: [&'static str; 7] = [
        "DOCKER_HOST",
        "DOCKER_CONTEXT",
        "DOCKER_CONFIG",
        "DOCKER_BUILDKIT",
        "DOCKER_DEFAULT_PLATFORM",
        "BUILDX_BUILDER",
        "BUILDX_CONFIG",
    ];

    /// Returns a variable, if it is set and not empty.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        debug_assert!(Self::VARIABLES.contains(&name));
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Returns the directory of buildx.
    pub(crate) fn buildx_dir(&self) -> Option<PathBuf> {
        let own = self.variable("BUILDX_CONFIG").map(PathBuf::from);
        own.or_else(|| Some(self.config_dir.as_ref()?.join("buildx")))
    }
}

/// Flags that a watch raises if an input changes during a cycle. Only two stages of `up` end early:
/// a load or an apply that has begun is finished.
#[derive(Clone, Debug)]
pub(crate) struct NewerChanges {
    /// Stops the build.
    pub(crate) build: Interrupt,
    /// Stops the wait for the rollout.
    pub(crate) wait: Interrupt,
}

impl Default for NewerChanges {
    fn default() -> Self {
        Self { build: Interrupt::never(), wait: Interrupt::never() }
    }
}

/// Where the output of `cargo build` and `docker build` goes while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuildOutput {
    /// To the process's standard error, which preserves colors and progress bars.
    Stderr,
    /// To events: one [`Event::ToolOutput`] per line.
    Events,
}

impl<'a> Cx<'a> {
    /// Creates a context without an interrupt and without confirmation prompts.
    pub fn new(events: &'a (dyn Fn(Message) + Sync)) -> Self {
        Self {
            events,
            package: None,
            confirm: None,
            interrupt: Interrupt::never(),
            newer: NewerChanges::default(),
            build_output: BuildOutput::Events,
            dry_run: false,
            cache_dir: None,
            state_dir: None,
            docker_settings: DockerSettings::default(),
            cargo_home: None,
            program: None,
        }
    }

    /// Stops the run when `interrupt` is raised.
    #[must_use]
    pub fn with_interrupt(mut self, interrupt: Interrupt) -> Self {
        self.interrupt = interrupt;
        self
    }

    /// Sets the function that asks the user a yes-or-no question.
    #[must_use]
    pub fn with_confirmation(mut self, confirm: &'a (dyn Fn(&str) -> bool + Sync)) -> Self {
        self.confirm = Some(confirm);
        self
    }

    /// Sets where the output of builds goes.
    #[must_use]
    pub fn with_build_output(mut self, to: BuildOutput) -> Self {
        self.build_output = to;
        self
    }

    /// Sets whether commands that would make changes are only shown.
    #[must_use]
    pub fn with_dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// Sets the directory where changed layers are kept for the next run. Without it, whole
    /// images are sent.
    #[must_use]
    pub fn with_cache_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.cache_dir = Some(dir.into());
        self
    }

    /// Sets the directory of what must not be deleted: the ID of a machine without a machine ID.
    /// Without it, the directory of changed layers is used.
    #[must_use]
    pub fn with_state_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.state_dir = Some(dir.into());
        self
    }

    /// Sets the settings of the Docker client.
    #[must_use]
    pub fn with_docker_settings(mut self, settings: DockerSettings) -> Self {
        self.docker_settings = settings;
        self
    }

    /// Sets the directory of cargo, which contains its configuration for all projects.
    #[must_use]
    pub fn with_cargo_home(mut self, dir: impl Into<PathBuf>) -> Self {
        self.cargo_home = Some(dir.into());
        self
    }

    /// Sets the program that calls [`run_namespace_helper`](crate::run_namespace_helper). Without
    /// it, a rootless Docker exports whole images.
    #[must_use]
    pub fn with_program(mut self, path: impl Into<PathBuf>) -> Self {
        self.program = Some(path.into());
        self
    }

    pub(crate) fn cargo_home(&self) -> Option<&Path> {
        self.cargo_home.as_deref()
    }

    pub(crate) fn program(&self) -> Option<&Path> {
        self.program.as_deref()
    }

    pub(crate) fn docker_settings(&self) -> &DockerSettings {
        &self.docker_settings
    }

    pub(crate) fn cache_dir(&self) -> Option<&Path> {
        self.cache_dir.as_deref()
    }

    pub(crate) fn state_dir(&self) -> Option<&Path> {
        self.state_dir.as_deref()
    }

    /// Returns the context of one of several services.
    pub(crate) fn for_service(&self, package: &str) -> Self {
        Self { package: Some(package.to_owned()), ..self.clone() }
    }

    /// Returns the same context with another function for the events.
    pub(crate) fn with_events<'b>(&self, events: &'b (dyn Fn(Message) + Sync)) -> Cx<'b>
    where
        'a: 'b,
    {
        Cx { events, ..self.clone() }
    }

    /// Returns the same context with another function that asks the user.
    pub(crate) fn with_confirmation_of<'b>(
        &self,
        confirm: &'b (dyn Fn(&str) -> bool + Sync),
    ) -> Cx<'b>
    where
        'a: 'b,
    {
        Cx { confirm: Some(confirm), ..self.clone() }
    }

    /// Stops some stages when newer changes exist.
    pub(crate) fn with_newer_changes(&self, newer: NewerChanges) -> Self {
        Self { newer, ..self.clone() }
    }

    /// Returns the context of a build, which newer changes stop.
    pub(crate) fn for_build(&self) -> Self {
        Self { interrupt: self.interrupt.join(&self.newer.build), ..self.clone() }
    }

    /// Returns the context of the wait for a rollout, which newer changes stop.
    pub(crate) fn for_wait(&self) -> Self {
        Self { interrupt: self.interrupt.join(&self.newer.wait), ..self.clone() }
    }

    pub(crate) fn emit(&self, event: Event) {
        self.forward(Message { event, package: self.package.clone() });
    }

    /// Passes on an event of another context.
    pub(crate) fn forward(&self, message: Message) {
        (self.events)(message);
    }

    pub(crate) fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    pub(crate) fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    pub(crate) fn build_output(&self) -> BuildOutput {
        self.build_output
    }

    /// Returns whether there is a function to ask the user.
    pub(crate) fn can_confirm(&self) -> bool {
        self.confirm.is_some()
    }

    /// Asks a yes-or-no question. Returns `None` if there is no function to ask the user.
    pub(crate) fn confirm(&self, question: &str) -> Option<bool> {
        self.confirm.map(|confirm| confirm(question))
    }
}

/// A flag that stops the run. Clones share the flag.
#[derive(Clone, Debug)]
pub struct Interrupt {
    raised: Arc<AtomicBool>,
    parents: Arc<[Interrupt]>,
}

impl Interrupt {
    /// Creates a flag that only [`Interrupt::raise`] raises.
    pub fn never() -> Self {
        Self::with_parents(&[])
    }

    /// Creates a flag that Ctrl-C, SIGTERM and SIGHUP raise. Call this once per process.
    /// `on_second` is called for a second signal: it should end the process immediately, after
    /// [`kill_children`](crate::kill_children).
    pub fn on_signals(on_second: impl Fn() + Send + 'static) -> Self {
        let interrupt = Self::never();
        let raised = interrupt.clone();
        let mut first: Option<Instant> = None;
        // This only fails if the process already has a handler, which then stays in place.
        let _ = ctrlc::set_handler(move || {
            raised.raise();
            let first = *first.get_or_insert_with(Instant::now);
            if first.elapsed() > SIGNAL_PAUSE {
                on_second();
            }
        });
        interrupt
    }

    /// Creates a flag for a part of the run. Raising this flag raises the new one, but not
    /// the other way around.
    pub(crate) fn child(&self) -> Self {
        Self::with_parents(std::slice::from_ref(self))
    }

    /// Creates a flag that each of the two flags raises, but not the other way around.
    fn join(&self, other: &Self) -> Self {
        Self::with_parents(&[self.clone(), other.clone()])
    }

    fn with_parents(parents: &[Self]) -> Self {
        Self { raised: Arc::default(), parents: parents.into() }
    }

    /// Stops all runs that have this flag.
    pub fn raise(&self) {
        self.raised.store(true, Ordering::SeqCst);
    }

    /// Raises the flag when the result is dropped, also in a panic: the threads of a scope that
    /// wait for the flag would otherwise keep the panic from being reported.
    pub(crate) fn raise_at_end(&self) -> RaiseAtEnd<'_> {
        RaiseAtEnd(self)
    }

    /// Returns whether the flag is raised.
    pub fn is_raised(&self) -> bool {
        self.raised.load(Ordering::SeqCst) || self.parents.iter().any(Self::is_raised)
    }
}

/// Raises a flag when it is dropped.
#[must_use]
pub(crate) struct RaiseAtEnd<'a>(&'a Interrupt);

impl Drop for RaiseAtEnd<'_> {
    fn drop(&mut self) {
        self.0.raise();
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{self, AssertUnwindSafe};
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn panic_ends_thread_that_waits_for_flag() {
        let done = Interrupt::never();
        let run = || {
            thread::scope(|scope| {
                scope.spawn(|| {
                    while !done.is_raised() {
                        thread::sleep(Duration::from_millis(1));
                    }
                });
                let _done = done.raise_at_end();
                panic!("a bug");
            });
        };
        assert!(panic::catch_unwind(AssertUnwindSafe(run)).is_err());
    }
}
