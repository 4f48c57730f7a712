//! Programs that run, and end again.

use super::Scene;
use crate::lab::{command, eventually, get, run, state};

const NEVER: &str = "imagePullPolicy: Never";

impl Scene {
    /// A Deployment of an image that runs this in a shell; `lines` are more of its
    /// container's.
    fn ends(&self, script: &str, lines: &str) {
        self.runs_script(script);
        self.deployment("node-1", &format!("{}:dev", self.name), &format!("{NEVER}\n{lines}"));
        self.waits(&["CrashLoopBackOff"]);
    }

    fn runs_script(&self, script: &str) {
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
    let scene = Scene::on("node-1", "crash-loop");
    scene.ends(
        "test -n \"$PORT\" || { echo 'PORT is not set' >&2; exit 3; }; exec /busybox sleep 9999",
        "",
    );
    let found = scene.is_judged(&["crash-loop"]);
    found.follow(0);
    // As its log says.
    run(&mut scene.kubectl(&["set", "env", "deployment/web", "PORT=8080"]));
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn exiting_program_reports_exits_without_error() {
    let scene = Scene::on("node-1", "ends-at-once");
    scene.ends("echo done", "");
    let help = scene.is_judged(&["exits-without-error"]).help(0).to_owned();
    assert!(help.starts_with("run the program in the foreground"), "{help}");
    scene.runs_script("echo done; exec /busybox sleep 9999");
    run(&mut scene.kubectl(&["rollout", "restart", "deployment/web"]));
    run(&mut scene.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn program_over_memory_limit_reports_out_of_memory() {
    let scene = Scene::on("node-1", "out-of-memory");
    let script = "/busybox dd if=/dev/zero of=/dev/null bs=30M count=1 && exec /busybox sleep 9999";
    scene.ends(script, "resources: {limits: {memory: 20Mi}}");
    scene.is_judged(&["out-of-memory"]).follow(0);
    run(&mut scene.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn tiny_memory_limit_reports_out_of_memory() {
    let scene = Scene::on("node-1", "tiny-limit");
    scene.runs_script("exec /busybox sleep 9999");
    let lines = format!("{NEVER}\nresources: {{limits: {{memory: 2Mi}}}}");
    scene.deployment("node-1", "tiny-limit:dev", &lines);
    scene.reports("Failed to create pod sandbox");
    scene.is_judged(&["out-of-memory"]).follow(0);
    run(&mut scene.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn write_to_root_file_system_reports_read_only() {
    let scene = Scene::on("node-1", "read-only");
    let script = "/busybox touch /data/file || exit 1; exec /busybox sleep 9999";
    scene.ends(script, "securityContext: {readOnlyRootFilesystem: true}");
    let help = scene.is_judged(&["read-only-file-system"]).help(0).to_owned();
    assert!(help.starts_with("mount an `emptyDir` volume at the directory"), "{help}");
    let patch = r#"{"spec":{"template":{"spec":{"volumes":[{"name":"data","emptyDir":{}}],"containers":[{"name":"web","volumeMounts":[{"name":"data","mountPath":"/data"}]}]}}}}"#;
    run(&mut scene.kubectl(&["patch", "deployment/web", "--patch", patch]));
    run(&mut scene.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn write_to_file_of_root_reports_permission_denied() {
    let scene = Scene::on("node-1", "not-root");
    let script = "/busybox touch /name || exit 1; exec /busybox sleep 9999";
    scene.ends(script, "securityContext: {runAsUser: 1000}");
    let help = scene.is_judged(&["permission-denied"]).help(0).to_owned();
    assert!(help.contains("`COPY --chown=1000` in the Dockerfile"), "{help}");
    let lines = format!(
        "COPY --chown=1000 name /name\nENTRYPOINT [\"/busybox\", \"sh\", \"-c\", {script:?}]\n"
    );
    scene.build_with("not-root:dev", &lines);
    scene.load("not-root:dev");
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn low_port_reports_permission_denied() {
    // By default containerd 1.x leaves ports below 1024 to root, and 2.x does not.
    let scene = Scene::on("node-1", "low-port");
    let script = "exec /busybox httpd -f -p 80";
    scene.ends(script, "securityContext: {runAsUser: 1000}");
    scene.is_judged(&["permission-denied"]).follow(0);
    run(&mut scene.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn running_program_between_crashes_reports_crash_loop() {
    let scene = Scene::on("node-1", "between-crashes");
    let script = "/busybox sleep 8; test -e /cache || { echo 'lost /cache'; exit 4; }; exec /busybox sleep 9999";
    scene.ends(script, "");
    // It has waited, and runs once more.
    eventually("another run", || {
        let pods = get(scene.name, &["pods"]);
        let status = &pods["items"][0]["status"]["containerStatuses"][0];
        let runs = status.pointer("/state/running").is_some();
        (runs && status["restartCount"].as_u64() > Some(1)).then_some(())
    });
    let found = scene.is_judged(&["crash-loop"]);
    assert_eq!(found.confidence(0), "likely");
    found.follow(0);
    // As its log says.
    let patch = r#"{"spec":{"template":{"spec":{"volumes":[{"name":"data","emptyDir":{}}],"containers":[{"name":"web","volumeMounts":[{"name":"data","mountPath":"/cache"}]}]}}}}"#;
    run(&mut scene.kubectl(&["patch", "deployment/web", "--patch", patch]));
    run(&mut scene.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn recovered_program_is_healthy_after_some_time() {
    let scene = Scene::on("node-1", "recovered");
    // A volume outlives the first run.
    let script = "test -e /data/tried && exec /busybox sleep 9999; >/data/tried; exit 4";
    scene.runs_script(script);
    let pod = scene.pod_manifest(
        "node-1",
        "recovered:dev",
        &format!("{NEVER}\nvolumeMounts: [{{name: data, mountPath: /data}}]"),
    );
    scene.apply(&format!("{pod}  volumes: [{{name: data, emptyDir: {{}}}}]\n"));
    eventually("a second run", || {
        let pods = get(scene.name, &["pods"]);
        let status = &pods["items"][0]["status"]["containerStatuses"][0];
        (status["ready"] == true && status["restartCount"] == 1).then_some(())
    });
    let found = scene.is_judged(&["crash-loop"]);
    assert_eq!(found.confidence(0), "likely");
    eventually("an end of the doubt", || scene.is_well().is_empty().then_some(()));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn failed_job_reports_crash_loop() {
    let scene = Scene::on("node-1", "failed-job");
    scene.runs_script("echo 'no input'; exit 7");
    scene.apply("apiVersion: batch/v1\nkind: Job\nmetadata: {name: web}\nspec:\n  backoffLimit: 0\n  template:\n    spec:\n      restartPolicy: Never\n      nodeName: node-1\n      containers: [{name: web, image: 'failed-job:dev', imagePullPolicy: Never}]\n");
    run(&mut scene.kubectl(&["wait", "job/web", "--for=condition=Failed", "--timeout=60s"]));
    // There is no earlier run whose log could be asked for.
    scene.is_judged(&["crash-loop"]).follow(0);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn job_completed_on_second_try_is_healthy() {
    let scene = Scene::of_nothing_wrong("node-1", "second-try");
    scene.runs_script("test -e /data/tried && exit 0; >/data/tried; exit 7");
    scene.apply("apiVersion: batch/v1\nkind: Job\nmetadata: {name: web}\nspec:\n  template:\n    spec:\n      restartPolicy: OnFailure\n      nodeName: node-1\n      volumes: [{name: data, emptyDir: {}}]\n      containers: [{name: web, image: 'second-try:dev', imagePullPolicy: Never, volumeMounts: [{name: data, mountPath: /data}]}]\n");
    run(&mut scene.kubectl(&["wait", "job/web", "--for=condition=Complete", "--timeout=60s"]));
    assert_eq!(scene.is_well(), "");
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn deleted_pod_with_finalizer_reports_terminating() {
    let scene = Scene::on("node-1", "held");
    scene.build("held:dev");
    scene.import("node-1", "k8s.io", "held:dev");
    let pod = scene.pod_manifest("node-1", "held:dev", NEVER);
    let name = "metadata: {name: web}";
    scene.apply(&pod.replace(name, "metadata: {name: web, finalizers: [example.com/hold]}"));
    scene.runs();
    run(&mut scene.kubectl(&["delete", "pod", "web", "--wait=false"]));
    eventually("an end of its container", || {
        let pod = get(scene.name, &["pod", "web"]);
        pod.pointer("/status/containerStatuses/0/state/terminated").map(|_| ())
    });
    let found = scene.is_judged(&["terminating"]);
    assert!(found.help(0).contains("check the controller that removes"), "{}", found.help(0));
    // Here is none.
    let advised = found.help(0).rsplit('`').nth(1).unwrap().to_owned();
    run(command("sh").args(["-ec", &advised]).env("KUBECONFIG", state("kubeconfig")));
    run(&mut scene.kubectl(&["wait", "--for=delete", "pod/web", "--timeout=30s"]));
}
