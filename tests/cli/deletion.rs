//! Deletions that do not end in time.

use crate::project::Project;

/// A project whose `down` deletes one object, which then is as in `live`.
fn held(member: &str, live: &str) -> Project {
    let project = Project::new();
    project.run(&["up"]).code(0);
    project.record_members(&format!("{member}\n"));
    project.write("fake/kubectl-delete-fails", "error: timed out waiting for the condition\n");
    project.write("fake/existing.json", live);
    project
}

const TIME: &str = r#""deletionTimestamp":"2026-01-31T12:00:00Z""#;
const DOWN: [&str; 3] = ["down", "--delete-data", "--yes"];

#[test]
fn claim_in_use_is_named() {
    let live = format!(
        r#"{{"kind":"PersistentVolumeClaim","apiVersion":"v1","metadata":{{"name":"files","namespace":"default","finalizers":["kubernetes.io/pvc-protection"],{TIME}}}}}"#
    );
    let project = held("persistentvolumeclaim/files", &live);
    project.run(&DOWN).code(92).stderr("error: finalizers prevent the deletion of `persistentvolumeclaim/files`
  caused by: `persistentvolumeclaim/files` in namespace `default` has the finalizer `kubernetes.io/pvc-protection`
  help: run `kubectl --context kind-test --namespace default describe persistentvolumeclaim/files` to see the pods that use it, and delete them\n");
}

#[test]
fn slow_deletion_is_continued_by_help() {
    let live = format!(
        r#"{{"kind":"Namespace","apiVersion":"v1","metadata":{{"name":"shop",{TIME}}},"status":{{"conditions":[{{"type":"NamespaceContentRemaining","status":"True","message":"Some resources are remaining: pods. has 2"}}]}}}}"#
    );
    let project = held("namespace/shop", &live);
    project.run(&DOWN).code(92).stderr("error: timed out waiting for the deletion of `namespace/shop`
  caused by: Some resources are remaining: pods. has 2
  help: run `kubectl --context kind-test wait --for=delete namespace/shop --timeout=120s`, and then the command again\n");
    // It is gone when the limit has passed.
    project.write("fake/existing.json", "");
    let ran = project.run(&DOWN);
    let stderr = ran.err();
    assert!(stderr.starts_with("     Deleted namespace/shop from kind-test\n"), "{stderr}");
}

#[test]
fn finalizer_in_namespace_is_named() {
    let live =
        format!(r#"{{"kind":"Namespace","apiVersion":"v1","metadata":{{"name":"shop",{TIME}}}}}"#);
    let project = held("namespace/shop", &live);
    let fields = r#"{"f:metadata":{"f:finalizers":{"v:\"example.com/f\"":{}}}}"#;
    let inner = format!(
        r#"{{"items":[{{"kind":"ConfigMap","apiVersion":"v1","metadata":{{"name":"inner","namespace":"shop","finalizers":["example.com/f"],"managedFields":[{{"manager":"operator","fieldsV1":{fields}}}],{TIME}}}}}]}}"#
    );
    project.write("fake/api-resources", "configmaps\n").write("fake/records.json", &inner);
    project.run(&DOWN).code(92).stderr("error: finalizers prevent the deletion of `configmap/inner`
  caused by: `configmap/inner` in namespace `shop` has the finalizer `example.com/f`, which field manager `operator` has set
  help: run the command again while the controller of the finalizer is running, or skip its cleanup: `kubectl --context kind-test --namespace shop patch configmap/inner --type=merge --patch '{\"metadata\":{\"finalizers\":null}}'`\n");
}

#[test]
fn rejected_deletion_keeps_its_cause() {
    let project = held("deployment.apps/app", "");
    project.write("fake/kubectl-delete-fails", "Error from server (Forbidden): deployments.apps \"app\" is forbidden: User \"jane\" cannot delete resource\n");
    let ran = project.run(&["down"]);
    let stderr = ran.code(92).err();
    assert!(
        stderr.starts_with(
            "error: the API server of context `kind-test` rejected the request to delete objects\n"
        ),
        "{stderr}"
    );
}

/// A StatefulSet that Kubernetes deletes with its volume claims.
const DATABASE: &str = r#"{"kind":"StatefulSet","apiVersion":"apps/v1","metadata":{"name":"db","namespace":"default"},"spec":{"persistentVolumeClaimRetentionPolicy":{"whenDeleted":"Delete"},"volumeClaimTemplates":[{}]}}"#;

#[test]
fn stateful_set_with_its_claims_and_annotated_object_stay_without_flag() {
    let secret = r#"{"kind":"Secret","apiVersion":"v1","metadata":{"name":"password","namespace":"default","annotations":{"helm.sh/resource-policy":"keep"}}}"#;
    let project = Project::new();
    project.run(&["up"]).code(0);
    project.record_members("secret/password\nstatefulset.apps/db\n");
    project.write("fake/members.json", &format!(r#"{{"items":[{DATABASE},{secret}]}}"#));
    project.run(&["down"]).code(0).stderr(
        "        Note `secret/password` and `statefulset.apps/db` stay; pass `--delete-data` to delete them\n",
    );
    project.run(&["down", "--delete-data"]).code(92).error(
        "error: refusing to delete `secret/password` and `statefulset.apps/db` with its volume claims without confirmation
  help: pass `--yes` to delete it without a question\n",
    );
    assert!(!project.calls().contains(" delete "), "{}", project.calls());
    let ran = project.run(&DOWN);
    let deleted = "Deleted secret/password, statefulset.apps/db from kind-test\n";
    assert!(ran.code(0).err().contains(deleted), "{}", ran.err());
}

#[test]
fn stateful_set_with_its_claims_is_not_recreated() {
    let project = Project::new();
    let immutable = "The StatefulSet \"db\" is invalid: spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden\n";
    project.write("fake/kubectl-diff-fails", immutable).write("fake/existing.json", DATABASE);
    project.run(&["up", "--recreate"]).code(92).error(
        "error: refusing to delete and recreate `statefulset.apps/db`, because its volume claims would be deleted with it
  help: run `kubectl --context kind-test --namespace default delete statefulset.apps/db --cascade=orphan` and then the command again to keep its pods and volume claims as they are\n",
    );
    assert!(!project.calls().contains(" delete "), "{}", project.calls());
}
