//! The kubelet and the kube-proxy of a node.

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
    daemon::wait_until_ready(&format!("kube-proxy-{name}"), 30, || {
        wait::is_http_ok(&format!("{address}:10256"), "/healthz")
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

/// A kubelet that runs with additional settings until this value is dropped.
pub(crate) struct ChangedKubelet {
    node: &'static Node,
}

impl ChangedKubelet {
    /// Restarts the kubelet. `settings` are lines with top-level keys that are not in the
    /// configuration of the lab.
    pub(crate) fn start(node: &'static Node, settings: &str) -> Result<Self> {
        let name = node.name;
        term::status(
            "Changing",
            format!(
                "the kubelet of {name}; after an interrupt, `cargo xtask lab down` restores it"
            ),
        );
        let original = fs::read_to_string(node.folder().join(CONFIG))?;
        fs::write(node.folder().join(CHANGED), format!("{original}\n{settings}\n"))?;
        // From this line on, a failure restores the original configuration.
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

/// Restarts the kubelet with a configuration file of the node, and waits until it has
/// reported that the node accepts pods.
fn restart(node: &Node, config: &str) -> Result<()> {
    let sh = Shell::new()?;
    let name = format!("kubelet-{}", node.name);
    daemon::stop(&name)?;
    let stopped = cmd!(sh, "date --utc +%Y-%m-%dT%H:%M:%SZ").quiet().read()?;
    start_kubelet(&sh, node, config)?;
    daemon::wait_until_ready(&name, 60, || {
        control_plane::nodes(&sh).iter().any(|found| {
            found["metadata"]["name"] == node.name
                && control_plane::has_reported_since(found, &stopped)
                && control_plane::is_ready_for_pods(found)
        })
    })
}

/// Writes the configuration files, only once: kube-proxy exits when its file changes.
pub(crate) fn write_config(node: &Node) -> Result<()> {
    let (dir, address, cgroup) = (node.folder(), node.address(), node.kubelet_cgroup_root());
    let values = [
        ("DIR", &*dir.to_string_lossy()),
        ("NODE", node.name),
        ("ADDRESS", &address),
        ("CGROUP", &cgroup),
    ];
    fs::write(dir.join("kubelet.yaml"), fill(include_str!("files/kubelet.yaml"), &values))?;
    fs::write(dir.join("kube-proxy.yaml"), fill(include_str!("files/kube-proxy.yaml"), &values))?;
    Ok(())
}
