//! `lab down`: stops every process of the lab and reverts its changes to the host.

use super::paths::STATE;
use super::{cgroup, network, pid_file, state, wait};
use crate::term;
use anyhow::Result;
use nix::sys::signal::Signal;
use std::path::Path;
use xshell::Shell;

pub(crate) fn down(sh: &Shell) -> Result<()> {
    let _lock = state::lock()?;
    if Path::new(STATE).exists() || network::has_bridge() {
        term::status("Stopping", "kdev-lab");
    }
    remove_all(sh)
}

/// Stops and removes everything that belongs to the lab, also if the lab is incomplete.
pub(crate) fn remove_all(sh: &Shell) -> Result<()> {
    terminate();
    // Docker stops its containers and unmounts their file systems itself.
    let _ = wait::wait_until("the end of Docker", 8, || !pid_file::is_running("dockerd"));
    let _ = wait::wait_until("the end of the lab's processes", 2, || processes().is_empty());
    wait::wait_until("the end of the lab's processes", 20, || {
        cgroup::signal(&processes(), Signal::SIGKILL);
        processes().is_empty() && cgroup::remove_all()
    })?;
    network::remove(sh)?;
    state::remove(sh)
}

/// Sends SIGTERM to every daemon.
fn terminate() {
    let pids: Vec<i32> = daemons().collect();
    cgroup::signal(&pids, Signal::SIGTERM);
}

fn daemons() -> impl Iterator<Item = i32> {
    pid_file::all().into_iter().filter_map(|(name, _)| pid_file::pid(&name))
}

/// Returns the daemons and all their descendants: shims, pods, sessions.
fn processes() -> Vec<i32> {
    daemons().chain(cgroup::processes("")).collect()
}
