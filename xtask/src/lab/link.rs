//! A cable that is made slower for a while.

use super::network::veth;
use super::node::{NODES, Node};
use anyhow::Result;
use xshell::{Shell, cmd};

/// Slow until it is dropped.
pub(crate) struct Link<'a> {
    sh: &'a Shell,
    node: &'static Node,
}

impl<'a> Link<'a> {
    /// Lets through so many Mbit/s towards the node (tc-tbf(8)).
    pub(crate) fn slow(sh: &'a Shell, node: &'static Node, mbit: u32) -> Result<Self> {
        let (veth, rate) = (veth(node), format!("{mbit}mbit"));
        cmd!(sh, "tc qdisc replace dev {veth} root tbf rate {rate} burst 128kb latency 100ms")
            .quiet()
            .run()?;
        Ok(Self { sh, node })
    }

    /// Heals what an interrupted run has left.
    pub(crate) fn restore_all(sh: &'a Shell) {
        for node in &NODES {
            drop(Self { sh, node });
        }
    }
}

impl Drop for Link<'_> {
    fn drop(&mut self) {
        let veth = veth(self.node);
        let delete = cmd!(self.sh, "tc qdisc delete dev {veth} root").quiet();
        // There is none where it was not slow.
        let _ = delete.ignore_stderr().ignore_status().run();
    }
}
