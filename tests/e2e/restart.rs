//! Changes of a ConfigMap or Secret that running containers do not notice.

use crate::lab::{get, run_help, stderr_text};
use crate::test_service::{Service, fetch};

/// The first line of each page is a variable, the second one a file.
fn workload(name: &str, kind: &str, container: &str) -> String {
    let fields = match kind {
        "StatefulSet" => "serviceName: x\n  ",
        _ => "",
    };
    format!(
        "---
apiVersion: apps/v1
kind: {kind}
metadata: {{name: {name}}}
spec:
  {fields}selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      nodeSelector: {{kubernetes.io/hostname: node-1}}
      terminationGracePeriodSeconds: 1
      volumes:
      - {{name: files, configMap: {{name: files}}}}
      containers:
      - name: web
        image: rereads:latest
        command: [/busybox, sh, -c, 'echo \"$PAGE $(/busybox cat /files/page)\" > /www/index.html; exec /busybox httpd -f -p 8080 -h /www']
        readinessProbe: {{httpGet: {{path: /, port: 8080}}, periodSeconds: 1}}
        {container}
"
    )
}

fn write(service: &Service, page: &str, file: &str) {
    let maps = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: variables}}\ndata: {{page: {page}}}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: files}}\ndata: {{page: {file}}}\n"
    );
    let variable =
        "env: [{name: PAGE, valueFrom: {configMapKeyRef: {name: variables, key: page}}}]";
    let from = "envFrom: [{configMapRef: {name: variables}}]";
    let file = "volumeMounts: [{name: files, mountPath: /files}]";
    let sub_path = "volumeMounts: [{name: files, mountPath: /files/page, subPath: page}]";
    let workloads = [
        workload("variable", "Deployment", variable),
        workload("all", "StatefulSet", from).replace("$PAGE", "$page"),
        workload("part", "DaemonSet", sub_path),
        workload("whole", "Deployment", file),
    ];
    service.write("k8s/all.yaml", &format!("{maps}{}", workloads.concat()));
}

/// Returns the page of the workload's pod.
fn page(service: &Service, name: &str) -> String {
    let pods = service.pods();
    let pod = pods.iter().find(|pod| pod["metadata"]["labels"]["app"] == name).unwrap();
    fetch(&format!("http://{}:8080/", pod["status"]["podIP"].as_str().unwrap()))
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn readers_of_changed_config_are_restarted_with_flag() {
    let service = Service::on_node("node-1", "rereads");
    write(&service, "first", "first");
    let stderr = service.up_ok();
    assert!(!stderr.contains("has changed"), "{stderr}");

    write(&service, "second", "first");
    let stderr = service.up_ok();
    let note = "Note `configmap/variables` has changed, but running containers of `statefulset/all` and `deployment/variable` keep the old values; pass `--restart` to restart them";
    assert!(stderr.contains(note) && !stderr.contains("configmap/files"), "{stderr}");
    assert_eq!(page(&service, "variable"), "first");

    // Nothing changes, but the pods are older than the change.
    let up = |args: &[&str]| {
        let output = service.up(args).output().unwrap();
        let stderr = stderr_text(&output);
        assert!(output.status.success(), "{stderr}");
        stderr
    };
    let stderr = up(&["--restart"]);
    let restarted = "Restarted deployment.apps/variable, statefulset.apps/all in kdev-lab";
    assert!(stderr.contains("Unchanged") && stderr.contains(restarted), "{stderr}");
    assert_eq!([page(&service, "variable"), page(&service, "all")], ["second", "second"]);

    let generations = || {
        let kinds =
            ["deployment/variable", "deployment/whole", "statefulset/all", "daemonset/part"];
        let object = |id: &str| {
            let (kind, name) = id.split_once('/').unwrap();
            get("rereads", &[kind, name])["metadata"]["generation"].clone()
        };
        kinds.map(object)
    };
    let before = generations();
    let stderr = up(&[]) + &up(&["--restart"]);
    assert!(!stderr.contains("Applied") && !stderr.contains("Restarted"), "{stderr}");
    assert_eq!(generations(), before);

    write(&service, "second", "third");
    let stderr = up(&["--restart"]);
    let restarted = "Restarted daemonset.apps/part, deployment.apps/whole in kdev-lab";
    assert!(stderr.contains(restarted), "{stderr}");
    assert_eq!([page(&service, "part"), page(&service, "whole")], ["third", "third"]);
    // A template that changes is a restart.
    let before = generations();
    write(&service, "fourth", "fourth");
    let manifest = std::fs::read_to_string(service.path("k8s/all.yaml")).unwrap();
    let changed = manifest.replace("PeriodSeconds: 1", "PeriodSeconds: 2");
    service.write("k8s/all.yaml", &changed);
    let stderr = up(&["--restart"]);
    assert!(!stderr.contains("Restarted") && !stderr.contains("has changed"), "{stderr}");
    assert_eq!(page(&service, "all"), "fourth");
    assert!(generations().iter().zip(&before).all(|(after, before)| after != before));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn pod_that_reads_changed_secret_is_replaced_by_advice() {
    let service = Service::on_node("node-2", "reader");
    let write = |password: &str| {
        let manifest = format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\nstringData: {{password: {password}}}\n---
apiVersion: v1
kind: Pod
metadata: {{name: reader}}
spec:
  nodeSelector: {{kubernetes.io/hostname: node-2}}
  terminationGracePeriodSeconds: 1
  containers:
  - name: web
    image: reader:latest
    command: [/busybox, sh, -c, 'echo $PASSWORD > /www/index.html; exec /busybox httpd -f -p 8080 -h /www']
    readinessProbe: {{httpGet: {{path: /, port: 8080}}, periodSeconds: 1}}
    env: [{{name: PASSWORD, valueFrom: {{secretKeyRef: {{name: s, key: password, optional: true}}}}}}]
"
        );
        service.write("k8s/all.yaml", &manifest);
    };
    write("first");
    service.up_ok();
    write("second");
    let output = service.up(&["--restart"]).output().unwrap();
    let stderr = stderr_text(&output);
    assert!(output.status.success(), "{stderr}");
    let note = "Note `secret/s` has changed, but running containers of `pod/reader` keep the old values; run `kubectl ";
    assert!(stderr.contains(note), "{stderr}");
    let (_, advice) = stderr.split_once("keep the old values; run ").unwrap();
    run_help(&format!("  help: {advice}"));
    service.up_ok();
    assert_eq!(service.pages()[0].1, "second");
}
