//! One child: spawned, watched, ended. The only place that spawns.
//!
//! Each child leads a process group of its own, so that a Ctrl-C reaches kdev
//! alone, which then ends its children in order.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use kdev_core::text::printable;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::cx::Interrupt;
use crate::process::{Failure, Outcome};

/// How much of a child's stderr an error keeps.
const TAIL: usize = 16 * 1024;
/// How long a child may take to end after it was asked to.
pub(crate) const GRACE: Duration = Duration::from_secs(3);
/// How long to wait for the rest of a pipe once the child has ended: a
/// grandchild may hold it open for ever.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);
/// The size of one read in a pipe between two children.
const CHUNK: usize = 128 * 1024;

pub(crate) fn spawn(command: &mut Command, shown: &str) -> Result<Child, Failure> {
    command.process_group(0).spawn().map_err(|e| Failure::not_started(shown, &e))
}

/// Waits until every child has ended; on an interrupt, or when the time is
/// over, ends them all and says why. Calls `tick` now and then.
pub(crate) fn supervise(
    interrupt: &Interrupt,
    limit: Option<Duration>,
    children: &mut [&mut Child],
    tick: &mut dyn FnMut(),
) -> Result<(), Outcome> {
    let begun = Instant::now();
    loop {
        tick();
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

/// What a pipe gives, read by a thread of its own.
pub(crate) struct Collected {
    bytes: Arc<Mutex<Vec<u8>>>,
    ended: Receiver<()>,
}

impl Collected {
    /// All of it.
    pub(crate) fn all(pipe: impl Read + Send + 'static) -> Self {
        Self::last(pipe, usize::MAX)
    }

    /// The end of it, for an error.
    pub(crate) fn tail(pipe: impl Read + Send + 'static) -> Self {
        Self::last(pipe, TAIL)
    }

    fn last(mut pipe: impl Read + Send + 'static, limit: usize) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let (end, ended) = mpsc::channel();
        let kept = Arc::clone(&bytes);
        thread::spawn(move || {
            let mut chunk = vec![0; CHUNK];
            while let Ok(count @ 1..) = pipe.read(&mut chunk) {
                let Ok(mut kept) = kept.lock() else { break };
                kept.extend(&chunk[..count]);
                let excess = kept.len().saturating_sub(limit);
                kept.drain(..excess);
            }
            // Whoever waited may have lost its patience.
            let _ = end.send(());
        });
        Self { bytes, ended }
    }

    /// What came until the child's end, and a little after it.
    pub(crate) fn bytes(self) -> Vec<u8> {
        let _ = self.ended.recv_timeout(PATIENCE);
        self.bytes.lock().map(|mut bytes| std::mem::take(&mut *bytes)).unwrap_or_default()
    }

    pub(crate) fn text(self) -> String {
        printable(&String::from_utf8_lossy(&self.bytes()))
    }
}

/// Sends each line of a pipe as it comes.
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
