//! Checks of a node: its state in the cluster, and the facts that it reports itself.

use std::ops::RangeInclusive;

use kdev_core::kube::distribution::{self, NodeServices};
use kdev_core::kube::identity::Identity;
use kdev_core::kube::node::Node;
use kdev_core::kube::object::{condition, text};
use kdev_core::text::toml_key;

use crate::commands::doctor::containerd;
use crate::commands::doctor::docker::BuilderPlatform;
use crate::commands::doctor::observation::ObservedNode;
use crate::commands::doctor::report::{CheckGroup, CheckResult};
use crate::docker::Engine;
use crate::node::report::{NodeProbe, NodeReport};

/// The default of the kubelet's `imageGCHighThresholdPercent`: above it, the kubelet deletes
/// unused images.
const IMAGE_GC_THRESHOLD_PERCENT: u64 = 85;
/// The free space below which an image does not fit.
const MIN_FREE_KIB: u64 = 256 * 1024;
/// The largest accepted clock skew: certificates and tokens have dates.
const MAX_CLOCK_SKEW_SECONDS: i64 = 5;
/// Conditions that reject new pods or evict running ones.
const PRESSURE_CONDITIONS: [&str; 4] =
    ["DiskPressure", "MemoryPressure", "PIDPressure", "NetworkUnavailable"];

/// Checks a node. The results are in the order in which problems must be fixed.
pub(crate) fn check(observed: &ObservedNode) -> Vec<CheckResult> {
    let mut results = vec![check_ready(observed), check_platform(observed)];
    results.extend(check_pressures(observed));
    match &observed.visit {
        Err(error) => results.push(CheckResult::failed_on_node("connection", error)),
        Ok(NodeProbe { report: facts, error }) => {
            results.push(CheckResult::ok(
                CheckGroup::Node,
                "connection",
                describe_connection(facts),
            ));
            results.push(check_identity(observed.node, facts));
            match error {
                Some(error) => results.extend(containerd::check_inaccessible(error)),
                None => results.extend(containerd::check_accessible(observed, facts)),
            }
            results.push(check_disk(facts));
            results.push(check_clock(facts, &observed.visited_at));
            results.push(check_compression(facts));
        }
    }
    results.into_iter().map(|result| result.on_node(&observed.node.name)).collect()
}

/// Describes the connection.
fn describe_connection(facts: &NodeReport) -> String {
    let by_ssh = facts.shell_command.starts_with("ssh ");
    let how = if by_ssh { " over SSH with a verified host key" } else { "" };
    format!("{}{how}, as `{}`", facts.location, facts.user)
}

fn check_ready(observed: &ObservedNode) -> CheckResult {
    match condition(observed.object, "Ready") {
        None => {
            CheckResult::skipped(CheckGroup::Node, "ready", "the node has no condition `Ready`")
        }
        Some(ready) if ready["status"] == "True" => {
            let version = &observed.node.info.kubelet_version;
            let distribution = distribution::detect(observed.node, observed.object);
            let distribution = distribution.map(|name| format!(", {name}")).unwrap_or_default();
            CheckResult::ok(CheckGroup::Node, "ready", format!("kubelet {version}{distribution}"))
        }
        Some(ready) => {
            let evidence = format!("not ready: {}", text(ready, "/message"));
            CheckResult::error(CheckGroup::Node, "ready", evidence, describe_node_help(observed))
        }
    }
}

fn check_pressures(observed: &ObservedNode) -> Vec<CheckResult> {
    let is_true =
        |kind: &&str| condition(observed.object, kind).is_some_and(|one| one["status"] == "True");
    let found = PRESSURE_CONDITIONS.into_iter().filter(is_true).map(|kind| {
        let message = condition(observed.object, kind).map_or("", |one| text(one, "/message"));
        let evidence = format!("{kind}: {message}");
        CheckResult::warning(CheckGroup::Node, "pressure", evidence, describe_node_help(observed))
    });
    found.collect()
}

fn describe_node_help(observed: &ObservedNode) -> String {
    format!("run `{} describe node {}` to find the cause", observed.kubectl, observed.node.name)
}

/// Checks that images are built for the platform of the node. Ignores the variant of the
/// architecture (`v8` in `linux/arm64/v8`), which the API does not have.
fn check_platform(observed: &ObservedNode) -> CheckResult {
    let platform = observed.node.info.platform();
    match observed.builder {
        Some(BuilderPlatform { engine, platform: built })
            if *built != platform && !built.starts_with(&format!("{platform}/")) =>
        {
            let help = match engine {
                Engine::Docker | Engine::Buildx | Engine::Cargo => {
                    format!("set DOCKER_DEFAULT_PLATFORM={platform} to build for the node")
                }
                Engine::Podman => format!(
                    "add `\"--platform={platform}\"` to `docker-build` in `[package.metadata.kdev]` to build for the node"
                ),
            };
            CheckResult::warning(
                CheckGroup::Node,
                "platform",
                format!(
                    "{platform}, but {engine} builds for {built} unless the Dockerfile sets a platform"
                ),
                help,
            )
        }
        Some(BuilderPlatform { engine, .. }) => {
            CheckResult::ok(CheckGroup::Node, "platform", format!("{platform}, matches {engine}"))
        }
        None => CheckResult::ok(CheckGroup::Node, "platform", platform),
    }
}

/// Checks that the connection leads to the node of the cluster. Clones of a machine share its
/// machine ID; the boot ID changes with each boot.
fn check_identity(node: &Node, facts: &NodeReport) -> CheckResult {
    const CHECK: &str = "identity";
    let (name, key) = (&node.name, toml_key(&node.name));
    match facts.ids.compare(&(&node.info).into()) {
        Identity::Same => CheckResult::ok(CheckGroup::Node, CHECK, "machine ID and boot ID match"),
        Identity::Unknown(cause) => CheckResult::skipped(CheckGroup::Node, CHECK, cause),
        Identity::Different(found) => CheckResult::error(
            CheckGroup::Node,
            CHECK,
            format!("{} is not node `{name}` of this cluster: {found}", facts.location),
            format!(
                "set `nodes.{key}.ssh = \"user@host\"`, or `nodes.{key}.docker` for a container, in `[package.metadata.kdev]`"
            ),
        ),
        Identity::OtherBoot(found) | Identity::Doubtful(found) => CheckResult::warning(
            CheckGroup::Node,
            CHECK,
            format!(
                "{found}: the machine is a clone, or its kubelet has not started since the last boot"
            ),
            format!(
                "run `systemctl status {}` on the node (`{}`) to check its kubelet",
                NodeServices::for_node(node).kubelet_unit,
                facts.shell_command
            ),
        ),
    }
}

fn check_disk(facts: &NodeReport) -> CheckResult {
    let Some((root, total, free)) = &facts.disk else {
        return CheckResult::skipped(CheckGroup::Node, "disk", "the free space is unknown");
    };
    let evidence = format!("{} of {} free at {root}", format_size(*free), format_size(*total));
    let help =
        format!("run `{}` to find large directories, then free space", facts.disk_usage_command);
    if *free < MIN_FREE_KIB {
        CheckResult::error(CheckGroup::Node, "disk", evidence, help)
    } else if (total - free.min(total)) * 100 >= total * IMAGE_GC_THRESHOLD_PERCENT {
        let evidence = format!(
            "{evidence}; the kubelet deletes unused images from {IMAGE_GC_THRESHOLD_PERCENT} % usage"
        );
        CheckResult::warning(CheckGroup::Node, "disk", evidence, help)
    } else {
        CheckResult::ok(CheckGroup::Node, "disk", evidence)
    }
}

fn check_clock(facts: &NodeReport, visited_at: &RangeInclusive<i64>) -> CheckResult {
    let Some(time) = facts.time else {
        return CheckResult::skipped(
            CheckGroup::Node,
            "clock",
            "the node does not report its time",
        );
    };
    let skew = if time < *visited_at.start() {
        time - visited_at.start()
    } else if time > *visited_at.end() {
        time - visited_at.end()
    } else {
        0
    };
    if skew.abs() <= MAX_CLOCK_SKEW_SECONDS {
        return CheckResult::ok(CheckGroup::Node, "clock", "in sync with this machine");
    }
    let direction = if skew < 0 { "behind" } else { "ahead of" };
    CheckResult::warning(
        CheckGroup::Node,
        "clock",
        format!("{} s {direction} this machine", skew.abs()),
        "run `sudo timedatectl set-ntp true` on both machines",
    )
}

fn check_compression(facts: &NodeReport) -> CheckResult {
    if facts.tools.iter().any(|tool| tool == "zstd") {
        return CheckResult::ok(CheckGroup::Node, "compression", "zstd and patches");
    }
    let evidence = if facts.tools.iter().any(|tool| tool == "gzip") {
        "gzip only; changed layers are sent in full"
    } else {
        "none; layers are sent uncompressed"
    };
    CheckResult::warning(
        CheckGroup::Node,
        "compression",
        evidence,
        "install zstd on the node, for example with `sudo apt-get install zstd`",
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
