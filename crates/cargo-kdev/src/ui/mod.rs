//! All output: events are printed as lines in the style of cargo, as progress bars, or as JSON.
//!
//! - `error.rs`: errors as text
//! - `follow.rs`: the texts of events about pods that are followed
//! - `keyboard.rs`: single keys
//! - `progress.rs`: progress bars
//! - `line.rs`: an event as one line
//! - `pruned.rs`: the builds that were removed
//! - `rollout.rs`: the progress of a workload
//! - `service.rs`: the events of one of several services
//! - `stdout.rs`: results on stdout
//! - `timings.rs`: the times of the last deployments of a watch
//! - `watch.rs`: the lines and the status line of a watch
//! - `wrap.rs`: wraps lines at the width of the terminal

pub(crate) mod error;
mod follow;
pub(crate) mod keyboard;
mod line;
pub(crate) mod progress;
mod pruned;
pub(crate) mod rollout;
mod service;
pub(crate) mod stdout;
mod timings;
pub(crate) mod watch;
pub(crate) mod wrap;

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use anstyle::Style;
use indicatif::HumanBytes;
use kdev::{BuildError, BuildOutput, Error, Event, ExitCode, Interrupt, Message, PodState, Status};
use serde::Serialize;

use crate::flags::{Color, MessageFormat, OutputArgs};
use crate::ui::error::Report;
use crate::ui::keyboard::Keyboard;
use crate::ui::line::{Line, WARN};
use crate::ui::progress::Bars;
use crate::ui::stdout::Stdout;
use crate::ui::watch::WatchState;
use crate::ui::wrap::{is_narrow, stderr_width, wrap_text};

pub(crate) use line::{DONE, NOTE};

/// The column where messages start.
const MESSAGE_COLUMN: usize = 13;
/// The indentation of wrapped lines on a narrow terminal.
const NARROW_INDENT: usize = 4;
/// The number of build output lines that `--quiet` keeps, to print them if the build fails.
const QUIET_LINES: usize = 200;

/// The output of the program.
#[expect(clippy::struct_excessive_bools, reason = "one per flag")]
pub(crate) struct Ui {
    pub(crate) json: bool,
    pub(crate) quiet: bool,
    verbose: bool,
    /// Whether the end of each cycle of a watch notifies the terminal.
    must_notify: bool,
    pub(crate) bars: Bars,
    pub(crate) stdout: Stdout,
    /// The keyboard of a watch.
    keyboard: OnceLock<Keyboard>,
    state: Mutex<UiState>,
}

/// The state of the output.
#[derive(Default)]
pub(crate) struct UiState {
    /// The last lines of the build output that was not printed, by package; empty for the only
    /// one.
    hidden: BTreeMap<String, VecDeque<String>>,
    /// The last status that was printed.
    pub(crate) status: Option<Status>,
    pub(crate) watch: Option<WatchState>,
    has_shown_keys: bool,
}

/// An event in the JSON output.
#[derive(Serialize)]
struct EventLine<'a> {
    version: u32,
    #[serde(flatten)]
    message: &'a Message,
}

/// An error in the JSON output.
#[derive(Serialize)]
struct ErrorLine<'a> {
    version: u32,
    reason: &'static str,
    code: u8,
    #[serde(flatten)]
    report: &'a Report,
    #[serde(skip_serializing_if = "Option::is_none")]
    package: Option<&'a str>,
}

impl Ui {
    pub(crate) fn new(output: &OutputArgs, must_notify: bool) -> Self {
        match output.color {
            Color::Auto => {}
            Color::Always => anstream::ColorChoice::Always.write_global(),
            Color::Never => anstream::ColorChoice::Never.write_global(),
        }
        let json = output.message_format == MessageFormat::Json;
        let bars = Bars::new(!json && !output.quiet);
        let (quiet, verbose) = (output.quiet, output.verbose);
        let must_notify = must_notify && !json && io::stderr().is_terminal();
        let (stdout, keyboard, state) = (Stdout::default(), OnceLock::new(), Mutex::default());
        Self { json, quiet, verbose, must_notify, bars, stdout, keyboard, state }
    }

    /// Returns where builds print: directly to stderr, except for quiet and JSON output.
    pub(crate) fn build_output(&self) -> BuildOutput {
        if self.json || self.quiet { BuildOutput::Events } else { BuildOutput::Stderr }
    }

    pub(crate) fn can_ask(&self) -> bool {
        !self.json && io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    /// Asks a question. Any answer except yes means no, and so does an interrupt.
    pub(crate) fn ask(&self, question: &str, interrupt: &Interrupt) -> bool {
        match self.keyboard.get() {
            Some(keyboard) => keyboard.suspend(|| self.ask_line(question, interrupt)),
            None => self.ask_line(question, interrupt),
        }
    }

    fn ask_line(&self, question: &str, interrupt: &Interrupt) -> bool {
        self.bars.suspend(|| {
            let mut stderr = anstream::stderr();
            let question = wrap_message(&format!("{question} [y/N]"));
            let _ = write!(stderr, "{WARN}{:>12}{WARN:#} {question} ", "Question");
            let _ = stderr.flush();
            // A read cannot be interrupted, so it runs in a separate thread.
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
                        // Keep the question on the screen.
                        let _ = writeln!(stderr);
                        return false;
                    }
                }
            }
        })
    }

    /// Prints an event. Without a reader, `interrupt` ends a watch, which would never end.
    pub(crate) fn print_event(&self, message: Message, interrupt: &Interrupt) {
        if self.json {
            self.stdout.write_json(&EventLine { version: kdev::JSON_VERSION, message: &message });
            if matches!(message.event, Event::Watching { .. }) && self.stdout.has_ended() {
                interrupt.raise();
            }
            return;
        }
        if let Some(watch) = &mut self.state().watch {
            watch.record(&message);
        }
        self.update_status();
        let Message { event, package, .. } = message;
        if let (true, Some(text)) = (self.must_notify, watch::format_notification(&event)) {
            self.bars.suspend(|| {
                let _ = io::stderr().write_all(text.as_bytes());
            });
        }
        match (event, package) {
            // The commands are the result of a dry run, so they go to stdout.
            (Event::WouldRun { command }, _) => {
                self.bars.suspend(|| self.stdout.write_styled(format_args!("{command}\n")));
            }
            (event, package) if self.quiet => self.print_quiet(event, package),
            (event, Some(package)) => self.print_service(&package, event),
            (event, None) => self.print_human(event),
        }
    }

    /// Returns the keyboard, unless there is no terminal on which the status line shows the keys.
    pub(crate) fn open_keyboard(&self) -> Option<&Keyboard> {
        let keyboard = if self.bars.is_hidden() { None } else { Keyboard::open() };
        keyboard.map(|keyboard| self.keyboard.get_or_init(|| keyboard))
    }

    /// Shows the status line of a watch, or removes it.
    pub(crate) fn update_status(&self) {
        let Some(width) = stderr_width().map(progress::status_width) else { return };
        let status = self.state().watch.as_ref().map(|watch| {
            let has_status = watch.has_status();
            has_status.then(|| (watch.verb(), watch.text(width)))
        });
        // The lock of the state is free: errors lock it while they hide the bars.
        match status {
            Some(Some((verb, text))) => self.bars.show_status(verb, text),
            Some(None) => self.bars.hide_status(),
            None => {}
        }
    }

    /// Prints a text without changes.
    pub(crate) fn print_plain(&self, text: &str) {
        self.bars.suspend(|| {
            let _ = write!(anstream::stderr(), "{text}");
        });
    }

    /// Removes all progress bars.
    pub(crate) fn clear_bars(&self) {
        self.bars.finish();
    }

    pub(crate) fn print_error(&self, error: &Error) {
        let mut stderr = anstream::stderr();
        self.print_hidden("", error);
        if let Error::Services(failures) = error {
            for one in failures {
                // A call of cargo for several packages.
                self.print_hidden("", &one.error);
                self.print_hidden(&one.package, &one.error);
            }
        }
        if error.is_interrupt() && !self.json && io::stderr().is_terminal() {
            // Remove the `^C` that the terminal printed, possibly after partial build output.
            let clean = if progress::is_dumb() { "\n" } else { "\r\x1b[K" };
            let _ = write!(io::stderr(), "{clean}");
        }
        let code = error.exit_code();
        for report in error::reports(error) {
            if self.json {
                let (version, reason) = (kdev::JSON_VERSION, "error");
                let package = report.package.as_deref();
                let line = ErrorLine { version, reason, code, report: &report, package };
                self.stdout.write_json(&line);
            }
            if !self.json || self.stdout.error_message().is_some() {
                let _ = write!(stderr, "{}", report.format(stderr_width()));
            }
        }
    }

    /// Prints an error if stdout could not be written. Returns the exit code of the process.
    pub(crate) fn finish(&self, code: u8) -> u8 {
        let Some(cause) = self.stdout.error_message() else { return code };
        let report = Report::for_stdout(cause);
        let _ = write!(anstream::stderr(), "{}", report.format(stderr_width()));
        if code == 0 { ExitCode::Output as u8 } else { code }
    }

    pub(crate) fn state(&self) -> std::sync::MutexGuard<'_, UiState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Prints the build output that was not printed, if the build has failed.
    fn print_hidden(&self, package: &str, error: &Error) {
        if matches!(error, Error::Build(BuildError::Failed { .. })) {
            for line in self.state().hidden.remove(package).into_iter().flatten() {
                let _ = writeln!(anstream::stderr(), "{line}");
            }
        }
    }

    /// Keeps a line of the build output.
    fn hide(&self, package: &str, line: String) {
        let mut state = self.state();
        let hidden = state.hidden.entry(package.to_owned()).or_default();
        hidden.push_back(line);
        if hidden.len() > QUIET_LINES {
            hidden.pop_front();
        }
    }

    /// Prints only warnings, and keeps the build output.
    fn print_quiet(&self, event: Event, package: Option<String>) {
        match (event, package) {
            (Event::ToolOutput { line, .. }, package) => {
                self.hide(package.as_deref().unwrap_or_default(), line);
            }
            (event @ (Event::RolledBack { .. } | Event::Problem { .. }), package) => {
                match package {
                    Some(package) => self.print_service(&package, event),
                    None => self.print_human(event),
                }
            }
            _ => {}
        }
    }

    fn print_human(&self, event: Event) {
        match event {
            Event::Building { command, .. } if self.verbose => {
                self.print_unwrapped(DONE, "Building", &command);
            }
            Event::Loading { node, bytes, .. } => self.start_load(&node, bytes),
            Event::Progress { node, bytes } => self.bars.advance(&node, bytes),
            Event::LoadFailed { node } => self.bars.clear(&node),
            Event::Waiting { workload, ready, desired, pods } => {
                self.print_waiting(&workload, ready, desired, &pods);
            }
            Event::Settling { workload, pods, containers, duration } => {
                self.print_settling(&workload, pods, &containers, duration);
            }
            Event::Watching { .. } if self.bars.has_status() => self.show_keys(),
            Event::Address { .. } if self.forwards() => {}
            event => {
                if let Event::Loaded { node: key, .. } | Event::Ready { workload: key, .. } = &event
                {
                    self.bars.clear(key);
                }
                if let Some(line) = Line::new(&event) {
                    self.print_line(line.style, line.verb, &line.text);
                }
            }
        }
    }

    /// Returns whether a watch forwards ports, and shows the addresses itself.
    fn forwards(&self) -> bool {
        self.state().watch.as_ref().is_some_and(|watch| watch.has_forward)
    }

    /// Prints the meaning of the keys once.
    fn show_keys(&self) {
        if self.keyboard.get().is_some()
            && !std::mem::replace(&mut self.state().has_shown_keys, true)
        {
            self.print_line(NOTE, "Note", watch::KEYS_NOTE);
        }
    }

    fn print_waiting(&self, workload: &str, ready: u64, desired: u64, pods: &[PodState]) {
        let text = rollout::format_full(workload, ready, desired, pods);
        match stderr_width().map(progress::message_width) {
            _ if self.bars.is_hidden() => self.print_line(NOTE, "Waiting", &text),
            Some(room) if text.chars().count() > room => {
                let text = rollout::format_short(workload, (ready, desired), pods, room);
                self.bars.show_spinner(workload, "Waiting", text);
            }
            _ => self.bars.show_spinner(workload, "Waiting", text),
        }
    }

    fn print_settling(&self, workload: &str, pods: u64, containers: &[String], time: Duration) {
        let text = rollout::format_settling(workload, pods, time);
        if self.bars.is_hidden() {
            let cause = rollout::format_settling_cause(containers);
            self.print_line(NOTE, "Settling", &format!("{text}, {cause}"));
        } else {
            self.bars.show_spinner(workload, "Settling", text);
        }
    }

    pub(crate) fn print_line(&self, style: Style, verb: &str, text: &str) {
        self.print_unwrapped(style, verb, &wrap_message(text));
    }

    fn print_unwrapped(&self, style: Style, verb: &str, text: &str) {
        let line = format!("{style}{verb:>12}{style:#} {text}\n");
        // One write, because a child may write at the same time.
        let line = progress::adapt_colors(&line, &io::stderr());
        self.bars.suspend(|| {
            let _ = io::stderr().write_all(line.as_bytes());
        });
    }

    fn start_load(&self, node: &str, bytes: u64) {
        if self.bars.is_hidden() {
            self.print_line(NOTE, "Loading", &format!("{node} ({})", HumanBytes(bytes)));
        }
        self.bars.start_load(node, bytes);
    }
}

/// Leaves the line with the `^C` that the terminal has printed. Takes no lock, because the thread that
/// holds it may be blocked.
pub(crate) fn leave_line() {
    if io::stderr().is_terminal() {
        let _ = nix::unistd::write(io::stderr(), b"\n");
    }
}

/// Prints the help or an error of the command line. Returns the exit code.
pub(crate) fn print_usage(error: &clap::Error) -> std::process::ExitCode {
    let code = u8::try_from(error.exit_code()).unwrap_or(ExitCode::Usage as u8);
    match error.print().and_then(|()| io::stdout().flush()) {
        Err(error) if code == 0 && error.kind() != io::ErrorKind::BrokenPipe => {
            let report = Report::for_stdout(error.to_string());
            let _ = write!(anstream::stderr(), "{}", report.format(stderr_width()));
            (ExitCode::Output as u8).into()
        }
        _ => code.into(),
    }
}

/// Wraps a message and indents the following lines.
fn wrap_message(message: &str) -> String {
    let width = stderr_width();
    wrap_text(
        message,
        MESSAGE_COLUMN,
        if is_narrow(width) { NARROW_INDENT } else { MESSAGE_COLUMN },
        width,
    )
}
