//! The live line: all running tasks in one line, which a terminal redraws and a log repeats
//! every 30 s.

use super::line;
use super::measure::{self, Progress, TaskState};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, stderr};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The time between two lines in a log.
const LOG_INTERVAL: Duration = Duration::from_secs(30);
const REDRAW_INTERVAL: Duration = Duration::from_millis(300);
/// The columns of the verb before the text and of the spinner after it.
const OTHER_COLUMNS: usize = "    Building ".len() + 3;
/// The maximum length of a line in a log.
const LOG_COLUMNS: usize = 1000;

/// A slow task, which the live line shows until this value is dropped.
pub(crate) struct SlowTask {
    id: usize,
}

impl SlowTask {
    pub(crate) fn start(verb: &str, name: &str) -> Self {
        static REDRAW_THREAD: Once = Once::new();
        REDRAW_THREAD.call_once(|| drop(thread::spawn(redraw_forever)));
        let id = board().add(verb, name);
        Self { id }
    }

    pub(crate) fn set_progress(&self, progress: Progress) {
        let mut board = board();
        let task = board.tasks.iter_mut().find(|task| task.id == self.id);
        if let Some(task) = task {
            task.progress = progress;
        }
    }
}

impl Drop for SlowTask {
    fn drop(&mut self) {
        board().remove(self.id);
    }
}

/// Prints lines above the live line.
pub(crate) fn print_above<T>(print: impl FnOnce() -> T) -> T {
    match &board().bar {
        Some(bar) => bar.suspend(print),
        None => print(),
    }
}

struct Task {
    id: usize,
    verb: String,
    name: String,
    started: Instant,
    progress: Progress,
}

struct Board {
    tasks: Vec<Task>,
    last_id: usize,
    bar: Option<ProgressBar>,
    logged_at: Option<Instant>,
}

static BOARD: Mutex<Board> =
    Mutex::new(Board { tasks: Vec::new(), last_id: 0, bar: None, logged_at: None });

fn board() -> MutexGuard<'static, Board> {
    BOARD.lock().unwrap_or_else(PoisonError::into_inner)
}

fn redraw_forever() {
    loop {
        thread::sleep(REDRAW_INTERVAL);
        board().draw();
    }
}

impl Board {
    fn add(&mut self, verb: &str, name: &str) -> usize {
        self.last_id += 1;
        let (id, started, progress) = (self.last_id, Instant::now(), Progress::default());
        self.tasks.push(Task { id, verb: verb.into(), name: name.into(), started, progress });
        if stderr().is_terminal() {
            self.bar.get_or_insert_with(create_bar);
            self.draw();
        } else {
            line::write(&line::step(verb, name));
            self.logged_at = Some(started);
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
            let (verb, text) =
                measure::format_line(&self.task_states(), columns.saturating_sub(OTHER_COLUMNS));
            bar.set_prefix(verb);
            bar.set_message(text);
        } else if !self.tasks.is_empty()
            && self.logged_at.is_none_or(|at| at.elapsed() >= LOG_INTERVAL)
        {
            let (verb, text) = measure::format_line(&self.task_states(), LOG_COLUMNS);
            line::write(&line::step(&verb, text));
            self.logged_at = Some(Instant::now());
        }
    }

    fn task_states(&self) -> Vec<TaskState> {
        let state = |task: &Task| TaskState {
            verb: task.verb.clone(),
            name: task.name.clone(),
            progress: task.progress,
            elapsed: task.started.elapsed(),
        };
        self.tasks.iter().map(state).collect()
    }
}

fn create_bar() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{prefix:>12} {msg} {spinner}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
