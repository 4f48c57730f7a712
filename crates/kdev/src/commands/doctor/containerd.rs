//! What is found of a node's containerd, and of the `ctr` that talks to it. Pure.

use kdev_core::kube::distribution;
use kdev_core::kube::node::Node;
use kdev_core::text::list;

use crate::commands::doctor::report::{CheckResult, CheckGroup};
use crate::commands::doctor::observation::ObservedNode;
use crate::node::error::NodeError;
use crate::node::report::NodeReport;
use crate::tools::major_minor;

/// The oldest containerd that has been tried.
const OLDEST_TESTED_VERSION: (u32, u32) = (1, 6);
/// The namespace of the kubelet's images.
const KUBELET_NAMESPACE: &str = "k8s.io";

/// What is found of a containerd that lets us in.
pub(super) fn check_accessible(seen: &ObservedNode, facts: &NodeReport) -> Vec<CheckResult> {
    let node = seen.node;
    let words = if facts.sudo { "as root, by sudo" } else { "without sudo" };
    vec![
        CheckResult::ok(CheckGroup::Node, "access", format!("{words}, with `{}`", facts.ctr)),
        check_runtime(node, distribution::cri_socket(seen.object), facts),
        check_ctr_version(node, facts),
        check_cri(node, facts),
        check_namespace(facts),
        check_snapshotter(facts),
    ]
}

/// The same, of one that does not.
pub(super) fn check_inaccessible(error: &NodeError) -> Vec<CheckResult> {
    let words = "containerd cannot be asked";
    let unknown = ["runtime", "ctr", "cri", "namespace", "snapshotter"];
    let unknown = unknown.map(|check| CheckResult::skipped(CheckGroup::Node, check, words));
    [CheckResult::failed_on_node("access", error)].into_iter().chain(unknown).collect()
}

/// Whether `ctr` talks to the containerd that the kubelet asks, of which the socket
/// may have been noted.
pub(super) fn check_runtime(node: &Node, noted: Option<&str>, facts: &NodeReport) -> CheckResult {
    let server = &facts.versions.1;
    let known = node.info.container_runtime_version.trim_start_matches("containerd://");
    let at = match facts.socket.as_str() {
        "" => String::new(),
        socket => format!(" at {socket}"),
    };
    if server.is_empty() {
        let words = "`ctr` does not tell its version";
        return CheckResult::skipped(CheckGroup::Node, "runtime", words);
    }
    if let Some(noted) = noted.filter(|path| !facts.socket.is_empty() && *path != facts.socket) {
        let words = format!("`{}` talks to containerd{at}, and the kubelet to {noted}", facts.ctr);
        return CheckResult::warning(CheckGroup::Node, "runtime", words, ctr_address_help(node, noted));
    }
    if numeric_version(server) != numeric_version(known) {
        let words =
            format!("`{}` talks to containerd {server}{at}, and the kubelet to {known}", facts.ctr);
        let words = format!("{words}{}", describe_other_sockets(facts));
        return CheckResult::warning(CheckGroup::Node, "runtime", words, other_containerd_help(node, facts));
    }
    if major_minor(server) < OLDEST_TESTED_VERSION {
        return CheckResult::warning(
            CheckGroup::Node,
            "runtime",
            format!("containerd {server}{at} is older than any that has been tried"),
            "update the node's containerd to 1.6 or newer",
        );
    }
    CheckResult::ok(CheckGroup::Node, "runtime", format!("containerd {server}{at}"))
}

/// Whether a kubelet can ask this containerd. docker's packages bring one in which
/// the CRI is switched off.
fn check_cri(node: &Node, facts: &NodeReport) -> CheckResult {
    let state = match facts.cri.as_str() {
        "ok" => return CheckResult::ok(CheckGroup::Node, "cri", "its plugin runs"),
        "" => "is switched off",
        _ => "has failed",
    };
    let words = format!("no kubelet can ask this containerd: its CRI plugin {state}");
    let help = if other_sockets(facts).next().is_some() {
        other_containerd_help(node, facts)
    } else {
        format!(
            "take `cri` out of `disabled_plugins` in `/etc/containerd/config.toml` on node `{0}`, run `sudo systemctl restart containerd` there, and see `sudo ctr plugins ls`",
            node.name
        )
    };
    CheckResult::error(CheckGroup::Node, "cri", format!("{words}{}", describe_other_sockets(facts)), help)
}

/// Where runtimes listen beside the one that `ctr` talks to, as far as that one is
/// known.
pub(super) fn other_sockets(facts: &NodeReport) -> impl Iterator<Item = &str> {
    let is_known = !facts.socket.is_empty() || facts.ctr.contains("--address");
    let is_other = move |path: &&str| {
        is_known && *path != facts.socket && !facts.ctr.split(' ').any(|word| word == *path)
    };
    facts.sockets.iter().map(String::as_str).filter(is_other)
}

fn describe_other_sockets(facts: &NodeReport) -> String {
    let others: Vec<&str> = other_sockets(facts).collect();
    if others.is_empty() { String::new() } else { format!("; others listen at {}", list(&others)) }
}

/// How to get to the kubelet's containerd instead.
fn other_containerd_help(node: &Node, facts: &NodeReport) -> String {
    let name = &node.name;
    match other_sockets(facts).find(|path| path.contains("containerd")) {
        Some(socket) => format!("if that is the kubelet's, {}", ctr_address_help(node, socket)),
        None => format!(
            "set `nodes.{name}.ctr` in `[package.metadata.kdev]` to what talks to the kubelet's containerd"
        ),
    }
}

fn ctr_address_help(node: &Node, socket: &str) -> String {
    format!(
        "set `nodes.{}.ctr = \"ctr --address {socket}\"` in `[package.metadata.kdev]`",
        node.name
    )
}

/// Between `ctr` and its containerd.
fn check_ctr_version(node: &Node, facts: &NodeReport) -> CheckResult {
    let (client, server) = &facts.versions;
    if client.is_empty() || server.is_empty() {
        return CheckResult::skipped(CheckGroup::Node, "ctr", "it does not tell its version");
    }
    if major_minor(client).0 != major_minor(server).0 {
        return CheckResult::warning(
            CheckGroup::Node,
            "ctr",
            format!("`{}` is {client}, and its containerd {server}", facts.ctr),
            format!(
                "set `nodes.{}.ctr` in `[package.metadata.kdev]` to the `ctr` that came with its containerd",
                node.name
            ),
        );
    }
    CheckResult::ok(CheckGroup::Node, "ctr", format!("{client}, as its containerd"))
}

fn check_namespace(facts: &NodeReport) -> CheckResult {
    if facts.namespaces.iter().any(|name| name == KUBELET_NAMESPACE) {
        return CheckResult::ok(CheckGroup::Node, "namespace", KUBELET_NAMESPACE);
    }
    let known: Vec<&str> = facts.namespaces.iter().map(String::as_str).collect();
    CheckResult::warning(
        CheckGroup::Node,
        "namespace",
        format!(
            "no kubelet has used this containerd yet: it has no namespace `{KUBELET_NAMESPACE}`, but {}",
            list(&known)
        ),
        "if the node runs pods, its kubelet asks another containerd: see its `--container-runtime-endpoint`",
    )
}

fn check_snapshotter(facts: &NodeReport) -> CheckResult {
    match facts.snapshotter.as_str() {
        "" => CheckResult::skipped(
            CheckGroup::Node,
            "snapshotter",
            "no container tells what unpacks the kubelet's images; what `ctr` takes by itself is used",
        ),
        name => CheckResult::ok(CheckGroup::Node, "snapshotter", format!("{name} unpacks the images")),
    }
}

/// `1.6.20` of `v1.6.20~ds1`.
fn numeric_version(version: &str) -> &str {
    let version = version.trim_start_matches('v');
    let end = version.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(version.len());
    &version[..end]
}
