//! Failing probes and readiness gates.

use super::Scenario;
use crate::lab::run;

const SERVER_ENTRYPOINT: &str =
    "ENTRYPOINT [\"/busybox\", \"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/\"]\n";

impl Scenario {
    /// Deploys a server on port 8080 with this probe, and waits for a probe event.
    fn deploy_server(&self, probe: &str) {
        let image = format!("{}:dev", self.name);
        self.build_with(&image, SERVER_ENTRYPOINT);
        self.import("node-1", "k8s.io", &image);
        self.deploy_probe(probe);
        self.wait_for_event(" probe ");
    }

    fn deploy_probe(&self, probe: &str) {
        let lines = format!("imagePullPolicy: Never\nports: [{{containerPort: 8080}}]\n{probe}");
        self.create_deployment("node-1", &format!("{}:dev", self.name), &lines);
    }

    #[track_caller]
    fn wait_for_rollout(&self) {
        run(&mut self.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]));
    }
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn probe_of_wrong_port_reports_readiness_probe() {
    let scenario = Scenario::on_node("node-1", "wrong-port");
    scenario
        .deploy_server("readinessProbe: {httpGet: {path: /name, port: 8081}, periodSeconds: 1}");
    scenario.assert_causes(&["readiness-probe"]).follow_help(0);
    scenario.wait_for_rollout();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn probe_of_wrong_path_reports_readiness_probe() {
    let scenario = Scenario::on_node("node-1", "wrong-path");
    scenario
        .deploy_server("readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}");
    let help = scenario.assert_causes(&["readiness-probe"]).help(0).to_owned();
    assert!(help.starts_with("correct the path in `readinessProbe`"), "{help}");
    scenario.deploy_probe("readinessProbe: {httpGet: {path: /name, port: 8080}, periodSeconds: 1}");
    scenario.wait_for_rollout();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn failing_liveness_probe_reports_liveness_probe() {
    let scenario = Scenario::on_node("node-1", "liveness");
    scenario.deploy_server("livenessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1, failureThreshold: 1}");
    scenario.wait_for_reason(&["CrashLoopBackOff"]);
    let help = scenario.assert_causes(&["liveness-probe"]).help(0).to_owned();
    assert!(help.starts_with("correct the path in `livenessProbe`"), "{help}");
    scenario.deploy_probe("livenessProbe: {httpGet: {path: /name, port: 8080}, periodSeconds: 1}");
    scenario.wait_for_rollout();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn failing_startup_probe_reports_liveness_probe() {
    let scenario = Scenario::on_node("node-1", "startup");
    scenario.deploy_server(
        "startupProbe: {tcpSocket: {port: 9090}, periodSeconds: 1, failureThreshold: 2}",
    );
    scenario.wait_for_reason(&["CrashLoopBackOff"]);
    scenario.assert_causes(&["liveness-probe"]).follow_help(0);
    scenario.wait_for_rollout();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn missing_probe_command_reports_readiness_probe() {
    let scenario = Scenario::on_node("node-1", "probe-program");
    scenario.deploy_server(
        "readinessProbe: {exec: {command: [curl, localhost:8080]}, periodSeconds: 1}",
    );
    let help = scenario.assert_causes(&["readiness-probe"]).help(0).to_owned();
    assert!(help.starts_with("correct the command in `readinessProbe`"), "{help}");
    scenario.deploy_probe("readinessProbe: {exec: {command: [/busybox, wget, -qO-, localhost:8080/name]}, periodSeconds: 1}");
    scenario.wait_for_rollout();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn closed_gate_reports_readiness_gate() {
    let scenario = Scenario::on_node("node-1", "closed-gate");
    scenario.build("closed-gate:dev");
    scenario.import("node-1", "k8s.io", "closed-gate:dev");
    let pod = scenario.pod_manifest("node-1", "closed-gate:dev", "imagePullPolicy: Never");
    let gates = "  readinessGates: [{conditionType: example.com/ready}]\n  containers:\n";
    scenario.apply(&pod.replace("  containers:\n", gates));
    run(&mut scenario.kubectl(&[
        "wait",
        "pod/web",
        "--for=condition=ContainersReady",
        "--timeout=60s",
    ]));
    let help = scenario.assert_causes(&["readiness-gate"]).help(0).to_owned();
    assert!(help.contains("check the controller that sets `example.com/ready`"), "{help}");
    // Set the condition, as the controller would.
    let open = r#"{"status":{"conditions":[{"type":"example.com/ready","status":"True"}]}}"#;
    run(&mut scenario.kubectl(&["patch", "pod/web", "--subresource=status", "--patch", open]));
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn graceful_exit_after_probe_reports_liveness_probe() {
    let scenario = Scenario::on_node("node-1", "liveness-exit-0");
    let gentle = "ENTRYPOINT [\"/busybox\", \"sh\", \"-c\", \"trap 'exit 0' TERM; /busybox httpd -p 127.0.0.1:8080 -h /; while :; do /busybox sleep 1 & wait $!; done\"]\n";
    scenario.build_with("liveness-exit-0:dev", gentle);
    scenario.import("node-1", "k8s.io", "liveness-exit-0:dev");
    scenario.deploy_probe(
        "livenessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1, failureThreshold: 1}",
    );
    scenario.wait_for_reason(&["CrashLoopBackOff"]);
    // The exit code of the program is 0.
    let help = scenario.assert_causes(&["liveness-probe"]).help(0).to_owned();
    assert!(help.starts_with("make the program listen on `0.0.0.0:8080`"), "{help}");
    scenario.build_with("liveness-exit-0:dev", &gentle.replace("127.0.0.1:", "0.0.0.0:"));
    scenario.load("liveness-exit-0:dev");
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn https_probe_of_http_server_reports_readiness_probe() {
    let scenario = Scenario::on_node("node-1", "https-probe");
    scenario.deploy_server(
        "readinessProbe: {httpGet: {path: /name, port: 8080, scheme: HTTPS}, periodSeconds: 1}",
    );
    scenario.assert_causes(&["readiness-probe"]).follow_help(0);
    scenario.wait_for_rollout();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn probe_of_unknown_port_name_reports_readiness_probe() {
    let scenario = Scenario::on_node("node-1", "port-name");
    scenario
        .deploy_server("readinessProbe: {httpGet: {path: /name, port: http}, periodSeconds: 1}");
    scenario.assert_causes(&["readiness-probe"]).follow_help(0);
    scenario.wait_for_rollout();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn slow_probe_command_reports_readiness_probe() {
    let scenario = Scenario::on_node("node-1", "slow-command");
    let command = "[/busybox, sleep, '2']";
    scenario.deploy_server(&format!(
        "readinessProbe: {{exec: {{command: {command}}}, periodSeconds: 1}}"
    ));
    let help = scenario.assert_causes(&["readiness-probe"]).help(0).to_owned();
    assert!(help.contains("correct the command or `timeoutSeconds` in"), "{help}");
    scenario.deploy_probe(&format!(
        "readinessProbe: {{exec: {{command: {command}}}, timeoutSeconds: 10, periodSeconds: 1}}"
    ));
    scenario.wait_for_rollout();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn grpc_probe_of_http_server_reports_readiness_probe() {
    let scenario = Scenario::on_node("node-1", "grpc-probe");
    scenario.deploy_server("readinessProbe: {grpc: {port: 8080}, periodSeconds: 1}");
    let report = scenario.assert_causes(&["readiness-probe"]);
    assert!(report.help(0).contains("correct the port or"), "{}", report.help(0));
    assert!(
        report.message(0).ends_with("no gRPC server responds on port 8080"),
        "{}",
        report.message(0)
    );
    scenario
        .deploy_probe("readinessProbe: {grpc: null, tcpSocket: {port: 8080}, periodSeconds: 1}");
    scenario.wait_for_rollout();
}
