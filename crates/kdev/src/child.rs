//! One child: spawned, watched, ended. The only place that spawns.
//!
//! Each child leads a process group of its own, so that a Ctrl-C reaches kdev
//! alone, which then ends its children in order.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::cmd::{Failure, Outcome};
use crate::cx::{Cx, Interrupt};
use crate::event::Event;

/// How much of a child's stderr an error keeps.
const STDERR_KEPT: usize = 16 * 1024;
/// How long a child may take to end after it was asked to.
pub(crate) const GRACE: Duration = Duration::from_secs(3);
/// How long to wait for the rest of stderr once a child has ended: a
/// grandchild (an ssh master, say) may hold the pipe open for ever.
const STDERR_PATIENCE: Duration = Duration::from_millis(200);
/// The size of one read in a pipe between two children.
const CHUNK: usize = 128 * 1024;

pub(crate) fn spawn(command: &mut Command, shown: &str) -> Result<Child, Failure> {
    command.process_group(0).spawn().map_err(|e| Failure::not_started(shown, &e))
}

/// Waits until every child has ended; on an interrupt, or when the time is
/// over, ends them all and says why.
pub(crate) fn supervise(
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
pub(crate) fn stop(children: &mut [&mut Child]) {
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

pub(crate) fn copy(
    from: Option<ChildStdout>,
    to: Option<ChildStdin>,
    progress: &(dyn Fn(u64) + Sync),
) {
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

pub(crate) fn collect(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}

/// Sends what it has read so far after each read, bounded, so that whoever
/// waits need not wait for the end of the pipe.
pub(crate) fn tail(mut pipe: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
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

pub(crate) fn received(pieces: Option<Receiver<Vec<u8>>>) -> String {
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

pub(crate) fn lines(cx: &Cx, tool: &'static str, pipe: Option<impl Read>) {
    let Some(pipe) = pipe else { return };
    for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
        let line = printable(&String::from_utf8_lossy(&line));
        cx.emit(Event::ToolOutput { tool, line });
    }
}
