//! The only place that decides what is drawn: events become lines as cargo prints them, and
//! bars where there is a terminal, or JSON.

use std::collections::VecDeque;
use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use indicatif::HumanBytes;
use jiff::Timestamp;
use kdev::{
    Answer, BuildError, BuildOutput, Checkup, Error, Event, Finding, Interrupt, Rendering, Row,
    Status, Verdict,
};
use serde::Serialize;

use crate::args::{Color, MessageFormat, Output};
use crate::bars::{self, Bars};
use crate::checks;
use crate::diagnoses;
use crate::prose::{broken, is_narrow, stderr_width, stdout_width};
use crate::rendering;
use crate::report::{self, Report};
use crate::table;
use crate::waiting::{self, count};

const DONE: Style = AnsiColor::Green.on_default().bold();
const NOTE: Style = AnsiColor::Cyan.on_default().bold();
const WARN: Style = AnsiColor::Yellow.on_default().bold();
/// Where the words of a line begin.
const WORDS: usize = 13;
/// Where they go on on a narrow screen.
const NARROW: usize = 4;
/// How many lines of a build a quiet run keeps, to show them if it fails.
const QUIET_LINES: usize = 200;

/// Where and how to talk.
pub(crate) struct Term {
    json: bool,
    quiet: bool,
    verbose: bool,
    bars: Bars,
    state: Mutex<State>,
}

/// What is on the screen.
#[derive(Default)]
struct State {
    /// The last lines of a build that is not shown.
    hidden: VecDeque<String>,
    /// The status that was shown last.
    status: Option<Status>,
}

/// One line of the JSON form.
#[derive(Serialize)]
struct Line<'a> {
    version: u32,
    #[serde(flatten)]
    event: &'a Event,
}

/// A rendered manifest in the JSON form.
#[derive(Serialize)]
struct Rendered<'a> {
    version: u32,
    reason: &'static str,
    #[serde(flatten)]
    rendering: &'a Rendering,
}

/// What is wrong with a pod, in the JSON form.
#[derive(Serialize)]
struct Judged<'a> {
    version: u32,
    reason: &'static str,
    #[serde(flatten)]
    verdict: &'a Verdict,
}

/// A line of a status in the JSON form.
#[derive(Serialize)]
struct StatusLine<'a> {
    version: u32,
    /// `status`, or `gone` for what a watch has seen before.
    reason: &'static str,
    newest: Option<&'a str>,
    #[serde(flatten)]
    row: &'a Row,
}

/// One thing that was checked, in the JSON form.
#[derive(Serialize)]
struct Found<'a> {
    version: u32,
    reason: &'static str,
    #[serde(flatten)]
    finding: &'a Finding,
}

/// The last line of the JSON form, where it went wrong.
#[derive(Serialize)]
struct Failure {
    version: u32,
    reason: &'static str,
    code: u8,
    #[serde(flatten)]
    report: Report,
}

impl Term {
    pub(crate) fn new(output: &Output) -> Self {
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
            let words = hanging(&format!("{question} [y/N]"));
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

    pub(crate) fn draw(&self, event: Event) {
        if self.json {
            json_line(&Line { version: kdev::VERSION, event: &event });
        } else if let Event::WouldRun { command } = &event {
            // The result of a dry run, and so for stdout.
            self.bars.suspend(|| {
                let _ = writeln!(anstream::stdout(), "{command}");
            });
        } else if self.quiet {
            self.quiet(event);
        } else {
            self.human(event);
        }
    }

    /// Prints what was rendered; the explanations are talk, and so on stderr.
    pub(crate) fn rendered(&self, renderings: &[Rendering], diff: bool, explain: bool) {
        if self.json {
            for rendering in renderings {
                json_line(&Rendered { version: kdev::VERSION, reason: "rendered", rendering });
            }
            return;
        }
        if explain {
            for (verb, text) in rendering::explanations(renderings) {
                self.line(NOTE, verb, &text);
            }
        }
        // What is to be applied must not lose a byte to the stripping of colours.
        let _ = if diff {
            write!(anstream::stdout(), "{}", rendering::diff(renderings))
        } else {
            write!(io::stdout(), "{}", rendering::stream(renderings))
        };
    }

    /// Prints what is wrong with pods.
    pub(crate) fn answer(&self, answer: &Answer) {
        if self.json {
            for verdict in &answer.verdicts {
                json_line(&Judged { version: kdev::VERSION, reason: "verdict", verdict });
            }
        } else {
            let _ = write!(anstream::stdout(), "{}", diagnoses::text(answer, stdout_width()));
        }
    }

    /// Shows a status: of a watch on a terminal in the place of the one before,
    /// elsewhere only if it differs from that.
    pub(crate) fn status(&self, status: &Status, watch: bool) {
        let last = self.state().status.replace(status.clone());
        if self.json {
            return status_lines(status, last.as_ref());
        }
        let is_new = last.as_ref() != Some(status);
        let screen = table::Screen::here();
        match (watch, screen) {
            (true, Some(screen)) => screen.redraw(status, last.is_none()),
            _ if is_new => {
                let between = if last.is_some() { "\n" } else { "" };
                let text = table::text(status, Timestamp::now(), stdout_width());
                let _ = write!(anstream::stdout(), "{between}{text}");
                if !self.quiet {
                    for note in table::notes(status) {
                        self.line(NOTE, "Note", &note);
                    }
                }
            }
            _ => {}
        }
    }

    /// Shows that something is under way that tells all at its end.
    pub(crate) fn checking(&self) {
        if !self.bars.is_hidden() {
            let words = "tools, docker, project, cluster and nodes";
            self.bars.wait("checkup", "Checking", words.to_owned());
        }
    }

    /// Prints what was checked; gives the exit code for it.
    pub(crate) fn checkup(&self, checkup: &Checkup) -> u8 {
        self.finish();
        if self.json {
            for finding in &checkup.findings {
                json_line(&Found { version: kdev::VERSION, reason: "finding", finding });
            }
        } else {
            let text = checks::text(checkup, self.quiet, stdout_width());
            let _ = write!(anstream::stdout(), "{text}");
        }
        checkup.exit_code()
    }

    /// Ends the line on which the terminal has shown the ^C.
    pub(crate) fn end_watch(&self, watch: bool) {
        if watch && !self.json && io::stderr().is_terminal() {
            let _ = writeln!(io::stderr());
        }
    }

    /// Takes all bars away.
    pub(crate) fn finish(&self) {
        self.bars.finish();
    }

    pub(crate) fn fail(&self, error: &Error) {
        let mut stderr = anstream::stderr();
        if self.quiet && matches!(error, Error::Build(BuildError::Failed { .. })) {
            for line in &self.state().hidden {
                let _ = writeln!(stderr, "{line}");
            }
        }
        if error.is_interrupt() && !self.json && io::stderr().is_terminal() {
            // The terminal has shown the ^C, perhaps in a line that a build has not ended.
            let clean = if bars::is_dumb() { "\n" } else { "\r\x1b[K" };
            let _ = write!(io::stderr(), "{clean}");
        }
        let code = error.exit_code();
        for report in report::reports(error) {
            if self.json {
                json_line(&Failure { version: kdev::VERSION, reason: "error", code, report });
            } else {
                let _ = write!(stderr, "{}", report.text(stderr_width()));
            }
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Warnings and errors are never kept back.
    fn quiet(&self, event: Event) {
        match event {
            Event::ToolOutput { line, .. } => {
                let hidden = &mut self.state().hidden;
                hidden.push_back(line);
                if hidden.len() > QUIET_LINES {
                    hidden.pop_front();
                }
            }
            Event::RolledBack { .. } => self.human(event),
            _ => {}
        }
    }

    fn human(&self, event: Event) {
        match event {
            Event::Building { command, .. } if self.verbose => {
                self.line_as_is(DONE, "Building", &command);
            }
            Event::Building { what, .. } => self.line(DONE, "Building", &what),
            Event::Built { image, took, .. } => {
                self.line(DONE, "Built", &format!("{image} in {}", seconds(took)));
            }
            Event::NodeSkipped { node, why } => {
                self.line(NOTE, "Skipping", &format!("{node}: {why}"));
            }
            Event::Loading { node, bytes, .. } => self.loading(&node, bytes),
            Event::Sent { node, bytes } => self.bars.advance(&node, bytes),
            Event::Loaded { node, bytes, reused, took } => {
                self.bars.clear(&node);
                let sent = HumanBytes(bytes);
                let there = match reused {
                    0 => String::new(),
                    bytes => format!(", {} were there", HumanBytes(bytes)),
                };
                let took = seconds(took);
                self.line(DONE, "Loaded", &format!("{node}: sent {sent} in {took}{there}"));
            }
            Event::Present { node, .. } => {
                self.line(DONE, "Present", &format!("{node}: nothing to send"));
            }
            Event::LoadFailed { node } => self.bars.clear(&node),
            Event::Applied { objects, context, namespaces } => {
                let namespaces = match namespaces.as_slice() {
                    [] => String::new(),
                    [one] => format!(", namespace {one}"),
                    many => format!(", namespaces {}", many.join(", ")),
                };
                let text = format!("{} to {context}{namespaces}", objects.join(", "));
                self.line(DONE, "Applied", &text);
            }
            Event::Deleted { objects, context } => {
                self.line(DONE, "Deleted", &format!("{} from {context}", objects.join(", ")));
            }
            Event::Unchanged { context } => {
                self.line(DONE, "Unchanged", &format!("{context} has it all; nothing to apply"));
            }
            Event::Waiting { workload, ready, wanted, pods } => {
                let words = waiting::in_full(&workload, ready, wanted, &pods);
                match stderr_width().map(bars::room) {
                    _ if self.bars.is_hidden() => self.line(NOTE, "Waiting", &words),
                    Some(room) if words.chars().count() > room => {
                        let words = waiting::in_short(&workload, (ready, wanted), &pods, room);
                        self.bars.wait(&workload, "Waiting", words);
                    }
                    _ => self.bars.wait(&workload, "Waiting", words),
                }
            }
            Event::Ready { workload, pods, took } => {
                self.bars.clear(&workload);
                let pods = count(pods, "pod");
                self.line(DONE, "Ready", &format!("{workload}: {pods} in {}", seconds(took)));
            }
            Event::RolledBack { workload } => {
                self.line(WARN, "Rolled back", &format!("{workload} to the revision before"));
            }
            Event::Note { text } => self.line(NOTE, "Note", &text),
            Event::Finished { image, took } => {
                self.line(DONE, "Finished", &format!("{image} in {}", seconds(took)));
            }
            _ => {}
        }
    }

    fn line(&self, style: Style, verb: &str, text: &str) {
        self.line_as_is(style, verb, &hanging(text));
    }

    fn line_as_is(&self, style: Style, verb: &str, text: &str) {
        self.bars.suspend(|| {
            let _ = writeln!(anstream::stderr(), "{style}{verb:>12}{style:#} {text}");
        });
    }

    fn loading(&self, node: &str, bytes: u64) {
        if self.bars.is_hidden() {
            self.line(NOTE, "Loading", &format!("{node} ({})", HumanBytes(bytes)));
        }
        self.bars.load(node, bytes);
    }
}

/// The words of a line, the further ones below its verb.
fn hanging(words: &str) -> String {
    let width = stderr_width();
    broken(words, WORDS, if is_narrow(width) { NARROW } else { WORDS }, width)
}

/// A line for each pod that is not as it was, or has gone.
fn status_lines(status: &Status, last: Option<&Status>) {
    let line = |reason, row| {
        let newest = status.newest.as_deref();
        json_line(&StatusLine { version: kdev::VERSION, reason, newest, row });
    };
    let before = last.map(|last| last.rows.as_slice()).unwrap_or_default();
    let is_old = last.is_some_and(|last| last.newest == status.newest);
    status
        .rows
        .iter()
        .filter(|row| !is_old || !before.contains(row))
        .for_each(|row| line("status", row));
    let is_here = |old: &&Row| {
        status.rows.iter().any(|row| (&row.workload, &row.pod) == (&old.workload, &old.pod))
    };
    before.iter().filter(|old| !is_here(old)).for_each(|row| line("gone", row));
}

fn json_line(line: &impl Serialize) {
    // All kinds of line are made of texts and numbers: they always fit JSON.
    let json = serde_json::to_string(line).unwrap_or_default();
    let _ = writeln!(io::stdout(), "{json}");
}

fn seconds(duration: Duration) -> String {
    format!("{:.1}s", duration.as_secs_f64())
}
