//! What makes a node part of the cluster: its kubelet and its kube-proxy.

use super::control_plane;
use super::daemon::{self, Daemon};
use super::node::Node;
use super::paths::{fill, program};
use super::wait;
use crate::term;
use anyhow::Result;
use std::fs;
use xshell::{Shell, cmd};

const CONFIG: &str = "kubelet.yaml";
const CHANGED: &str = "kubelet-changed.yaml";

pub(crate) fn start(node: &Node) -> Result<()> {
    let sh = Shell::new()?;
    start_kubelet(&sh, node, CONFIG)?;
    let (binary, dir) = (program("kubernetes"), node.folder());
    let (name, address) = (node.name, node.address());
    let proxy = cmd!(sh, "{binary} kube-proxy --config {dir}/kube-proxy.yaml");
    Daemon::in_node(node, "kube-proxy", proxy)?.ensure()?;
    daemon::answers(&format!("kube-proxy-{name}"), 30, || {
        wait::http_ok(&format!("{address}:10256"), "/healthz")
    })
}

fn start_kubelet(sh: &Shell, node: &Node, config: &str) -> Result<()> {
    let (binary, dir) = (program("kubernetes"), node.folder());
    let (name, address) = (node.name, node.address());
    let kubelet = cmd!(
        sh,
        "{binary} kubelet --config {dir}/{config} --kubeconfig {dir}/kubelet.kubeconfig
         --hostname-override {name} --node-ip {address}"
    );
    Daemon::in_node(node, "kubelet", kubelet)?.ensure()
}

/// A node's kubelet with further settings, until this is dropped.
pub(crate) struct ChangedKubelet {
    node: &'static Node,
}

impl ChangedKubelet {
    /// Restarts the kubelet. `settings` are lines with top-level keys that the lab's
    /// own configuration does not have.
    pub(crate) fn start(node: &'static Node, settings: &str) -> Result<Self> {
        let own = fs::read_to_string(node.folder().join(CONFIG))?;
        fs::write(node.folder().join(CHANGED), format!("{own}\n{settings}\n"))?;
        // From here on a failure restores the lab's own.
        let changed = Self { node };
        restart(node, CHANGED)?;
        Ok(changed)
    }
}

impl Drop for ChangedKubelet {
    fn drop(&mut self) {
        let name = self.node.name;
        if let Err(error) = restart(self.node, CONFIG) {
            term::report(&error.context(format!("failed to restore the kubelet of {name}")));
        }
    }
}

/// Starts the kubelet again with one of the node's files, and waits until it has
/// reported that the node takes pods.
fn restart(node: &Node, config: &str) -> Result<()> {
    let sh = Shell::new()?;
    let name = format!("kubelet-{}", node.name);
    daemon::stop(&name)?;
    let stopped = cmd!(sh, "date --utc +%Y-%m-%dT%H:%M:%SZ").quiet().read()?;
    start_kubelet(&sh, node, config)?;
    daemon::answers(&name, 60, || {
        control_plane::nodes(&sh).iter().any(|found| {
            found["metadata"]["name"] == node.name
                && control_plane::has_reported_since(found, &stopped)
                && control_plane::takes_pods(found)
        })
    })
}

/// Written once: kube-proxy ends itself when its file is touched.
pub(crate) fn write_config(node: &Node) -> Result<()> {
    let (dir, address, group) = (node.folder(), node.address(), node.kubelet_group());
    let values = [
        ("DIR", &*dir.to_string_lossy()),
        ("NODE", node.name),
        ("ADDRESS", &address),
        ("CGROUP", &group),
    ];
    fs::write(dir.join("kubelet.yaml"), fill(include_str!("files/kubelet.yaml"), &values))?;
    fs::write(dir.join("kube-proxy.yaml"), fill(include_str!("files/kube-proxy.yaml"), &values))?;
    Ok(())
}
