//! The live line: all tasks that run now, in one line that moves on a terminal, or in a
//! new line every 30 s in a log.

use super::measure::{self, Progress, Shown};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, stderr};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How often a log gets a line.
const LOG: Duration = Duration::from_secs(30);
const REDRAW: Duration = Duration::from_millis(300);
/// The columns of the verb before the text and of the spinner behind it.
const AROUND: usize = "    Building ".len() + 3;
/// A log has lines as long as they need to be.
const UNLIMITED: usize = 1000;

/// A task that takes long; the live line shows it until it is dropped.
pub(crate) struct Slow {
    id: usize,
}

impl Slow {
    pub(crate) fn start(verb: &str, name: &str) -> Self {
        static DRAWER: Once = Once::new();
        DRAWER.call_once(|| drop(thread::spawn(redraw)));
        let id = board().add(verb, name);
        Self { id }
    }

    pub(crate) fn set(&self, progress: Progress) {
        let mut board = board();
        let task = board.tasks.iter_mut().find(|task| task.id == self.id);
        if let Some(task) = task {
            task.progress = progress;
        }
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        board().remove(self.id);
    }
}

/// Runs what prints lines, above the live line.
pub(crate) fn above<T>(print: impl FnOnce() -> T) -> T {
    match &board().bar {
        Some(bar) => bar.suspend(print),
        None => print(),
    }
}

struct Task {
    id: usize,
    verb: String,
    name: String,
    begun: Instant,
    progress: Progress,
}

struct Board {
    tasks: Vec<Task>,
    next: usize,
    bar: Option<ProgressBar>,
    logged: Option<Instant>,
}

static BOARD: Mutex<Board> =
    Mutex::new(Board { tasks: Vec::new(), next: 0, bar: None, logged: None });

fn board() -> MutexGuard<'static, Board> {
    BOARD.lock().unwrap_or_else(PoisonError::into_inner)
}

fn redraw() {
    loop {
        thread::sleep(REDRAW);
        board().draw();
    }
}

impl Board {
    fn add(&mut self, verb: &str, name: &str) -> usize {
        self.next += 1;
        let (id, begun, progress) = (self.next, Instant::now(), Progress::default());
        self.tasks.push(Task { id, verb: verb.into(), name: name.into(), begun, progress });
        if stderr().is_terminal() {
            self.bar.get_or_insert_with(bar);
            self.draw();
        } else {
            super::write(&super::step(verb, name));
            self.logged = Some(begun);
        }
        id
    }

    fn remove(&mut self, id: usize) {
        self.tasks.retain(|task| task.id != id);
        if let Some(bar) = self.bar.take_if(|_| self.tasks.is_empty()) {
            bar.finish_and_clear();
        }
    }

    fn draw(&mut self) {
        if let Some(bar) = &self.bar {
            let columns: usize = console::Term::stderr().size().1.into();
            let (verb, text) = measure::line(&self.shown(), columns.saturating_sub(AROUND));
            bar.set_prefix(verb);
            bar.set_message(text);
        } else if !self.tasks.is_empty() && self.logged.is_none_or(|at| at.elapsed() >= LOG) {
            let (verb, text) = measure::line(&self.shown(), UNLIMITED);
            super::write(&super::step(&verb, text));
            self.logged = Some(Instant::now());
        }
    }

    fn shown(&self) -> Vec<Shown> {
        let shown = |task: &Task| Shown {
            verb: task.verb.clone(),
            name: task.name.clone(),
            progress: task.progress,
            elapsed: task.begun.elapsed(),
        };
        self.tasks.iter().map(shown).collect()
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{prefix:>12} {msg} {spinner}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
