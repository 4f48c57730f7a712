//! `lab up`: starts the lab, or completes it.

use super::env::Lab;
use super::node::{NODES, SPARE};
use super::tools::Part;
use super::{cache, cgroup, control_plane, docker, down, kubelet, machine, network};
use super::{prepare, registry, state, status};
use crate::jobs::Jobs;
use crate::term;
use anyhow::{Result, anyhow};
use std::thread::{self, ScopedJoinHandle};
use xshell::Shell;

/// Starts the programs that are not running, and returns when the cluster can run pods.
pub(crate) fn up(sh: &Shell) -> Result<Lab> {
    up_with_jobs(sh, &Jobs::default())
}

/// Does the same while other jobs are running.
pub(crate) fn up_with_jobs(sh: &Shell, jobs: &Jobs) -> Result<Lab> {
    state::check_host()?;
    let _lock = state::lock()?;
    prepare::ensure(sh, jobs, &[Part::Cluster])?;
    let tools = cache::find(sh, Part::Cluster)?;
    if !(state::is_reusable(&tools) && status::is_healthy(sh)) {
        if !state::is_reusable(&tools) {
            down::remove_all(sh)?;
            state::create(sh, &tools)?;
        }
        start(sh)?;
    }
    // Tests can also be run without `cargo xtask test`.
    state::link_programs(&cache::find(sh, Part::Tests)?)?;
    term::status(
        "Ready",
        "kdev-lab with 2 nodes; set its variables with `eval \"$(cargo xtask lab env)\"`",
    );
    Ok(Lab::detect())
}

/// Starts the spare machine of a running lab.
pub(crate) fn start_spare() -> Result<()> {
    let _lock = state::lock()?;
    machine::start(&SPARE)
}

/// Starts parts that do not need each other at the same time.
fn start(sh: &Shell) -> Result<()> {
    cgroup::create("host")?;
    network::create(sh)?;
    thread::scope(|scope| {
        let mut parts =
            vec![scope.spawn(control_plane::start), scope.spawn(start_registry_and_docker)];
        let spare = Some(&SPARE).filter(|spare| spare.was_started());
        parts.extend(NODES.iter().chain(spare).map(|node| scope.spawn(|| machine::start(node))));
        join_all(parts)
    })?;
    thread::scope(|scope| {
        join_all(NODES.iter().map(|node| scope.spawn(|| kubelet::start(node))).collect())
    })?;
    control_plane::wait_until_ready(sh)
}

fn start_registry_and_docker() -> Result<()> {
    let sh = Shell::new()?;
    registry::start(&sh)?;
    docker::start(&sh)
}

/// Waits for all parts. Returns the error of the first part that failed.
fn join_all(parts: Vec<ScopedJoinHandle<'_, Result<()>>>) -> Result<()> {
    let outcomes: Vec<_> = parts.into_iter().map(ScopedJoinHandle::join).collect();
    outcomes.into_iter().try_for_each(|outcome| {
        outcome.unwrap_or_else(|_| Err(anyhow!("a thread panicked while the lab was starting")))
    })
}
