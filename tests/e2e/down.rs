//! What `down` and `up --prune` delete, keep, and wait for.

use serde_json::Value;

use crate::lab::{command, kubectl, run, run_help, run_on_terminal, state, stderr_text};
use crate::namespace::{self, DeleteOnDrop};
use crate::test_service::{Service, deployment};

/// Returns whether the object exists.
fn exists(namespace: &str, object: &str) -> bool {
    kubectl(namespace, &["get", object]).output().unwrap().status.success()
}

#[track_caller]
fn run_ok(service: &Service, args: &[&str]) -> String {
    run_with_code(service, args, 0)
}

#[track_caller]
fn run_with_code(service: &Service, args: &[&str], code: i32) -> String {
    let output = service.kdev(&[args, &["--namespace", service.name]].concat()).output().unwrap();
    let stderr = stderr_text(&output);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    stderr
}

/// A namespace and a ConfigMap that exist before the first `up`, and others that do not.
const BEFORE: &str = "---
apiVersion: v1
kind: Namespace
metadata: {name: before-shop}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {a: b}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: new, namespace: before-new}
---
apiVersion: v1
kind: Namespace
metadata: {name: before-new}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: files}
spec: {accessModes: [ReadWriteOnce], storageClassName: '', resources: {requests: {storage: 1Mi}}}
";

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn objects_from_before_first_up_stay() {
    let service = Service::new("before");
    let _namespaces = [DeleteOnDrop("before-shop"), DeleteOnDrop("before-new")];
    namespace::create("before-shop");
    run(&mut kubectl("before-shop", &["create", "configmap", "foreign"]));
    run(&mut kubectl("before", &["create", "configmap", "settings", "--from-literal=a=b"]));
    let manifest = deployment("before", "");
    service.write("k8s/all.yaml", &format!("{manifest}{BEFORE}"));
    // A failed `up` does not change who created an object.
    let invalid = "---\napiVersion: v1\nkind: Service\nmetadata: {name: before}\nspec: {ports: [{port: 0}]}\n";
    service.write("k8s/invalid.yaml", invalid);
    service.up_fails(&[], 92);
    std::fs::remove_file(service.path("k8s/invalid.yaml")).unwrap();
    service.up_ok();
    let stderr = service.up_ok();
    assert!(stderr.contains("Unchanged"), "{stderr}");

    // On a terminal, the question counts the objects that a deletion would also delete.
    run(&mut kubectl("before-new", &["create", "configmap", "foreign"]));
    run(&mut kubectl("before-new", &["create", "secret", "generic", "foreign"]));
    let kdev = service.kdev(&[]);
    let line =
        format!("{} kdev down --delete-data --namespace before", env!("CARGO_BIN_EXE_cargo-kdev"));
    let question = "Delete `namespace/before-new` with 1 ConfigMap and 1 Secret of others and `persistentvolumeclaim/files` with 1Mi?";
    let screen = run_on_terminal(&line, &kdev, "[y/N] ", "n").replace("\n    ", " ");
    assert!(screen.contains(question), "{screen}");
    assert!(screen.contains("without confirmation"), "{screen}");
    let stderr = run_with_code(&service, &["down", "--delete-data"], 92);
    assert!(stderr.contains("help: pass `--yes`"), "{stderr}");
    assert!(exists("before", "deployment/before") && exists("before-new", "configmap/new"));

    let stderr = run_ok(&service, &["down", "--delete-data", "--yes"]);
    let note = "Note `namespace/before-shop` and `configmap/settings` stay, because they existed before `up` applied them";
    assert!(stderr.contains(note), "{stderr}");
    assert!(exists("before-shop", "configmap/foreign") && exists("before", "configmap/settings"));
    assert!(!exists("before", "namespace/before-new") && !exists("before", "pvc/files"));
    assert!(!exists("before", "deployment/before"));

    // kdev creates the ConfigMap again, so it is kdev's then.
    run(&mut kubectl("before", &["delete", "configmap", "settings"]));
    service.up_ok();
    let stderr = run_ok(&service, &["down", "--delete-data", "--yes"]);
    assert!(stderr.contains("`namespace/before-shop` stays, because it existed"), "{stderr}");
    assert!(!exists("before", "configmap/settings") && exists("before-shop", "configmap/foreign"));

    // An object that is no longer in the manifests is reported once.
    service.up_ok();
    service.write("k8s/all.yaml", &manifest);
    let stderr = run_ok(&service, &["up", "--prune", "--delete-data", "--yes"]);
    assert!(stderr.contains("`namespace/before-shop` stays, because it existed"), "{stderr}");
    assert!(!exists("before", "configmap/settings") && exists("before-shop", "configmap/foreign"));
    let stderr = service.up_ok();
    assert!(!stderr.contains("before-shop"), "{stderr}");
}

const GADGET: &str = "---
apiVersion: held.example.com/v1
kind: Gadget
metadata: {name: g, labels: {a: b}}
";
const DEFINITION: &str = "---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gadgets.held.example.com}
spec:
  group: held.example.com
  scope: Namespaced
  names: {kind: Gadget, plural: gadgets}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]
";
const CRD: &str = "customresourcedefinition/gadgets.held.example.com";
const NO_FINALIZERS: &str = r#"--patch={"metadata":{"finalizers":null}}"#;

/// Removes the custom resource with its finalizer, and its definition, when dropped. The
/// finalizer would also keep the namespace.
struct HeldGadget;

impl HeldGadget {
    fn new() -> Self {
        drop(Self);
        Self
    }
}

impl Drop for HeldGadget {
    fn drop(&mut self) {
        let patch = ["patch", "gadgets.held.example.com", "g", "--type=merge", NO_FINALIZERS];
        let _ = kubectl("held", &patch).output();
        let _ = kubectl("held", &["delete", CRD, "--ignore-not-found"]).output();
    }
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn finalizer_is_named_and_missing_kind_does_not_matter() {
    let _gadget = HeldGadget::new();
    let service = Service::new("held");
    let manifest = deployment("held", "");
    service.write("k8s/all.yaml", &format!("{manifest}{DEFINITION}{GADGET}"));
    service.up_ok();
    let patch = r#"--patch={"metadata":{"finalizers":["held.example.com/cleanup"]}}"#;
    let manager = "--field-manager=gadget-operator";
    run(&mut kubectl(
        "held",
        &["patch", "gadgets.held.example.com", "g", "--type=merge", patch, manager],
    ));
    let stderr = run_with_code(&service, &["down", "--delete-data"], 92);
    let question = "`customresourcedefinition.apiextensions.k8s.io/gadgets.held.example.com` with 1 custom resource without confirmation";
    assert!(stderr.contains(question), "{stderr}");
    let stderr = run_with_code(&service, &["down", "--delete-data", "--yes"], 92);
    let error = "error: finalizers prevent the deletion of `gadget.held.example.com/g`
  caused by: `gadget.held.example.com/g` in namespace `held` has the finalizer `held.example.com/cleanup`, which field manager `gadget-operator` has set";
    assert!(stderr.contains(error), "{stderr}");
    assert!(exists("held", "deployment/held"), "the controller must stay");
    run_help(&stderr);
    let stderr = run_ok(&service, &["down", "--delete-data", "--yes"]);
    assert!(!exists("held", "deployment/held") && !exists("held", CRD), "{stderr}");

    // Without its definition, a custom resource cannot exist.
    service.write("k8s/all.yaml", &format!("{manifest}{DEFINITION}{GADGET}"));
    service.up_ok();
    run(&mut kubectl("held", &["delete", CRD]));
    service.write("k8s/all.yaml", &manifest);
    service.up_ok();
    run_ok(&service, &["up", "--prune"]);
    service.write("k8s/all.yaml", &format!("{manifest}{DEFINITION}{GADGET}"));
    service.up_ok();
    run(&mut kubectl("held", &["delete", CRD]));
    run_ok(&service, &["down"]);
    assert!(!exists("held", "deployment/held"));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn namespace_must_exist_and_stay() {
    let service = Service::new("typos");
    let _created = DeleteOnDrop("typso");
    let fails = |command: &str| {
        let output = service.kdev(&[command, "--namespace", "typso"]).output().unwrap();
        let stderr = stderr_text(&output);
        assert_eq!(output.status.code(), Some(92), "{stderr}");
        stderr
    };
    let missing = "error: namespace `typso` not found in context `kdev-lab`\n  help: use ";
    let stderr = fails("up");
    assert!(stderr.starts_with(&format!("{missing}`typos`, or run `kubectl")), "{stderr}");
    let stderr = fails("down");
    assert!(stderr.starts_with(&format!("{missing}`typos`\n")), "{stderr}");
    service.up_ok();
    let stderr = fails("down");
    assert!(
        stderr.ends_with("help: use `typos`, to which `up` has applied this package\n"),
        "{stderr}"
    );
    // Follow the advice of `up`.
    let stderr = fails("up");
    let create = stderr.split('`').find(|part| part.starts_with("kubectl")).unwrap();
    shell(create);
    namespace::wait_until_usable("typso");
    let note = "nothing to delete: `up` has not applied `typos` to namespace `typso`, but to namespace `typos`";
    let output = service.kdev(&["down", "--namespace", "typso"]).output().unwrap();
    assert!(stderr_text(&output).contains(note), "{}", stderr_text(&output));

    let map = r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "held", "finalizers": ["example.com/held"]}}"#;
    crate::lab::apply("typso", map);
    namespace::delete("typso");
    crate::lab::wait_for("the report of the finalizer", || {
        let conditions =
            crate::lab::get("", &["namespace", "typso"])["status"]["conditions"].clone();
        let remains =
            |one: &Value| one["type"] == "NamespaceFinalizersRemaining" && one["status"] == "True";
        conditions.as_array().is_some_and(|all| all.iter().any(remains)).then_some(())
    });
    let stderr = fails("up");
    assert!(
        stderr
            .starts_with("error: namespace `typso` of context `kdev-lab` is being deleted since "),
        "{stderr}"
    );
    assert!(
        stderr.contains("caused by: ") && stderr.contains("example.com/held in 1 resource"),
        "{stderr}"
    );
    run(&mut kubectl("typso", &["patch", "configmap", "held", "--type=merge", NO_FINALIZERS]));
    run_help(&stderr);
    namespace::wait_until_usable("typso");
    let output = service.kdev(&["up", "--namespace", "typso"]).output().unwrap();
    assert!(output.status.success(), "{}", stderr_text(&output));
}

/// Runs a command line that a message advises.
#[track_caller]
fn shell(line: &str) {
    run(command("sh").args(["-c", line]).env("KUBECONFIG", state("kubeconfig")));
}
