//! What a running watch has: memory, descriptors, threads, watched directories, and processes.

use super::cycles::mebibytes;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

/// Clock ticks in a second (`sysconf(_SC_CLK_TCK)`): 100 on every architecture with Rust on Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// The values of one moment.
pub(super) struct WatchState {
    /// In MiB.
    pub(super) memory: f64,
    pub(super) descriptors: f64,
    pub(super) threads: f64,
    /// Directories that inotify watches.
    pub(super) watches: f64,
    /// The number of child processes.
    pub(super) children: f64,
    /// Shared SSH connections.
    pub(super) connections: f64,
}

impl WatchState {
    pub(super) fn read(pid: u32) -> Result<Self> {
        let folder = PathBuf::from(format!("/proc/{pid}"));
        let status = fs::read_to_string(folder.join("status"))?;
        let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let memory = memory.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
        let descriptors = list(&folder.join("fd"))?;
        let info = list(&folder.join("fdinfo"))?;
        let info = info.iter().map(|path| fs::read_to_string(path).unwrap_or_default());
        let watches: usize = info.map(|text| text.matches("inotify wd:").count()).sum();
        let threads = list(&folder.join("task"))?;
        let children = threads.iter().map(|path| fs::read_to_string(path.join("children")));
        let children = children.map(|text| text.unwrap_or_default().split_whitespace().count());
        Ok(Self {
            memory: mebibytes(memory.context("no memory")? * 1024),
            descriptors: count(descriptors.len()),
            threads: count(threads.len()),
            watches: count(watches),
            children: count(children.sum()),
            connections: count(connections(&descriptors)?),
        })
    }
}

/// Returns the processor time of a process in seconds, with its children that have ended.
pub(super) fn cpu_seconds(pid: u32) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = text.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    let ticks: f64 = fields.skip(11).take(4).filter_map(|field| field.parse::<f64>().ok()).sum();
    Ok(ticks / TICKS_PER_SECOND)
}

/// Counts the processes of shared SSH connections whose sockets are in a directory that the
/// process has locked.
fn connections(descriptors: &[PathBuf]) -> Result<usize> {
    let targets = descriptors.iter().filter_map(|path| fs::read_link(path).ok());
    let targets = targets.map(|path| path.to_string_lossy().into_owned());
    let folders: BTreeSet<String> = targets
        .filter_map(|path| {
            let (name, _) = path.strip_prefix("/tmp/kdev-")?.split_once('/')?;
            Some(format!("/tmp/kdev-{name}/"))
        })
        .collect();
    let is_connection = |path: &PathBuf| {
        let command = fs::read_to_string(path.join("cmdline")).unwrap_or_default();
        command.contains("[mux]") && folders.iter().any(|folder| command.contains(folder))
    };
    Ok(list(&PathBuf::from("/proc"))?.iter().filter(|path| is_connection(path)).count())
}

fn list(folder: &PathBuf) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("{}", folder.display()))?;
    Ok(entries.flatten().map(|entry| entry.path()).collect())
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn count(number: usize) -> f64 {
    number as f64
}
