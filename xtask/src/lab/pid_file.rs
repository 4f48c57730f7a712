//! The files with the process IDs of daemons.
//!
//! Each file also has the start time of the process, because the kernel reuses IDs.

use super::paths::state;
use anyhow::Result;
use std::fs;
use std::path::PathBuf;

/// Returns the names and the process IDs of all daemons that were started, in the order
/// of their process IDs.
pub(crate) fn all() -> Vec<(String, i32)> {
    let mut found: Vec<(String, i32)> = fs::read_dir(state("run"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".pid")?.to_owned()))
        .filter_map(|name| Some((name.clone(), read(&name)?.0)))
        .collect();
    found.sort_by_key(|(_, pid)| *pid);
    found
}

/// Returns the process ID of a daemon that is still running.
pub(crate) fn pid(name: &str) -> Option<i32> {
    let (pid, started) = read(name)?;
    (start_time(pid)? == started).then_some(pid)
}

pub(crate) fn is_running(name: &str) -> bool {
    pid(name).is_some()
}

pub(crate) fn write(name: &str, pid: u32) -> Result<()> {
    let pid = i32::try_from(pid)?;
    let started = start_time(pid).unwrap_or(0);
    fs::write(path(name), format!("{pid}\n{started}\n"))?;
    Ok(())
}

/// Removes the file of a daemon that is no longer needed.
pub(crate) fn remove(name: &str) {
    let _ = fs::remove_file(path(name));
}

fn read(name: &str) -> Option<(i32, u64)> {
    let text = fs::read_to_string(path(name)).ok()?;
    let mut lines = text.lines();
    Some((lines.next()?.parse().ok()?, lines.next()?.parse().ok()?))
}

fn path(name: &str) -> PathBuf {
    state("run").join(format!("{name}.pid"))
}

/// Returns the start time of a process in ticks since boot, or none if it has ended or
/// is a zombie.
fn start_time(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is a name in parentheses, which may contain any character.
    let fields: Vec<_> = text.rsplit_once(')')?.1.split_whitespace().collect();
    if matches!(*fields.first()?, "Z" | "X") {
        return None;
    }
    fields.get(19)?.parse().ok()
}
