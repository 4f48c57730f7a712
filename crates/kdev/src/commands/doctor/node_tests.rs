//! Nodes with one thing wrong each.

use serde_json::Value;

use crate::node::error::NodeError;
use serde_json::json;

use super::*;
use crate::commands::doctor::containerd::{other_sockets, check_runtime};
use crate::commands::doctor::report::CheckState;
use crate::node::error::NodeErrorKind;

const VERSIONS: &str = "Client:   Version:  1.6.20~ds1   Revision: r   Go version: go1.19  Server:   Version:  1.6.20~ds1   Revision: r";
const ANSWER: [(&str, &str); 15] = [
    ("machine", "m"),
    ("boot", "b"),
    ("time", "1000"),
    ("user", "dev"),
    ("socket", "/run/containerd/containerd.sock"),
    ("disk", "/var/lib/containerd 104857600 52428800"),
    ("tool", "zstd"),
    ("tool", "gzip"),
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

/// The answer with one of its lines replaced, or taken away.
fn facts(key: &str, value: Option<&str>) -> NodeReport {
    let lines = ANSWER.into_iter().filter_map(|(k, v)| match value {
        Some(value) if k == key => Some((k, value)),
        None if k == key => None,
        _ => Some((k, v)),
    });
    NodeReport::parse(lines)
}

type Judged = Vec<(&'static str, CheckState, String)>;

fn judged(facts: NodeReport, item: &Value, docker: &str) -> Judged {
    judged_with(facts, None, item, docker)
}

/// With what keeps a load from it.
fn judged_with(facts: NodeReport, fault: Option<NodeError>, item: &Value, docker: &str) -> Judged {
    let seen = ObservedNode {
        node: &node(),
        object: item,
        kubectl: "kubectl",
        visit: Ok(NodeProbe { report: facts, error: fault }),
        visited_at: 990..=1010,
        docker_platform: Some(docker),
    };
    let not_ok = check(&seen).into_iter().filter(|one| one.state != CheckState::Ok);
    not_ok.map(|one| (one.check, one.state, one.evidence)).collect()
}

fn well() -> Value {
    json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}})
}

#[test]
fn a_node_that_is_well_has_nothing_else() {
    // Until the question was back, so much time may have passed here.
    assert_eq!(judged(facts("time", Some("1015")), &well(), "linux/amd64"), []);
    assert_eq!(judged(facts("none", None), &well(), "linux/amd64"), []);
}

#[test]
fn each_fault_is_found_and_no_other() {
    let mixed = VERSIONS.replacen("1.6.20~ds1", "v2.2.1", 1);
    let others = VERSIONS.replace("1.6.20", "1.7.2");
    let full = "/var/lib/containerd 104857600 1024";
    let nearly = "/var/lib/containerd 104857600 10485760";
    let table = [
        ("machine", Some("x"), "identity", CheckState::Error, "is not the node `n`"),
        ("machine", None, "identity", CheckState::Skipped, "does not tell its machine-id"),
        ("boot", Some("x"), "identity", CheckState::Warning, "a clone of the node"),
        ("time", Some("900"), "clock", CheckState::Warning, "90 s behind"),
        ("time", Some("1016"), "clock", CheckState::Warning, "6 s before"),
        ("time", Some("1100"), "clock", CheckState::Warning, "90 s before"),
        ("disk", Some(full), "disk", CheckState::Error, "0.0 GiB of 100.0 GiB are free"),
        ("disk", Some(nearly), "disk", CheckState::Warning, "10.0 GiB of 100.0 GiB are free"),
        ("disk", Some("/var/lib/containerd"), "disk", CheckState::Skipped, "not known"),
        ("tool", None, "compression", CheckState::Warning, "none"),
        ("tool", Some("gzip"), "compression", CheckState::Warning, "gzip only"),
        ("namespace", Some("moby"), "namespace", CheckState::Warning, "but `moby` and `moby`"),
        ("cri", None, "cri", CheckState::Error, "is switched off"),
        ("cri", Some("error"), "cri", CheckState::Error, "has failed"),
        ("snapshotter", None, "snapshotter", CheckState::Skipped, "no container tells"),
        ("versions", Some(mixed.as_str()), "ctr", CheckState::Warning, "is 2.2.1"),
        ("versions", Some(others.as_str()), "runtime", CheckState::Warning, "talks to containerd 1.7.2"),
    ];
    for (key, value, check, state, words) in table {
        let found = judged(facts(key, value), &well(), "linux/amd64");
        assert!(
            matches!(found.as_slice(), [(c, s, w)] if *c == check && *s == state && w.contains(words)),
            "{key} {value:?}: {found:?}"
        );
    }
}

#[test]
fn the_containerd_at_another_socket_may_be_the_kubelets() {
    let mut facts = facts("versions", Some(&VERSIONS.replace("1.6.20", "1.7.2")));
    facts.sockets.push("/run/k3s/containerd/containerd.sock".into());
    let found = check_runtime(&node(), None, &facts);
    let words = "; others listen at `/run/k3s/containerd/containerd.sock`";
    assert!(found.evidence.ends_with(words), "{}", found.evidence);
    let advice = "`nodes.n.ctr = \"ctr --address /run/k3s/containerd/containerd.sock\"`";
    assert!(found.help.as_deref().is_some_and(|help| help.contains(advice)), "{:?}", found.help);
    // Who has followed that is told of the one before, and not of the same again.
    facts.socket.clear();
    facts.ctr = "/usr/bin/ctr --address /run/k3s/containerd/containerd.sock".into();
    let left: Vec<&str> = other_sockets(&facts).collect();
    assert_eq!(left, ["/run/containerd/containerd.sock"]);
}

#[test]
fn the_socket_that_kubeadm_has_noted_is_the_kubelets() {
    let facts = facts("none", None);
    let told = |path| check_runtime(&node(), Some(path), &facts);
    assert_eq!(told("/run/containerd/containerd.sock").state, CheckState::Ok);
    let found = told("/run/other.sock");
    assert_eq!(
        found.help.as_deref(),
        Some("set `nodes.n.ctr = \"ctr --address /run/other.sock\"` in `[package.metadata.kdev]`")
    );
}

#[test]
fn a_containerd_that_lets_nobody_in_hides_nothing_else() {
    let fault = NodeError {
        node: "n".into(),
        location: "h".into(),
        kind: NodeErrorKind::SudoTerminal,
        connect_command: "ssh h".into(),
        known_hosts_name: "h".into(),
    };
    let facts = facts("machine", Some("x"));
    let found = judged_with(facts, Some(fault), &well(), "linux/amd64");
    let states: Vec<_> = found.iter().map(|(check, state, _)| (*check, *state)).collect();
    let unknown = ["runtime", "ctr", "cri", "namespace", "snapshotter"];
    let expected = [("identity", CheckState::Error), ("access", CheckState::Error)];
    let skipped = unknown.map(|check| (check, CheckState::Skipped));
    assert_eq!(states, [&expected[..], &skipped].concat());
}

#[test]
fn the_cluster_has_its_say() {
    let found = judged(facts("none", None), &well(), "linux/arm64");
    let words = "it runs linux/amd64, and docker builds for linux/arm64, ";
    assert!(found[0].2.starts_with(words), "{}", found[0].2);
    assert_eq!(judged(facts("none", None), &well(), "linux/amd64/v2"), []);
    let ill = json!({"status": {"conditions": [
        {"type": "Ready", "status": "Unknown", "message": "kubelet stopped posting node status"},
        {"type": "DiskPressure", "status": "True", "message": "kubelet has disk pressure"}]}});
    let found = judged(facts("none", None), &ill, "linux/amd64");
    let states: Vec<_> = found.iter().map(|(check, state, _)| (*check, *state)).collect();
    assert_eq!(states, [("ready", CheckState::Error), ("pressure", CheckState::Warning)]);
    assert_eq!(found[0].2, "it is not ready: kubelet stopped posting node status");
}

#[test]
fn a_containerd_that_nobody_has_tried_is_told() {
    let mut seen = node();
    seen.info.container_runtime_version = "containerd://1.4.13".into();
    let old = facts("versions", Some("Client: Version: 1.4.13 Server: Version: 1.4.13"));
    let found = check_runtime(&seen, None, &old);
    assert_eq!(found.state, CheckState::Warning);
    assert!(found.evidence.contains("older than any that has been tried"), "{}", found.evidence);
}
