//! `lab up`: from whatever there is to a whole lab.

use super::node::{NODES, SPARE};
use super::tools::Part;
use super::{Lab, cache, cgroup, control_plane, docker, down, kubelet, network};
use super::{prepare, registry, state, status};
use crate::jobs::Jobs;
use crate::term;
use anyhow::{Result, anyhow};
use std::thread::{self, ScopedJoinHandle};
use xshell::Shell;

/// Starts what does not run, and returns when a pod would.
pub(crate) fn up(sh: &Shell) -> Result<Lab> {
    up_beside(sh, &Jobs::default())
}

/// The same, while other jobs run.
pub(crate) fn up_beside(sh: &Shell, jobs: &Jobs) -> Result<Lab> {
    state::check_host()?;
    let _lock = state::lock()?;
    prepare::ensure(sh, jobs, &[Part::Cluster])?;
    let tools = cache::find(sh, Part::Cluster)?;
    if !(state::is_usable(&tools) && status::is_healthy(sh)) {
        if !state::is_usable(&tools) {
            down::sweep(sh)?;
            state::create(sh, &tools)?;
        }
        start(sh)?;
    }
    // Tests may also run without `cargo xtask test`.
    state::link_programs(&cache::find(sh, Part::Tests)?)?;
    term::status("Ready", "kdev-lab: 2 nodes; for its variables: eval \"$(cargo xtask lab env)\"");
    Ok(state::lab())
}

/// Starts the spare machine of a lab that runs.
pub(crate) fn spare() -> Result<()> {
    let _lock = state::lock()?;
    SPARE.start()
}

/// Parts that do not need each other start at the same time.
fn start(sh: &Shell) -> Result<()> {
    cgroup::create("host")?;
    network::create(sh)?;
    thread::scope(|scope| {
        let mut parts = vec![scope.spawn(control_plane::start), scope.spawn(beside)];
        let spare = Some(&SPARE).filter(|spare| spare.was_opened());
        parts.extend(NODES.iter().chain(spare).map(|node| scope.spawn(|| node.start())));
        join(parts)
    })?;
    thread::scope(|scope| {
        join(NODES.iter().map(|node| scope.spawn(|| kubelet::start(node))).collect())
    })?;
    control_plane::settled(sh)
}

/// What lies beside the cluster.
fn beside() -> Result<()> {
    let sh = Shell::new()?;
    registry::start(&sh)?;
    docker::start(&sh)
}

/// The first failure is the one to tell.
fn join(parts: Vec<ScopedJoinHandle<'_, Result<()>>>) -> Result<()> {
    let outcomes: Vec<_> = parts.into_iter().map(ScopedJoinHandle::join).collect();
    outcomes.into_iter().try_for_each(|outcome| {
        outcome.unwrap_or_else(|_| Err(anyhow!("a part of the start has panicked")))
    })
}
