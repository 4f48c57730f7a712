//! The lab's control groups, by which whatever runs in it is found again.

use crate::term::Advised;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = "/sys/fs/cgroup";
/// The top of the lab's tree in every hierarchy.
pub(crate) const LAB: &str = "kdev-lab";

/// The weight of the lab's pods; a process has 1024.
const SHARES: &str = "16384";

/// The file through which a process enters a group of the lab's.
pub(crate) fn procs(group: &str) -> PathBuf {
    Path::new(ROOT).join("pids").join(LAB).join(group).join("cgroup.procs")
}

/// Makes a group in every hierarchy of version 1.
pub(crate) fn create(group: &str) -> Result<()> {
    for hierarchy in hierarchies()? {
        let mut folder = hierarchy.clone();
        for part in &Path::new(LAB).join(group) {
            folder.push(part);
            fs::create_dir_all(&folder)
                .with_context(|| format!("cannot make the control group `{}`", folder.display()))?;
            inherit_cpuset(&folder)?;
        }
        weigh(&hierarchy.join(LAB))?;
    }
    Ok(())
}

/// All pods of the lab are in this one group. With the weight of a single process they
/// would hardly run while tests use the processors.
fn weigh(folder: &Path) -> Result<()> {
    let shares = folder.join("cpu.shares");
    if shares.exists() {
        fs::write(shares, SHARES)?;
    }
    Ok(())
}

/// A new cpuset is empty, and no process may enter it so.
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

/// Every process in a group (`""` for all of the lab's).
pub(crate) fn processes(group: &str) -> Vec<i32> {
    let mut found = Vec::new();
    for folder in tree(&Path::new(ROOT).join("pids").join(LAB).join(group)) {
        let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
        found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
    }
    found
}

/// Removes all groups; false while one of them is still busy.
pub(crate) fn remove() -> bool {
    let tops = roots().into_iter().map(|folder| folder.join(LAB));
    let mut groups: Vec<_> = tops.flat_map(|folder| tree(&folder)).collect();
    // Parents follow their children, so that one pass suffices.
    groups.reverse();
    groups.iter().filter(|folder| fs::remove_dir(folder).is_err()).count() == 0
}

/// The hierarchies of version 1.
fn hierarchies() -> Result<Vec<PathBuf>> {
    let mut found = roots();
    found.retain(|folder| !folder.ends_with("unified"));
    if found.iter().any(|folder| folder.ends_with("pids")) {
        return Ok(found);
    }
    Err(Advised::error(
        "the lab's nodes need control groups of version 1 below /sys/fs/cgroup",
        "boot with `systemd.unified_cgroup_hierarchy=0`",
    ))
}

/// Every hierarchy: runc makes groups in that of version 2, too.
fn roots() -> Vec<PathBuf> {
    let entries = fs::read_dir(ROOT).into_iter().flatten().flatten();
    let folders = entries.map(|entry| entry.path());
    folders.filter(|folder| folder.join("cgroup.procs").exists()).collect()
}

/// A folder and all below it, parents first.
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
