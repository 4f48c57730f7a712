//! Objects that the API server rejects: the error, and whether following the help fixes it.

use std::fs;

use serde_json::Value;

use crate::lab::{apply, command, get, kubectl, run, run_help, state, stderr_text};
use crate::namespace::wait_until_usable;
use crate::test_service::{Service, deployment};
use crate::undo::Undo;

fn config_map(data: &str) -> String {
    format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: beside}}\ndata: {{{data}}}\n")
}

/// Writes a manifest with the Deployment and further documents.
fn write_manifests(service: &Service, beside: &str) {
    service.write("k8s/all.yaml", &format!("{}{beside}", deployment(service.name, "")));
}

fn uid(namespace: &str, object: &str) -> Value {
    get(namespace, &[object])["metadata"]["uid"].clone()
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn field_conflicts_are_listed_until_forced() {
    let service = Service::new("shared");
    write_manifests(&service, &config_map("a: x, b: x, c: x"));
    service.up_ok();
    for (manager, field) in [("helm", "a"), ("ed", "b")] {
        let patch = format!("{{\"data\":{{\"{field}\":\"theirs\"}}}}");
        let manager = format!("--field-manager={manager}");
        run(&mut kubectl(
            "shared",
            &["patch", "configmap", "beside", &manager, "--type=merge", "-p", &patch],
        ));
    }
    let stderr = service.up_fails(&[], 92);
    let expected = "error: field conflicts in context `kdev-lab`
  caused by: `.data.b` is owned by `ed`, `.data.a` is owned by `helm`
  help: pass `--force-conflicts` to take over the fields\n";
    assert_eq!(stderr, expected);
    assert_eq!(get("shared", &["configmap", "beside"])["data"]["a"], "theirs");
    let output = service.up(&["--force-conflicts"]).output().unwrap();
    assert!(output.status.success(), "{}", stderr_text(&output));
    assert_eq!(get("shared", &["configmap", "beside"])["data"]["a"], "x");
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn unchanged_objects_are_not_applied() {
    let service = Service::new("partly");
    write_manifests(&service, &config_map("a: x"));
    service.up_ok();
    let version = || get("partly", &["deployment", "partly"])["metadata"]["generation"].clone();
    let before = version();
    write_manifests(&service, &config_map("a: z"));
    let stderr = service.up_ok();
    assert!(stderr.contains("Applied configmap/beside to kdev-lab"), "{stderr}");
    assert_eq!(version(), before);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn immutable_objects_are_recreated_only_with_flag() {
    let service = Service::new("recreated");
    let job = "---\napiVersion: batch/v1\nkind: Job\nmetadata: {name: migrate}\nspec:\n  template:\n    spec:\n      restartPolicy: Never\n      containers:\n      - {name: work, image: recreated, command: [/busybox, cat, /www/index.html]}\n";
    write_manifests(&service, job);
    service.up_ok();
    let (old_job, deployment_uid) =
        (uid("recreated", "job/migrate"), uid("recreated", "deployment/recreated"));
    service.set_page("second");
    let stderr = service.up_fails(&[], 92);
    let expected = "error: cannot change immutable fields of `job/migrate`
  caused by: `spec.template` of job/migrate is immutable
  help: pass `--recreate` to delete and recreate it with its pods\n";
    assert_eq!(stderr, expected);
    assert_eq!(uid("recreated", "job/migrate"), old_job);

    let output = service.up(&["--recreate"]).output().unwrap();
    let stderr = stderr_text(&output);
    assert!(
        output.status.success() && stderr.contains("Deleted job/migrate from kdev-lab"),
        "{stderr}"
    );
    assert!(stderr.contains("Ready job/migrate: 1 pod in "), "{stderr}");
    assert_ne!(uid("recreated", "job/migrate"), old_job);
    assert_eq!(run(&mut kubectl("recreated", &["logs", "job/migrate"])), "second\n");
    // Objects that can be changed in place were not recreated.
    assert_eq!(uid("recreated", "deployment/recreated"), deployment_uid);

    let other = deployment("recreated", "").replace("app: recreated", "app: other");
    service.write("k8s/all.yaml", &other);
    let stderr = service.up_fails(&[], 92);
    assert!(stderr.contains("`spec.selector` of deployment/recreated is immutable"), "{stderr}");
    assert!(service.up(&["--recreate"]).output().unwrap().status.success());
    assert_ne!(uid("recreated", "deployment/recreated"), deployment_uid);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn missing_namespace_is_created_by_help() {
    let service = Service::new("no-namespace");
    run(&mut kubectl("default", &["delete", "namespace", "no-namespace", "--timeout=90s"]));
    let stderr = service.up_fails(&[], 92);
    assert!(stderr.contains("namespace `no-namespace` not found in context"), "{stderr}");
    // The help may first name a similar namespace of another test.
    let create = stderr.split('`').find(|text| text.starts_with("kubectl ")).unwrap();
    run(command("sh").args(["-c", create]));
    wait_until_usable("no-namespace");
    service.up_ok();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn rejected_objects_report_cause_and_help() {
    let service = Service::new("quota-refused");
    let invalid = "---\napiVersion: v1\nkind: Service\nmetadata: {name: quota-refused}\nspec: {ports: [{port: 99999}]}\n";
    write_manifests(&service, invalid);
    let stderr = service.up_fails(&[], 92);
    assert!(stderr.contains("Invalid value: 99999"), "{stderr}");
    assert!(stderr.ends_with("help: correct the field in the manifest\n"), "{stderr}");

    write_manifests(
        &service,
        "---\napiVersion: example.com/v1\nkind: Gadget\nmetadata: {name: g}\n",
    );
    let stderr = service.up_fails(&[], 92);
    assert!(stderr.contains("no matches for kind \"Gadget\""), "{stderr}");
    assert!(stderr.contains("help: install the CRD of the kind"), "{stderr}");

    let quota = "apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: none}\nspec: {hard: {configmaps: \"1\"}}\n";
    apply("quota-refused", quota);
    crate::lab::wait_for("the usage of the quota", || {
        let quota = get("quota-refused", &["resourcequota", "none"]);
        quota.pointer("/status/used/configmaps").is_some().then_some(())
    });
    write_manifests(&service, &config_map("a: x"));
    let stderr = service.up_fails(&[], 92);
    assert!(stderr.contains("exceeded quota: none"), "{stderr}");
    run_help(&stderr);
    run(&mut kubectl("quota-refused", &["delete", "resourcequota", "none"]));

    // An unreachable webhook, only for this namespace.
    let webhook = "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\nmetadata: {name: quota-refused}\nwebhooks:\n- name: rule.example.com\n  admissionReviewVersions: [v1]\n  sideEffects: None\n  clientConfig: {url: \"https://127.0.0.1:9/\"}\n  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: quota-refused}}\n  rules: [{apiGroups: [\"\"], apiVersions: [v1], resources: [configmaps], operations: [\"*\"]}]\n";
    let delete = ["delete", "validatingwebhookconfiguration", "quota-refused"];
    let undo = Undo::new([kubectl("default", &delete)]);
    apply("default", webhook);
    let stderr = service.up_fails(&[], 92);
    drop(undo);
    assert!(stderr.contains("failed calling webhook \"rule.example.com\""), "{stderr}");
    assert!(stderr.contains("help: make webhook `rule.example.com` reachable"), "{stderr}");
    service.up_ok();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn missing_permission_is_reported() {
    let service = Service::new("guest");
    run(&mut kubectl("guest", &["create", "serviceaccount", "guest"]));
    let delete = [
        "delete",
        "clusterrolebinding",
        "kdev-test-guest",
        "kdev-test-nodes",
        "--ignore-not-found",
    ];
    // Of an interrupted run.
    drop(Undo::new([kubectl("default", &delete)]));
    let _undo = Undo::new([kubectl("default", &delete)]);
    for (name, role) in [("kdev-test-guest", "view"), ("kdev-test-nodes", "system:node")] {
        let role = format!("--clusterrole={role}");
        let create = ["create", "clusterrolebinding", name, &role, "--serviceaccount=guest:guest"];
        run(&mut kubectl("default", &create));
    }
    let token = run(&mut kubectl("guest", &["create", "token", "guest"]));
    let lab = fs::read_to_string(state("kubeconfig")).unwrap();
    let user = lab.find("\nusers:").unwrap();
    let name = lab[user..].split("name: ").nth(1).unwrap().split_whitespace().next().unwrap();
    let guest = format!("{}\nusers:\n- name: {name}\n  user:\n    token: old\n", &lab[..user]);
    service.write("guest.kubeconfig", &guest);
    let config = service.path("guest.kubeconfig");
    let fails = |text: &str| {
        let output = service.up(&[]).env("KUBECONFIG", &config).output().unwrap();
        let stderr = stderr_text(&output);
        assert_eq!(output.status.code(), Some(92), "{stderr}");
        assert!(stderr.contains(text), "{stderr}");
        stderr
    };
    let stderr = fails("rejected the credentials");
    run_help(&stderr.replace("=TOKEN", &format!("={}", token.trim())));

    let stderr = fails("cannot patch resource \"deployments\"");
    let check = stderr.rsplit('`').nth(1).unwrap();
    let mut check = command("sh").args(["-c", check]).env("KUBECONFIG", &config).output().unwrap();
    check.stdout.truncate("no".len());
    assert_eq!((check.status.code(), check.stdout), (Some(1), b"no".to_vec()), "{stderr}");
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn context_without_permission_is_not_modified() {
    let service = Service::new("foreign");
    let lab = fs::read_to_string(state("kubeconfig")).unwrap();
    service.write("foreign.kubeconfig", &lab.replace(": kdev-lab", ": production"));
    let config = service.path("foreign.kubeconfig");
    let all = || run(&mut kubectl("foreign", &["get", "all,configmaps,secrets", "--output=name"]));
    let before = all();
    let up = |args: &[&str]| {
        let mut up = service.up(args);
        up.env("KUBECONFIG", &config).env_remove("KDEV_CONTEXT").output().unwrap()
    };
    for args in [&[][..], &["--force-conflicts", "--recreate"]] {
        let output = up(args);
        let stderr = stderr_text(&output);
        assert_eq!(output.status.code(), Some(92), "{stderr}");
        assert!(stderr.contains("refusing to modify context `production` "), "{stderr}");
        assert_eq!(all(), before);
    }
    let output = up(&["--context", "production"]);
    assert!(output.status.success(), "{}", stderr_text(&output));
    assert_ne!(all(), before);
}

fn role_binding(role: &str) -> String {
    format!(
        "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {{name: beside}}\nroleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {role}}}\n"
    )
}

fn stateful_set(name: &str, size: &str) -> String {
    format!(
        "---\napiVersion: apps/v1\nkind: StatefulSet\nmetadata: {{name: beside}}\nspec:\n  replicas: 0\n  serviceName: beside\n  selector: {{matchLabels: {{set: beside}}}}\n  template:\n    metadata: {{labels: {{set: beside}}}}\n    spec: {{containers: [{{name: web, image: {name}}}]}}\n  volumeClaimTemplates:\n  - metadata: {{name: data}}\n    spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: {size}}}}}}}\n"
    )
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn claim_templates_and_role_references_change_as_help_says() {
    let service = Service::new("immutable");
    write_manifests(&service, &(role_binding("view") + &stateful_set("immutable", "1Mi")));
    service.up_ok();
    write_manifests(&service, &(role_binding("view") + &stateful_set("immutable", "2Mi")));
    let output = service.up(&[]).output().unwrap();
    let stderr = stderr_text(&output);
    assert_eq!(output.status.code(), Some(92), "{stderr}");
    let line = fs::read_to_string(service.path("k8s/all.yaml")).unwrap();
    let line = line.split("apiVersion: apps/v1\nkind: StatefulSet").next().unwrap().lines().count();
    let place = format!("k8s/all.yaml:{}`\n", line + 1);
    assert!(stderr.contains("Note statefulset/beside is defined at `"), "{stderr}");
    assert!(stderr.contains(&place), "{stderr}");
    run_help(&stderr);
    service.up_ok();
    let set = get(service.name, &["statefulset", "beside"]);
    let claim = &set["spec"]["volumeClaimTemplates"][0]["spec"];
    assert_eq!(claim["resources"]["requests"]["storage"], "2Mi");

    write_manifests(&service, &(role_binding("edit") + &stateful_set("immutable", "2Mi")));
    let stderr = service.up_fails(&[], 92);
    let expected = "error: cannot change immutable fields of `rolebinding/beside`
  caused by: `roleRef` of rolebinding/beside is immutable
  help: pass `--recreate` to delete and recreate it\n";
    assert_eq!(stderr, expected);
    let output = service.up(&["--recreate"]).output().unwrap();
    assert!(output.status.success(), "{}", stderr_text(&output));
    let bound = run(&mut kubectl(
        service.name,
        &["get", "rolebinding", "beside", "--output=jsonpath={.roleRef.name}"],
    ));
    assert_eq!(bound, "edit");
}
