//! The only place that decides what is printed: events become lines as cargo prints them,
//! bars on a terminal, or JSON.
//!
//! - `error.rs`: errors as text
//! - `progress.rs`: bars, the last lines of the screen
//! - `rollout.rs`: the progress of a workload
//! - `wrap.rs`: breaks lines at the width of the screen

pub(crate) mod error;
pub(crate) mod progress;
pub(crate) mod rollout;
pub(crate) mod wrap;

use std::collections::VecDeque;
use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use indicatif::HumanBytes;
use kdev::{BuildError, BuildOutput, Error, Event, Interrupt, Status};
use serde::Serialize;

use crate::flags::{Color, MessageFormat, OutputArgs};
use crate::ui::error::Report;
use crate::ui::progress::Bars;
use crate::ui::rollout::pluralize;
use crate::ui::wrap::{wrap_text, is_narrow, stderr_width};

const DONE: Style = AnsiColor::Green.on_default().bold();
pub(crate) const NOTE: Style = AnsiColor::Cyan.on_default().bold();
const WARN: Style = AnsiColor::Yellow.on_default().bold();
/// Where the words of a line begin.
const MESSAGE_COLUMN: usize = 13;
/// Where they go on on a narrow screen.
const NARROW_INDENT: usize = 4;
/// How many lines of a build a quiet run keeps, to show them if it fails.
const QUIET_LINES: usize = 200;

/// Where and how to talk.
pub(crate) struct Ui {
    pub(crate) json: bool,
    pub(crate) quiet: bool,
    verbose: bool,
    pub(crate) bars: Bars,
    state: Mutex<UiState>,
}

/// What is on the screen.
#[derive(Default)]
pub(crate) struct UiState {
    /// The last lines of a build that is not shown.
    hidden: VecDeque<String>,
    /// The status that was shown last.
    pub(crate) status: Option<Status>,
}

/// One line of the JSON form.
#[derive(Serialize)]
struct EventLine<'a> {
    version: u32,
    #[serde(flatten)]
    event: &'a Event,
}

/// The last line of the JSON form, where it went wrong.
#[derive(Serialize)]
struct ErrorLine {
    version: u32,
    reason: &'static str,
    code: u8,
    #[serde(flatten)]
    report: Report,
}

impl Ui {
    pub(crate) fn new(output: &OutputArgs) -> Self {
        match output.color {
            Color::Auto => {}
            Color::Always => anstream::ColorChoice::Always.write_global(),
            Color::Never => anstream::ColorChoice::Never.write_global(),
        }
        let json = output.message_format == MessageFormat::Json;
        let bars = Bars::new(!json && !output.quiet);
        Self { json, quiet: output.quiet, verbose: output.verbose, bars, state: Mutex::default() }
    }

    /// Builds draw themselves, but where their output must not be seen, or
    /// must be JSON.
    pub(crate) fn build_output(&self) -> BuildOutput {
        if self.json || self.quiet { BuildOutput::Events } else { BuildOutput::Stderr }
    }

    pub(crate) fn can_ask(&self) -> bool {
        !self.json && io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    /// Asks once; anything but yes is no, and so is an interrupt.
    pub(crate) fn ask(&self, question: &str, interrupt: &Interrupt) -> bool {
        self.bars.suspend(|| {
            let mut stderr = anstream::stderr();
            let words = wrap_message(&format!("{question} [y/N]"));
            let _ = write!(stderr, "{WARN}{:>12}{WARN:#} {words} ", "Question");
            let _ = stderr.flush();
            // A read cannot be interrupted, so it waits in a thread of its own.
            let (send, answer) = mpsc::channel();
            thread::spawn(move || {
                let mut line = String::new();
                let _ = io::stdin().lock().read_line(&mut line);
                send.send(line)
            });
            loop {
                match answer.recv_timeout(Duration::from_millis(50)) {
                    Ok(line) => return matches!(line.trim(), "y" | "Y" | "yes"),
                    Err(RecvTimeoutError::Timeout) if !interrupt.is_raised() => {}
                    Err(_) => {
                        // What was asked shall stay on the screen.
                        let _ = writeln!(stderr);
                        return false;
                    }
                }
            }
        })
    }

    pub(crate) fn print_event(&self, event: Event) {
        if self.json {
            print_json(&EventLine { version: kdev::JSON_VERSION, event: &event });
        } else if let Event::WouldRun { command } = &event {
            // The result of a dry run, and so for stdout.
            self.bars.suspend(|| {
                let _ = writeln!(anstream::stdout(), "{command}");
            });
        } else if self.quiet {
            self.print_quiet(event);
        } else {
            self.print_human(event);
        }
    }

    /// Takes all bars away.
    pub(crate) fn clear_bars(&self) {
        self.bars.finish();
    }

    pub(crate) fn print_error(&self, error: &Error) {
        let mut stderr = anstream::stderr();
        if self.quiet && matches!(error, Error::Build(BuildError::Failed { .. })) {
            for line in &self.state().hidden {
                let _ = writeln!(stderr, "{line}");
            }
        }
        if error.is_interrupt() && !self.json && io::stderr().is_terminal() {
            // The terminal has shown the ^C, perhaps in a line that a build has not ended.
            let clean = if progress::is_dumb() { "\n" } else { "\r\x1b[K" };
            let _ = write!(io::stderr(), "{clean}");
        }
        let code = error.exit_code();
        for report in error::reports(error) {
            if self.json {
                print_json(&ErrorLine { version: kdev::JSON_VERSION, reason: "error", code, report });
            } else {
                let _ = write!(stderr, "{}", report.format(stderr_width()));
            }
        }
    }

    pub(crate) fn state(&self) -> std::sync::MutexGuard<'_, UiState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Warnings and errors are never kept back.
    fn print_quiet(&self, event: Event) {
        match event {
            Event::ToolOutput { line, .. } => {
                let hidden = &mut self.state().hidden;
                hidden.push_back(line);
                if hidden.len() > QUIET_LINES {
                    hidden.pop_front();
                }
            }
            Event::RolledBack { .. } => self.print_human(event),
            _ => {}
        }
    }

    fn print_human(&self, event: Event) {
        match event {
            Event::Building { command, .. } if self.verbose => {
                self.print_unwrapped(DONE, "Building", &command);
            }
            Event::Building { target: what, .. } => self.print_line(DONE, "Building", &what),
            Event::Built { image, duration: took, .. } => {
                self.print_line(DONE, "Built", &format!("{image} in {}", format_seconds(took)));
            }
            Event::NodeSkipped { node, cause: why } => {
                self.print_line(NOTE, "Skipping", &format!("{node}: {why}"));
            }
            Event::Loading { node, bytes, .. } => self.start_load(&node, bytes),
            Event::Progress { node, bytes } => self.bars.advance(&node, bytes),
            Event::Loaded { node, bytes, reused, duration: took } => {
                self.bars.clear(&node);
                let sent = HumanBytes(bytes);
                let there = match reused {
                    0 => String::new(),
                    bytes => format!(", {} were there", HumanBytes(bytes)),
                };
                let took = format_seconds(took);
                self.print_line(DONE, "Loaded", &format!("{node}: sent {sent} in {took}{there}"));
            }
            Event::AlreadyPresent { node, .. } => {
                self.print_line(DONE, "Present", &format!("{node}: nothing to send"));
            }
            Event::LoadFailed { node } => self.bars.clear(&node),
            Event::Applied { objects, context, namespaces } => {
                let namespaces = match namespaces.as_slice() {
                    [] => String::new(),
                    [one] => format!(", namespace {one}"),
                    many => format!(", namespaces {}", many.join(", ")),
                };
                let text = format!("{} to {context}{namespaces}", objects.join(", "));
                self.print_line(DONE, "Applied", &text);
            }
            Event::Deleted { objects, context } => {
                self.print_line(DONE, "Deleted", &format!("{} from {context}", objects.join(", ")));
            }
            Event::Unchanged { context } => {
                self.print_line(DONE, "Unchanged", &format!("{context} has it all; nothing to apply"));
            }
            Event::Waiting { workload, ready, desired: wanted, pods } => {
                let words = rollout::format_full(&workload, ready, wanted, &pods);
                match stderr_width().map(progress::message_width) {
                    _ if self.bars.is_hidden() => self.print_line(NOTE, "Waiting", &words),
                    Some(room) if words.chars().count() > room => {
                        let words = rollout::format_short(&workload, (ready, wanted), &pods, room);
                        self.bars.show_spinner(&workload, "Waiting", words);
                    }
                    _ => self.bars.show_spinner(&workload, "Waiting", words),
                }
            }
            Event::Ready { workload, pods, duration: took } => {
                self.bars.clear(&workload);
                let pods = pluralize(pods, "pod");
                self.print_line(DONE, "Ready", &format!("{workload}: {pods} in {}", format_seconds(took)));
            }
            Event::RolledBack { workload } => {
                self.print_line(WARN, "Rolled back", &format!("{workload} to the revision before"));
            }
            Event::Note { text } => self.print_line(NOTE, "Note", &text),
            Event::Finished { image, duration: took } => {
                self.print_line(DONE, "Finished", &format!("{image} in {}", format_seconds(took)));
            }
            _ => {}
        }
    }

    pub(crate) fn print_line(&self, style: Style, verb: &str, text: &str) {
        self.print_unwrapped(style, verb, &wrap_message(text));
    }

    fn print_unwrapped(&self, style: Style, verb: &str, text: &str) {
        self.bars.suspend(|| {
            let _ = writeln!(anstream::stderr(), "{style}{verb:>12}{style:#} {text}");
        });
    }

    fn start_load(&self, node: &str, bytes: u64) {
        if self.bars.is_hidden() {
            self.print_line(NOTE, "Loading", &format!("{node} ({})", HumanBytes(bytes)));
        }
        self.bars.start_load(node, bytes);
    }
}

/// The words of a line, the further ones below its verb.
fn wrap_message(words: &str) -> String {
    let width = stderr_width();
    wrap_text(words, MESSAGE_COLUMN, if is_narrow(width) { NARROW_INDENT } else { MESSAGE_COLUMN }, width)
}

pub(crate) fn print_json(line: &impl Serialize) {
    // All kinds of line are made of texts and numbers: they always fit JSON.
    let json = serde_json::to_string(line).unwrap_or_default();
    let _ = writeln!(io::stdout(), "{json}");
}

fn format_seconds(duration: Duration) -> String {
    format!("{:.1}s", duration.as_secs_f64())
}
