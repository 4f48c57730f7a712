//! Whether a node is fit for a load, by what it says and what the cluster says of
//! it. Pure.

use std::ops::RangeInclusive;

use kdev_core::kube::distribution;
use kdev_core::kube::node::Node;
use kdev_core::kube::object::{condition, text};

use crate::commands::doctor::containerd;
use crate::commands::doctor::report::{CheckResult, CheckGroup};
use crate::commands::doctor::observation::ObservedNode;
use crate::node::report::{NodeReport, NodeProbe};

/// From this share of the disk on the kubelet collects images, unless told
/// otherwise (`imageGCHighThresholdPercent`).
const IMAGE_GC_THRESHOLD_PERCENT: u64 = 85;
/// Less than this leaves no room for an image.
const MIN_FREE_KIB: u64 = 256 * 1024;
/// By how many seconds a clock may be off: certificates and tokens are dated.
const MAX_CLOCK_SKEW_SECONDS: i64 = 5;
/// Conditions that keep new pods away, or throw old ones out.
const PRESSURE_CONDITIONS: [&str; 4] =
    ["DiskPressure", "MemoryPressure", "PIDPressure", "NetworkUnavailable"];

/// What is found of one node, in the order in which it must be cured.
pub(crate) fn check(seen: &ObservedNode) -> Vec<CheckResult> {
    let mut found = vec![check_ready(seen), check_platform(seen)];
    found.extend(check_pressures(seen));
    match &seen.visit {
        Err(error) => found.push(CheckResult::failed_on_node("connection", error)),
        Ok(NodeProbe { report: facts, error: fault }) => {
            found.push(CheckResult::ok(CheckGroup::Node, "connection", describe_connection(facts)));
            found.push(check_identity(seen.node, facts));
            match fault {
                Some(error) => found.extend(containerd::check_inaccessible(error)),
                None => found.extend(containerd::check_accessible(seen, facts)),
            }
            found.push(check_disk(facts));
            found.push(check_clock(facts, &seen.visited_at));
            found.push(check_compression(facts));
        }
    }
    found.into_iter().map(|finding| finding.on_node(&seen.node.name)).collect()
}

/// How it was reached, and what that proves.
fn describe_connection(facts: &NodeReport) -> String {
    let by_ssh = facts.shell_command.starts_with("ssh ");
    let how = if by_ssh { " by ssh, which knows its host key" } else { "" };
    format!("{}{how}, as `{}`", facts.location, facts.user)
}

fn check_ready(seen: &ObservedNode) -> CheckResult {
    match condition(seen.object, "Ready") {
        None => CheckResult::skipped(CheckGroup::Node, "ready", "the cluster does not say"),
        Some(ready) if ready["status"] == "True" => {
            let version = &seen.node.info.kubelet_version;
            let made_by = distribution::detect(seen.node, seen.object);
            let made_by = made_by.map(|product| format!(", made by {product}")).unwrap_or_default();
            CheckResult::ok(CheckGroup::Node, "ready", format!("kubelet {version}{made_by}"))
        }
        Some(ready) => {
            let words = format!("it is not ready: {}", text(ready, "/message"));
            CheckResult::error(CheckGroup::Node, "ready", words, describe_node_help(seen))
        }
    }
}

fn check_pressures(seen: &ObservedNode) -> Vec<CheckResult> {
    let is_so = |kind: &&str| condition(seen.object, kind).is_some_and(|one| one["status"] == "True");
    let found = PRESSURE_CONDITIONS.into_iter().filter(is_so).map(|kind| {
        let message = condition(seen.object, kind).map_or("", |one| text(one, "/message"));
        let words = format!("{kind}: {message}");
        CheckResult::warning(CheckGroup::Node, "pressure", words, describe_node_help(seen))
    });
    found.collect()
}

fn describe_node_help(seen: &ObservedNode) -> String {
    format!("see `{} describe node {}`", seen.kubectl, seen.node.name)
}

/// A variant, as in `linux/arm64/v8`, is nothing that a node tells.
fn check_platform(seen: &ObservedNode) -> CheckResult {
    let platform = seen.node.info.platform();
    match seen.docker_platform {
        Some(docker) if *docker != platform && !docker.starts_with(&format!("{platform}/")) => {
            CheckResult::warning(
                CheckGroup::Node,
                "platform",
                format!(
                    "it runs {platform}, and docker builds for {docker}, unless the Dockerfile tells otherwise"
                ),
                format!("build for the node: set DOCKER_DEFAULT_PLATFORM={platform}"),
            )
        }
        Some(_) => CheckResult::ok(CheckGroup::Node, "platform", format!("{platform}, as docker builds")),
        None => CheckResult::ok(CheckGroup::Node, "platform", platform),
    }
}

/// Whether the machine that was reached is the cluster's node. The first ID is the
/// machine's; clones share it. The second one is new with each boot.
fn check_identity(node: &Node, facts: &NodeReport) -> CheckResult {
    let (known, name) = (&node.info, &node.name);
    if known.machine_id.is_empty() {
        return CheckResult::skipped(
            CheckGroup::Node,
            "identity",
            "the cluster does not tell its machine-id",
        );
    }
    if facts.machine_id.is_empty() {
        return CheckResult::skipped(
            CheckGroup::Node,
            "identity",
            "the machine does not tell its machine-id",
        );
    }
    if facts.machine_id != known.machine_id {
        return CheckResult::error(
            CheckGroup::Node,
            "identity",
            format!(
                "{} is not the node `{name}` of this cluster: its machine-id is `{}`, and the node's is `{}`",
                facts.location, facts.machine_id, known.machine_id
            ),
            format!(
                "set `nodes.{name}.ssh = \"user@host\"`, or `nodes.{name}.docker` for a container, in `[package.metadata.kdev]` to where it is"
            ),
        );
    }
    if !facts.boot_id.is_empty() && !known.boot_id.is_empty() && facts.boot_id != known.boot_id {
        return CheckResult::warning(
            CheckGroup::Node,
            "identity",
            "its boot-id is not the one that the cluster knows: it is a clone of the node, or the kubelet has not run since it was booted",
            format!(
                "see there with `{}` whether its kubelet runs: `systemctl status kubelet`",
                facts.shell_command
            ),
        );
    }
    CheckResult::ok(CheckGroup::Node, "identity", "its machine-id and boot-id are the node's")
}

fn check_disk(facts: &NodeReport) -> CheckResult {
    let Some((root, all, free)) = &facts.disk else {
        return CheckResult::skipped(CheckGroup::Node, "disk", "its free space is not known");
    };
    let words = format!("{} of {} are free at {root}", format_size(*free), format_size(*all));
    let help = format!("free some: `{}` shows what fills it", facts.disk_usage_command);
    if *free < MIN_FREE_KIB {
        CheckResult::error(CheckGroup::Node, "disk", words, help)
    } else if (all - free.min(all)) * 100 >= all * IMAGE_GC_THRESHOLD_PERCENT {
        let words = format!("{words}: its kubelet deletes unused images from {IMAGE_GC_THRESHOLD_PERCENT} % on");
        CheckResult::warning(CheckGroup::Node, "disk", words, help)
    } else {
        CheckResult::ok(CheckGroup::Node, "disk", words)
    }
}

fn check_clock(facts: &NodeReport, asked: &RangeInclusive<i64>) -> CheckResult {
    let Some(time) = facts.time else {
        return CheckResult::skipped(CheckGroup::Node, "clock", "it does not tell the time");
    };
    let off = if time < *asked.start() {
        time - asked.start()
    } else if time > *asked.end() {
        time - asked.end()
    } else {
        0
    };
    if off.abs() <= MAX_CLOCK_SKEW_SECONDS {
        return CheckResult::ok(CheckGroup::Node, "clock", "as this machine's");
    }
    let way = if off < 0 { "behind" } else { "before" };
    CheckResult::warning(
        CheckGroup::Node,
        "clock",
        format!("its clock is {} s {way} this machine's", off.abs()),
        "set both by the network: `sudo timedatectl set-ntp true`",
    )
}

fn check_compression(facts: &NodeReport) -> CheckResult {
    if facts.tools.iter().any(|tool| tool == "zstd") {
        return CheckResult::ok(CheckGroup::Node, "compression", "zstd, and patches");
    }
    let words = if facts.tools.iter().any(|tool| tool == "gzip") {
        "gzip only: a changed layer is sent whole"
    } else {
        "none: layers are sent as they are"
    };
    CheckResult::warning(
        CheckGroup::Node,
        "compression",
        words,
        "install zstd there, with `sudo apt-get install zstd` for one",
    )
}

fn format_size(kib: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
    let gib = kib as f64 / 1024.0 / 1024.0;
    format!("{gib:.1} GiB")
}

#[cfg(test)]
#[path = "node_tests.rs"]
mod tests;
