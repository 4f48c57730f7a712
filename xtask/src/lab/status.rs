//! `lab status`: prints a line for each program and each node.

use super::node::{NODES, Node, SPARE};
use super::{control_plane, docker, pid_file};
use anyhow::Result;
use std::io::{self, Write};
use std::process::ExitCode;
use xshell::Shell;

const HOST_DAEMONS: [&str; 5] =
    ["registry", "etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"];
const NODE_DAEMONS: [&str; 4] = ["sshd", "containerd", "kubelet", "kube-proxy"];

/// Returns the names of all programs of a complete lab.
fn expected() -> Vec<String> {
    // These run only if something needs them.
    let is_optional = |name: &String| name == "dockerd" || name.ends_with(SPARE.name);
    let optional = pid_file::all().into_iter().map(|(name, _)| name).filter(is_optional);
    let nodes = NODES.iter().flat_map(|node| {
        let daemons = NODE_DAEMONS.iter().map(|program| format!("{program}-{}", node.name));
        std::iter::once(node.name.to_owned()).chain(daemons)
    });
    HOST_DAEMONS.map(str::to_owned).into_iter().chain(optional).chain(nodes).collect()
}

/// Returns whether all programs are running and the cluster can run pods.
pub(crate) fn is_healthy(sh: &Shell) -> bool {
    expected().iter().all(|name| pid_file::is_running(name))
        && docker::is_available(sh)
        && control_plane::can_run_pods(sh)
}

pub(crate) fn show(sh: &Shell) -> Result<ExitCode> {
    let mut rows = programs();
    if !docker::is_started_by_lab() {
        rows.push(("docker (of this machine)".to_owned(), None, docker::is_available(sh)));
    }
    rows.extend(nodes(sh));

    let mut out = io::stdout().lock();
    for (name, pid, healthy) in &rows {
        let state = match (pid, healthy) {
            (_, false) => "not running",
            (Some(_), true) => "running",
            (None, true) => "ready",
        };
        let pid = pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        writeln!(out, "{name:<26} {pid:>8}  {state}")?;
    }
    let healthy = rows.iter().all(|(_, _, healthy)| *healthy);
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A name, the process ID of a program, and whether it is healthy.
type Row = (String, Option<i32>, bool);

fn programs() -> Vec<Row> {
    let row = |name: String| (name.clone(), pid_file::pid(&name), pid_file::is_running(&name));
    expected().into_iter().map(row).collect()
}

/// Returns the state of the nodes in the API.
fn nodes(sh: &Shell) -> Vec<Row> {
    let listed = pid_file::is_running("kube-apiserver").then(|| control_plane::nodes(sh));
    let found = listed.unwrap_or_default();
    let is_ready = |node: &Node| {
        found.iter().any(|found| {
            found["metadata"]["name"] == node.name && control_plane::is_ready_for_pods(found)
        })
    };
    let row = |node: &Node| (format!("{} (Node)", node.name), None, is_ready(node));
    NODES.iter().map(row).collect()
}
