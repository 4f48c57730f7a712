//! Fields that were set with kubectl before or between the runs of `up`.

use serde_json::{Value, json};

use crate::lab::{apply, get, kubectl, run};
use crate::test_service::{Service, deployment};

const KIND: &str = "handovers.handover.example.com";

/// Deletes the definition, also if the test fails.
struct Definition;

impl Drop for Definition {
    fn drop(&mut self) {
        let _ = kubectl("default", &["delete", "--ignore-not-found", "crd", KIND]).output();
    }
}

/// Returns the manifest, in which each object has one part for each name.
fn manifest(names: &[&str]) -> String {
    let env: Vec<String> = names.iter().map(|name| format!("{{name: {name}, value: v}}")).collect();
    let ports: Vec<String> =
        names.iter().map(|name| format!("{{name: {name}, port: {}}}", name.len())).collect();
    let container = format!("env: [{}]", env.join(", "));
    let deployment = deployment("handover", &container).replace("  replicas: 2\n", "");
    let pairs: Vec<String> = names.iter().map(|name| format!("{name}: {name}")).collect();
    let data = pairs.join(", ");
    format!(
        "{deployment}---
apiVersion: v1
kind: ConfigMap
metadata: {{name: handover, annotations: {{{data}}}}}
data: {{{data}}}
---
apiVersion: v1
kind: Secret
metadata: {{name: handover}}
stringData: {{{data}}}
---
apiVersion: v1
kind: Service
metadata: {{name: handover}}
spec: {{selector: {{app: handover}}, ports: [{}]}}
---
apiVersion: handover.example.com/v1
kind: Handover
metadata: {{name: handover}}
spec: {{{data}}}
",
        ports.join(", ")
    )
}

/// Returns which names the objects contain.
fn names(object: &str, pointer: &str) -> Vec<String> {
    let json = run(&mut kubectl("handover", &["get", object, "handover", "--output=json"]));
    let live: Value = serde_json::from_str(&json).unwrap();
    match live.pointer(pointer) {
        Some(Value::Array(items)) => {
            items.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
        }
        Some(Value::Object(map)) => map.keys().cloned().collect(),
        _ => Vec::new(),
    }
}

#[track_caller]
fn assert_names(expected: &[&str]) {
    let places = [
        ("deployment", "/spec/template/spec/containers/0/env"),
        ("configmap", "/data"),
        ("configmap", "/metadata/annotations"),
        ("secret", "/data"),
        ("service", "/spec/ports"),
        (KIND, "/spec"),
    ];
    for (object, pointer) in places {
        assert_eq!(names(object, pointer), expected, "{object} {pointer}");
    }
}

#[track_caller]
fn assert_unchanged(service: &Service) {
    let stderr = service.up_ok();
    assert!(stderr.contains("Unchanged"), "{stderr}");
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn key_of_client_side_apply_is_removed() {
    let _definition = Definition;
    drop(Definition);
    let service = Service::new("handover");
    apply(
        "handover",
        "apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: handovers.handover.example.com}
spec:
  group: handover.example.com
  scope: Namespaced
  names: {kind: Handover, plural: handovers}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
",
    );
    let crd = format!("crd/{KIND}");
    run(&mut kubectl("handover", &["wait", "--for=condition=Established", "--timeout=30s", &crd]));
    apply("handover", &manifest(&["keep", "later", "old"]));
    // A controller and another person own fields that are in no manifest.
    run(&mut kubectl("handover", &["scale", "deployment/handover", "--replicas=2"]));
    let patch = |manager: &str, patch: &str| {
        let manager = format!("--field-manager={manager}");
        let flags = ["patch", "configmap/handover", &manager, "--type=merge", "-p", patch];
        run(&mut kubectl("handover", &flags));
    };
    patch("controller", r#"{"metadata": {"labels": {"c": "1"}}}"#);
    patch("kubectl-edit", r#"{"metadata": {"labels": {"hers": "1"}}}"#);

    service.write("k8s/all.yaml", &manifest(&["keep", "later"]));
    service.up_ok();
    assert_names(&["keep", "later"]);
    let deployment = get("handover", &["deployment", "handover"]);
    assert_eq!(deployment["spec"]["replicas"], 2);
    let labels = get("handover", &["configmap", "handover"])["metadata"]["labels"].clone();
    assert!(labels["c"] == "1" && labels["hers"] == "1", "{labels}");
    assert_unchanged(&service);

    // Keys that only kdev has applied, or someone has copied from the manifests.
    patch("kubectl-edit", r#"{"data": {"later": "x"}}"#);
    patch("kubectl-edit", r#"{"data": {"later": "later"}}"#);
    service.up_ok();
    service.write("k8s/all.yaml", &manifest(&["keep"]));
    service.up_ok();
    assert_names(&["keep"]);
    // A rollback restores a variable.
    run(&mut kubectl("handover", &["rollout", "undo", "deployment/handover"]));
    assert_eq!(names("deployment", "/spec/template/spec/containers/0/env"), ["keep", "later"]);
    service.up_ok();
    assert_names(&["keep"]);
    assert_unchanged(&service);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn key_of_created_object_is_removed() {
    let service = Service::new("created");
    let write = |data: &str| {
        let map = format!(
            "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: created}}\ndata: {{{data}}}\n"
        );
        service.write("k8s/all.yaml", &format!("{}{map}", deployment("created", "")));
        map
    };
    let map = service.path("map.yaml");
    std::fs::write(&map, write("keep: x, old: x").trim_start_matches("---\n")).unwrap();
    run(kubectl("created", &["create", "--filename"]).arg(&map));
    service.up_ok();
    write("keep: x");
    service.up_ok();
    let data = || get("created", &["configmap", "created"])["data"].clone();
    assert_eq!(data(), json!({"keep": "x"}));
    // Without any field that kdev could own.
    write("");
    service.up_ok();
    assert_eq!(data(), Value::Null);
    assert_unchanged(&service);
}
