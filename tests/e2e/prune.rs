//! Pruning, `down` and rollback of applied objects.

use std::process::Command;

use crate::lab::{command, get, kubectl, run, state, stderr_text};
use crate::namespace;
use crate::test_service::{Service, deployment};

const EXTRA: &str = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: extra}\ndata: {a: x}\n---\napiVersion: v1\nkind: Service\nmetadata: {name: extra}\nspec: {ports: [{port: 80}]}\n";

/// The label of the record of an apply set.
const RECORD: &str = "applyset.kubernetes.io/id";

/// Returns the name of the only record in a namespace.
fn record(namespace: &str) -> String {
    let names = ["get", "configmaps", "--selector", RECORD, "--output=name"];
    let names = run(&mut kubectl(namespace, &names));
    assert_eq!(names.lines().count(), 1, "{names}");
    names.trim().trim_start_matches("configmap/").to_owned()
}

/// Returns whether the object exists.
fn exists(namespace: &str, object: &str) -> bool {
    kubectl(namespace, &["get", object]).output().unwrap().status.success()
}

#[track_caller]
fn run_ok(service: &Service, args: &[&str]) -> String {
    let output = service.kdev(&[args, &["--namespace", service.name]].concat()).output().unwrap();
    let stderr = stderr_text(&output);
    assert!(output.status.success(), "{stderr}");
    stderr
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn removed_objects_are_pruned_and_down_deletes_all() {
    let service = Service::new("account");
    let manifest = deployment("account", "");
    service.write("k8s/all.yaml", &format!("{manifest}{EXTRA}"));
    service.up_ok();
    run(&mut kubectl("account", &["create", "configmap", "foreign"]));
    let label = "applyset.kubernetes.io/part-of";
    let part = get("account", &["deployment", "account"])["metadata"]["labels"][label].clone();
    let parent = get("account", &["configmap", &record("account")]);
    assert_eq!(parent["metadata"]["labels"]["applyset.kubernetes.io/id"], part);
    // The label does not count as a change.
    let stderr = service.up_ok();
    assert!(stderr.contains("Unchanged"), "{stderr}");
    assert_eq!(get("account", &["deployment", "account"])["metadata"]["labels"][label], part);

    service.write("k8s/all.yaml", &manifest);
    let stderr = service.up_ok();
    assert!(
        stderr.contains(
            "Note `configmap/extra` and `service/extra` are no longer in the manifests; pass `--prune` to delete them"
        ),
        "{stderr}"
    );
    assert!(exists("account", "configmap/extra"));
    let stderr = run_ok(&service, &["up", "--prune"]);
    assert!(stderr.contains("Deleted configmap/extra, service/extra from kdev-lab"), "{stderr}");
    assert!(!exists("account", "configmap/extra") && !exists("account", "service/extra"));
    let stderr = service.up_ok();
    assert!(
        stderr.contains("Unchanged") && !stderr.contains("no longer in the manifests"),
        "{stderr}"
    );

    // `down` also deletes objects that are no longer in the manifests.
    service.write("k8s/all.yaml", &format!("{manifest}{EXTRA}"));
    service.up_ok();
    service.write("k8s/all.yaml", &manifest);
    let stderr = run_ok(&service, &["down"]);
    assert!(
        stderr.contains("deployment.apps/account") && stderr.contains("configmap/extra"),
        "{stderr}"
    );
    let left =
        run(&mut kubectl("account", &["get", "deployments,services,configmaps", "--output=name"]));
    assert_eq!(left, "configmap/foreign\nconfigmap/kube-root-ca.crt\n");
    let stderr = run_ok(&service, &["down"]);
    assert!(stderr.contains("Note nothing to delete: `up` has not applied `account`"), "{stderr}");
    service.up_ok();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn failed_rollout_is_rolled_back_and_next_succeeds() {
    let service = Service::new("undone");
    service.up_ok();
    let image = || {
        get("undone", &["deployment", "undone"])["spec"]["template"]["spec"]["containers"][0]["image"].clone()
    };
    let before = image();
    let manifest = deployment("undone", "");
    service.set_page("second");
    service.write("k8s/all.yaml", &manifest.replace("path: /,", "path: /absent,"));
    let stderr = service.up_fails(&["--timeout", "5", "--rollback"], 96);
    assert!(
        stderr.starts_with("error: timed out after 5 s waiting for deployment/undone"),
        "{stderr}"
    );
    assert_eq!(image(), before);
    run(&mut kubectl("undone", &["rollout", "status", "deployment/undone", "--timeout=60s"]));
    assert!(service.pages().iter().all(|(_, page)| page == "first"), "{:?}", service.pages());
    // The rollback by `kubectl` must not cause a field conflict.
    service.write("k8s/all.yaml", &manifest);
    service.up_ok();
    assert!(service.pages().iter().all(|(_, page)| page == "second"), "{:?}", service.pages());
}

/// Objects that hold data, and a cluster-scoped one that does not.
const DATA: &str = "---
apiVersion: v1
kind: Namespace
metadata: {name: data-other}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: inner, namespace: data-other}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: files}
spec: {accessModes: [ReadWriteOnce], storageClassName: '', resources: {requests: {storage: 1Mi}}}
---
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {name: data-class}
handler: runc
";

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn data_stays_until_deletion_is_requested() {
    let service = Service::new("data");
    let _other = namespace::DeleteOnDrop::new("data-other");
    let manifest = deployment("data", "");
    service.write("k8s/all.yaml", &format!("{manifest}{EXTRA}{DATA}"));
    service.up_ok();
    // A cluster-scoped object is not stale because it is listed in each namespace.
    service.write("k8s/all.yaml", &format!("{manifest}{DATA}"));
    let stderr = run_ok(&service, &["up", "--prune"]);
    assert!(stderr.contains("Deleted configmap/extra, service/extra from kdev-lab"), "{stderr}");
    assert!(exists("data", "runtimeclass/data-class"));

    run(&mut kubectl("data-other", &["create", "configmap", "foreign"]));
    service.write("k8s/all.yaml", &manifest);
    let stderr = run_ok(&service, &["up", "--prune"]);
    assert!(stderr.contains("pass `--prune --delete-data` to delete them"), "{stderr}");
    let stderr = run_ok(&service, &["down"]);
    let note =
        "`namespace/data-other` and `persistentvolumeclaim/files` stay; pass `--delete-data`";
    assert!(stderr.contains(note), "{stderr}");
    assert!(!exists("data", "deployment/data") && !exists("data-other", "configmap/inner"));
    assert!(exists("data-other", "configmap/foreign") && exists("data", "pvc/files"));
    run_ok(&service, &["down", "--delete-data", "--yes"]);
    assert!(!exists("data", "namespace/data-other") && !exists("data", "pvc/files"));
    let records = ["get", "configmaps", "--selector", RECORD, "--output=name"];
    assert_eq!(run(&mut kubectl("data", &records)), "");
}

/// Defaults that would make an apply and a deletion do nothing.
const PREFERENCES: &str = "apiVersion: kubectl.config.k8s.io/v1beta1
kind: Preference
defaults:
- {command: apply, options: [{name: dry-run, default: server}]}
- {command: delete, options: [{name: dry-run, default: server}]}
";

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn preferences_of_kubectl_do_not_apply() {
    let service = Service::new("preferences");
    std::fs::create_dir(service.path(".kube")).unwrap();
    service.write(".kube/kuberc", PREFERENCES);
    let home = std::env::home_dir().unwrap();
    let with_preferences = |mut command: Command| {
        // This kubectl is new enough for preferences.
        let path = format!("{}:{}", state("bin").display(), std::env::var("PATH").unwrap());
        command.env("PATH", path).env("HOME", service.dir());
        for (variable, dir) in [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")] {
            let value = std::env::var_os(variable).unwrap_or_else(|| home.join(dir).into());
            command.env(variable, value);
        }
        command
    };
    service.write("map.yaml", &EXTRA.replace("name: extra", "name: by-hand"));
    let mut apply = command("sh");
    apply.args(["-c", "kubectl --context kdev-lab --namespace preferences apply -f map.yaml"]);
    apply.current_dir(service.dir()).env("KUBECONFIG", state("kubeconfig"));
    run(&mut with_preferences(apply));
    assert!(!exists("preferences", "configmap/by-hand"));

    service.write("k8s/all.yaml", &format!("{}{EXTRA}", deployment("preferences", "")));
    let output = with_preferences(service.up(&[])).output().unwrap();
    assert!(output.status.success(), "{}", stderr_text(&output));
    assert!(exists("preferences", "configmap/extra"));
    let down = service.kdev(&["down", "--namespace", "preferences"]);
    let output = with_preferences(down).output().unwrap();
    assert!(output.status.success(), "{}", stderr_text(&output));
    assert!(!exists("preferences", "configmap/extra"));
}
