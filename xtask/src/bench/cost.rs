//! The cost of a load: its time, and values that other processes do not influence.

use crate::lab::{self, Counters, Node};
use anyhow::Result;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// The cost of a load.
#[derive(Clone, Copy, Default)]
pub(crate) struct Cost {
    /// The load itself, in seconds, without the requests of kdev to the cluster.
    pub(crate) load: f64,
    /// The whole command, in seconds.
    pub(crate) command: f64,
    /// Bytes on the links to the nodes, in both directions, with all headers.
    pub(crate) wire: u64,
    /// Bytes that containerd wrote to disk on the nodes.
    pub(crate) written: u64,
    /// CPU time of containerd on the nodes, in seconds.
    pub(crate) containerd: f64,
    /// CPU time of dockerd, in seconds.
    pub(crate) docker: f64,
    /// Peak memory of kdev, in bytes.
    pub(crate) memory: u64,
}

impl Cost {
    pub(crate) fn json(&self) -> Value {
        json!({
            "load_s": self.load,
            "command_s": self.command,
            "wire_bytes": self.wire,
            "written_bytes": self.written,
            "containerd_cpu_s": self.containerd,
            "docker_cpu_s": self.docker,
            "kdev_memory_bytes": self.memory,
        })
    }

    /// Returns the median of each value separately.
    pub(crate) fn median(costs: &[Self]) -> Self {
        let floats = |get: fn(&Self) -> f64| median(costs.iter().map(get).collect());
        let integers = |get: fn(&Self) -> u64| median(costs.iter().map(get).collect());
        Self {
            load: floats(|cost| cost.load),
            command: floats(|cost| cost.command),
            wire: integers(|cost| cost.wire),
            written: integers(|cost| cost.written),
            containerd: floats(|cost| cost.containerd),
            docker: floats(|cost| cost.docker),
            memory: integers(|cost| cost.memory),
        }
    }
}

/// Returns the median: the upper one of the two in the middle if their number is even, so that
/// it is a measured value.
pub(crate) fn median<T: PartialOrd + Copy + Default>(mut values: Vec<T>) -> T {
    values.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Measures the cost of some work on these nodes.
pub(crate) fn measure<T>(nodes: &[&Node], work: impl FnOnce() -> Result<T>) -> Result<(T, Cost)> {
    let before: Vec<Counters> = nodes.iter().map(|node| lab::read_counters(node)).collect();
    let docker = lab::docker_cpu();
    let start = Instant::now();
    let result = work()?;
    let duration = start.elapsed();
    let mut cost = Cost { load: seconds(duration), command: seconds(duration), ..Cost::default() };
    cost.docker = seconds(lab::docker_cpu().saturating_sub(docker));
    for (node, before) in nodes.iter().zip(before) {
        let after = lab::read_counters(node);
        cost.wire += after.wire - before.wire;
        cost.written += after.written - before.written;
        cost.containerd += seconds(after.cpu.saturating_sub(before.cpu));
    }
    Ok((result, cost))
}

pub(crate) fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_ignores_outlier() {
        assert_eq!(median(vec![5, 1, 1000, 4, 3]), 4);
        assert_eq!(median(vec![2, 1]), 2);
    }
}
