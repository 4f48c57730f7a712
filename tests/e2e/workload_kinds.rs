//! Rollouts of each workload kind.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use crate::lab::{get, kubectl, run, run_help, stderr_text};
use crate::test_service::{Service, deployment};

/// Far less than the rollout timeout, and more than a busy lab needs.
const EARLY_FAILURE_LIMIT: Duration = Duration::from_secs(40);

/// Returns a workload with this spec and pod spec.
fn workload(kind: &str, version: &str, name: &str, spec: &str, pod: &str) -> String {
    format!(
        "apiVersion: {version}\nkind: {kind}\nmetadata: {{name: {name}}}\nspec:\n{spec}  template:\n    metadata: {{labels: {{app: {name}}}}}\n    spec:\n{pod}"
    )
}

/// Returns a Job that runs this script once.
fn job(name: &str, script: &str) -> String {
    let pod = format!(
        "      restartPolicy: Never\n      containers:\n      - name: work\n        image: {name}\n        command: [/busybox, sh, -c, {script:?}]\n"
    );
    workload("Job", "batch/v1", name, "  backoffLimit: 0\n", &pod)
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn job_is_awaited_and_its_failure_shows_log() {
    let service = Service::new("work");
    service.write("k8s/all.yaml", &job("work", "/busybox sleep 2"));
    let stderr = service.up_ok();
    assert!(stderr.contains("Ready job/work: 1 pod in "), "{stderr}");
    assert_eq!(get("work", &["job", "work"])["status"]["succeeded"], 1);

    run(&mut kubectl("work", &["delete", "job", "work"]));
    service.write("k8s/all.yaml", &job("work", "echo no database; exit 3"));
    let stderr = service.up_fails(&[], 95);
    let start = "error: job/work failed to roll out: pod `work-";
    assert!(stderr.starts_with(start), "{stderr}");
    assert!(stderr.contains("BackoffLimitExceeded: "), "{stderr}");
    assert!(stderr.contains("its log ends with\n    no database\n"), "{stderr}");

    run(&mut kubectl("work", &["delete", "job", "work"]));
    let suspended =
        job("work", "exit 0").replace("spec:\n  backoff", "spec:\n  suspend: true\n  backoff");
    service.write("k8s/all.yaml", &suspended);
    let stderr = service.up_fails(&[], 95);
    assert!(stderr.contains("caused by: it is suspended and runs no pods"), "{stderr}");
    run_help(&stderr);
    service.write("k8s/all.yaml", &job("work", "exit 0"));
    service.up_ok();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn completed_job_that_was_deleted_is_not_run_again() {
    let service = Service::on_node("node-1", "brief");
    let write = |script: &str, ttl: u32| {
        let ttl = format!("  ttlSecondsAfterFinished: {ttl}\n  backoffLimit");
        service.write("k8s/all.yaml", &job("brief", script).replace("  backoffLimit", &ttl));
    };
    let runs = || {
        let events = "--field-selector=reason=SuccessfulCreate,involvedObject.kind=Job";
        let uids = "--output=jsonpath={.items[*].involvedObject.uid}";
        let uids = run(&mut kubectl("brief", &["get", "events", events, uids]));
        uids.split_whitespace().collect::<BTreeSet<_>>().len()
    };
    let ready = "Ready job/brief: 1 pod in ";
    let deleted = "Note job/brief has completed, and was deleted after its `ttlSecondsAfterFinished`; it runs again when its manifest changes";
    write("exit 0", 0);
    let stderr = service.up_ok();
    assert!(stderr.contains(ready), "{stderr}");
    for _ in 0..2 {
        let stderr = service.up_ok();
        assert!(stderr.contains(deleted) && !stderr.contains(ready), "{stderr}");
        assert!(stderr.contains("Unchanged"), "{stderr}");
    }
    assert_eq!(runs(), 1);
    let status = service.kdev(&["status", "--namespace", "brief"]).output().unwrap();
    let shown = String::from_utf8(status.stdout).unwrap();
    assert!(shown.contains("completed and deleted"), "{shown}");

    // A changed Job runs, and one that has failed runs again.
    write("exit 3", 0);
    for expected in [2, 3] {
        let stderr = service.up_fails(&[], 95);
        assert!(stderr.starts_with("error: job/brief failed to roll out: "), "{stderr}");
        assert!(stderr.contains("BackoffLimitExceeded: "), "{stderr}");
        assert_eq!(runs(), expected);
    }

    // A Job that the user has deleted runs again.
    write("exit 0", 600);
    service.up_ok();
    run(&mut kubectl("brief", &["delete", "job", "brief"]));
    let stderr = service.up_ok();
    assert!(stderr.contains(ready) && !stderr.contains(deleted), "{stderr}");
    assert_eq!(runs(), 5);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn cron_job_uses_build_in_next_run() {
    let service = Service::new("nightly");
    let job = "  schedule: \"0 3 * * *\"\n  jobTemplate:\n    spec:\n      template:\n        spec:\n          restartPolicy: Never\n          containers:\n          - {name: work, image: nightly, command: [/busybox, \"true\"]}\n";
    let cron =
        format!("apiVersion: batch/v1\nkind: CronJob\nmetadata: {{name: nightly}}\nspec:\n{job}");
    service.write("k8s/all.yaml", &cron);
    let stderr = service.up_ok();
    assert!(
        stderr.contains("Note cronjob/nightly was applied; its next run uses this build"),
        "{stderr}"
    );
    run(&mut kubectl("nightly", &["create", "job", "now", "--from=cronjob/nightly"]));
    run(&mut kubectl("nightly", &["wait", "--for=condition=complete", "job/now", "--timeout=30s"]));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn paused_deployment_is_resumed_by_help() {
    let service = Service::new("paused");
    service.up_ok();
    service.write(
        "k8s/all.yaml",
        &deployment("paused", "").replace("spec:\n  replicas", "spec:\n  paused: true\n  replicas"),
    );
    // Paused, but without a pending change.
    service.up_ok();
    service.set_page("second");
    let (stderr, waited) = service.up_fails_timed(&[], 95);
    assert!(
        stderr.contains("it is paused, and some pods do not use its current template: 2 of 2"),
        "{stderr}"
    );
    assert!(waited < EARLY_FAILURE_LIMIT, "it failed only after {waited:?}");
    run_help(&stderr);
    run(&mut kubectl("paused", &["rollout", "status", "deployment/paused", "--timeout=60s"]));
    assert!(service.pages().iter().all(|(_, page)| page == "second"), "{:?}", service.pages());
    let advice = ", and remove `paused` from the manifest if it is set there";
    assert!(stderr.contains(advice), "{stderr}");
    service.write("k8s/all.yaml", &deployment("paused", ""));
    service.set_page("third");
    service.up_ok();
    assert!(service.pages().iter().all(|(_, page)| page == "third"), "{:?}", service.pages());
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn deployment_with_zero_replicas_is_ready() {
    let service = Service::new("none");
    service.write("k8s/all.yaml", &deployment("none", "").replace("replicas: 2", "replicas: 0"));
    let stderr = service.up_ok();
    assert!(stderr.contains("Ready deployment/none: 0 pods in "), "{stderr}");
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn deployment_scaled_outside_manifest_awaits_live_replicas() {
    let service = Service::new("scaled");
    let manifest = deployment("scaled", "").replace("  replicas: 2\n", "");
    service.write("k8s/all.yaml", &manifest.replace("DoNotSchedule", "ScheduleAnyway"));
    service.up_ok();
    // Scale through the scale subresource, as an autoscaler does.
    run(&mut kubectl("scaled", &["scale", "deployment/scaled", "--replicas=3"]));
    service.set_page("second");
    let stderr = service.up_ok();
    assert!(stderr.contains("Ready deployment/scaled: 3 pods in "), "{stderr}");
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn deployment_with_zero_max_unavailable_rolls_out() {
    let service = Service::new("steady");
    let strategy =
        "spec:\n  strategy: {rollingUpdate: {maxUnavailable: 0, maxSurge: 1}}\n  replicas";
    let manifest = deployment("steady", "").replace("spec:\n  replicas", strategy);
    service.write("k8s/all.yaml", &manifest);
    service.up_ok();
    service.set_page("second");
    service.up_ok();
    assert!(service.pages().iter().all(|(_, page)| page == "second"), "{:?}", service.pages());
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn failing_sidecar_fails_rollout() {
    let service = Service::new("helpers");
    let pod = |sidecar: &str| {
        format!(
            "      initContainers:\n      - {{name: first, image: helpers, command: [/busybox, \"true\"]}}\n      - name: beside\n        image: helpers\n        restartPolicy: Always\n        command: [/busybox, sh, -c, {sidecar:?}]\n      containers:\n      - {{name: web, image: helpers}}\n"
        )
    };
    let spec = "  serviceName: helpers\n  selector: {matchLabels: {app: helpers}}\n";
    let set = |sidecar: &str| workload("StatefulSet", "apps/v1", "helpers", spec, &pod(sidecar));
    service.write("k8s/all.yaml", &set("trap 'exit 0' TERM; /busybox sleep 3600 & wait"));
    let stderr = service.up_ok();
    assert!(stderr.contains("Ready statefulset/helpers: 1 pod in "), "{stderr}");
    service.write("k8s/all.yaml", &set("echo no peer; exit 7"));
    // For a moment, the pod is ready. The third restart is after half a minute.
    let (stderr, _) = service.up_fails_timed(&["--settle", "3", "--timeout", "60"], 95);
    let problem = stderr.split(" Problem pod `helpers-0`").nth(1);
    let problem = problem.unwrap_or_else(|| panic!("{stderr}"));
    assert!(problem.contains("it may recover, because a dependency"), "{stderr}");
    assert!(problem.contains("its log ends with\n             no peer\n"), "{stderr}");
    let error = stderr.split("error: ").nth(1).unwrap();
    assert!(error.contains("  caused by: container `beside`: "), "{stderr}");
    assert!(error.contains("exit code 7"), "{stderr}");
    assert!(error.contains("its log ends with\n    no peer\n"), "{stderr}");
    assert!(error.contains(" did not start within 60 s\n"), "{stderr}");
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn image_that_manifest_does_not_permit_fails_rollout_early() {
    let service = Service::on_node("node-2", "rootless");
    let manifest = fs::read_to_string(service.path("k8s/all.yaml")).unwrap();
    let security = "      securityContext: {runAsNonRoot: true}\n      containers:\n";
    service.write("k8s/all.yaml", &manifest.replace("      containers:\n", security));
    let (stderr, waited) = service.up_fails_timed(&[], 95);
    assert!(stderr.contains(" cannot start\n"), "{stderr}");
    assert!(stderr.contains("; `runAsNonRoot` does not permit the user of the image"), "{stderr}");
    assert!(waited < EARLY_FAILURE_LIMIT, "it failed only after {waited:?}: {stderr}");
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn closed_readiness_gate_is_reported_on_timeout() {
    let service = Service::new("gated");
    let gates = "    spec:\n      readinessGates: [{conditionType: example.com/lb}]\n";
    service.write("k8s/all.yaml", &deployment("gated", "").replace("    spec:\n", gates));
    let stderr = service.up_fails(&["--timeout", "8"], 96);
    assert!(stderr.contains("its readiness gate `example.com/lb` is not true"), "{stderr}");
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn entrypoint_that_cannot_start_fails_rollout_early() {
    for node in crate::test_service::NODES {
        let service = Service::on_node(node, "alien");
        // An invalid executable, like a program for another architecture.
        service.write("busybox-alien", "\u{7f}ELF, but of no machine");
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(service.path("busybox-alien"), mode).unwrap();
        service.write(
            "Dockerfile",
            "FROM scratch\nCOPY busybox-alien /alien\nENTRYPOINT [\"/alien\"]\n",
        );
        let (stderr, waited) = service.up_fails_timed(&[], 95);
        assert!(stderr.contains("exec format error"), "{node}: {stderr}");
        assert!(waited < EARLY_FAILURE_LIMIT, "{node}: it failed only after {waited:?}: {stderr}");
        // A program that is not in the image.
        service.write("Dockerfile", "FROM scratch\nCOPY www /www\nENTRYPOINT [\"/absent\"]\n");
        let (stderr, waited) = service.up_fails_timed(&[], 95);
        assert!(stderr.contains("/absent"), "{node}: {stderr}");
        assert!(waited < EARLY_FAILURE_LIMIT, "{node}: it failed only after {waited:?}: {stderr}");
    }
}

/// kubernetes/kubernetes#67250: the controller waits for a pod of the older revision.
#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn stateful_set_recovers_from_older_broken_revision() {
    let service = Service::on_node("node-2", "ordered");
    let spec = "  replicas: 2\n  serviceName: ordered\n  selector: {matchLabels: {app: ordered}}\n";
    let set = |command: &str| {
        let pod = format!(
            "      terminationGracePeriodSeconds: 1\n      nodeSelector: {{kubernetes.io/hostname: node-2}}\n      containers:\n      - {{name: web, image: ordered, command: [{command}]}}\n"
        );
        workload("StatefulSet", "apps/v1", "ordered", spec, &pod)
    };
    let apply_broken = || {
        // A program that runs makes its pod ready for a moment, and the controller goes on.
        service.write("k8s/all.yaml", &set("/absent"));
        let output = service.up(&["--settle", "3", "--timeout", "6"]).output().unwrap();
        // The first crash is not a crash loop yet.
        assert!(matches!(output.status.code(), Some(95 | 96)), "{}", stderr_text(&output));
    };
    apply_broken();
    service.write("k8s/all.yaml", &set("/busybox, sleep, \"1000\""));
    let stderr = service.up_ok();
    let note = "pod `ordered-0` of an older revision cannot become ready (container `web`: ";
    assert!(stderr.contains(note), "{stderr}");
    assert!(stderr.contains("Deleted pod/ordered-0 from kdev-lab"), "{stderr}");
    assert!(stderr.contains("Ready statefulset/ordered: 2 pods in "), "{stderr}");
    // An update from a revision that runs: the last pod is updated first.
    apply_broken();
    let uid = || get("ordered", &["pod", "ordered-0"])["metadata"]["uid"].clone();
    let first = uid();
    service.write("k8s/all.yaml", &set("/busybox, sleep, \"1000\""));
    let stderr = service.up_ok();
    assert!(stderr.contains("Deleted pod/ordered-1 from kdev-lab"), "{stderr}");
    assert!(!stderr.contains("pod/ordered-0"), "{stderr}");
    assert_eq!(uid(), first, "a pod that is ready was replaced");
}
