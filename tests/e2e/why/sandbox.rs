//! Nodes that cannot make the sandbox of a pod.

use super::Scene;
use crate::exclusive::{Claim, Part};
use crate::lab::{eventually, get, in_node, run};

const NEVER: &str = "imagePullPolicy: Never";
const CONFIG: &str = "/etc/cni/net.d/10-kdev-lab.conflist";
const AWAY: &str = "/etc/cni/net.d/10-kdev-lab.away";
const PLUGIN: &str = "/usr/lib/cni/bridge";

/// Runs a command in node-2 when it is dropped.
struct Back(Vec<String>);

impl Back {
    fn by(words: &[&str]) -> Self {
        Self(words.iter().map(|&word| word.to_owned()).collect())
    }
}

impl Drop for Back {
    fn drop(&mut self) {
        let words: Vec<&str> = self.0.iter().map(String::as_str).collect();
        let _ = in_node("node-2", &words).output();
        eventually("the node's return", || {
            let node = get("default", &["node", "node-2"]);
            let is_ready = node["status"]["conditions"]
                .as_array()?
                .iter()
                .any(|c| c["type"] == "Ready" && c["status"] == "True");
            (is_ready && node["spec"]["taints"].is_null()).then_some(())
        });
    }
}

/// No pod starts on `node-2` for a while.
fn node_2_broken() -> Claim {
    Claim::access().breaks(Part::Pods("node-2"))
}

impl Scene {
    fn pod_on_node_2(&self) {
        let image = format!("{}:dev", self.name);
        self.build(&image);
        self.import("node-2", "k8s.io", &image);
        self.pod("node-2", &image, NEVER);
    }
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn missing_cni_config_reports_sandbox_network() {
    let scene = Scene::claiming("no-cni-config", node_2_broken());
    let back = Back::by(&["mv", AWAY, CONFIG]);
    run(&mut in_node("node-2", &["mv", CONFIG, AWAY]));
    scene.pod_on_node_2();
    scene.reports("cni plugin not initialized");
    let found = scene.is_judged(&["sandbox-network"]);
    assert!(found.help(0).contains("`/etc/cni/net.d`"), "{}", found.help(0));
    // As the help says.
    drop(back);
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn missing_cni_plugin_reports_sandbox_network() {
    let scene = Scene::claiming("no-plugin", node_2_broken());
    let back = Back::by(&["umount", PLUGIN]);
    run(&mut in_node("node-2", &["mount", "--bind", "/dev/null", PLUGIN]));
    scene.pod_on_node_2();
    scene.reports("failed to find plugin");
    let found = scene.is_judged(&["sandbox-network"]);
    let help = "install the CNI plugin `bridge` in `/usr/lib/cni` on node `node-2`";
    assert_eq!(found.help(0), help);
    // As the help says.
    drop(back);
    scene.runs();
}

/// Takes the image of sandboxes from node-2, under all of its names.
fn without_pause() -> Back {
    let list = run(&mut in_node("node-2", &["ctr", "-n", "k8s.io", "images", "ls"]));
    let line = list.lines().find(|line| line.starts_with("localhost/kdev-lab/pause")).unwrap();
    let digest = line.split_whitespace().nth(2).unwrap();
    let names: Vec<&str> = list
        .lines()
        .filter(|line| line.contains(digest))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    let archive = "/tmp/kdev-pause.tar";
    let back = Back::by(&["sh", "-c", "ctr -n k8s.io images import $0; rm $0", archive]);
    run(&mut in_node("node-2", &["ctr", "-n", "k8s.io", "images", "export", archive, names[0]]));
    run(in_node("node-2", &["ctr", "-n", "k8s.io", "images", "rm", "--sync"]).args(names));
    back
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn missing_pause_image_reports_sandbox_image() {
    let scene = Scene::claiming("no-pause", node_2_broken());
    let _back = without_pause();
    scene.pod_on_node_2();
    scene.reports("failed to get sandbox image");
    scene.is_judged(&["sandbox-image"]).follow(0);
    scene.runs();
}
