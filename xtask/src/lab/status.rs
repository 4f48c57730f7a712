//! `lab status`: a line for each program and each node.

use super::node::NODES;
use super::{control_plane, daemon};
use anyhow::Result;
use std::io::{self, Write};
use std::process::ExitCode;
use xshell::Shell;

const HOST: [&str; 5] = [
    "registry",
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
];
const IN_NODES: [&str; 4] = ["sshd", "containerd", "kubelet", "kube-proxy"];

/// Every program that a whole lab has.
fn expected() -> Vec<String> {
    let docker = daemon::recorded()
        .into_iter()
        .map(|(name, _)| name)
        .filter(|name| name == "dockerd");
    let nodes = NODES.iter().flat_map(|node| {
        let own = IN_NODES
            .iter()
            .map(|program| format!("{program}-{}", node.name));
        std::iter::once(node.name.to_owned()).chain(own)
    });
    HOST.map(str::to_owned)
        .into_iter()
        .chain(docker)
        .chain(nodes)
        .collect()
}

/// Whether all is well, found out quickly.
pub(crate) fn is_healthy(sh: &Shell) -> bool {
    expected().iter().all(|name| daemon::running(name)) && control_plane::is_settled(sh)
}

pub(crate) fn show(sh: &Shell) -> Result<ExitCode> {
    let mut out = io::stdout().lock();
    let mut healthy = true;
    for name in expected() {
        let pid = daemon::pid(&name);
        healthy &= pid.is_some();
        let (pid, state) = pid.map_or(("-".to_owned(), "stopped"), |pid| {
            (pid.to_string(), "running")
        });
        writeln!(out, "{name:<26} {pid:>8}  {state}")?;
    }
    let nodes = if daemon::running("kube-apiserver") {
        control_plane::nodes(sh)
    } else {
        Vec::new()
    };
    for node in &NODES {
        let found = nodes
            .iter()
            .find(|found| found["metadata"]["name"] == node.name);
        let ready = found.is_some_and(control_plane::takes_pods);
        healthy &= ready;
        let state = if ready { "ready" } else { "not ready" };
        writeln!(out, "{:<26} {:>8}  {state}", node.address(), "node")?;
    }
    Ok(if healthy {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
