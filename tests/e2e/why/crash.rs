//! Programs that start and exit, and deleted pods that do not end.

use super::Scenario;
use crate::lab::{command, get, run, state, wait_for};

const NEVER: &str = "imagePullPolicy: Never";

impl Scenario {
    /// Deploys an image that runs a script, and waits until it crashes; `lines` are added to the
    /// container.
    fn deploy_crashing(&self, script: &str, lines: &str) {
        self.build_script(script);
        self.create_deployment(
            "node-1",
            &format!("{}:dev", self.name),
            &format!("{NEVER}\n{lines}"),
        );
        self.wait_for_reason(&["CrashLoopBackOff"]);
    }

    fn build_script(&self, script: &str) {
        let image = format!("{}:dev", self.name);
        self.build_with(
            &image,
            &format!(
                "COPY name /data/name\nENTRYPOINT [\"/busybox\", \"sh\", \"-c\", {script:?}]\n"
            ),
        );
        self.import("node-1", "k8s.io", &image);
    }
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn failing_program_reports_crash_loop() {
    let scenario = Scenario::on_node("node-1", "crash-loop");
    scenario.deploy_crashing(
        "test -n \"$PORT\" || { echo 'PORT is not set' >&2; exit 3; }; exec /busybox sleep 9999",
        "",
    );
    let report = scenario.assert_causes(&["crash-loop"]);
    report.follow_help(0);
    // Fix the problem in the log.
    run(&mut scenario.kubectl(&["set", "env", "deployment/web", "PORT=8080"]));
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn exiting_program_reports_exits_without_error() {
    let scenario = Scenario::on_node("node-1", "exits-with-0");
    scenario.deploy_crashing("echo done", "");
    let help = scenario.assert_causes(&["exits-without-error"]).help(0).to_owned();
    assert!(help.starts_with("run the program in the foreground"), "{help}");
    scenario.build_script("echo done; exec /busybox sleep 9999");
    run(&mut scenario.kubectl(&["rollout", "restart", "deployment/web"]));
    run(&mut scenario.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn program_over_memory_limit_reports_out_of_memory() {
    let scenario = Scenario::on_node("node-1", "out-of-memory");
    let script = "/busybox dd if=/dev/zero of=/dev/null bs=30M count=1 && exec /busybox sleep 9999";
    scenario.deploy_crashing(script, "resources: {limits: {memory: 20Mi}}");
    scenario.assert_causes(&["out-of-memory"]).follow_help(0);
    run(&mut scenario.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn tiny_memory_limit_reports_out_of_memory() {
    let scenario = Scenario::on_node("node-1", "memory-limit-too-low");
    scenario.build_script("exec /busybox sleep 9999");
    let lines = format!("{NEVER}\nresources: {{limits: {{memory: 2Mi}}}}");
    scenario.create_deployment("node-1", "memory-limit-too-low:dev", &lines);
    scenario.wait_for_event("Failed to create pod sandbox");
    scenario.assert_causes(&["out-of-memory"]).follow_help(0);
    run(&mut scenario.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn write_to_root_file_system_reports_read_only() {
    let scenario = Scenario::on_node("node-1", "read-only");
    let script = "/busybox touch /data/file || exit 1; exec /busybox sleep 9999";
    scenario.deploy_crashing(script, "securityContext: {readOnlyRootFilesystem: true}");
    let help = scenario.assert_causes(&["read-only-file-system"]).help(0).to_owned();
    assert!(help.starts_with("mount an `emptyDir` volume at the directory"), "{help}");
    let patch = r#"{"spec":{"template":{"spec":{"volumes":[{"name":"data","emptyDir":{}}],"containers":[{"name":"web","volumeMounts":[{"name":"data","mountPath":"/data"}]}]}}}}"#;
    run(&mut scenario.kubectl(&["patch", "deployment/web", "--patch", patch]));
    run(&mut scenario.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn write_to_file_of_root_reports_permission_denied() {
    let scenario = Scenario::on_node("node-1", "not-root");
    let script = "/busybox touch /name || exit 1; exec /busybox sleep 9999";
    scenario.deploy_crashing(script, "securityContext: {runAsUser: 1000}");
    let help = scenario.assert_causes(&["permission-denied"]).help(0).to_owned();
    assert!(help.contains("`COPY --chown=1000` in the Dockerfile"), "{help}");
    let lines = format!(
        "COPY --chown=1000 name /name\nENTRYPOINT [\"/busybox\", \"sh\", \"-c\", {script:?}]\n"
    );
    scenario.build_with("not-root:dev", &lines);
    scenario.load("not-root:dev");
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn low_port_reports_permission_denied() {
    // On `node-1`, because containerd 2.x lets all users use ports below 1024 by default.
    let scenario = Scenario::on_node("node-1", "low-port");
    let script = "exec /busybox httpd -f -p 80";
    scenario.deploy_crashing(script, "securityContext: {runAsUser: 1000}");
    scenario.assert_causes(&["permission-denied"]).follow_help(0);
    run(&mut scenario.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn running_program_between_crashes_reports_crash_loop() {
    let scenario = Scenario::on_node("node-1", "between-crashes");
    let script = "/busybox sleep 8; test -e /cache || { echo 'lost /cache'; exit 4; }; exec /busybox sleep 9999";
    scenario.deploy_crashing(script, "");
    // The container is running again after a back-off.
    wait_for("a restart", || {
        let pods = get(scenario.name, &["pods"]);
        let status = &pods["items"][0]["status"]["containerStatuses"][0];
        let runs = status.pointer("/state/running").is_some();
        (runs && status["restartCount"].as_u64() > Some(1)).then_some(())
    });
    let report = scenario.assert_causes(&["crash-loop"]);
    assert_eq!(report.confidence(0), "likely");
    report.follow_help(0);
    // Fix the problem in the log.
    let patch = r#"{"spec":{"template":{"spec":{"volumes":[{"name":"data","emptyDir":{}}],"containers":[{"name":"web","volumeMounts":[{"name":"data","mountPath":"/cache"}]}]}}}}"#;
    run(&mut scenario.kubectl(&["patch", "deployment/web", "--patch", patch]));
    run(&mut scenario.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn recovered_program_is_healthy_after_some_time() {
    let scenario = Scenario::on_node("node-1", "recovered");
    // A volume keeps its data across restarts of the container.
    let script = "test -e /data/tried && exec /busybox sleep 9999; >/data/tried; exit 4";
    scenario.build_script(script);
    let pod = scenario.pod_manifest(
        "node-1",
        "recovered:dev",
        &format!("{NEVER}\nvolumeMounts: [{{name: data, mountPath: /data}}]"),
    );
    scenario.apply(&format!("{pod}  volumes: [{{name: data, emptyDir: {{}}}}]\n"));
    wait_for("the second run to be ready", || {
        let pods = get(scenario.name, &["pods"]);
        let status = &pods["items"][0]["status"]["containerStatuses"][0];
        (status["ready"] == true && status["restartCount"] == 1).then_some(())
    });
    let report = scenario.assert_causes(&["crash-loop"]);
    assert_eq!(report.confidence(0), "likely");
    wait_for("the pod to count as healthy", || scenario.check_namespace().is_empty().then_some(()));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn failed_job_reports_crash_loop() {
    let scenario = Scenario::on_node("node-1", "failed-job");
    scenario.build_script("echo 'no input'; exit 7");
    scenario.apply("apiVersion: batch/v1\nkind: Job\nmetadata: {name: web}\nspec:\n  backoffLimit: 0\n  template:\n    spec:\n      restartPolicy: Never\n      nodeName: node-1\n      containers: [{name: web, image: 'failed-job:dev', imagePullPolicy: Never}]\n");
    run(&mut scenario.kubectl(&["wait", "job/web", "--for=condition=Failed", "--timeout=60s"]));
    // The help must not request the log of a previous run, which does not exist.
    scenario.assert_causes(&["crash-loop"]).follow_help(0);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn job_completed_on_second_try_is_healthy() {
    let scenario = Scenario::without_record("node-1", "second-try");
    scenario.build_script("test -e /data/tried && exit 0; >/data/tried; exit 7");
    scenario.apply("apiVersion: batch/v1\nkind: Job\nmetadata: {name: web}\nspec:\n  template:\n    spec:\n      restartPolicy: OnFailure\n      nodeName: node-1\n      volumes: [{name: data, emptyDir: {}}]\n      containers: [{name: web, image: 'second-try:dev', imagePullPolicy: Never, volumeMounts: [{name: data, mountPath: /data}]}]\n");
    run(&mut scenario.kubectl(&["wait", "job/web", "--for=condition=Complete", "--timeout=60s"]));
    assert_eq!(scenario.check_namespace(), "");
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn deleted_pod_with_finalizer_reports_terminating() {
    let scenario = Scenario::on_node("node-1", "finalizer");
    scenario.build("finalizer:dev");
    scenario.import("node-1", "k8s.io", "finalizer:dev");
    let pod = scenario.pod_manifest("node-1", "finalizer:dev", NEVER);
    let name = "metadata: {name: web}";
    scenario.apply(&pod.replace(name, "metadata: {name: web, finalizers: [example.com/hold]}"));
    scenario.wait_until_ready();
    run(&mut scenario.kubectl(&["delete", "pod", "web", "--wait=false"]));
    wait_for("its container to exit", || {
        let pod = get(scenario.name, &["pod", "web"]);
        pod.pointer("/status/containerStatuses/0/state/terminated").map(|_| ())
    });
    let report = scenario.assert_causes(&["terminating"]);
    assert!(report.help(0).contains("check the controller that removes"), "{}", report.help(0));
    // No controller sets this finalizer, so run the command that removes it.
    let help_command = report.help(0).rsplit('`').nth(1).unwrap().to_owned();
    run(command("sh").args(["-ec", &help_command]).env("KUBECONFIG", state("kubeconfig")));
    run(&mut scenario.kubectl(&["wait", "--for=delete", "pod/web", "--timeout=30s"]));
}
