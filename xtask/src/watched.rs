//! Runs a command and samples the peak of its memory.

use anyhow::{Context, Result};
use std::fs;
use std::io::Read;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

/// A command that has ended.
pub(crate) struct Watched {
    /// What it printed on stdout.
    pub(crate) output: String,
    pub(crate) status: ExitStatus,
    /// The peak of its own memory in bytes, without its children.
    pub(crate) memory: u64,
}

/// Runs a command until it closes its stdout and ends.
pub(crate) fn run(mut command: Command) -> Result<Watched> {
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let mut stdout = child.stdout.take().context("no stdout")?;
    let reading = thread::spawn(move || {
        let mut output = String::new();
        stdout.read_to_string(&mut output).map(|_| output)
    });
    let mut memory = 0;
    while !reading.is_finished() {
        memory = peak(child.id()).unwrap_or(memory);
        thread::sleep(Duration::from_millis(5));
    }
    let output = reading.join().ok().context("a thread has panicked")??;
    Ok(Watched { output, status: child.wait()?, memory })
}

/// The peak of a process's memory (proc(5), `VmHWM`); none after its end.
fn peak(process: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = peak.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kibibytes * 1024)
}
