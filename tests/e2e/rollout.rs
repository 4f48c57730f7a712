//! Rollouts: new and old pods, and failures that must not affect the next rollout.

use std::io::{BufRead, BufReader};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::lab::{get, kubectl, run, stderr_text, wait_for};
use crate::test_service::{Service, deployment};

const MISSING_CONFIG_MAP: &str =
    "env: [{name: A, valueFrom: {configMapKeyRef: {name: absent, key: a}}}]";

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn missing_config_map_is_waited_for_until_timeout() {
    let service = Service::new("hopeless");
    service.write("k8s/all.yaml", &deployment("hopeless", MISSING_CONFIG_MAP));
    let stderr = service.up_fails(&["--timeout", "6"], 95);
    let start = "error: deployment/hopeless failed to roll out: pod `hopeless-";
    assert!(stderr.starts_with(start), "{stderr}");
    assert!(stderr.contains(" did not start within 6 s\n"), "{stderr}");
    assert!(
        stderr.contains("CreateContainerConfigError: configmap \"absent\" not found"),
        "{stderr}"
    );
    let help = stderr.split("  help: ").nth(1).unwrap_or_else(|| panic!("{stderr}"));
    assert!(help.contains(" create configmap absent --from-literal="), "{stderr}");

    // The same image with another manifest, while the failing pods still exist.
    service.write("k8s/all.yaml", &deployment("hopeless", ""));
    service.up_ok();

    // The ConfigMap is created while kdev waits.
    service.write("k8s/all.yaml", &deployment("hopeless", MISSING_CONFIG_MAP));
    let (sender, lines) = mpsc::channel();
    let mut child = service.start_up(&[]);
    let stderr = BufReader::new(child.stderr.take().unwrap());
    thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|l| sender.send(l)));
    let problem = lines.iter().find(|line| line.contains(" Problem ")).unwrap();
    assert!(problem.contains("the missing object may still be created"), "{problem}");
    run(&mut kubectl("hopeless", &["create", "configmap", "absent", "--from-literal=a=b"]));
    let rest: Vec<String> = lines.iter().collect();
    assert!(child.wait().unwrap().success(), "{rest:?}");
    let count = rest.iter().filter(|line| line.contains(" Problem ")).count();
    assert_eq!(count, 0, "the problem of the second pod is the same: {rest:?}");
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn unready_pods_time_out() {
    let service = Service::new("unready");
    let manifest = deployment("unready", "").replace("path: /,", "path: /absent,");
    service.write("k8s/all.yaml", &manifest);
    let stderr = service.up_fails(&["--timeout", "5"], 96);
    let start =
        "error: timed out after 5 s waiting for deployment/unready: 0 of 2 new pods are ready";
    assert!(stderr.starts_with(start), "{stderr}");
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn bare_pod_is_ready_only_with_new_image() {
    let service = Service::new("bare");
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: bare}\nspec:\n  containers:\n  - name: web\n    image: bare\n";
    service.write("k8s/all.yaml", pod);
    service.up_ok();
    service.set_page("second");
    service.up_ok();
    let pages = service.pages();
    assert_eq!(pages[0].1, "second", "{pages:?}");
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn on_delete_daemon_set_with_old_pods_fails_rollout() {
    let service = Service::new("on-delete");
    let set = "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: on-delete}\nspec:\n  updateStrategy: {type: OnDelete}\n  selector: {matchLabels: {app: on-delete}}\n  template:\n    metadata: {labels: {app: on-delete}}\n    spec:\n      containers:\n      - {name: web, image: on-delete}\n";
    service.write("k8s/all.yaml", set);
    service.up_ok();
    service.set_page("second");
    let stderr = service.up_fails(&[], 95);
    assert!(stderr.contains("only after they are deleted, and 2 of 2 are outdated"), "{stderr}");
    run(&mut kubectl(service.name, &["delete", "pods", "--all"]));
    service.up_ok();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn manifest_creates_its_own_namespace() {
    let service = Service::new("outer");
    let _ = kubectl("default", &["delete", "namespace", "inner", "--ignore-not-found"]).output();
    let inner =
        deployment("outer", "").replace("  name: outer\n", "  name: outer\n  namespace: inner\n");
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: inner}\n---\n";
    let config = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: beside}\n";
    service.write("k8s/all.yaml", &format!("{namespace}{inner}{config}"));
    service.up_ok();
    assert_eq!(get("inner", &["deployment", "outer"])["status"]["readyReplicas"], 2);
    get("outer", &["configmap", "beside"]);
    let second = service.up_ok();
    assert!(second.contains("Unchanged"), "{second}");
    run(&mut kubectl("default", &["delete", "namespace", "inner", "--timeout=90s"]));
    wait_for("deletion of the namespace", || {
        let output = kubectl("default", &["get", "namespace", "inner"]).output().ok()?;
        (!output.status.success()).then_some(())
    });
}

/// Without a readiness probe, the pods are ready while their programs run.
#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn program_that_exits_soon_is_never_ready() {
    let service = Service::on_node("node-1", "fleeting");
    let fleeting = |seconds: &str| {
        let name = format!("fleeting-{}", seconds.replace('.', "-"));
        format!(
            "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}}}\nspec:\n  selector: {{matchLabels: {{app: {name}}}}}\n  template:\n    metadata: {{labels: {{app: {name}}}}}\n    spec:\n      nodeSelector: {{kubernetes.io/hostname: node-1}}\n      containers:\n      - name: web\n        image: fleeting\n        command: [/busybox, sh, -c, \"/busybox sleep {seconds}; echo no peer; exit 7\"]\n"
        )
    };
    service.write("k8s/all.yaml", &["0.5", "1.5", "2.5"].map(fleeting).concat());
    let stderr = service.up_fails(&["--settle", "3", "--timeout", "20"], 95);
    assert!(stderr.contains("its log ends with\n    no peer\n"), "{stderr}");
    assert!(stderr.contains(" did not start within 20 s\n"), "{stderr}");
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn program_without_probe_is_ready_after_it_has_run() {
    let service = Service::on_node("node-2", "lasting");
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: lasting}\nspec:\n  nodeSelector: {kubernetes.io/hostname: node-2}\n  containers:\n  - name: web\n    image: lasting\n";
    service.write("k8s/all.yaml", pod);
    let up = || stderr_text(&service.up(&["--settle", "3"]).output().unwrap());
    let stderr = up();
    let settling = "Settling pod/lasting: 1 pod must run for 3 s";
    assert!(stderr.contains(settling) && stderr.contains("Ready pod/lasting"), "{stderr}");
    // It has run for longer.
    thread::sleep(Duration::from_secs(1));
    let stderr = up();
    assert!(stderr.contains("Unchanged") && stderr.contains("Ready pod/lasting"), "{stderr}");
    assert!(!stderr.contains(settling), "{stderr}");
}

/// The previous revision is older than this run.
#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn rollback_keeps_workload_whose_pods_were_not_changed() {
    let service = Service::on_node("node-1", "relabeled");
    let manifest = || std::fs::read_to_string(service.path("k8s/all.yaml")).unwrap();
    service.up_ok();
    service.set_page("second");
    service.up_ok();
    let template = || get("relabeled", &["deployment", "relabeled"])["spec"]["template"].clone();
    let before = template();
    // Only the number of pods changes, and this many pods cannot be ready in time.
    service.write("k8s/all.yaml", &manifest().replace("replicas: 2", "replicas: 5"));
    let stderr = stderr_text(&service.up(&["--timeout", "0", "--rollback"]).output().unwrap());
    let note = "deployment.apps/relabeled was not rolled back: this run has not changed its pods";
    assert!(stderr.contains(note) && stderr.contains("error: timed out"), "{stderr}");
    assert_eq!(template(), before);
}
