//! Nodes that cannot create pod sandboxes.

use super::Scenario;
use crate::exclusive::{Claim, Part};
use crate::lab::{get, in_node, run, wait_for};

const NEVER: &str = "imagePullPolicy: Never";
const CNI_CONFIG: &str = "/etc/cni/net.d/10-kdev-lab.conflist";
const MOVED_CNI_CONFIG: &str = "/etc/cni/net.d/10-kdev-lab.away";
const CNI_PLUGIN: &str = "/usr/lib/cni/bridge";

/// Runs a command in `node-2` when dropped, and waits until the node is ready.
struct UndoOnNode2(Vec<String>);

impl UndoOnNode2 {
    fn with_command(args: &[&str]) -> Self {
        Self(args.iter().map(|&arg| arg.to_owned()).collect())
    }
}

impl Drop for UndoOnNode2 {
    fn drop(&mut self) {
        let args: Vec<&str> = self.0.iter().map(String::as_str).collect();
        let _ = in_node("node-2", &args).output();
        wait_for("the node to become ready", || {
            let node = get("default", &["node", "node-2"]);
            let is_ready = node["status"]["conditions"]
                .as_array()?
                .iter()
                .any(|c| c["type"] == "Ready" && c["status"] == "True");
            (is_ready && node["spec"]["taints"].is_null()).then_some(())
        });
    }
}

/// No pod starts on `node-2` during the test.
fn broken_node_2_claim() -> Claim {
    Claim::access().breaks(Part::Pods("node-2"))
}

impl Scenario {
    fn create_pod_on_node_2(&self) {
        let image = format!("{}:dev", self.name);
        self.build(&image);
        self.import("node-2", "k8s.io", &image);
        self.create_pod("node-2", &image, NEVER);
    }
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn missing_cni_config_reports_sandbox_network() {
    let scenario = Scenario::with_claim("no-cni-config", broken_node_2_claim());
    let undo = UndoOnNode2::with_command(&["mv", MOVED_CNI_CONFIG, CNI_CONFIG]);
    run(&mut in_node("node-2", &["mv", CNI_CONFIG, MOVED_CNI_CONFIG]));
    scenario.create_pod_on_node_2();
    scenario.wait_for_event("cni plugin not initialized");
    let report = scenario.assert_causes(&["sandbox-network"]);
    assert!(report.help(0).contains("`/etc/cni/net.d`"), "{}", report.help(0));
    // Follow the help.
    drop(undo);
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn missing_cni_plugin_reports_sandbox_network() {
    let scenario = Scenario::with_claim("no-plugin", broken_node_2_claim());
    let undo = UndoOnNode2::with_command(&["umount", CNI_PLUGIN]);
    run(&mut in_node("node-2", &["mount", "--bind", "/dev/null", CNI_PLUGIN]));
    scenario.create_pod_on_node_2();
    scenario.wait_for_event("failed to find plugin");
    let report = scenario.assert_causes(&["sandbox-network"]);
    let help = "install the CNI plugin `bridge` in `/usr/lib/cni` on node `node-2`";
    assert_eq!(report.help(0), help);
    // Follow the help.
    drop(undo);
    scenario.wait_until_ready();
}

/// Removes the sandbox image from `node-2`, with all of its names.
fn remove_pause_image() -> UndoOnNode2 {
    let list = run(&mut in_node("node-2", &["ctr", "-n", "k8s.io", "images", "ls"]));
    let line = list.lines().find(|line| line.starts_with("localhost/kdev-lab/pause")).unwrap();
    let digest = line.split_whitespace().nth(2).unwrap();
    let names: Vec<&str> = list
        .lines()
        .filter(|line| line.contains(digest))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    let archive = "/tmp/kdev-pause.tar";
    let undo =
        UndoOnNode2::with_command(&["sh", "-c", "ctr -n k8s.io images import $0; rm $0", archive]);
    run(&mut in_node("node-2", &["ctr", "-n", "k8s.io", "images", "export", archive, names[0]]));
    run(in_node("node-2", &["ctr", "-n", "k8s.io", "images", "rm", "--sync"]).args(names));
    undo
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn missing_pause_image_reports_sandbox_image() {
    let scenario = Scenario::with_claim("no-pause", broken_node_2_claim());
    let _undo = remove_pause_image();
    scenario.create_pod_on_node_2();
    scenario.wait_for_event("failed to get sandbox image");
    scenario.assert_causes(&["sandbox-image"]).follow_help(0);
    scenario.wait_until_ready();
}
