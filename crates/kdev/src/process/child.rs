//! Spawns, supervises and terminates children. Nothing else spawns one.
//!
//! Each child leads its own process group, so that Ctrl-C reaches only kdev, which then
//! terminates its children in order.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::mem;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use kdev_core::text::printable;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::cx::Interrupt;
use crate::process::{Failure, Outcome};

/// How much of a child's stderr is kept for an error.
const MAX_STDERR_BYTES: usize = 16 * 1024;
/// How long a child may take to exit after SIGTERM.
pub(crate) const EXIT_GRACE_PERIOD: Duration = Duration::from_secs(3);
/// How long to wait for the rest of a pipe after the child has exited: a grandchild may
/// hold it open forever.
pub(crate) const PIPE_TIMEOUT: Duration = Duration::from_secs(1);
/// How often a child that has run for long is checked.
const MAX_PAUSE: Duration = Duration::from_millis(100);
/// How often processes in the background are checked.
const REST_INTERVAL: Duration = Duration::from_millis(50);
/// The size of one read from a pipe.
const CHUNK_SIZE: usize = 128 * 1024;

/// The process groups of the children that have not been reaped.
static GROUPS: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// Kills all children of this process immediately, and starts no more. Call it only directly before
/// the process exits.
pub fn kill_children() {
    let groups = lock_groups();
    for &group in groups.iter() {
        if let Ok(id) = i32::try_from(group) {
            let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
        }
    }
    // Another thread must not start a child before the process has exited.
    mem::forget(groups);
}

fn lock_groups() -> MutexGuard<'static, BTreeSet<u32>> {
    GROUPS.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn spawn(command: &mut Command, display: &str) -> Result<Child, Failure> {
    let mut groups = lock_groups();
    let child = command.process_group(0).spawn().map_err(|e| Failure::not_started(display, &e))?;
    groups.insert(child.id());
    Ok(child)
}

/// Returns whether the child has exited. An error means that there is nothing to wait for.
pub(crate) fn has_exited(child: &mut Child) -> bool {
    let mut groups = lock_groups();
    let has_exited = !matches!(child.try_wait(), Ok(None));
    if has_exited {
        // The ID may belong to another process from now on.
        groups.remove(&child.id());
    }
    has_exited
}

/// Waits until all children have exited. On an interrupt or a timeout, terminates them
/// and returns the reason. Calls `tick` while it waits; an outcome that it returns ends them, too.
pub(crate) fn supervise(
    interrupt: &Interrupt,
    limit: Option<Duration>,
    children: &mut [&mut Child],
    tick: &mut dyn FnMut() -> Option<Outcome>,
) -> Result<(), Outcome> {
    let started = Instant::now();
    loop {
        let ticked = tick();
        if have_all_exited(children) {
            return Ok(());
        }
        let outcome = match limit {
            _ if interrupt.is_raised() => Some(Outcome::Interrupted),
            Some(limit) if started.elapsed() > limit => Some(Outcome::TimedOut(limit)),
            _ => ticked,
        };
        if let Some(outcome) = outcome {
            terminate(children);
            return Err(outcome);
        }
        // Short commands are noticed immediately; long ones are polled rarely.
        let pause = started.elapsed() / 16;
        let pause = pause.clamp(Duration::from_micros(500), Duration::from_millis(20));
        // Those that run as long as a watch must need no processor time.
        thread::sleep(pause.max((started.elapsed() / 500).min(MAX_PAUSE)));
    }
}

fn have_all_exited(children: &mut [&mut Child]) -> bool {
    children.iter_mut().all(|child| has_exited(child))
}

/// Sends SIGTERM to the children's process groups, and SIGKILL if they do not exit.
fn terminate(children: &mut [&mut Child]) {
    send_signal(children, Signal::SIGTERM);
    let started = Instant::now();
    while !have_all_exited(children) && started.elapsed() < EXIT_GRACE_PERIOD {
        thread::sleep(Duration::from_millis(10));
    }
    send_signal(children, Signal::SIGKILL);
    for child in children {
        let _ = child.wait();
        lock_groups().remove(&child.id());
    }
}

fn send_signal(children: &mut [&mut Child], signal: Signal) {
    for child in children {
        // The ID of a reaped child may belong to another process by now.
        if !has_exited(child)
            && let Ok(id) = i32::try_from(child.id())
        {
            let _ = killpg(Pid::from_raw(id), signal);
        }
    }
}

/// Waits until the processes that a child has left in its group have exited. Terminates them on an
/// interrupt.
pub(crate) fn supervise_rest(interrupt: &Interrupt, group: u32, tick: &mut dyn FnMut()) {
    let Ok(id) = i32::try_from(group) else { return };
    // As long as the group has a process, its ID is not used again.
    let send = |signal: Option<Signal>| killpg(Pid::from_raw(id), signal).is_ok();
    lock_groups().insert(group);
    while send(None) && !interrupt.is_raised() {
        tick();
        thread::sleep(REST_INTERVAL);
    }
    if send(Some(Signal::SIGTERM)) {
        let started = Instant::now();
        while send(None) && started.elapsed() < EXIT_GRACE_PERIOD {
            tick();
            thread::sleep(Duration::from_millis(10));
        }
        send(Some(Signal::SIGKILL));
    }
    tick();
    lock_groups().remove(&group);
}

/// Reads a pipe on a separate thread.
pub(crate) struct PipeReader {
    bytes: Arc<Mutex<Vec<u8>>>,
    ended: Receiver<()>,
}

impl PipeReader {
    /// Keeps everything.
    pub(crate) fn read_all(pipe: impl Read + Send + 'static) -> Self {
        Self::start(pipe, usize::MAX)
    }

    /// Keeps only the end, for an error.
    pub(crate) fn read_tail(pipe: impl Read + Send + 'static) -> Self {
        Self::start(pipe, MAX_STDERR_BYTES)
    }

    fn start(mut pipe: impl Read + Send + 'static, limit: usize) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let (end, ended) = mpsc::channel();
        let kept = Arc::clone(&bytes);
        thread::spawn(move || {
            let mut chunk = vec![0; CHUNK_SIZE];
            while let Ok(count @ 1..) = pipe.read(&mut chunk) {
                let Ok(mut kept) = kept.lock() else { break };
                kept.extend(&chunk[..count]);
                let excess = kept.len().saturating_sub(limit);
                kept.drain(..excess);
            }
            // The receiver may have timed out.
            let _ = end.send(());
        });
        Self { bytes, ended }
    }

    /// Returns what the child wrote. Call it after the child has exited.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        let _ = self.ended.recv_timeout(PIPE_TIMEOUT);
        self.bytes.lock().map(|mut bytes| std::mem::take(&mut *bytes)).unwrap_or_default()
    }

    pub(crate) fn into_text(self) -> String {
        printable(&String::from_utf8_lossy(&self.into_bytes()))
    }
}

/// Sends each line of a pipe as soon as it is complete.
pub(crate) fn send_lines(pipe: Option<impl Read + Send + 'static>, to: &Sender<String>) {
    let (Some(pipe), to) = (pipe, to.clone()) else { return };
    thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            if to.send(printable(&String::from_utf8_lossy(&line))).is_err() {
                break;
            }
        }
    });
}
