//! Runs a command and samples its peak memory.

use anyhow::{Context, Result};
use std::fs;
use std::io::Read;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

/// The result of a command.
pub(crate) struct CommandResult {
    /// Standard output.
    pub(crate) output: String,
    pub(crate) status: ExitStatus,
    /// Peak memory in bytes, without child processes.
    pub(crate) memory: u64,
}

/// Runs a command and waits until it has closed its stdout and ended.
pub(crate) fn run(mut command: Command) -> Result<CommandResult> {
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let mut stdout = child.stdout.take().context("no stdout")?;
    let reading = thread::spawn(move || {
        let mut output = String::new();
        stdout.read_to_string(&mut output).map(|_| output)
    });
    let mut memory = 0;
    while !reading.is_finished() {
        memory = peak_memory(child.id()).unwrap_or(memory);
        thread::sleep(Duration::from_millis(5));
    }
    let output = reading.join().ok().context("a thread panicked")??;
    Ok(CommandResult { output, status: child.wait()?, memory })
}

/// Returns the peak memory of a process (proc(5), `VmHWM`), or none after its end.
fn peak_memory(process: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = peak.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kibibytes * 1024)
}
