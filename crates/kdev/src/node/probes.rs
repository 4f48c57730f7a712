//! What the nodes have reported to the packages of one run when they were connected to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::node::error::NodeError;

/// The lines of a node: keys and values.
pub(super) type ProbeLines = Vec<(String, String)>;

/// What the nodes have reported, by node, transport, and settings.
#[derive(Default)]
pub(crate) struct Probes(Mutex<BTreeMap<String, Arc<Mutex<Option<ProbeLines>>>>>);

impl Probes {
    /// Returns what a node has reported, or queries it. Only one package connects to a node at a
    /// time: the others then use its connection.
    pub(super) fn get_or_query(
        &self,
        key: String,
        query: impl FnOnce() -> Result<ProbeLines, NodeError>,
    ) -> Result<ProbeLines, NodeError> {
        let probe = lock(&self.0).entry(key).or_default().clone();
        let mut probe = lock(&probe);
        if let Some(known) = &*probe {
            return Ok(known.clone());
        }
        let output = query()?;
        Ok(probe.insert(output).clone())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
