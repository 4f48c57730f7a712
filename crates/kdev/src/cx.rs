//! What every stage gets first: where events go, what stops the work, and
//! whether anything may be changed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::event::Event;

/// The surroundings of one run. The library neither prints nor reads its
/// process's arguments and environment: all that comes through here and
/// through settings.
#[derive(Clone)]
pub struct Cx<'a> {
    events: &'a (dyn Fn(Event) + Sync),
    confirm: Option<&'a (dyn Fn(&str) -> bool + Sync)>,
    interrupt: Interrupt,
    build_output: BuildOutput,
    dry_run: bool,
    cache_dir: Option<PathBuf>,
}

/// Where the output of `cargo build` and `docker build` goes while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuildOutput {
    /// Straight to the process's standard error: colours and bars stay.
    Stderr,
    /// Each line becomes an [`Event::ToolOutput`].
    Events,
}

impl<'a> Cx<'a> {
    /// Surroundings in which nothing interrupts, and nobody can be asked.
    pub fn new(events: &'a (dyn Fn(Event) + Sync)) -> Self {
        Self {
            events,
            confirm: None,
            interrupt: Interrupt::never(),
            build_output: BuildOutput::Events,
            dry_run: false,
            cache_dir: None,
        }
    }

    /// Stops all work as soon as `interrupt` is raised.
    #[must_use]
    pub fn with_interrupt(mut self, interrupt: Interrupt) -> Self {
        self.interrupt = interrupt;
        self
    }

    /// Says who answers a question with yes or no.
    #[must_use]
    pub fn with_confirmation(mut self, ask: &'a (dyn Fn(&str) -> bool + Sync)) -> Self {
        self.confirm = Some(ask);
        self
    }

    /// Says where the output of builds goes.
    #[must_use]
    pub fn with_build_output(mut self, to: BuildOutput) -> Self {
        self.build_output = to;
        self
    }

    /// With true, commands that would change something are only shown.
    #[must_use]
    pub fn with_dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// Says where what a build has changed may be kept for the next one.
    /// Without it every image goes whole.
    #[must_use]
    pub fn with_cache_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.cache_dir = Some(dir.into());
        self
    }

    pub(crate) fn cache_dir(&self) -> Option<&Path> {
        self.cache_dir.as_deref()
    }

    pub(crate) fn emit(&self, event: Event) {
        (self.events)(event);
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

    /// The answer to a yes-or-no question; `None` where nobody can be asked.
    pub(crate) fn confirm(&self, question: &str) -> Option<bool> {
        self.confirm.map(|ask| ask(question))
    }
}

/// A flag that stops all work once it is raised. Clones share it.
#[derive(Clone, Debug)]
pub struct Interrupt {
    raised: Arc<AtomicBool>,
    parent: Option<Arc<Interrupt>>,
}

impl Interrupt {
    /// One that nothing raises but [`Interrupt::raise`].
    pub fn never() -> Self {
        Self { raised: Arc::new(AtomicBool::new(false)), parent: None }
    }

    /// One that Ctrl-C, SIGTERM and SIGHUP raise. A process may ask for it
    /// once.
    pub fn on_signals() -> Self {
        let interrupt = Self::never();
        let raised = interrupt.clone();
        // It fails only if the process has a handler already: then that one
        // decides, as it did before.
        let _ = ctrlc::set_handler(move || raised.raise());
        interrupt
    }

    /// One for a part of the work: it is raised with this one, but this one
    /// not with it.
    pub(crate) fn child(&self) -> Self {
        Self { parent: Some(Arc::new(self.clone())), ..Self::never() }
    }

    /// Stops all work that holds this flag.
    pub fn raise(&self) {
        self.raised.store(true, Ordering::SeqCst);
    }

    /// Whether work should stop.
    pub fn is_raised(&self) -> bool {
        self.raised.load(Ordering::SeqCst)
            || self.parent.as_ref().is_some_and(|parent| parent.is_raised())
    }
}
