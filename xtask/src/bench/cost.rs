//! What a load costs: its time, and what noise does not move.

use crate::lab::{self, Counters, Node};
use anyhow::Result;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// One load.
#[derive(Clone, Copy, Default)]
pub(crate) struct Cost {
    /// The load itself, in seconds: without kdev's questions to the cluster.
    pub(crate) load: f64,
    /// The whole command, in seconds.
    pub(crate) command: f64,
    /// Bytes on the nodes' cables, both ways, with all headers.
    pub(crate) wire: u64,
    /// Bytes that the nodes' containerds wrote to disk.
    pub(crate) written: u64,
    /// Seconds of CPU of the nodes' containerds.
    pub(crate) containerd: f64,
    /// Seconds of CPU of dockerd.
    pub(crate) docker: f64,
    /// The largest memory of kdev, in bytes.
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

    /// The median of each number on its own.
    pub(crate) fn median(costs: &[Self]) -> Self {
        let f = |get: fn(&Self) -> f64| median(costs.iter().map(get).collect());
        let u = |get: fn(&Self) -> u64| median(costs.iter().map(get).collect());
        Self {
            load: f(|cost| cost.load),
            command: f(|cost| cost.command),
            wire: u(|cost| cost.wire),
            written: u(|cost| cost.written),
            containerd: f(|cost| cost.containerd),
            docker: f(|cost| cost.docker),
            memory: u(|cost| cost.memory),
        }
    }
}

/// Of an even number the upper one of the two in the middle, which is real.
pub(crate) fn median<T: PartialOrd + Copy + Default>(mut values: Vec<T>) -> T {
    values.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Does something, and tells what it has cost on these nodes.
pub(crate) fn of<T>(nodes: &[&Node], work: impl FnOnce() -> Result<T>) -> Result<(T, Cost)> {
    let before: Vec<Counters> = nodes.iter().map(|node| lab::counters(node)).collect();
    let docker = lab::docker_cpu();
    let begun = Instant::now();
    let done = work()?;
    let took = begun.elapsed();
    let mut cost = Cost { load: seconds(took), command: seconds(took), ..Cost::default() };
    cost.docker = seconds(lab::docker_cpu().saturating_sub(docker));
    for (node, before) in nodes.iter().zip(before) {
        let after = lab::counters(node);
        cost.wire += after.wire - before.wire;
        cost.written += after.written - before.written;
        cost.containerd += seconds(after.cpu.saturating_sub(before.cpu));
    }
    Ok((done, cost))
}

pub(crate) fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_odd_value_does_not_move_the_median() {
        assert_eq!(median(vec![5, 1, 1000, 4, 3]), 4);
        assert_eq!(median(vec![2, 1]), 2);
    }
}
