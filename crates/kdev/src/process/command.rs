//! Commands: composed with xshell's `cmd!`, run here, and shown as a shell would
//! take them.
//!
//! xshell's own runner will not do: an image must be streamed, an interrupt must
//! reach every child, and an error must carry the child's own words.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use std::{fmt, thread};

use kdev_core::shell::quote;

use crate::cx::{BuildOutput, Cx, Interrupt};
use crate::event::Event;
use crate::parallel::joined;
use crate::process::child::{Collected, PATIENCE, send_lines, spawn, supervise};

/// A command that is yet to run; its `Display` is what messages show.
pub(crate) struct Task {
    command: Command,
    stdin: Vec<u8>,
    limit: Option<Duration>,
    dir_matters: bool,
    heeds_interrupt: bool,
}

/// What a child that ran to its end left behind.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

/// A child that did not do its work.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The command, quoted as a shell would take it.
    pub command: String,
    /// How it ended.
    pub outcome: Outcome,
    /// The end of its standard error, control characters removed.
    pub stderr: String,
}

/// How a child that did not do its work ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With this exit code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// It was stopped since it ran for longer than this.
    TimedOut(Duration),
    /// It was stopped by an interrupt.
    Interrupted,
    /// It never ran.
    NotStarted(String),
}

impl Task {
    pub(crate) fn new(cmd: xshell::Cmd<'_>) -> Self {
        Self::from(Command::from(cmd))
    }

    /// What the child reads; nothing unless told.
    pub(crate) fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// How long the child may run; for ever unless told.
    pub(crate) fn limit(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Runs to its end even after an interrupt: for what cleans up.
    pub(crate) fn even_if_interrupted(mut self) -> Self {
        self.heeds_interrupt = false;
        self
    }

    /// Shows the folder in which the command runs, too.
    pub(crate) fn show_dir(mut self) -> Self {
        self.dir_matters = true;
        self
    }

    /// Runs it and hands over what it wrote; an exit code other than 0 fails.
    pub(crate) fn read(self, cx: &Cx) -> Result<Output, Failure> {
        let shown = self.to_string();
        let output = self.output(cx)?;
        if output.status.success() {
            return Ok(output);
        }
        Err(Failure { command: shown, outcome: Outcome::of(output.status), stderr: output.stderr })
    }

    /// Runs it and hands over what it wrote, whatever its exit code.
    pub(crate) fn output(mut self, cx: &Cx) -> Result<Output, Failure> {
        let shown = self.to_string();
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = spawn(&mut self.command, &shown)?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().map(Collected::all);
        let stderr = child.stderr.take().map(Collected::tail);
        let bytes = std::mem::take(&mut self.stdin);
        // A child that ends without reading all is judged by its exit code.
        thread::spawn(move || stdin.map(|mut pipe| pipe.write_all(&bytes)));
        let never = Interrupt::never();
        let interrupt = if self.heeds_interrupt { cx.interrupt() } else { &never };
        let ended = supervise(interrupt, self.limit, &mut [&mut child], &mut || ());
        let stderr = stderr.map(Collected::text).unwrap_or_default();
        match ended {
            Ok(()) => {
                let stdout = stdout.map(Collected::bytes).unwrap_or_default();
                let status = child.wait().map_err(|e| Failure::not_started(&shown, &e))?;
                Ok(Output { status, stdout, stderr })
            }
            Err(outcome) => Err(Failure { command: shown, outcome, stderr }),
        }
    }

    /// Runs it and lets `reader` have its stdout as it comes.
    pub(crate) fn read_with<T: Send>(
        mut self,
        cx: &Cx,
        reader: impl FnOnce(ChildStdout) -> T + Send,
    ) -> Result<T, Failure> {
        let shown = self.to_string();
        self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = spawn(&mut self.command, &shown)?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take().map(Collected::tail));
        let (answer, ended) = thread::scope(|scope| {
            let reading = scope.spawn(|| stdout.map(reader));
            let ended = supervise(cx.interrupt(), self.limit, &mut [&mut child], &mut || ());
            (joined(reading), ended)
        });
        let stderr = stderr.map(Collected::text).unwrap_or_default();
        let status = child.wait().map_err(|e| Failure::not_started(&shown, &e))?;
        let outcome = match ended {
            Err(outcome) => outcome,
            // It may have ended since its reader was interrupted.
            Ok(()) if !status.success() && cx.interrupt().is_raised() => Outcome::Interrupted,
            Ok(()) => Outcome::of(status),
        };
        match answer {
            Some(answer) if outcome == Outcome::Code(0) => Ok(answer),
            _ => Err(Failure { command: shown, outcome, stderr }),
        }
    }

    /// Runs it with its output shown while it runs.
    pub(crate) fn live(mut self, cx: &Cx, tool: &'static str) -> Result<(), Failure> {
        let shown = self.to_string();
        let events = cx.where_builds_print() == BuildOutput::Events;
        self.command.stdin(Stdio::null());
        if events {
            self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        } else {
            // stdout is for results, and a build's talk is none.
            let stderr = io::stderr().as_fd().try_clone_to_owned();
            self.command.stdout(stderr.map_or_else(|_| Stdio::null(), Stdio::from));
        }
        let mut child = spawn(&mut self.command, &shown)?;
        let (send, lines) = mpsc::channel();
        send_lines(child.stdout.take(), &send);
        send_lines(child.stderr.take(), &send);
        drop(send);
        let emit = |line| cx.emit(Event::ToolOutput { tool, line });
        let mut tick = || lines.try_iter().for_each(emit);
        let ended = supervise(cx.interrupt(), self.limit, &mut [&mut child], &mut tick);
        while let Ok(line) = lines.recv_timeout(PATIENCE) {
            emit(line);
        }
        let status = child.wait().map_err(|e| Failure::not_started(&shown, &e))?;
        let outcome = ended.err().or_else(|| (!status.success()).then(|| Outcome::of(status)));
        match outcome {
            None => Ok(()),
            Some(outcome) => Err(Failure { command: shown, outcome, stderr: String::new() }),
        }
    }

    /// Runs it while `writer` writes its stdin. The writer can also wait for
    /// lines of its stdout, each of which the output has all the same.
    pub(crate) fn feed<T: Send>(
        mut self,
        cx: &Cx,
        writer: impl FnOnce(ChildStdin, &mut Lines) -> T + Send,
    ) -> (Result<Output, Failure>, Option<T>) {
        let shown = self.to_string();
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = match spawn(&mut self.command, &shown) {
            Ok(child) => child,
            Err(failure) => return (Err(failure), None),
        };
        let (send, lines) = mpsc::channel();
        send_lines(child.stdout.take(), &send);
        drop(send);
        let (stdin, stderr) = (child.stdin.take(), child.stderr.take().map(Collected::tail));
        let mut lines = Lines { lines, seen: String::new() };
        let (written, ended) = thread::scope(|scope| {
            let lines = &mut lines;
            let writing = scope.spawn(move || stdin.map(|stdin| writer(stdin, lines)));
            let ended = supervise(cx.interrupt(), self.limit, &mut [&mut child], &mut || ());
            (joined(writing), ended)
        });
        let stderr = stderr.map(Collected::text).unwrap_or_default();
        // What it made of an input that the same interrupt has cut says nothing.
        let ended = if cx.interrupt().is_raised() { Err(Outcome::Interrupted) } else { ended };
        let output = match (ended, child.wait()) {
            (Err(outcome), _) => Err(Failure { command: shown, outcome, stderr }),
            (Ok(()), Err(error)) => Err(Failure::not_started(&shown, &error)),
            (Ok(()), Ok(status)) => Ok(Output { status, stdout: lines.rest().into(), stderr }),
        };
        (output, written)
    }
}

/// The lines that a running child prints.
pub(crate) struct Lines {
    lines: mpsc::Receiver<String>,
    seen: String,
}

impl Lines {
    /// The next line; `None` once there will be no more.
    pub(crate) fn next(&mut self) -> Option<String> {
        let line = self.lines.recv().ok()?;
        self.note(&line);
        Some(line)
    }

    /// All that was printed.
    fn rest(mut self) -> String {
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            self.note(&line);
        }
        self.seen
    }

    fn note(&mut self, line: &str) {
        self.seen.push_str(line);
        self.seen.push('\n');
    }
}

impl From<Command> for Task {
    fn from(command: Command) -> Self {
        Self { command, stdin: Vec::new(), limit: None, dir_matters: false, heeds_interrupt: true }
    }
}

impl Output {
    /// stdout as text; what is no UTF-8 is replaced.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

impl fmt::Display for Task {
    /// The program by its name alone, each argument quoted where a shell
    /// would need it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let program = std::path::Path::new(self.command.get_program());
        let name = program.file_name().unwrap_or(program.as_os_str());
        if let (true, Some(dir)) = (self.dir_matters, self.command.get_current_dir()) {
            write!(f, "cd {} && ", quote(&dir.to_string_lossy()))?;
        }
        f.write_str(&quote(&name.to_string_lossy()))?;
        for arg in self.command.get_args() {
            write!(f, " {}", quote(&arg.to_string_lossy()))?;
        }
        Ok(())
    }
}

impl Outcome {
    fn of(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, signal) => Self::Signal(signal.unwrap_or_default()),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with code {code}"),
            Self::Signal(signal) => write!(f, "was ended by signal {signal}"),
            Self::TimedOut(limit) => write!(f, "did not end within {} s", limit.as_secs()),
            Self::Interrupted => write!(f, "was interrupted"),
            Self::NotStarted(reason) => write!(f, "could not be started: {reason}"),
        }
    }
}

impl Failure {
    pub(crate) fn is_interrupt(&self) -> bool {
        self.outcome == Outcome::Interrupted
    }

    pub(crate) fn of(task: String, output: Output) -> Self {
        Self { command: task, outcome: Outcome::of(output.status), stderr: output.stderr }
    }

    pub(crate) fn not_started(command: &str, error: &io::Error) -> Self {
        let outcome = Outcome::NotStarted(error.to_string());
        Self { command: command.to_owned(), outcome, stderr: String::new() }
    }

    /// What it said, each line once, and of kubectl what it says to people: while it
    /// tries again it writes a log of client-go's, too.
    pub(crate) fn words(&self) -> String {
        let told = |line: &&str| !is_log(line) && !line.trim().is_empty();
        let is_told = self.stderr.lines().any(|line| told(&line));
        let mut words: Vec<&str> = Vec::new();
        for line in self.stderr.lines().filter(|line| !(is_told && is_log(line))) {
            // Frames and braces may well stand there twice.
            let is_word = line.contains(char::is_alphanumeric);
            if !(is_word && words.contains(&line)) {
                words.push(line);
            }
        }
        words.join("\n").trim().to_owned()
    }
}

/// As `E1125 07:15:01.123456    4711 memcache.go:265] …`.
fn is_log(line: &str) -> bool {
    let Some((head, _)) = line.split_once("] ") else { return false };
    let mut parts = head.split_ascii_whitespace();
    let is_date = |day: &str| {
        day.len() == 5
            && day.starts_with(['I', 'W', 'E', 'F'])
            && day.bytes().skip(1).all(|byte| byte.is_ascii_digit())
    };
    parts.next().is_some_and(is_date) && parts.any(|place| place.contains(".go:"))
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {}", self.command, self.outcome)?;
        match self.words().as_str() {
            "" => Ok(()),
            words => write!(f, ": {words}"),
        }
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
