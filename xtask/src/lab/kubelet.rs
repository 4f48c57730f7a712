//! What makes a node part of the cluster: its kubelet and its kube-proxy.

use super::daemon::{self, Daemon};
use super::node::Node;
use super::paths::{fill, program};
use super::wait;
use anyhow::Result;
use std::fs;
use xshell::{Shell, cmd};

pub(crate) fn start(node: &Node) -> Result<()> {
    let sh = Shell::new()?;
    let (binary, dir) = (program("kubernetes"), node.folder());
    let (name, address) = (node.name, node.address());
    let kubelet = cmd!(
        sh,
        "{binary} kubelet --config {dir}/kubelet.yaml --kubeconfig {dir}/kubelet.kubeconfig
         --hostname-override {name} --node-ip {address}"
    );
    Daemon::in_node(node, "kubelet", kubelet)?.ensure()?;
    let proxy = cmd!(sh, "{binary} kube-proxy --config {dir}/kube-proxy.yaml");
    Daemon::in_node(node, "kube-proxy", proxy)?.ensure()?;
    daemon::answers(&format!("kube-proxy-{name}"), 30, || {
        wait::http_ok(&format!("{address}:10256"), "/healthz")
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
