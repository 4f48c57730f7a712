//! A node's container runtime, at its default address within the node.

use super::daemon::{self, Daemon};
use super::image::PAUSE;
use super::node::Node;
use super::paths::{fill, program};
use anyhow::{Context, Result};
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use xshell::{Shell, cmd};

const HOSTS: &str = include_str!("files/hosts.toml");

pub(crate) fn write_config(node: &Node, folder: &Path) -> Result<()> {
    fs::write(folder.join("config.toml"), fill(node.containerd_config, &[("PAUSE", PAUSE)]))?;
    for registry in ["_default", "docker.io"] {
        fs::write(folder.join("certs.d").join(registry).join("hosts.toml"), fill(HOSTS, &[]))?;
    }
    Ok(())
}

/// Starts it, and gives it the one image that no pod can do without.
pub(crate) fn start(sh: &Shell, node: &Node) -> Result<()> {
    let daemon = Daemon::in_node(node, "containerd", cmd!(sh, "containerd"))?;
    daemon.ensure()?;
    daemon::answers(&format!("containerd-{}", node.name), 20, || answers(node))?;
    if !has_pause(sh, node)? {
        import_pause(sh, node)?;
    }
    Ok(())
}

/// The socket, seen from the host through the node's own root.
fn answers(node: &Node) -> bool {
    let socket = |pid| format!("/proc/{pid}/root/run/containerd/containerd.sock");
    node.holder().is_some_and(|pid| UnixStream::connect(socket(pid)).is_ok())
}

fn has_pause(sh: &Shell, node: &Node) -> Result<bool> {
    let enter = node.enter()?;
    let name = format!("name=={PAUSE}");
    let listed = cmd!(sh, "nsenter {enter...} ctr -n k8s.io images ls -q {name}")
        .quiet()
        .ignore_stderr()
        .ignore_status()
        .read()?;
    Ok(listed.trim() == PAUSE)
}

fn import_pause(sh: &Shell, node: &Node) -> Result<()> {
    let (enter, archive) = (&node.enter()?, program("pause.tar"));
    let import = cmd!(sh, "nsenter {enter...} ctr -n k8s.io images import {archive}")
        .quiet()
        .ignore_status()
        .output()?;
    if !import.status.success() {
        anyhow::bail!(
            "cannot import the sandbox image: {}",
            String::from_utf8_lossy(&import.stderr).trim()
        );
    }
    cmd!(
        sh,
        "nsenter {enter...} ctr -n k8s.io images label {PAUSE} io.cri-containerd.pinned=pinned"
    )
    .quiet()
    .ignore_stdout()
    .ignore_stderr()
    .run()
    .context("cannot pin the sandbox image")
}
