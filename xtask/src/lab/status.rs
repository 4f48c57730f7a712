//! `lab status`: a line for each program and each node.

use super::node::{NODES, Node, SPARE};
use super::{control_plane, daemon, docker};
use anyhow::Result;
use std::io::{self, Write};
use std::process::ExitCode;
use xshell::Shell;

const HOST: [&str; 5] =
    ["registry", "etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"];
const IN_NODES: [&str; 4] = ["sshd", "containerd", "kubelet", "kube-proxy"];

/// Every program that a whole lab has.
fn expected() -> Vec<String> {
    // These are there only if they were needed.
    let is_optional = |name: &String| name == "dockerd" || name.ends_with(SPARE.name);
    let optional = daemon::recorded().into_iter().map(|(name, _)| name).filter(is_optional);
    let nodes = NODES.iter().flat_map(|node| {
        let own = IN_NODES.iter().map(|program| format!("{program}-{}", node.name));
        std::iter::once(node.name.to_owned()).chain(own)
    });
    HOST.map(str::to_owned).into_iter().chain(optional).chain(nodes).collect()
}

/// Whether all is well, found out quickly.
pub(crate) fn is_healthy(sh: &Shell) -> bool {
    expected().iter().all(|name| daemon::running(name))
        && docker::is_there(sh)
        && control_plane::is_settled(sh)
}

pub(crate) fn show(sh: &Shell) -> Result<ExitCode> {
    let mut rows = programs();
    if !docker::is_own() {
        rows.push(("docker (the machine's)".to_owned(), None, docker::is_there(sh)));
    }
    rows.extend(nodes(sh));

    let mut out = io::stdout().lock();
    for (name, pid, healthy) in &rows {
        let state = match (pid, healthy) {
            (_, false) => "not there",
            (Some(_), true) => "running",
            (None, true) => "ready",
        };
        let pid = pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        writeln!(out, "{name:<26} {pid:>8}  {state}")?;
    }
    let healthy = rows.iter().all(|(_, _, healthy)| *healthy);
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A name, its process where it has one, and whether all is well with it.
type Row = (String, Option<i32>, bool);

fn programs() -> Vec<Row> {
    let row = |name: String| (name.clone(), daemon::pid(&name), daemon::running(&name));
    expected().into_iter().map(row).collect()
}

/// The nodes as the cluster sees them.
fn nodes(sh: &Shell) -> Vec<Row> {
    let asked = daemon::running("kube-apiserver").then(|| control_plane::nodes(sh));
    let found = asked.unwrap_or_default();
    let ready = |node: &Node| {
        found
            .iter()
            .any(|found| found["metadata"]["name"] == node.name && control_plane::takes_pods(found))
    };
    let row = |node: &Node| (format!("{} as a Node", node.name), None, ready(node));
    NODES.iter().map(row).collect()
}
