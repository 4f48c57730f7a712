//! Unhealthy nodes.

use super::Scenario;
use crate::exclusive::{Claim, Part};
use crate::kubelet::{ReconfiguredKubelet, StoppedKubelet};
use crate::lab::{get, run, wait_for};

const NEVER: &str = "imagePullPolicy: Never";

/// `node-2` accepts no pods during the test.
fn broken_node_2_claim() -> Claim {
    Claim::access().breaks(Part::Pods("node-2"))
}

impl Scenario {
    fn build_on_node_2(&self) -> String {
        let image = format!("{}:dev", self.name);
        self.build(&image);
        self.import("node-2", "k8s.io", &image);
        image
    }

    /// Causes a pressure condition on `node-2` with an eviction threshold, expects the cause,
    /// removes the threshold, and waits until the pod runs. Returns the help.
    fn assert_pressure_evicts(&self, threshold: &str, condition: &str) -> String {
        let image = self.build_on_node_2();
        let keys = format!("evictionHard: {{{threshold}}}");
        let kubelet = ReconfiguredKubelet::start(&self.permit, &self.path(""), "node-2", &keys);
        wait_for("the pressure", || check_condition("node-2", condition, "True"));
        self.create_pod("node-2", &image, NEVER);
        wait_for("the eviction", || {
            (get(self.name, &["pod", "web"])["status"]["reason"] == "Evicted").then_some(())
        });
        let help = self.assert_causes(&["node-pressure"]).help(0).to_owned();
        assert!(help.ends_with("; then recreate pod/web"), "{help}");
        // End the pressure.
        drop(kubelet);
        wait_for("the end of the pressure", || check_condition("node-2", condition, "False"));
        run(&mut self.kubectl(&["delete", "pod", "web", "--now"]));
        self.create_pod("node-2", &image, NEVER);
        self.wait_until_ready();
        help
    }
}

/// Returns a value if the node has this condition.
fn check_condition(node: &str, kind: &str, status: &str) -> Option<()> {
    let node = get("default", &["node", node]);
    let conditions = node["status"]["conditions"].as_array()?;
    conditions.iter().any(|c| c["type"] == kind && c["status"] == status).then_some(())
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn stopped_kubelet_reports_node_not_ready() {
    let scenario = Scenario::with_claim("no-kubelet", broken_node_2_claim());
    let image = scenario.build_on_node_2();
    let stopped = StoppedKubelet::stop(&scenario.permit, "node-2");
    scenario.create_pod("node-2", &image, NEVER);
    // The kubelet has stopped for some time before the node becomes not ready.
    std::thread::sleep(std::time::Duration::from_secs(30));
    let stdout = run(&mut scenario.why_command(&["web"]));
    assert!(
        stdout.contains("the kubelet on node `node-2` has not acknowledged the pod"),
        "{stdout}"
    );
    wait_for("the node to become not ready", || check_condition("node-2", "Ready", "Unknown"));
    let report = scenario.assert_causes(&["node-not-ready"]);
    assert!(report.help(0).contains("start the kubelet on node `node-2`"), "{}", report.help(0));
    // Follow the help, without systemd, which the lab's nodes do not have.
    drop(stopped);
    wait_for("the node to become ready", || check_condition("node-2", "Ready", "True"));
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn disk_pressure_reports_node_pressure() {
    let scenario = Scenario::with_claim("disk-pressure", broken_node_2_claim());
    let help = scenario.assert_pressure_evicts("nodefs.available: 99%", "DiskPressure");
    assert!(help.starts_with("free disk space on node `node-2`"), "{help}");
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn memory_pressure_reports_node_pressure() {
    let scenario = Scenario::with_claim("memory-pressure", broken_node_2_claim());
    let help = scenario.assert_pressure_evicts("memory.available: 99%", "MemoryPressure");
    assert!(help.starts_with("free memory on node `node-2`"), "{help}");
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn pid_pressure_reports_node_pressure() {
    let scenario = Scenario::with_claim("pid-pressure", broken_node_2_claim());
    let help = scenario.assert_pressure_evicts("pid.available: \"99999999\"", "PIDPressure");
    assert!(help.starts_with("stop processes on node `node-2`"), "{help}");
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn pod_over_storage_limit_reports_node_pressure() {
    let scenario = Scenario::on_node("node-2", "ephemeral-limit");
    let image = scenario.build_on_node_2();
    let writes = |limit: &str| {
        format!(
            "{NEVER}\nresources: {{limits: {{ephemeral-storage: {limit}}}}}\ncommand: [/busybox, sh, -c, \"/busybox dd if=/dev/zero of=/file bs=1M count=8; exec /busybox sleep 100000\"]"
        )
    };
    scenario.create_pod("node-2", &image, &writes("1Mi"));
    wait_for("the eviction", || {
        (get(scenario.name, &["pod", "web"])["status"]["reason"] == "Evicted").then_some(())
    });
    let report = scenario.assert_causes(&["node-pressure"]);
    assert!(
        report.help(0).starts_with("increase the exceeded storage limit"),
        "{}",
        report.help(0)
    );
    // Follow the help.
    run(&mut scenario.kubectl(&["delete", "pod", "web", "--now"]));
    scenario.create_pod("node-2", &image, &writes("100Mi"));
    scenario.wait_until_ready();
}
