//! What the nodes need, so that one read of the image serves all of them. Such a read may take
//! seconds, and nodes can be missing different layers, or all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// How long the first read waits for the nodes that have not reported what they need yet. Each node
/// reports, even if its load failed, so only a node that hangs delays the others. It delays the end
/// of the run by the same time, because a connection is given up after it. A second read of a large
/// image takes seconds, too.
pub(super) const JOIN_WINDOW: Duration = Duration::from_secs(10);

/// What each node needs that has reported it.
#[derive(Default)]
pub(crate) struct Demand {
    nodes: Mutex<Nodes>,
    changed: Condvar,
}

#[derive(Default)]
struct Nodes {
    expected: usize,
    missing: BTreeMap<String, BTreeSet<String>>,
    /// The nodes that need the whole image.
    whole: BTreeSet<String>,
}

impl Demand {
    /// Sets how many nodes will report.
    pub(crate) fn expect_nodes(&self, nodes: usize) {
        self.lock().expected = nodes;
    }

    /// Reports the layers that a node is missing, or none if it needs no single layers.
    pub(crate) fn report<'a>(&self, node: &str, missing: impl IntoIterator<Item = &'a str>) {
        let missing = missing.into_iter().map(str::to_owned);
        self.lock().missing.entry(node.to_owned()).or_default().extend(missing);
        self.changed.notify_all();
    }

    /// Reports that a node needs the whole image.
    pub(crate) fn report_whole(&self, node: &str) {
        self.lock().whole.insert(node.to_owned());
        self.report(node, []);
    }

    /// Returns how many reads of the image there are: one for all single layers, and one for each
    /// node that needs the whole image. `None` if a node has not reported yet.
    pub(super) fn readers(&self) -> Option<usize> {
        let nodes = self.lock();
        let needs_layers = nodes.missing.values().any(|layers| !layers.is_empty());
        let is_complete = nodes.missing.len() >= nodes.expected;
        is_complete.then(|| nodes.whole.len() + usize::from(needs_layers))
    }

    /// Returns the layers that at least one node is missing, after all nodes have reported or the
    /// time for it has passed.
    pub(super) fn collect(&self) -> BTreeSet<String> {
        self.collect_within(JOIN_WINDOW)
    }

    fn collect_within(&self, window: Duration) -> BTreeSet<String> {
        let is_incomplete = |nodes: &mut Nodes| nodes.missing.len() < nodes.expected;
        let waited = self.changed.wait_timeout_while(self.lock(), window, is_incomplete);
        let (nodes, _) = waited.unwrap_or_else(PoisonError::into_inner);
        nodes.missing.values().flatten().cloned().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Nodes> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Instant;

    use super::*;

    #[test]
    fn read_waits_for_all_nodes() {
        let demand = Demand::default();
        demand.expect_nodes(3);
        demand.report("a", ["one"]);
        let collected = thread::scope(|scope| {
            let collected = scope.spawn(|| demand.collect_within(Duration::from_secs(60)));
            demand.report("b", ["two", "one"]);
            demand.report("c", []);
            collected.join().unwrap()
        });
        assert_eq!(collected, ["one".to_owned(), "two".to_owned()].into());
    }

    #[test]
    fn single_layers_are_read_once_beside_whole_image() {
        let demand = Demand::default();
        demand.expect_nodes(4);
        demand.report("a", ["one"]);
        demand.report("b", ["two"]);
        demand.report_whole("c");
        assert_eq!(demand.readers(), None);
        demand.report("d", []);
        assert_eq!(demand.readers(), Some(2));
    }

    #[test]
    fn silent_node_does_not_block_read() {
        let demand = Demand::default();
        demand.expect_nodes(2);
        demand.report("a", ["one"]);
        // A retry of the same node is not another one.
        demand.report("a", ["two"]);
        let window = Duration::from_millis(50);
        let started = Instant::now();
        assert_eq!(demand.collect_within(window).len(), 2);
        assert!(started.elapsed() >= window);
    }
}
