//! The container runtime of a node, at its default address.

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

/// Starts containerd, and imports the sandbox image if it is missing.
pub(crate) fn start(sh: &Shell, node: &Node) -> Result<()> {
    let daemon = Daemon::in_node(node, "containerd", cmd!(sh, "containerd"))?;
    daemon.ensure()?;
    daemon::wait_until_ready(&format!("containerd-{}", node.name), 20, || can_connect(node))?;
    ensure_sandbox_image(sh, node).map(drop)
}

/// Connects to the socket through the root folder of the node's holder.
fn can_connect(node: &Node) -> bool {
    let socket = |pid| format!("/proc/{pid}/root/run/containerd/containerd.sock");
    node.holder().is_some_and(|pid| UnixStream::connect(socket(pid)).is_ok())
}

/// Imports the sandbox image if it is missing, and returns whether it was. Without it no pod
/// can start, because nothing can be pulled in the lab.
pub(crate) fn ensure_sandbox_image(sh: &Shell, node: &Node) -> Result<bool> {
    let is_missing = !has_sandbox_image(sh, node)?;
    if is_missing {
        import_sandbox_image(sh, node)?;
    }
    Ok(is_missing)
}

fn has_sandbox_image(sh: &Shell, node: &Node) -> Result<bool> {
    let enter = node.nsenter_args()?;
    let name = format!("name=={PAUSE}");
    let listed = cmd!(sh, "nsenter {enter...} ctr -n k8s.io images ls -q {name}")
        .quiet()
        .ignore_stderr()
        .ignore_status()
        .read()?;
    Ok(listed.trim() == PAUSE)
}

fn import_sandbox_image(sh: &Shell, node: &Node) -> Result<()> {
    let (enter, archive) = (&node.nsenter_args()?, program("pause.tar"));
    let import = cmd!(sh, "nsenter {enter...} ctr -n k8s.io images import {archive}")
        .quiet()
        .ignore_status()
        .output()?;
    if !import.status.success() {
        anyhow::bail!(
            "failed to import the sandbox image: {}",
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
    .context("failed to pin the sandbox image")
}
