//! Checks of containerd on a node, and of the `ctr` that connects to it.

use kdev_core::kube::distribution::{self, NodeServices};
use kdev_core::kube::node::Node;
use kdev_core::text::{list, toml_key};

use crate::commands::doctor::observation::ObservedNode;
use crate::commands::doctor::report::{CheckGroup, CheckResult};
use crate::node::error::{NodeError, lock_help};
use crate::node::report::NodeReport;
use crate::tools::major_minor;

/// The oldest version of containerd that was tested.
const OLDEST_TESTED_VERSION: (u32, u32) = (1, 6);
/// The oldest version of containerd that spares pinned images from garbage collection.
const FIRST_WITH_PINS: (u32, u32) = (1, 7);
/// The containerd namespace of the kubelet.
const KUBELET_NAMESPACE: &str = "k8s.io";

/// Checks a containerd that is accessible.
pub(super) fn check_accessible(observed: &ObservedNode, facts: &NodeReport) -> Vec<CheckResult> {
    let node = observed.node;
    let user = if facts.sudo { "as root with sudo" } else { "without sudo" };
    vec![
        CheckResult::ok(CheckGroup::Node, "access", format!("{user}, `{}`", facts.ctr)),
        check_runtime(node, distribution::cri_socket(observed.object), facts),
        check_ctr_version(node, facts),
        check_cri(node, facts),
        check_namespace(facts),
        check_snapshotter(facts),
        check_prune(node, facts),
    ]
}

/// Reports a containerd that is not accessible.
pub(super) fn check_inaccessible(error: &NodeError) -> Vec<CheckResult> {
    let cause = "requires access to containerd";
    let skipped = ["runtime", "ctr", "cri", "namespace", "snapshotter", "prune"];
    let skipped = skipped.map(|check| CheckResult::skipped(CheckGroup::Node, check, cause));
    [CheckResult::failed_on_node("access", error)].into_iter().chain(skipped).collect()
}

/// Checks that `ctr` connects to the containerd of the kubelet. `kubelet_socket` is its socket, if
/// the node object has it.
pub(super) fn check_runtime(
    node: &Node,
    kubelet_socket: Option<&str>,
    facts: &NodeReport,
) -> CheckResult {
    let server = &facts.versions.1;
    let known = node.info.container_runtime_version.trim_start_matches("containerd://");
    let at = match facts.socket.as_str() {
        "" => String::new(),
        socket => format!(" at {socket}"),
    };
    if server.is_empty() {
        let cause = "`ctr` does not report the version of containerd";
        return CheckResult::skipped(CheckGroup::Node, "runtime", cause);
    }
    if let Some(kubelet_socket) =
        kubelet_socket.filter(|path| !facts.socket.is_empty() && *path != facts.socket)
    {
        let evidence = format!(
            "`{}` connects to containerd{at}, but the kubelet to {kubelet_socket}",
            facts.ctr
        );
        return CheckResult::warning(
            CheckGroup::Node,
            "runtime",
            evidence,
            ctr_address_help(node, kubelet_socket),
        );
    }
    if numeric_version(server) != numeric_version(known) {
        let evidence = format!(
            "`{}` connects to containerd {server}{at}, but the kubelet to {known}{}",
            facts.ctr,
            describe_other_sockets(facts)
        );
        return CheckResult::warning(
            CheckGroup::Node,
            "runtime",
            evidence,
            other_containerd_help(node, facts),
        );
    }
    if major_minor(server) < OLDEST_TESTED_VERSION {
        return CheckResult::warning(
            CheckGroup::Node,
            "runtime",
            format!("containerd {server}{at} is older than the oldest tested version"),
            "update containerd on the node to 1.6 or newer",
        );
    }
    CheckResult::ok(CheckGroup::Node, "runtime", format!("containerd {server}{at}"))
}

/// Checks that a kubelet can use this containerd. The packages of Docker disable its CRI
/// plugin.
fn check_cri(node: &Node, facts: &NodeReport) -> CheckResult {
    let state = match facts.cri.as_str() {
        "ok" => return CheckResult::ok(CheckGroup::Node, "cri", "the CRI plugin is running"),
        "" => "is disabled",
        _ => "has failed",
    };
    let evidence = format!(
        "a kubelet cannot use this containerd: its CRI plugin {state}{}",
        describe_other_sockets(facts)
    );
    let help = if other_sockets(facts).next().is_some() {
        other_containerd_help(node, facts)
    } else {
        let services = NodeServices::for_node(node);
        format!(
            "remove `cri` from `disabled_plugins` in `{}` on node `{}`, then run `sudo systemctl restart {}` and `sudo {} plugins ls` on the node",
            services.containerd_config, node.name, services.containerd_unit, facts.ctr
        )
    };
    CheckResult::error(CheckGroup::Node, "cri", evidence, help)
}

/// Returns the sockets of other runtimes; none if the socket that `ctr` uses is unknown.
pub(super) fn other_sockets(facts: &NodeReport) -> impl Iterator<Item = &str> {
    let is_known = !facts.socket.is_empty() || facts.ctr.contains("--address");
    let is_other = move |path: &&str| {
        is_known && *path != facts.socket && !facts.ctr.split(' ').any(|word| word == *path)
    };
    facts.sockets.iter().map(String::as_str).filter(is_other)
}

fn describe_other_sockets(facts: &NodeReport) -> String {
    let others: Vec<&str> = other_sockets(facts).collect();
    if others.is_empty() {
        String::new()
    } else {
        format!("; other runtimes listen on {}", list(&others))
    }
}

/// Returns how to configure the containerd of the kubelet.
fn other_containerd_help(node: &Node, facts: &NodeReport) -> String {
    let name = toml_key(&node.name);
    match other_sockets(facts).find(|path| path.contains("containerd")) {
        Some(socket) => {
            format!("{} if the kubelet uses that socket", ctr_address_help(node, socket))
        }
        None => format!(
            "set `nodes.{name}.ctr` in `[package.metadata.kdev]` to the `ctr` command for the containerd of the kubelet"
        ),
    }
}

fn ctr_address_help(node: &Node, socket: &str) -> String {
    format!(
        "set `nodes.{}.ctr = \"ctr --address {socket}\"` in `[package.metadata.kdev]`",
        toml_key(&node.name)
    )
}

/// Checks that `ctr` and containerd have the same major version.
fn check_ctr_version(node: &Node, facts: &NodeReport) -> CheckResult {
    let (client, server) = &facts.versions;
    if client.is_empty() || server.is_empty() {
        return CheckResult::skipped(
            CheckGroup::Node,
            "ctr",
            "`ctr` does not report both versions",
        );
    }
    if major_minor(client).0 != major_minor(server).0 {
        return CheckResult::warning(
            CheckGroup::Node,
            "ctr",
            format!("`{}` is version {client}, but containerd {server}", facts.ctr),
            format!(
                "set `nodes.{}.ctr` in `[package.metadata.kdev]` to the `ctr` of the same containerd release",
                toml_key(&node.name)
            ),
        );
    }
    CheckResult::ok(CheckGroup::Node, "ctr", format!("{client}, matches containerd"))
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
            "containerd has no namespace `{KUBELET_NAMESPACE}`, so no kubelet has used it; namespaces: {}",
            list(&known)
        ),
        "check `--container-runtime-endpoint` of the kubelet; it uses another containerd if the node runs pods",
    )
}

fn check_snapshotter(facts: &NodeReport) -> CheckResult {
    match facts.snapshotter.as_str() {
        "" => CheckResult::skipped(
            CheckGroup::Node,
            "snapshotter",
            "no container uses a snapshotter yet; using the default of `ctr`",
        ),
        name => CheckResult::ok(CheckGroup::Node, "snapshotter", name),
    }
}

/// Checks that older builds can be removed, and that the newest one can be pinned.
fn check_prune(node: &Node, facts: &NodeReport) -> CheckResult {
    let (user, ctr, name) = (&facts.user, &facts.ctr, &node.name);
    if !facts.no_prune.is_empty() {
        return CheckResult::warning(
            CheckGroup::Node,
            "prune",
            format!("sudo does not allow `{ctr}` to pin or remove images: {}", facts.no_prune),
            format!(
                "add this rule on node `{name}` with `visudo`: `{user} ALL=(root) NOPASSWD: {ctr} -n k8s.io *`"
            ),
        );
    }
    if !facts.no_lock.is_empty() {
        return CheckResult::warning(
            CheckGroup::Node,
            "prune",
            format!(
                "older builds stay on the node: without `{}`, a removal could affect a load",
                facts.no_lock
            ),
            lock_help(&facts.no_lock, name),
        );
    }
    let pin = if major_minor(&facts.versions.1) >= FIRST_WITH_PINS {
        "the newest one is pinned"
    } else {
        "containerd before 1.7 ignores the pin of the newest one"
    };
    CheckResult::ok(CheckGroup::Node, "prune", format!("older builds are removed; {pin}"))
}

/// Returns the numeric part of a version, such as `1.6.20` of `v1.6.20~ds1`.
fn numeric_version(version: &str) -> &str {
    let version = version.trim_start_matches('v');
    let end = version.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(version.len());
    &version[..end]
}
