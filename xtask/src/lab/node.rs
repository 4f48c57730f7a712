//! The nodes: their properties, and the namespaces that make each look like a machine.

use super::paths::state;
use super::{cgroup, pid_file};
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

/// The fixed properties of a node.
pub(crate) struct Node {
    pub(crate) name: &'static str,
    pub(crate) number: u8,
    /// The user of SSH connections.
    pub(crate) user: &'static str,
    /// Programs that the lab has built, and that replace Debian's on this node.
    pub(crate) programs: &'static [&'static str],
    pub(crate) containerd_config: &'static str,
}

/// The nodes of the cluster. They differ in two properties that matter to a client: the
/// version of containerd, and whether its socket needs sudo.
pub(crate) const NODES: [Node; 2] = [
    Node {
        name: "node-1",
        number: 1,
        user: "root",
        programs: &[],
        containerd_config: include_str!("files/containerd-1.toml"),
    },
    Node {
        name: "node-2",
        number: 2,
        user: "dev",
        programs: &["containerd", "containerd-shim-runc-v2", "ctr"],
        containerd_config: include_str!("files/containerd-2.toml"),
    },
];

/// A machine outside the cluster, for tests that break a machine: while a node of the
/// cluster is broken, no other test can use it.
pub(crate) const SPARE: Node = Node {
    name: "spare",
    number: 3,
    user: "root",
    programs: &[],
    containerd_config: include_str!("files/containerd-1.toml"),
};

/// Returns the nodes of the cluster and the spare machine.
pub(crate) fn machines() -> impl Iterator<Item = &'static Node> {
    NODES.iter().chain([&SPARE])
}

impl Node {
    pub(crate) fn address(&self) -> String {
        format!("10.213.77.{}", 10 + self.number)
    }

    pub(crate) fn pod_cidr(&self) -> String {
        format!("10.244.{}.0/24", self.number)
    }

    pub(crate) fn folder(&self) -> PathBuf {
        state("nodes").join(self.name)
    }

    /// Returns the control group of the node's daemons; its pods have another one.
    pub(crate) fn cgroup(&self) -> String {
        format!("{}/system", self.name)
    }

    pub(crate) fn kubelet_cgroup_root(&self) -> String {
        format!("{}/{}", cgroup::LAB, self.name)
    }

    /// Returns the process that keeps the namespaces open.
    pub(crate) fn holder(&self) -> Option<i32> {
        pid_file::pid(self.name)
    }

    /// Returns the arguments with which `nsenter` runs a command in the node.
    pub(crate) fn nsenter_args(&self) -> Result<Vec<OsString>> {
        let holder = self.holder().with_context(|| format!("{} is not running", self.name))?;
        let args = ["--target", &holder.to_string(), "--net", "--mount", "--uts"];
        Ok(args.map(OsString::from).to_vec())
    }

    /// Returns the names of the programs that run on the node, without those in pods.
    pub(crate) fn running_programs(&self) -> BTreeSet<String> {
        let processes = cgroup::processes(&self.cgroup()).into_iter();
        let names =
            processes.filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).ok());
        names.map(|name| name.trim().to_owned()).collect()
    }

    /// Returns whether the machine was started since the lab was created.
    pub(crate) fn was_started(&self) -> bool {
        self.ready_file().exists()
    }

    /// Returns the file that `node-init.sh` creates when the namespaces are ready.
    pub(crate) fn ready_file(&self) -> PathBuf {
        self.folder().join("ready")
    }

    /// Returns whether the namespaces are open and connected to the bridge.
    pub(crate) fn is_connected(&self) -> bool {
        let recorded = fs::read_to_string(self.connected_file()).unwrap_or_default();
        self.holder().is_some_and(|pid| recorded.trim() == pid.to_string())
    }

    /// Returns the file with the process ID of the holder, written after the connection.
    pub(crate) fn connected_file(&self) -> PathBuf {
        self.folder().join("pid")
    }
}
