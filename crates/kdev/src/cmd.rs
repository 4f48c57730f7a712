//! Runs children: the only place that spawns.
//!
//! Commands are composed with xshell's `cmd!` and run here, since an image
//! must be streamed, an interrupt must reach every child, and an error must
//! carry the child's own words. Each child leads a process group of its own,
//! so that a Ctrl-C reaches kdev alone, which then ends its children in order.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::cx::{BuildOutput, Cx, Interrupt};
use crate::event::Event;

/// How much of a child's stderr an error keeps.
const STDERR_KEPT: usize = 16 * 1024;
/// How long a child may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(3);
/// How long to wait for the rest of stderr once a child has ended: a
/// grandchild (an ssh master, say) may hold the pipe open for ever.
const STDERR_PATIENCE: Duration = Duration::from_millis(200);
/// The size of one read in a pipe between two children.
const CHUNK: usize = 128 * 1024;

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
#[derive(Debug)]
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
        let stdout = child.stdout.take().map(collect);
        let stderr = child.stderr.take().map(tail);
        let bytes = std::mem::take(&mut self.stdin);
        // A child that ends without reading all is judged by its exit code.
        thread::spawn(move || stdin.map(|mut pipe| pipe.write_all(&bytes)));
        let never = Interrupt::never();
        let interrupt = if self.heeds_interrupt { cx.interrupt() } else { &never };
        let ended = supervise(interrupt, self.limit, &mut [&mut child]);
        let stderr = received(stderr);
        match ended {
            Ok(()) => {
                let stdout = stdout.and_then(|thread| thread.join().ok()).unwrap_or_default();
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
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take().map(tail));
        let (answer, ended) = thread::scope(|scope| {
            let reading = scope.spawn(|| stdout.map(reader));
            let ended = supervise(cx.interrupt(), self.limit, &mut [&mut child]);
            (reading.join().ok().flatten(), ended)
        });
        let stderr = received(stderr);
        let status = child.wait().map_err(|e| Failure::not_started(&shown, &e))?;
        let outcome = ended.err().unwrap_or_else(|| Outcome::of(status));
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
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let ended = thread::scope(|scope| {
            scope.spawn(|| lines(cx, tool, stdout));
            scope.spawn(|| lines(cx, tool, stderr));
            supervise(cx.interrupt(), self.limit, &mut [&mut child])
        });
        let status = child.wait().map_err(|e| Failure::not_started(&shown, &e))?;
        let outcome = ended.err().or_else(|| (!status.success()).then(|| Outcome::of(status)));
        match outcome {
            None => Ok(()),
            Some(outcome) => Err(Failure { command: shown, outcome, stderr: String::new() }),
        }
    }

    /// Runs both, the first one's stdout being the second one's stdin, and
    /// tells `progress` how many bytes have passed. Memory does not grow with
    /// what passes.
    pub(crate) fn pipe_into(
        mut self,
        cx: &Cx,
        mut sink: Task,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Piped {
        let shown = [self.to_string(), sink.to_string()];
        self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        sink.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // The sink first: where it cannot start, nothing need be read.
        let mut to = match spawn(&mut sink.command, &shown[1]) {
            Ok(child) => child,
            Err(failure) => {
                return Piped { source: Err(failure.not_needed()), sink: Err(failure) };
            }
        };
        let mut from = match spawn(&mut self.command, &shown[0]) {
            Ok(child) => child,
            Err(failure) => {
                stop(&mut [&mut to]);
                return Piped { sink: Err(failure.not_needed()), source: Err(failure) };
            }
        };
        let (reader, writer) = (from.stdout.take(), to.stdin.take());
        let out = to.stdout.take().map(collect);
        let errors = [from.stderr.take().map(tail), to.stderr.take().map(tail)];
        let ended = thread::scope(|scope| {
            scope.spawn(|| copy(reader, writer, progress));
            supervise(cx.interrupt(), sink.limit, &mut [&mut from, &mut to])
        });
        let [source_error, sink_error] = errors.map(received);
        let stdout = out.and_then(|thread| thread.join().ok()).unwrap_or_default();
        let [source_shown, sink_shown] = shown;
        let status = [from.wait(), to.wait()];
        let done = |status: io::Result<ExitStatus>, shown: String, stderr: String, stdout| {
            if let Err(outcome) = &ended {
                return Err(Failure { command: shown, outcome: outcome.clone(), stderr });
            }
            match status {
                Ok(status) => Ok(Output { status, stdout, stderr }),
                Err(error) => Err(Failure::not_started(&shown, &error)),
            }
        };
        let [from, to] = status;
        Piped {
            source: done(from, source_shown, source_error, Vec::new()),
            sink: done(to, sink_shown, sink_error, stdout),
        }
    }
}

impl From<Command> for Task {
    fn from(command: Command) -> Self {
        Self { command, stdin: Vec::new(), limit: None, dir_matters: false, heeds_interrupt: true }
    }
}

/// How both ends of a pipe ended. The sink is to be judged first: a source
/// whose reader has gone dies of a broken pipe, which is not the cause.
#[derive(Debug)]
pub(crate) struct Piped {
    pub(crate) source: Result<Output, Failure>,
    pub(crate) sink: Result<Output, Failure>,
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
            write!(f, "cd {} && ", quoted(&dir.to_string_lossy()))?;
        }
        f.write_str(&quoted(&name.to_string_lossy()))?;
        for arg in self.command.get_args() {
            write!(f, " {}", quoted(&arg.to_string_lossy()))?;
        }
        Ok(())
    }
}

/// One word as a POSIX shell would take it.
pub(crate) fn quoted(word: &str) -> String {
    // Only a NUL cannot be quoted, and no argument of ours has one.
    shlex::try_quote(word).map_or_else(|_| word.replace('\0', ""), std::borrow::Cow::into_owned)
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

    fn not_started(command: &str, error: &io::Error) -> Self {
        let outcome = Outcome::NotStarted(error.to_string());
        Self { command: command.to_owned(), outcome, stderr: String::new() }
    }

    /// The failure of the other end of a pipe, which was not begun.
    fn not_needed(&self) -> Self {
        let outcome = Outcome::NotStarted("the other end of the pipe failed".to_owned());
        Self { command: self.command.clone(), outcome, stderr: String::new() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {}", self.command, self.outcome)?;
        match self.stderr.trim() {
            "" => Ok(()),
            stderr => write!(f, ": {stderr}"),
        }
    }
}

impl std::error::Error for Failure {}

fn spawn(command: &mut Command, shown: &str) -> Result<Child, Failure> {
    command.process_group(0).spawn().map_err(|e| Failure::not_started(shown, &e))
}

/// Waits until every child has ended; on an interrupt, or when the time is
/// over, ends them all and says why.
fn supervise(
    interrupt: &Interrupt,
    limit: Option<Duration>,
    children: &mut [&mut Child],
) -> Result<(), Outcome> {
    let begun = Instant::now();
    loop {
        if all_ended(children) {
            return Ok(());
        }
        let outcome = match limit {
            _ if interrupt.is_raised() => Some(Outcome::Interrupted),
            Some(limit) if begun.elapsed() > limit => Some(Outcome::TimedOut(limit)),
            _ => None,
        };
        if let Some(outcome) = outcome {
            stop(children);
            return Err(outcome);
        }
        // Short commands are noticed at once, long ones cost no polling.
        let pause = begun.elapsed() / 16;
        thread::sleep(pause.clamp(Duration::from_micros(500), Duration::from_millis(20)));
    }
}

fn all_ended(children: &mut [&mut Child]) -> bool {
    // An error means that there is nothing left to wait for.
    children.iter_mut().all(|child| !matches!(child.try_wait(), Ok(None)))
}

/// Asks the children's groups to end, and ends them if they do not.
fn stop(children: &mut [&mut Child]) {
    signal(children, Signal::SIGTERM);
    let begun = Instant::now();
    while !all_ended(children) && begun.elapsed() < GRACE {
        thread::sleep(Duration::from_millis(10));
    }
    signal(children, Signal::SIGKILL);
    for child in children {
        let _ = child.wait();
    }
}

fn signal(children: &mut [&mut Child], signal: Signal) {
    for child in children {
        // A child that was reaped may have lost its id to another process.
        if matches!(child.try_wait(), Ok(None))
            && let Ok(id) = i32::try_from(child.id())
        {
            let _ = killpg(Pid::from_raw(id), signal);
        }
    }
}

fn copy(from: Option<ChildStdout>, to: Option<ChildStdin>, progress: &(dyn Fn(u64) + Sync)) {
    let (Some(mut from), Some(mut to)) = (from, to) else {
        return;
    };
    let mut chunk = vec![0; CHUNK];
    let mut passed = 0;
    // Both children tell by their exit codes what an error here means.
    while let Ok(count @ 1..) = from.read(&mut chunk) {
        if to.write_all(&chunk[..count]).is_err() {
            return;
        }
        passed += count as u64;
        progress(passed);
    }
}

fn collect(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}

/// Sends what it has read so far after each read, bounded, so that whoever
/// waits need not wait for the end of the pipe.
fn tail(mut pipe: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        let mut chunk = [0; 4096];
        while let Ok(count @ 1..) = pipe.read(&mut chunk) {
            if send.send(chunk[..count].to_vec()).is_err() {
                break;
            }
        }
    });
    receive
}

fn received(pieces: Option<Receiver<Vec<u8>>>) -> String {
    let mut kept = Vec::new();
    let Some(pieces) = pieces else {
        return String::new();
    };
    while let Ok(piece) = pieces.recv_timeout(STDERR_PATIENCE) {
        kept.extend(piece);
        let excess = kept.len().saturating_sub(STDERR_KEPT);
        kept.drain(..excess);
    }
    printable(&String::from_utf8_lossy(&kept))
}

/// Without control characters, which could steer the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.replace("\r\n", "\n")
        .chars()
        .filter(|c| *c == '\n' || *c == '\t' || !c.is_control())
        .collect()
}

fn lines(cx: &Cx, tool: &'static str, pipe: Option<impl Read>) {
    let Some(pipe) = pipe else { return };
    for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
        let line = printable(&String::from_utf8_lossy(&line));
        cx.emit(Event::ToolOutput { tool, line });
    }
}

#[cfg(test)]
#[path = "cmd_tests.rs"]
mod tests;
