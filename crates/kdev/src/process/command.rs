//! Commands: composed with xshell's `cmd!`, run here, and displayed as in a shell.
//!
//! xshell's own runner is not enough: images must be streamed, an interrupt must reach
//! every child, and an error must include the child's stderr.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, ChildStdout, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;
use std::{fmt, iter, thread};

use kdev_core::shell::quote;

use crate::cx::{BuildOutput, Cx, Interrupt};
use crate::event::Event;
use crate::parallel::join_thread;
use crate::process::child::{
    PIPE_TIMEOUT, PipeReader, send_lines, spawn, supervise, supervise_rest,
};
use crate::process::lines::Lines;
use crate::process::{Disk, DiskWatch, environment};

/// How long to wait for the last lines of a command after its exit.
const LAST_LINES_TIME: Duration = Duration::from_millis(100);

/// A command to run. Messages show its `Display` form.
pub(crate) struct Command {
    command: std::process::Command,
    stdin: Vec<u8>,
    timeout: Option<Duration>,
    disk: Option<Disk>,
    watch: Option<DiskWatch>,
    shows_dir: bool,
    ignores_interrupt: bool,
}

/// The output of a child that exited.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

/// A child that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The command, quoted for a shell.
    pub command: String,
    /// How it failed.
    pub outcome: Outcome,
    /// The end of its standard error, control characters removed.
    pub stderr: String,
}

/// How a child ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It exited with this code.
    Code(i32),
    /// It was terminated by this signal.
    Signal(i32),
    /// It was terminated because it ran for longer than this.
    TimedOut(Duration),
    /// It was terminated before it would have filled a disk, for this reason.
    DiskFull(String),
    /// It was terminated because kdev was interrupted.
    Interrupted,
    /// It could not be started, for this reason.
    NotStarted(String),
}

impl Command {
    pub(crate) fn new(cmd: xshell::Cmd<'_>) -> Self {
        Self::from(std::process::Command::from(cmd))
    }

    /// Sets what the child reads from stdin; empty by default.
    pub(crate) fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Sets how long the child may run; unlimited by default.
    pub(crate) fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// Terminates the child before it fills this disk.
    pub(crate) fn keep_free(mut self, disk: Disk) -> Self {
        self.disk = Some(disk);
        self
    }

    /// Looks at a disk while the output of the child is shown.
    pub(crate) fn watch_disk(mut self, watch: Option<DiskWatch>) -> Self {
        self.watch = watch;
        self
    }

    /// Lets the child continue after an interrupt: for commands that clean up.
    pub(crate) fn ignore_interrupt(mut self) -> Self {
        self.ignores_interrupt = true;
        self
    }

    /// Includes the working directory in the `Display` form.
    pub(crate) fn show_dir(mut self) -> Self {
        self.shows_dir = true;
        self
    }

    /// Returns the command for a child that prints English messages.
    pub(crate) fn into_std(mut self) -> std::process::Command {
        self.set_locale();
        self.command
    }

    /// Makes the child print English messages, which kdev can parse.
    fn set_locale(&mut self) {
        self.command.env("LC_ALL", "C");
    }

    /// Runs the command and returns its output; an exit code other than 0 is an error.
    pub(crate) fn read(self, cx: &Cx) -> Result<Output, Failure> {
        let display = self.to_string();
        let output = self.output(cx)?;
        if output.status.success() {
            return Ok(output);
        }
        Err(Failure {
            command: display,
            outcome: Outcome::from_status(output.status),
            stderr: output.stderr,
        })
    }

    /// Runs the command and returns its output, regardless of the exit code.
    pub(crate) fn output(mut self, cx: &Cx) -> Result<Output, Failure> {
        let display = self.to_string();
        self.set_locale();
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = spawn(&mut self.command, &display)?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().map(PipeReader::read_all);
        let stderr = child.stderr.take().map(PipeReader::read_tail);
        let bytes = std::mem::take(&mut self.stdin);
        // If the child exits without reading all of its stdin, its exit code decides.
        thread::spawn(move || stdin.map(|mut pipe| pipe.write_all(&bytes)));
        let never = Interrupt::never();
        let interrupt = if self.ignores_interrupt { &never } else { cx.interrupt() };
        let ended =
            supervise(interrupt, self.timeout, &mut [&mut child], &mut || full(self.disk.as_ref()));
        let stderr = stderr.map(PipeReader::into_text).unwrap_or_default();
        match ended {
            Ok(()) => {
                let stdout = stdout.map(PipeReader::into_bytes).unwrap_or_default();
                let status = child.wait().map_err(|e| Failure::not_started(&display, &e))?;
                Ok(Output { status, stdout, stderr })
            }
            Err(outcome) => Err(Failure { command: display, outcome, stderr }),
        }
    }

    /// Runs the command and passes its stdout to `reader` while it runs.
    pub(crate) fn read_with<T: Send>(
        mut self,
        cx: &Cx,
        reader: impl FnOnce(ChildStdout) -> T + Send,
    ) -> Result<T, Failure> {
        let display = self.to_string();
        self.set_locale();
        self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = spawn(&mut self.command, &display)?;
        let (stdout, stderr) =
            (child.stdout.take(), child.stderr.take().map(PipeReader::read_tail));
        let (value, ended) = thread::scope(|scope| {
            let reader_thread = scope.spawn(|| stdout.map(reader));
            let ended = supervise(cx.interrupt(), self.timeout, &mut [&mut child], &mut || None);
            (join_thread(reader_thread), ended)
        });
        let stderr = stderr.map(PipeReader::into_text).unwrap_or_default();
        let status = child.wait().map_err(|e| Failure::not_started(&display, &e))?;
        let outcome = match ended {
            Err(outcome) => outcome,
            // It may have failed because its reader was interrupted.
            Ok(()) if !status.success() && cx.interrupt().is_raised() => Outcome::Interrupted,
            Ok(()) => Outcome::from_status(status),
        };
        match value {
            Some(value) if outcome == Outcome::Code(0) => Ok(value),
            _ => Err(Failure { command: display, outcome, stderr }),
        }
    }

    /// Runs the command and shows its output while it runs.
    pub(crate) fn run(mut self, cx: &Cx, tool: &'static str) -> Result<(), Failure> {
        self.show_stdout(cx);
        let (send, lines) = mpsc::channel();
        self.run_and_send(cx, tool, send.clone(), (send, lines))
    }

    /// Does the same, and calls `on_exit` when the command has exited. The processes that it has
    /// left in the background run until the interrupt.
    pub(crate) fn run_with_rest(
        mut self,
        cx: &Cx,
        tool: &'static str,
        on_exit: impl FnOnce(Result<(), Failure>),
    ) {
        self.show_stdout(cx);
        let command = self.to_string();
        let (send, lines) = mpsc::channel();
        let mut child = match self.spawn_shown(cx, &command, &send, &send) {
            Ok(child) => child,
            Err(failure) => return on_exit(Err(failure)),
        };
        drop(send);
        let mut tick =
            || lines.try_iter().for_each(|line| cx.emit(Event::ToolOutput { tool, line }));
        let group = child.id();
        let mut show = || {
            tick();
            None
        };
        let ended = supervise(cx.interrupt(), self.timeout, &mut [&mut child], &mut show);
        // A process in the background may keep the pipes open.
        thread::sleep(LAST_LINES_TIME);
        tick();
        let status = child.wait().map_err(|e| Failure::not_started(&command, &e));
        on_exit(status.and_then(|status| exit_result(ended, status, command)));
        supervise_rest(cx.interrupt(), group, &mut tick);
    }

    fn show_stdout(&mut self, cx: &Cx) {
        if cx.build_output() == BuildOutput::Events {
            self.command.stdout(Stdio::piped());
        } else {
            // stdout is for results only, and build output is not a result.
            let stderr = io::stderr().as_fd().try_clone_to_owned();
            self.command.stdout(stderr.map_or_else(|_| Stdio::null(), Stdio::from));
        }
    }

    /// Starts the command, and sends the lines of its stdout, and those of its stderr, unless the
    /// terminal shows them.
    fn spawn_shown(
        &mut self,
        cx: &Cx,
        display: &str,
        stdout: &Sender<String>,
        stderr: &Sender<String>,
    ) -> Result<Child, Failure> {
        self.command.stdin(Stdio::null());
        if cx.build_output() == BuildOutput::Events {
            self.command.stderr(Stdio::piped());
        }
        let mut child = spawn(&mut self.command, display)?;
        send_lines(child.stdout.take(), stdout);
        send_lines(child.stderr.take(), stderr);
        Ok(child)
    }

    /// Runs the command, shows its stderr while it runs, and returns the lines of its stdout, also
    /// if it fails.
    pub(crate) fn run_and_read(
        mut self,
        cx: &Cx,
        tool: &'static str,
    ) -> (Vec<String>, Result<(), Failure>) {
        self.command.stdout(Stdio::piped());
        let (stdout, read) = mpsc::channel();
        let result = self.run_and_send(cx, tool, stdout, mpsc::channel());
        (iter::from_fn(|| read.recv_timeout(PIPE_TIMEOUT).ok()).collect(), result)
    }

    /// Runs the command and sends the lines of its stdout. Emits the lines of `shown`, which
    /// include those of its stderr, unless the terminal shows them.
    fn run_and_send(
        mut self,
        cx: &Cx,
        tool: &'static str,
        stdout: Sender<String>,
        shown: (Sender<String>, Receiver<String>),
    ) -> Result<(), Failure> {
        let display = self.to_string();
        let (send, lines) = shown;
        let mut child = self.spawn_shown(cx, &display, &stdout, &send)?;
        drop((stdout, send));
        let emit = |line| cx.emit(Event::ToolOutput { tool, line });
        let disk = self.disk.as_ref();
        let mut tick = || {
            lines.try_iter().for_each(emit);
            self.watch.iter().for_each(DiskWatch::look);
            full(disk)
        };
        let ended = supervise(cx.interrupt(), self.timeout, &mut [&mut child], &mut tick);
        while let Ok(line) = lines.recv_timeout(PIPE_TIMEOUT) {
            emit(line);
        }
        let status = child.wait().map_err(|e| Failure::not_started(&display, &e))?;
        exit_result(ended, status, display)
    }

    /// Runs the command while `writer` writes its stdin. The writer can also wait for
    /// lines of its stdout; the returned output includes them.
    pub(crate) fn feed<T: Send>(
        mut self,
        cx: &Cx,
        writer: impl FnOnce(ChildStdin, &mut Lines) -> T + Send,
    ) -> (Result<Output, Failure>, Option<T>) {
        let display = self.to_string();
        self.set_locale();
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = match spawn(&mut self.command, &display) {
            Ok(child) => child,
            Err(failure) => return (Err(failure), None),
        };
        let (send, lines) = mpsc::channel();
        send_lines(child.stdout.take(), &send);
        drop(send);
        let (stdin, stderr) = (child.stdin.take(), child.stderr.take().map(PipeReader::read_tail));
        let mut lines = Lines::new(lines);
        let (written, ended) = thread::scope(|scope| {
            let lines = &mut lines;
            let writer_thread = scope.spawn(move || stdin.map(|stdin| writer(stdin, lines)));
            let ended = supervise(cx.interrupt(), self.timeout, &mut [&mut child], &mut || None);
            (join_thread(writer_thread), ended)
        });
        let stderr = stderr.map(PipeReader::into_text).unwrap_or_default();
        // The result means nothing if the interrupt has truncated the input.
        let ended = if cx.interrupt().is_raised() { Err(Outcome::Interrupted) } else { ended };
        let output = match (ended, child.wait()) {
            (Err(outcome), _) => Err(Failure { command: display, outcome, stderr }),
            (Ok(()), Err(error)) => Err(Failure::not_started(&display, &error)),
            (Ok(()), Ok(status)) => Ok(Output { status, stdout: lines.finish().into(), stderr }),
        };
        (output, written)
    }
}

/// Returns the result of a child whose output was shown.
fn exit_result(
    ended: Result<(), Outcome>,
    status: ExitStatus,
    command: String,
) -> Result<(), Failure> {
    let outcome = ended.err().or_else(|| (!status.success()).then(|| Outcome::from_status(status)));
    match outcome {
        None => Ok(()),
        Some(outcome) => Err(Failure { command, outcome, stderr: String::new() }),
    }
}

impl From<std::process::Command> for Command {
    fn from(mut command: std::process::Command) -> Self {
        environment::apply(&mut command);
        Self {
            command,
            stdin: Vec::new(),
            timeout: None,
            disk: None,
            watch: None,
            shows_dir: false,
            ignores_interrupt: false,
        }
    }
}

impl Output {
    /// Returns stdout as text, with invalid UTF-8 replaced.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

impl fmt::Display for Command {
    /// Writes the program's file name and the arguments, quoted for a shell.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let program = std::path::Path::new(self.command.get_program());
        let name = program.file_name().unwrap_or(program.as_os_str());
        if let (true, Some(dir)) = (self.shows_dir, self.command.get_current_dir()) {
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
    pub(crate) fn from_status(status: ExitStatus) -> Self {
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
            Self::Signal(signal) => write!(f, "was terminated by signal {signal}"),
            Self::TimedOut(limit) => write!(f, "timed out after {} s", limit.as_secs()),
            Self::DiskFull(reason) => write!(f, "was terminated because {reason}"),
            Self::Interrupted => write!(f, "was interrupted"),
            Self::NotStarted(reason) => write!(f, "failed to start: {reason}"),
        }
    }
}

impl Failure {
    /// Returns the name of the program.
    pub(crate) fn program(&self) -> &str {
        let path = self.command.split(' ').next().unwrap_or_default();
        path.rsplit('/').next().unwrap_or_default()
    }

    pub(crate) fn is_interrupt(&self) -> bool {
        self.outcome == Outcome::Interrupted
    }

    pub(crate) fn from_output(command: String, output: Output) -> Self {
        Self { command, outcome: Outcome::from_status(output.status), stderr: output.stderr }
    }

    pub(crate) fn not_started(command: &str, error: &io::Error) -> Self {
        let outcome = Outcome::NotStarted(error.to_string());
        Self { command: command.to_owned(), outcome, stderr: String::new() }
    }

    /// Returns its stderr without repeated lines. Lines of client-go's log, which kubectl
    /// writes while it retries, are only included if there is nothing else.
    pub(crate) fn message(&self) -> String {
        let is_message = |line: &str| !is_log_line(line) && !line.trim().is_empty();
        let has_message = self.stderr.lines().any(is_message);
        let mut kept: Vec<&str> = Vec::new();
        for line in self.stderr.lines().filter(|line| !(has_message && is_log_line(line))) {
            // Lines without text, such as frames and braces, may be repeated.
            let has_text = line.contains(char::is_alphanumeric);
            if !(has_text && kept.contains(&line)) {
                kept.push(line);
            }
        }
        kept.join("\n").trim().to_owned()
    }
}

/// Returns the outcome of a child that has almost filled a disk.
fn full(disk: Option<&Disk>) -> Option<Outcome> {
    let error = disk?.check().err()?;
    Some(Outcome::DiskFull(error.to_string()))
}

/// Returns whether a line belongs to a klog log, such as
/// `E1125 07:15:01.123456    4711 memcache.go:265] …`.
fn is_log_line(line: &str) -> bool {
    let Some((head, _)) = line.split_once("] ") else { return false };
    let mut parts = head.split_ascii_whitespace();
    let is_date = |day: &str| {
        day.len() == 5
            && day.starts_with(['I', 'W', 'E', 'F'])
            && day.bytes().skip(1).all(|byte| byte.is_ascii_digit())
    };
    parts.next().is_some_and(is_date) && parts.any(|part| part.contains(".go:"))
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {}", self.command, self.outcome)?;
        match self.message().as_str() {
            "" => Ok(()),
            message => write!(f, ": {message}"),
        }
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
