//! The only place that draws: events become lines as cargo prints them, and
//! bars where there is a terminal, or JSON.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressStyle};
use jiff::Timestamp;
use kdev::{
    Answer, BuildOutput, Checkup, Error, Event, Finding, Interrupt, PodState, Rendering, Row,
    Status, Verdict,
};
use serde::Serialize;

use crate::args::{Color, MessageFormat, Output};
use crate::checks;
use crate::diagnoses;
use crate::rendering;
use crate::report::{self, Report};
use crate::table;

const DONE: Style = AnsiColor::Green.on_default().bold();
const NOTE: Style = AnsiColor::Cyan.on_default().bold();
const WARN: Style = AnsiColor::Yellow.on_default().bold();
/// How many lines of a build a quiet run keeps, to show them if it fails.
const QUIET_LINES: usize = 200;

/// Where and how to talk.
pub(crate) struct Term {
    json: bool,
    quiet: bool,
    verbose: bool,
    bars: MultiProgress,
    state: Mutex<State>,
}

/// What is on the screen.
#[derive(Default)]
struct State {
    /// By node, or by workload.
    bars: BTreeMap<String, ProgressBar>,
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
        let bars = MultiProgress::new();
        if json || output.quiet {
            bars.set_draw_target(indicatif::ProgressDrawTarget::hidden());
        }
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
            let _ = write!(stderr, "{WARN}{:>12}{WARN:#} {question} [y/N] ", "Asking");
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
                    Err(_) => return false,
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
            self.keep(event);
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
            let _ = write!(anstream::stdout(), "{}", diagnoses::text(answer));
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
                let text = table::text(status, Timestamp::now(), screen.map(|screen| screen.width));
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
            let style = "{prefix:>12.cyan.bold} {wide_msg} {elapsed}";
            let bar = self.bar("checkup", ProgressBar::new_spinner(), style, "Checking");
            bar.set_message("tools, docker, project, cluster and nodes");
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
            let width = table::Screen::here().map(|screen| screen.width);
            let _ = write!(anstream::stdout(), "{}", checks::text(checkup, self.quiet, width));
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
        for bar in std::mem::take(&mut self.state().bars).into_values() {
            bar.finish_and_clear();
        }
    }

    pub(crate) fn fail(&self, error: &Error) {
        let mut stderr = anstream::stderr();
        if self.quiet && matches!(error, Error::Build { .. }) {
            for line in &self.state().hidden {
                let _ = writeln!(stderr, "{line}");
            }
        }
        if matches!(error, Error::Interrupted) && !self.json && io::stderr().is_terminal() {
            // The terminal has shown the ^C, and no line end.
            let _ = writeln!(stderr);
        }
        let code = error.exit_code();
        for report in report::reports(error) {
            if self.json {
                json_line(&Failure { version: kdev::VERSION, reason: "error", code, report });
            } else {
                let _ = write!(stderr, "{report}");
            }
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, event: Event) {
        if let Event::ToolOutput { line, .. } = event {
            let hidden = &mut self.state().hidden;
            hidden.push_back(line);
            if hidden.len() > QUIET_LINES {
                hidden.pop_front();
            }
        }
    }

    fn human(&self, event: Event) {
        match event {
            Event::Building { what, command } => {
                let what = if self.verbose { command } else { what };
                self.line(DONE, "Building", &what);
            }
            Event::Built { image, took, .. } => {
                self.line(DONE, "Built", &format!("{image} in {}", seconds(took)));
            }
            Event::NodeSkipped { node, why } => {
                self.line(NOTE, "Skipping", &format!("{node}: {why}"));
            }
            Event::Loading { node, bytes, .. } => self.loading(&node, bytes),
            Event::Sent { node, bytes } => self.sent(&node, bytes),
            Event::Loaded { node, bytes, reused, took } => {
                self.clear(&node);
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
            Event::LoadFailed { node } => self.clear(&node),
            Event::Applied { objects, context } => {
                self.line(DONE, "Applied", &format!("{} to {context}", objects.join(", ")));
            }
            Event::Deleted { objects, context } => {
                self.line(DONE, "Deleted", &format!("{} from {context}", objects.join(", ")));
            }
            Event::Unchanged { context } => {
                self.line(DONE, "Unchanged", &format!("{context} has it all; nothing to apply"));
            }
            Event::Waiting { workload, ready, wanted, pods } => {
                let ready = format!("{workload}: {ready} of {} ready", count(wanted, "pod"));
                self.waiting(&workload, format!("{ready}{}", by_node(&pods)));
            }
            Event::Ready { workload, pods, took } => {
                self.clear(&workload);
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
        self.bars.suspend(|| {
            let _ = writeln!(anstream::stderr(), "{style}{verb:>12}{style:#} {text}");
        });
    }

    fn loading(&self, node: &str, bytes: u64) {
        if self.bars.is_hidden() {
            self.line(NOTE, "Loading", &format!("{node} ({})", HumanBytes(bytes)));
        }
        let style =
            "{prefix:>12.cyan.bold} {msg} [{wide_bar}] {bytes}/{total_bytes} {bytes_per_sec}";
        self.bar(node, ProgressBar::new(bytes), style, "Loading").set_message(node.to_owned());
    }

    fn sent(&self, node: &str, bytes: u64) {
        if let Some(bar) = self.state().bars.get(node) {
            // docker tells an image's size only roughly.
            if bar.length().is_some_and(|length| length < bytes) {
                bar.set_length(bytes);
            }
            bar.set_position(bytes);
        }
    }

    fn waiting(&self, workload: &str, text: String) {
        if self.bars.is_hidden() {
            return self.line(NOTE, "Waiting", &text);
        }
        let known = self.state().bars.get(workload).cloned();
        let bar = known.unwrap_or_else(|| {
            self.bar(
                workload,
                ProgressBar::new_spinner(),
                "{prefix:>12.cyan.bold} {wide_msg} {elapsed}",
                "Waiting",
            )
        });
        bar.set_message(text);
    }

    fn bar(&self, key: &str, bar: ProgressBar, template: &str, verb: &'static str) -> ProgressBar {
        let bar = self.bars.add(bar).with_prefix(verb);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        self.state().bars.insert(key.to_owned(), bar.clone());
        bar
    }

    fn clear(&self, key: &str) {
        if let Some(bar) = self.state().bars.remove(key) {
            bar.finish_and_clear();
        }
    }
}

/// How many pods are in which state on which node.
fn by_node(pods: &[PodState]) -> String {
    let mut states: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for pod in pods {
        let node = pod.node.as_deref().unwrap_or("no node yet");
        *states.entry((node, &pod.state)).or_default() += 1;
    }
    let words = states.into_iter().map(|((node, state), count)| match count {
        1 => format!("{node}: {state}"),
        _ => format!("{node}: {count} {state}"),
    });
    let words: Vec<String> = words.collect();
    if words.is_empty() { String::new() } else { format!(" ({})", words.join(", ")) }
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
    // Both kinds of line are made of texts and numbers: they always fit JSON.
    let json = serde_json::to_string(line).unwrap_or_default();
    let _ = writeln!(io::stdout(), "{json}");
}

fn seconds(duration: Duration) -> String {
    format!("{:.1}s", duration.as_secs_f64())
}

fn count(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}
