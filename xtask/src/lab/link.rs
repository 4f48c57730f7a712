//! A slower link to a node, for benchmarks.

use super::network::veth;
use super::node::{NODES, Node};
use anyhow::Result;
use xshell::{Shell, cmd};

/// A link that is slow until this value is dropped.
pub(crate) struct SlowLink<'a> {
    sh: &'a Shell,
    node: &'static Node,
}

impl<'a> SlowLink<'a> {
    /// Limits the rate towards the node to some Mbit/s (tc-tbf(8)).
    pub(crate) fn start(sh: &'a Shell, node: &'static Node, mbit: u32) -> Result<Self> {
        let (veth, rate) = (veth(node), format!("{mbit}mbit"));
        cmd!(sh, "tc qdisc replace dev {veth} root tbf rate {rate} burst 128kb latency 100ms")
            .quiet()
            .run()?;
        Ok(Self { sh, node })
    }

    /// Removes the limits that an interrupted run has left.
    pub(crate) fn restore_all(sh: &'a Shell) {
        for node in &NODES {
            drop(Self { sh, node });
        }
    }
}

impl Drop for SlowLink<'_> {
    fn drop(&mut self) {
        let veth = veth(self.node);
        let delete = cmd!(self.sh, "tc qdisc delete dev {veth} root").quiet();
        // The command fails if the link has no limit.
        let _ = delete.ignore_stderr().ignore_status().run();
    }
}
