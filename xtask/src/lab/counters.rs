//! Counters of the lab: bytes and processor time since the start.

use super::network::veth;
use super::node::Node;
use super::{moby, pid_file};
use std::fs;
use std::time::Duration;

/// Clock ticks in a second (`sysconf(_SC_CLK_TCK)`): 100 on every architecture with Rust
/// on Linux.
const TICKS_PER_SECOND: u64 = 100;

/// The counters of a node.
pub(crate) struct Counters {
    /// Bytes on the link to the node, in both directions.
    pub(crate) wire: u64,
    /// Bytes that containerd has written to disk.
    pub(crate) written: u64,
    /// Processor time of containerd.
    pub(crate) cpu: Duration,
}

pub(crate) fn read_counters(node: &Node) -> Counters {
    let statistics = format!("/sys/class/net/{}/statistics", veth(node));
    let bytes = |name: &str| {
        let text = fs::read_to_string(format!("{statistics}/{name}_bytes")).unwrap_or_default();
        text.trim().parse::<u64>().unwrap_or_default()
    };
    let containerd = pid_file::pid(&format!("containerd-{}", node.name));
    Counters {
        wire: bytes("rx") + bytes("tx"),
        written: containerd.map(written_bytes).unwrap_or_default(),
        cpu: containerd.map(cpu_time).unwrap_or_default(),
    }
}

/// Returns the processor time of the Docker daemons of the lab: zero if it uses Docker of the
/// host.
pub(crate) fn docker_cpu() -> Duration {
    ["dockerd", moby::NAME].into_iter().filter_map(pid_file::pid).map(cpu_time).sum()
}

fn written_bytes(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|bytes| bytes.parse().ok()).unwrap_or_default()
}

/// Returns user and system time, including children that have ended (proc(5)).
fn cpu_time(pid: i32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = text.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    let ticks: u64 = fields.skip(11).take(4).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND)
}
