//! What was applied is known: it can be pruned, taken down, and taken back.

use crate::lab::{get, kubectl, run, stderr};
use crate::test_service::{Service, deployment};

const EXTRA: &str = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: extra}\ndata: {a: x}\n---\napiVersion: v1\nkind: Service\nmetadata: {name: extra}\nspec: {ports: [{port: 80}]}\n";

/// Whether there is such an object.
fn is_there(namespace: &str, object: &str) -> bool {
    kubectl(namespace, &["get", object]).output().unwrap().status.success()
}

#[track_caller]
fn ok(service: &Service, args: &[&str]) -> String {
    let output = service.kdev(&[args, &["--namespace", service.name]].concat()).output().unwrap();
    let said = stderr(&output);
    assert!(output.status.success(), "{said}");
    said
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
    let parent = get("account", &["configmap", "kdev-account"]);
    assert_eq!(parent["metadata"]["labels"]["applyset.kubernetes.io/id"], part);
    // The label is nobody's business but the set's.
    let said = service.up_ok();
    assert!(said.contains("Unchanged"), "{said}");
    assert_eq!(get("account", &["deployment", "account"])["metadata"]["labels"][label], part);

    service.write("k8s/all.yaml", &manifest);
    let said = service.up_ok();
    assert!(
        said.contains(
            "Note `configmap/extra` and `service/extra` are no longer in the manifests; pass `--prune` to delete them"
        ),
        "{said}"
    );
    assert!(is_there("account", "configmap/extra"));
    let said = ok(&service, &["up", "--prune"]);
    assert!(said.contains("Deleted configmap/extra, service/extra from kdev-lab"), "{said}");
    assert!(!is_there("account", "configmap/extra") && !is_there("account", "service/extra"));
    let said = service.up_ok();
    assert!(said.contains("Unchanged") && !said.contains("no longer in the manifests"), "{said}");

    // What is no longer in the manifests goes down, too.
    service.write("k8s/all.yaml", &format!("{manifest}{EXTRA}"));
    service.up_ok();
    service.write("k8s/all.yaml", &manifest);
    let said = ok(&service, &["down"]);
    assert!(said.contains("deployment.apps/account") && said.contains("configmap/extra"), "{said}");
    let left =
        run(&mut kubectl("account", &["get", "deployments,services,configmaps", "--output=name"]));
    assert_eq!(left, "configmap/foreign\nconfigmap/kube-root-ca.crt\n");
    let said = ok(&service, &["down"]);
    assert!(said.contains("Note `up` has applied nothing of `account`"), "{said}");
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
    service.page("second");
    service.write("k8s/all.yaml", &manifest.replace("path: /,", "path: /absent,"));
    let said = service.up_fails(&["--timeout", "5", "--rollback"], 96);
    assert!(said.starts_with("error: timed out after 5 s waiting for deployment/undone"), "{said}");
    assert_eq!(image(), before);
    run(&mut kubectl("undone", &["rollout", "status", "deployment/undone", "--timeout=60s"]));
    assert!(service.pages().iter().all(|(_, page)| page == "first"), "{:?}", service.pages());
    // kubectl has set these fields; they are nobody else's for that.
    service.write("k8s/all.yaml", &manifest);
    service.up_ok();
    assert!(service.pages().iter().all(|(_, page)| page == "second"), "{:?}", service.pages());
}
