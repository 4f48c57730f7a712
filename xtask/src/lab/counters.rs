//! What the lab's parts have done so far: bytes and processor time.

use super::network::veth;
use super::node::Node;
use super::{daemon, moby};
use std::fs;
use std::time::Duration;

/// What Linux counts time in for user space (`sysconf(_SC_CLK_TCK)`, 100 on
/// every architecture that it runs Rust on).
const TICKS: u64 = 100;

/// Of one node.
pub(crate) struct Counters {
    /// Bytes on its cable, both ways.
    pub(crate) wire: u64,
    /// Bytes that its containerd has written.
    pub(crate) written: u64,
    /// Processor time of its containerd.
    pub(crate) cpu: Duration,
}

pub(crate) fn counters(node: &Node) -> Counters {
    let statistics = format!("/sys/class/net/{}/statistics", veth(node));
    let bytes = |name: &str| {
        let text = fs::read_to_string(format!("{statistics}/{name}_bytes")).unwrap_or_default();
        text.trim().parse::<u64>().unwrap_or_default()
    };
    let containerd = daemon::pid(&format!("containerd-{}", node.name));
    Counters {
        wire: bytes("rx") + bytes("tx"),
        written: containerd.map(written).unwrap_or_default(),
        cpu: containerd.map(cpu).unwrap_or_default(),
    }
}

/// Processor time of the lab's dockers; none where docker is the host's own.
pub(crate) fn docker_cpu() -> Duration {
    ["dockerd", moby::NAME].into_iter().filter_map(daemon::pid).map(cpu).sum()
}

fn written(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|bytes| bytes.parse().ok()).unwrap_or_default()
}

/// User and system time, with that of children that have ended (proc(5)).
fn cpu(pid: i32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = text.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    let ticks: u64 = fields.skip(11).take(4).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 1000 / TICKS)
}
