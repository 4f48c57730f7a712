//! Probes that fail.

use super::Scene;
use crate::lab::run;

const SERVES: &str =
    "ENTRYPOINT [\"/busybox\", \"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/\"]\n";

impl Scene {
    /// A Deployment that serves its own name on port 8080, with this probe.
    fn serves(&self, probe: &str) {
        let image = format!("{}:dev", self.name);
        self.build_with(&image, SERVES);
        self.import("node-1", "k8s.io", &image);
        self.probed(probe);
        self.reports(" probe ");
    }

    fn probed(&self, probe: &str) {
        let lines = format!("imagePullPolicy: Never\nports: [{{containerPort: 8080}}]\n{probe}");
        self.deployment("node-1", &format!("{}:dev", self.name), &lines);
    }

    #[track_caller]
    fn rolls_out(&self) {
        run(&mut self.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]));
    }
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn probe_of_wrong_port_reports_readiness_probe() {
    let scene = Scene::on("node-1", "wrong-port");
    scene.serves("readinessProbe: {httpGet: {path: /name, port: 8081}, periodSeconds: 1}");
    scene.is_judged(&["readiness-probe"]).follow(0);
    scene.rolls_out();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn probe_of_wrong_path_reports_readiness_probe() {
    let scene = Scene::on("node-1", "wrong-path");
    scene.serves("readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}");
    let help = scene.is_judged(&["readiness-probe"]).help(0).to_owned();
    assert!(help.starts_with("correct the path in `readinessProbe`"), "{help}");
    scene.probed("readinessProbe: {httpGet: {path: /name, port: 8080}, periodSeconds: 1}");
    scene.rolls_out();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn failing_liveness_probe_reports_liveness_probe() {
    let scene = Scene::on("node-1", "liveness");
    scene.serves("livenessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1, failureThreshold: 1}");
    scene.waits(&["CrashLoopBackOff"]);
    let help = scene.is_judged(&["liveness-probe"]).help(0).to_owned();
    assert!(help.starts_with("correct the path in `livenessProbe`"), "{help}");
    scene.probed("livenessProbe: {httpGet: {path: /name, port: 8080}, periodSeconds: 1}");
    scene.rolls_out();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn failing_startup_probe_reports_liveness_probe() {
    let scene = Scene::on("node-1", "startup");
    scene.serves("startupProbe: {tcpSocket: {port: 9090}, periodSeconds: 1, failureThreshold: 2}");
    scene.waits(&["CrashLoopBackOff"]);
    scene.is_judged(&["liveness-probe"]).follow(0);
    scene.rolls_out();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn missing_probe_command_reports_readiness_probe() {
    let scene = Scene::on("node-1", "probe-program");
    scene.serves("readinessProbe: {exec: {command: [curl, localhost:8080]}, periodSeconds: 1}");
    let help = scene.is_judged(&["readiness-probe"]).help(0).to_owned();
    assert!(help.starts_with("correct the command in `readinessProbe`"), "{help}");
    scene.probed("readinessProbe: {exec: {command: [/busybox, wget, -qO-, localhost:8080/name]}, periodSeconds: 1}");
    scene.rolls_out();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn closed_gate_reports_readiness_gate() {
    let scene = Scene::on("node-1", "closed-gate");
    scene.build("closed-gate:dev");
    scene.import("node-1", "k8s.io", "closed-gate:dev");
    let pod = scene.pod_manifest("node-1", "closed-gate:dev", "imagePullPolicy: Never");
    let gates = "  readinessGates: [{conditionType: example.com/ready}]\n  containers:\n";
    scene.apply(&pod.replace("  containers:\n", gates));
    run(&mut scene.kubectl(&[
        "wait",
        "pod/web",
        "--for=condition=ContainersReady",
        "--timeout=60s",
    ]));
    let help = scene.is_judged(&["readiness-gate"]).help(0).to_owned();
    assert!(help.contains("check the controller that sets `example.com/ready`"), "{help}");
    // As that controller would.
    let open = r#"{"status":{"conditions":[{"type":"example.com/ready","status":"True"}]}}"#;
    run(&mut scene.kubectl(&["patch", "pod/web", "--subresource=status", "--patch", open]));
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn graceful_exit_after_probe_reports_liveness_probe() {
    let scene = Scene::on("node-1", "gentle-end");
    let gentle = "ENTRYPOINT [\"/busybox\", \"sh\", \"-c\", \"trap 'exit 0' TERM; /busybox httpd -p 127.0.0.1:8080 -h /; while :; do /busybox sleep 1 & wait $!; done\"]\n";
    scene.build_with("gentle-end:dev", gentle);
    scene.import("node-1", "k8s.io", "gentle-end:dev");
    scene.probed("livenessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1, failureThreshold: 1}");
    scene.waits(&["CrashLoopBackOff"]);
    // Its exit code is 0.
    let help = scene.is_judged(&["liveness-probe"]).help(0).to_owned();
    assert!(help.starts_with("make the program listen on `0.0.0.0:8080`"), "{help}");
    scene.build_with("gentle-end:dev", &gentle.replace("127.0.0.1:", "0.0.0.0:"));
    scene.load("gentle-end:dev");
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn https_probe_of_http_server_reports_readiness_probe() {
    let scene = Scene::on("node-1", "https-probe");
    scene.serves(
        "readinessProbe: {httpGet: {path: /name, port: 8080, scheme: HTTPS}, periodSeconds: 1}",
    );
    scene.is_judged(&["readiness-probe"]).follow(0);
    scene.rolls_out();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn probe_of_unknown_port_name_reports_readiness_probe() {
    let scene = Scene::on("node-1", "port-name");
    scene.serves("readinessProbe: {httpGet: {path: /name, port: http}, periodSeconds: 1}");
    scene.is_judged(&["readiness-probe"]).follow(0);
    scene.rolls_out();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn slow_probe_command_reports_readiness_probe() {
    let scene = Scene::on("node-1", "slow-command");
    let command = "[/busybox, sleep, '2']";
    scene.serves(&format!("readinessProbe: {{exec: {{command: {command}}}, periodSeconds: 1}}"));
    let help = scene.is_judged(&["readiness-probe"]).help(0).to_owned();
    assert!(help.contains("correct the command or `timeoutSeconds` in"), "{help}");
    scene.probed(&format!(
        "readinessProbe: {{exec: {{command: {command}}}, timeoutSeconds: 10, periodSeconds: 1}}"
    ));
    scene.rolls_out();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn grpc_probe_of_http_server_reports_readiness_probe() {
    let scene = Scene::on("node-1", "grpc-probe");
    scene.serves("readinessProbe: {grpc: {port: 8080}, periodSeconds: 1}");
    let found = scene.is_judged(&["readiness-probe"]);
    assert!(found.help(0).contains("correct the port or"), "{}", found.help(0));
    assert!(found.words(0).ends_with("no gRPC server responds on port 8080"), "{}", found.words(0));
    scene.probed("readinessProbe: {grpc: null, tcpSocket: {port: 8080}, periodSeconds: 1}");
    scene.rolls_out();
}
