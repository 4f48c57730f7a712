//! The control groups of the lab, in which `down` finds every process.

use super::wait;
use crate::term::ErrorWithHelp;
use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = "/sys/fs/cgroup";
/// The top group of the lab in every hierarchy.
pub(crate) const LAB: &str = "kdev-lab";

/// The CPU weight of the lab. All pods are in this one group, and with the default weight of
/// a single process (1024) they would hardly run while tests use the processors.
const CPU_SHARES: &str = "16384";

/// Returns the file to which a process writes its ID to enter a group.
pub(crate) fn procs_file(group: &str) -> PathBuf {
    Path::new(ROOT).join("pids").join(LAB).join(group).join("cgroup.procs")
}

/// Creates a group in every hierarchy of version 1.
pub(crate) fn create(group: &str) -> Result<()> {
    for hierarchy in hierarchies()? {
        let mut folder = hierarchy.clone();
        for part in &Path::new(LAB).join(group) {
            folder.push(part);
            fs::create_dir_all(&folder).with_context(|| {
                format!("failed to create the control group `{}`", folder.display())
            })?;
            inherit_cpuset(&folder)?;
        }
        set_cpu_weight(&hierarchy.join(LAB))?;
    }
    Ok(())
}

fn set_cpu_weight(folder: &Path) -> Result<()> {
    let shares = folder.join("cpu.shares");
    if shares.exists() {
        fs::write(shares, CPU_SHARES)?;
    }
    Ok(())
}

/// A new cpuset is empty, and no process can enter an empty one.
fn inherit_cpuset(folder: &Path) -> Result<()> {
    let Some(parent) = folder.parent() else {
        return Ok(());
    };
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let file = folder.join(name);
        if file.exists() && fs::read_to_string(&file)?.trim().is_empty() {
            fs::write(&file, fs::read_to_string(parent.join(name))?.trim())?;
        }
    }
    Ok(())
}

/// Returns the processes of a group and of the groups below it; `""` stands for the whole
/// lab.
pub(crate) fn processes(group: &str) -> Vec<i32> {
    let mut found = Vec::new();
    for folder in tree(&Path::new(ROOT).join("pids").join(LAB).join(group)) {
        let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
        found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
    }
    found
}

/// Kills the processes of a group and waits until they have ended.
pub(crate) fn kill_all(group: &str) -> Result<()> {
    wait::wait_until(&format!("the end of {group}"), 10, || {
        let left = processes(group);
        signal(&left, Signal::SIGKILL);
        left.is_empty()
    })
}

pub(crate) fn signal(pids: &[i32], signal: Signal) {
    for pid in pids {
        // The process may have ended in the meantime.
        let _ = kill(Pid::from_raw(*pid), signal);
    }
}

/// Removes all groups. Returns false if one of them still has processes.
pub(crate) fn remove_all() -> bool {
    let tops = roots().into_iter().map(|folder| folder.join(LAB));
    let mut groups: Vec<_> = tops.flat_map(|folder| tree(&folder)).collect();
    // Children come before their parents, so that one pass is enough.
    groups.reverse();
    groups.iter().filter(|folder| fs::remove_dir(folder).is_err()).count() == 0
}

/// Returns the hierarchies of version 1.
fn hierarchies() -> Result<Vec<PathBuf>> {
    let mut found = roots();
    found.retain(|folder| !folder.ends_with("unified"));
    if found.iter().any(|folder| folder.ends_with("pids")) {
        return Ok(found);
    }
    Err(ErrorWithHelp::error(
        "the lab needs control groups of version 1 below `/sys/fs/cgroup`",
        "boot with `systemd.unified_cgroup_hierarchy=0`",
    ))
}

/// Returns all hierarchies. runc also creates groups in that of version 2.
fn roots() -> Vec<PathBuf> {
    let entries = fs::read_dir(ROOT).into_iter().flatten().flatten();
    let folders = entries.map(|entry| entry.path());
    folders.filter(|folder| folder.join("cgroup.procs").exists()).collect()
}

/// Returns a folder and all folders below it, parents first.
fn tree(folder: &Path) -> Vec<PathBuf> {
    if !folder.is_dir() {
        return Vec::new();
    }
    let mut found = vec![folder.to_owned()];
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(tree(&entry.path()));
        }
    }
    found
}
