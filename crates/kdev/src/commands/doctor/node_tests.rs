//! Nodes with one problem each.

use crate::docker::Engine;
use kdev_core::kube::distribution::NodeServices;
use serde_json::{Value, json};

use crate::node::error::NodeError;

use super::*;
use crate::commands::doctor::containerd::{check_runtime, other_sockets};
use crate::commands::doctor::report::CheckState;
use crate::node::error::NodeErrorKind;

const VERSIONS: &str = "Client:   Version:  1.6.20~ds1   Revision: r   Go version: go1.19  Server:   Version:  1.6.20~ds1   Revision: r";
const REPORT: [(&str, &str); 16] = [
    ("machine", "m"),
    ("boot", "b"),
    ("time", "1000"),
    ("user", "dev"),
    ("socket", "/run/containerd/containerd.sock"),
    ("disk", "/var/lib/containerd 104857600 52428800"),
    ("tool", "zstd"),
    ("tool", "gzip"),
    ("no-lock", ""),
    ("versions", VERSIONS),
    ("namespace", "default"),
    ("namespace", "k8s.io"),
    ("ctr", "/usr/bin/ctr"),
    ("listens", "/run/containerd/containerd.sock"),
    ("cri", "ok"),
    ("snapshotter", "overlayfs"),
];

fn node() -> Node {
    let mut node = Node::named("n");
    node.info.machine_id = "m".into();
    node.info.boot_id = "b".into();
    node.info.operating_system = "linux".into();
    node.info.architecture = "amd64".into();
    node.info.container_runtime_version = "containerd://1.6.20".into();
    node
}

/// The facts with one line replaced or removed.
fn facts(key: &str, value: Option<&str>) -> NodeReport {
    let lines = REPORT.into_iter().filter_map(|(k, v)| match value {
        Some(value) if k == key => Some((k, value)),
        None if k == key => None,
        _ => Some((k, v)),
    });
    NodeReport::parse(lines)
}

type Problems = Vec<(&'static str, CheckState, String)>;

fn problems(facts: NodeReport, item: &Value, docker: &str) -> Problems {
    problems_with(facts, None, item, docker)
}

/// The problems of a node, with an error that prevents loads.
fn problems_with(
    facts: NodeReport,
    error: Option<NodeError>,
    item: &Value,
    docker: &str,
) -> Problems {
    let observed = ObservedNode {
        node: &node(),
        object: item,
        kubectl: "kubectl",
        visit: Ok(NodeProbe { report: facts, error }),
        visited_at: 990..=1010,
        builder: Some(&BuilderPlatform { engine: Engine::Docker, platform: docker.to_owned() }),
    };
    let not_ok = check(&observed).into_iter().filter(|one| one.state != CheckState::Ok);
    not_ok.map(|one| (one.check, one.state, one.evidence)).collect()
}

fn ready() -> Value {
    json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}})
}

#[test]
fn healthy_node_has_no_problems() {
    // The skew is measured from the end of the visit.
    assert_eq!(problems(facts("time", Some("1015")), &ready(), "linux/amd64"), []);
    assert_eq!(problems(facts("none", None), &ready(), "linux/amd64"), []);
}

#[test]
fn each_problem_is_reported_alone() {
    let mixed = VERSIONS.replacen("1.6.20~ds1", "v2.2.1", 1);
    let other_version = VERSIONS.replace("1.6.20", "1.7.2");
    let full = "/var/lib/containerd 104857600 1024";
    let nearly = "/var/lib/containerd 104857600 10485760";
    let table = [
        ("machine", Some("x"), "identity", CheckState::Error, "is not node `n`"),
        ("machine", None, "identity", CheckState::Skipped, "does not report a machine ID"),
        ("boot", Some("x"), "identity", CheckState::Warning, "is a clone"),
        ("time", Some("900"), "clock", CheckState::Warning, "90 s behind"),
        ("time", Some("1016"), "clock", CheckState::Warning, "6 s ahead of"),
        ("time", Some("1100"), "clock", CheckState::Warning, "90 s ahead of"),
        ("disk", Some(full), "disk", CheckState::Error, "0.0 GiB of 100.0 GiB free"),
        ("disk", Some(nearly), "disk", CheckState::Warning, "10.0 GiB of 100.0 GiB free"),
        ("disk", Some("/var/lib/containerd"), "disk", CheckState::Skipped, "is unknown"),
        ("tool", None, "compression", CheckState::Warning, "none"),
        ("no-lock", Some("flock"), "prune", CheckState::Warning, "without `flock`, a removal"),
        ("no-lock", Some("/etc/machine-id"), "prune", CheckState::Warning, "`/etc/machine-id`"),
        ("tool", Some("gzip"), "compression", CheckState::Warning, "gzip only"),
        (
            "namespace",
            Some("moby"),
            "namespace",
            CheckState::Warning,
            "namespaces: `moby` and `moby`",
        ),
        ("cri", None, "cri", CheckState::Error, "is disabled"),
        ("cri", Some("error"), "cri", CheckState::Error, "has failed"),
        (
            "snapshotter",
            None,
            "snapshotter",
            CheckState::Skipped,
            "no container uses a snapshotter",
        ),
        ("versions", Some(mixed.as_str()), "ctr", CheckState::Warning, "is version 2.2.1"),
        (
            "versions",
            Some(other_version.as_str()),
            "runtime",
            CheckState::Warning,
            "connects to containerd 1.7.2",
        ),
    ];
    for (key, value, check, state, evidence) in table {
        let found = problems(facts(key, value), &ready(), "linux/amd64");
        assert!(
            matches!(found.as_slice(), [(c, s, w)] if *c == check && *s == state && w.contains(evidence)),
            "{key} {value:?}: {found:?}"
        );
    }
}

#[test]
fn other_socket_is_suggested_for_version_mismatch() {
    let mut facts = facts("versions", Some(&VERSIONS.replace("1.6.20", "1.7.2")));
    facts.sockets.push("/run/k3s/containerd/containerd.sock".into());
    let found = check_runtime(&node(), None, &facts);
    let others = "; other runtimes listen on `/run/k3s/containerd/containerd.sock`";
    assert!(found.evidence.ends_with(others), "{}", found.evidence);
    let setting = "`nodes.n.ctr = \"ctr --address /run/k3s/containerd/containerd.sock\"`";
    assert!(found.help.as_deref().is_some_and(|help| help.contains(setting)), "{:?}", found.help);
    // After the setting was changed, only the previous socket is another one.
    facts.socket.clear();
    facts.ctr = "/usr/bin/ctr --address /run/k3s/containerd/containerd.sock".into();
    let left: Vec<&str> = other_sockets(&facts).collect();
    assert_eq!(left, ["/run/containerd/containerd.sock"]);
}

#[test]
fn socket_in_node_annotation_is_expected() {
    let facts = facts("none", None);
    let check = |path| check_runtime(&node(), Some(path), &facts);
    assert_eq!(check("/run/containerd/containerd.sock").state, CheckState::Ok);
    let found = check("/run/other.sock");
    assert_eq!(
        found.help.as_deref(),
        Some("set `nodes.n.ctr = \"ctr --address /run/other.sock\"` in `[package.metadata.kdev]`")
    );
}

#[test]
fn inaccessible_containerd_does_not_hide_other_problems() {
    let error = NodeError {
        node: "n".into(),
        location: "h".into(),
        kind: NodeErrorKind::SudoTerminal,
        connect_command: "ssh h".into(),
        known_hosts_name: "h".into(),
        services: NodeServices::for_node(&node()),
    };
    let facts = facts("machine", Some("x"));
    let found = problems_with(facts, Some(error), &ready(), "linux/amd64");
    let states: Vec<_> = found.iter().map(|(check, state, _)| (*check, *state)).collect();
    let skipped = ["runtime", "ctr", "cri", "namespace", "snapshotter", "prune"];
    let expected = [("identity", CheckState::Error), ("access", CheckState::Error)];
    let skipped = skipped.map(|check| (check, CheckState::Skipped));
    assert_eq!(states, [&expected[..], &skipped].concat());
}

#[test]
fn platform_and_conditions_of_cluster_are_checked() {
    let found = problems(facts("none", None), &ready(), "linux/arm64");
    let mismatch = "linux/amd64, but Docker builds for linux/arm64 ";
    assert!(found[0].2.starts_with(mismatch), "{}", found[0].2);
    assert_eq!(problems(facts("none", None), &ready(), "linux/amd64/v2"), []);
    let not_ready = json!({"status": {"conditions": [
        {"type": "Ready", "status": "Unknown", "message": "kubelet stopped posting node status"},
        {"type": "DiskPressure", "status": "True", "message": "kubelet has disk pressure"}]}});
    let found = problems(facts("none", None), &not_ready, "linux/amd64");
    let states: Vec<_> = found.iter().map(|(check, state, _)| (*check, *state)).collect();
    assert_eq!(states, [("ready", CheckState::Error), ("pressure", CheckState::Warning)]);
    assert_eq!(found[0].2, "not ready: kubelet stopped posting node status");
}

#[test]
fn untested_containerd_version_is_warning() {
    let mut node = node();
    node.info.container_runtime_version = "containerd://1.4.13".into();
    let old = facts("versions", Some("Client: Version: 1.4.13 Server: Version: 1.4.13"));
    let found = check_runtime(&node, None, &old);
    assert_eq!(found.state, CheckState::Warning);
    assert!(found.evidence.contains("older than the oldest tested version"), "{}", found.evidence);
}
