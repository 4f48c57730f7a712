//! `lab down`: ends all that the lab started and takes back what it changed.

use super::paths::STATE;
use super::{cgroup, daemon, network, state, wait};
use crate::term;
use anyhow::Result;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::Path;
use xshell::Shell;

pub(crate) fn down(sh: &Shell) -> Result<()> {
    let _lock = state::lock()?;
    if Path::new(STATE).exists() || network::exists() {
        term::status("Stopping", "kdev-lab");
    }
    sweep(sh)
}

/// Leaves nothing behind, whatever state the lab was in.
pub(crate) fn sweep(sh: &Shell) -> Result<()> {
    stop();
    // Docker ends its containers itself, and unmounts what they had.
    let _ = wait::until("docker's end", 8, || !daemon::running("dockerd"));
    let _ = wait::until("the end of the lab's processes", 2, || alive().is_empty());
    wait::until("the end of the lab's processes", 20, || {
        signal(&alive(), Signal::SIGKILL);
        alive().is_empty() && cgroup::remove()
    })?;
    network::remove(sh)?;
    state::remove(sh)
}

/// Ends whatever is in one group.
pub(crate) fn kill_all(group: &str) -> Result<()> {
    wait::until(&format!("the end of {group}"), 10, || {
        let left = cgroup::processes(group);
        signal(&left, Signal::SIGKILL);
        left.is_empty()
    })
}

/// Asks every program to end, by its recorded process.
fn stop() {
    let pids: Vec<i32> =
        daemon::recorded().into_iter().filter_map(|(name, _)| daemon::pid(&name)).collect();
    signal(&pids, Signal::SIGTERM);
}

/// The recorded programs and all that came of them: shims, pods, sessions.
fn alive() -> Vec<i32> {
    let recorded = daemon::recorded().into_iter().filter_map(|(name, _)| daemon::pid(&name));
    recorded.chain(cgroup::processes("")).collect()
}

fn signal(pids: &[i32], signal: Signal) {
    for pid in pids {
        // It may have ended by itself just now.
        let _ = kill(Pid::from_raw(*pid), signal);
    }
}
