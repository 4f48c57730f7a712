//! Objects that Kubernetes deletes with their owners.

use std::thread;
use std::time::Duration;

use crate::lab::{get, kubectl, run, stderr_text};
use crate::owners::{config_map, objects, workload};
use crate::test_service::Service;

/// Longer than the garbage collector needs for an object without an owner.
const COLLECTION: Duration = Duration::from_secs(5);

const CLAIM: &str = "---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: files}
spec: {accessModes: [ReadWriteOnce], storageClassName: '', resources: {requests: {storage: 1Mi}}}
";

/// Makes `configmap/owner` an owner of an object.
fn add_owner(namespace: &str, object: &str) {
    let uid = get(namespace, &["configmap/owner"])["metadata"]["uid"].clone();
    let patch = format!(
        r#"{{"metadata":{{"ownerReferences":[{{"apiVersion":"v1","kind":"ConfigMap","name":"owner","uid":{uid}}}]}}}}"#
    );
    run(&mut kubectl(namespace, &["patch", object, "--patch", &patch]));
}

fn down(service: &Service, flags: &[&str]) -> String {
    let args = [&["down", "--namespace", service.name], flags].concat();
    let output = service.kdev(&args).output().unwrap();
    assert!(output.status.success(), "{}", stderr_text(&output));
    stderr_text(&output)
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn owner_of_object_that_stays_is_not_deleted() {
    let name = "owned";
    let service = Service::on_node("node-1", name);
    run(&mut kubectl(name, &["create", "configmap", "existed"]));
    let maps = config_map("owner", name) + &config_map("existed", name);
    service.write("k8s/all.yaml", &format!("{}{CLAIM}{maps}", workload(name, name)));
    service.up_ok();
    add_owner(name, "persistentvolumeclaim/files");
    let stderr = down(&service, &[]);
    let note = "Note `configmap/owner` and `persistentvolumeclaim/files` stay; pass `--delete-data` to delete them";
    assert!(stderr.contains(note), "{stderr}");
    thread::sleep(COLLECTION);
    let claim = get(name, &["persistentvolumeclaim/files"]);
    assert!(claim["metadata"]["deletionTimestamp"].is_null(), "{claim}");

    // Follow the advice, while the owner also has an object that kdev has not created.
    service.up_ok();
    add_owner(name, "configmap/existed");
    let stderr = down(&service, &["--delete-data", "--yes"]);
    let note = "Note `configmap/owner` stays, because it owns objects that stay; remove the references from `metadata.ownerReferences` of these objects to delete it";
    assert!(stderr.contains(note), "{stderr}");
    assert!(
        stderr.contains("Deleted cronjob.batch/owned, persistentvolumeclaim/files"),
        "{stderr}"
    );
    thread::sleep(COLLECTION);
    assert_eq!(objects(name).len(), 3, "{:?}", objects(name));
    // Follow the advice.
    let patch = r#"{"metadata":{"ownerReferences":null}}"#;
    run(&mut kubectl(name, &["patch", "configmap/existed", "--type=merge", "--patch", patch]));
    let stderr = down(&service, &[]);
    assert!(stderr.contains("Deleted configmap/owner from kdev-lab"), "{stderr}");
    assert_eq!(objects(name), ["configmap/existed"]);
}
