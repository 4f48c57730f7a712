//! Namespaces that do not exist or are being deleted.

use std::fs;

use crate::owners::record_name;
use crate::project::Project;

const SIMILAR: &str = "error: namespace `shpo` not found in context `kind-test`
  help: use `shop`, or run `kubectl --context kind-test create namespace shpo` to create it
";

#[test]
fn up_to_missing_namespace_is_refused_before_build() {
    let project = Project::new();
    project.run(&["up", "--namespace", "shpo"]).code(92).stderr(SIMILAR);
    assert!(!project.calls().contains("docker build"), "{}", project.calls());
    // The namespace of an object can be missing, too.
    let manifest = fs::read_to_string(project.path("k8s/app.yaml")).unwrap();
    let map = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: shpo}\n";
    project.write("k8s/app.yaml", &format!("{manifest}{map}"));
    project.run(&["up"]).code(92).stderr(SIMILAR);
    // The manifests create it.
    let namespace = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: shpo}\n";
    project.write("k8s/app.yaml", &format!("{manifest}{map}{namespace}"));
    project.run(&["up"]).code(0);
}

#[test]
fn namespaces_that_cannot_be_listed_are_not_checked() {
    let project = Project::new();
    project.write("fake/namespaces-denied", "");
    project.run(&["up", "--namespace", "shpo"]).code(0);
    project.run(&["down", "--namespace", "nope"]).code(0);
}

/// A namespace whose deletion began, and what remains of it.
fn terminating(conditions: &str) -> String {
    format!(
        r#"{{"kind":"Namespace","metadata":{{"name":"default","deletionTimestamp":"2026-01-31T12:00:00Z"}},"status":{{"phase":"Terminating","conditions":[{conditions}]}}}}"#
    )
}

#[test]
fn up_to_terminating_namespace_is_refused_before_build() {
    let project = Project::new();
    project.write("fake/namespaces.json", &terminating(""));
    let wait = "kubectl --context kind-test wait --for=delete namespace/default --timeout=120s";
    let other = "or pass `--namespace NAME` to use another namespace";
    let title = "error: namespace `default` of context `kind-test` is being deleted since 2026-01-31T12:00:00Z, so no object can be created in it";
    project.run(&["up"]).code(92).stderr(&format!(
        "{title}\n  help: run `{wait} && kubectl --context kind-test create namespace default`, {other}\n"
    ));
    assert!(!project.calls().contains("docker build"), "{}", project.calls());
    let remains = r#"{"type":"NamespaceFinalizersRemaining","status":"True","message":"Some content in the namespace has finalizers remaining: example.com/f"}"#;
    project.write("fake/namespaces.json", &terminating(remains));
    // If the manifests create the namespace, waiting is enough.
    let manifest = fs::read_to_string(project.path("k8s/app.yaml")).unwrap();
    let namespace = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: default}\n";
    project.write("k8s/app.yaml", &format!("{manifest}{namespace}"));
    project.run(&["up"]).code(92).stderr(&format!(
        "{title}
  caused by: Some content in the namespace has finalizers remaining: example.com/f
  help: run `{wait}`, {other}\n"
    ));
}

#[test]
fn down_in_missing_namespace_fails() {
    let project = Project::new();
    let title = "error: namespace `shpo` not found in context `kind-test`";
    let ran = project.run(&["down", "--namespace", "shpo"]);
    ran.code(92).stderr(&format!("{title}\n  help: use `shop`\n"));
    // The namespaces to which it was applied are better than similar ones.
    project.run(&["up", "--namespace", "dev"]).code(0);
    let record = |name: &str, namespace: &str| {
        format!(r#"{{"metadata":{{"name":"{name}","namespace":"{namespace}"}}}}"#)
    };
    let records = [record(&record_name(&project), "dev"), record("kdev-other", "shop")];
    project.write("fake/records.json", &format!(r#"{{"items":[{}]}}"#, records.join(",")));
    let ran = project.run(&["down", "--namespace", "shpo"]);
    ran.code(92)
        .stderr(&format!("{title}\n  help: use `dev`, to which `up` has applied this package\n"));
    project.run(&["down"]).code(0).stderr("        Note nothing to delete: `up` has not applied `app` to namespace `default`, but to namespace `dev`\n");
}
