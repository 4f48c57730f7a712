//! Nodes that are ill.

use super::Scene;
use crate::exclusive::{Claim, Part};
use crate::kubelet::{Changed, Stopped};
use crate::lab::{eventually, get, run};

const NEVER: &str = "imagePullPolicy: Never";

/// `node-2` takes no pods for a while.
fn node_2_broken() -> Claim {
    Claim::access().breaks(Part::Pods("node-2"))
}

impl Scene {
    fn is_on_node_2(&self) -> String {
        let image = format!("{}:dev", self.name);
        self.build(&image);
        self.import("node-2", "k8s.io", &image);
        image
    }

    /// A node that finds that it has not enough of something, until it has again;
    /// what helps.
    fn lacks(&self, threshold: &str, condition: &str) -> String {
        let image = self.is_on_node_2();
        let keys = format!("evictionHard: {{{threshold}}}");
        let kubelet = Changed::start(&self.permit, &self.path(""), "node-2", &keys);
        eventually("the pressure", || says("node-2", condition, "True"));
        self.pod("node-2", &image, NEVER);
        eventually("the refusal", || {
            (get(self.name, &["pod", "web"])["status"]["reason"] == "Evicted").then_some(())
        });
        let help = self.is_judged(&["node-pressure"]).help(0).to_owned();
        assert!(help.ends_with("; then recreate pod/web"), "{help}");
        // As if there were enough again.
        drop(kubelet);
        eventually("the relief", || says("node-2", condition, "False"));
        run(&mut self.kubectl(&["delete", "pod", "web", "--now"]));
        self.pod("node-2", &image, NEVER);
        self.runs();
        help
    }
}

/// Whether a node says this of itself.
fn says(node: &str, kind: &str, status: &str) -> Option<()> {
    let node = get("default", &["node", node]);
    let conditions = node["status"]["conditions"].as_array()?;
    conditions.iter().any(|c| c["type"] == kind && c["status"] == status).then_some(())
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn stopped_kubelet_reports_node_not_ready() {
    let scene = Scene::claiming("no-kubelet", node_2_broken());
    let image = scene.is_on_node_2();
    let stopped = Stopped::stop(&scene.permit, "node-2");
    scene.pod("node-2", &image, NEVER);
    // It is missed for nearly a minute before that is said.
    std::thread::sleep(std::time::Duration::from_secs(30));
    let said = run(&mut scene.command(&["web"]));
    assert!(
        said.contains("the kubelet on node `node-2` has not acknowledged the pod"),
        "{said}"
    );
    eventually("the node's silence", || says("node-2", "Ready", "Unknown"));
    let found = scene.is_judged(&["node-not-ready"]);
    assert!(found.help(0).contains("start the kubelet on node `node-2`"), "{}", found.help(0));
    // As the help says; the lab's nodes have no systemd.
    drop(stopped);
    eventually("the node's return", || says("node-2", "Ready", "True"));
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn disk_pressure_reports_node_pressure() {
    let scene = Scene::claiming("full-node", node_2_broken());
    let help = scene.lacks("nodefs.available: 99%", "DiskPressure");
    assert!(help.starts_with("free disk space on node `node-2`"), "{help}");
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn memory_pressure_reports_node_pressure() {
    let scene = Scene::claiming("no-memory", node_2_broken());
    let help = scene.lacks("memory.available: 99%", "MemoryPressure");
    assert!(help.starts_with("free memory on node `node-2`"), "{help}");
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn pid_pressure_reports_node_pressure() {
    let scene = Scene::claiming("no-processes", node_2_broken());
    let help = scene.lacks("pid.available: \"99999999\"", "PIDPressure");
    assert!(help.starts_with("stop processes on node `node-2`"), "{help}");
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn pod_over_storage_limit_reports_node_pressure() {
    let scene = Scene::on("node-2", "overfull");
    let image = scene.is_on_node_2();
    let writes = |limit: &str| {
        format!(
            "{NEVER}\nresources: {{limits: {{ephemeral-storage: {limit}}}}}\ncommand: [/busybox, sh, -c, \"/busybox dd if=/dev/zero of=/file bs=1M count=8; exec /busybox sleep 100000\"]"
        )
    };
    scene.pod("node-2", &image, &writes("1Mi"));
    eventually("the eviction", || {
        (get(scene.name, &["pod", "web"])["status"]["reason"] == "Evicted").then_some(())
    });
    let found = scene.is_judged(&["node-pressure"]);
    assert!(found.help(0).starts_with("increase the exceeded storage limit"), "{}", found.help(0));
    // As the help says.
    run(&mut scene.kubectl(&["delete", "pod", "web", "--now"]));
    scene.pod("node-2", &image, &writes("100Mi"));
    scene.runs();
}
