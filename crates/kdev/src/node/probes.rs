//! What the packages of one run know of the nodes: what a node reported when it was connected to,
//! and which loads are under way.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::node::error::NodeError;
use crate::parallel::Answers;

/// The lines of a node: keys and values.
pub(super) type ProbeLines = Vec<(String, String)>;

#[derive(Default)]
pub(crate) struct Probes {
    /// What the nodes have reported, by node, transport, and settings.
    reported: Answers<ProbeLines>,
    /// The names of the nodes of all loads.
    loads: Mutex<Vec<String>>,
}

/// A load onto a node. It ends when this is dropped.
pub(crate) struct RunningLoad<'a> {
    probes: &'a Probes,
    node: &'a str,
}

impl Probes {
    /// Returns what a node has reported, or queries it. Only one package connects to a node at a
    /// time: the others then use its connection.
    pub(super) fn get_or_query(
        &self,
        key: String,
        query: impl FnOnce() -> Result<ProbeLines, NodeError>,
    ) -> Result<ProbeLines, NodeError> {
        self.reported.get_or_query(key, query)
    }

    /// Marks the start of a load onto a node.
    pub(super) fn begin_load<'a>(&'a self, node: &'a str) -> RunningLoad<'a> {
        lock(&self.loads).push(node.to_owned());
        RunningLoad { probes: self, node }
    }
}

impl RunningLoad<'_> {
    /// Returns whether the run has no other load onto this node.
    pub(crate) fn is_only_one(&self) -> bool {
        lock(&self.probes.loads).iter().filter(|node| *node == self.node).count() == 1
    }
}

impl Drop for RunningLoad<'_> {
    fn drop(&mut self) {
        let mut loads = lock(&self.probes.loads);
        if let Some(index) = loads.iter().position(|node| node == self.node) {
            loads.swap_remove(index);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_load_of_same_run_is_known_until_its_end() {
        let probes = Probes::default();
        let (one, other) = (probes.begin_load("a"), probes.begin_load("b"));
        assert!(one.is_only_one() && other.is_only_one());
        let second = probes.begin_load("a");
        assert!(!one.is_only_one() && !second.is_only_one() && other.is_only_one());
        drop(one);
        assert!(second.is_only_one());
    }
}
