//! Workloads that read a changed ConfigMap.

use crate::fields::diff;
use crate::project::{IMAGE, Project};

/// A ConfigMap with this value.
fn config_map(value: &str) -> String {
    format!(
        "apiVersion: v1\ndata:\n  color: {value}\nkind: ConfigMap\nmetadata:\n  managedFields:\n  - apiVersion: v1\n    fieldsV1:\n      f:data: {{}}\n    manager: kdev\n    operation: Apply\n    time: \"2026-01-01T00:01:00Z\"\n  name: colors\n  namespace: default\n"
    )
}

/// A workload that reads the ConfigMap.
fn reader(kind: &str, name: &str, spec: &str) -> String {
    let group = if kind == "Pod" { "v1" } else { "apps/v1" };
    let spec = if kind == "Pod" { spec.into() } else { format!("{{template: {{spec: {spec}}}}}") };
    format!(
        "apiVersion: {group}\nkind: {kind}\nmetadata: {{name: {name}, namespace: default}}\nspec: {spec}\n"
    )
}

const VARIABLES: &str =
    "{containers: [{name: app, image: app, envFrom: [{configMapRef: {name: colors}}]}]}";
const FILES: &str = "{containers: [{name: app, image: app, volumeMounts: [{name: v, mountPath: /c}]}], volumes: [{name: v, configMap: {name: colors}}]}";

/// A project whose ConfigMap has this value, with a Deployment and a Pod that read it.
fn project(after: &str) -> Project {
    let project = Project::new();
    let objects = [
        ("apps.v1.Deployment.default.app", reader("Deployment", "app", VARIABLES)),
        ("apps.v1.StatefulSet.default.files", reader("StatefulSet", "files", FILES)),
        ("v1.Pod.default.once", reader("Pod", "once", VARIABLES)),
    ];
    let mut output = diff("v1.ConfigMap.default.colors", &config_map("red"), &config_map(after));
    output.extend(objects.map(|(file, object)| diff(file, &object, &object)));
    project.write("fake/diff-output", &output);
    project
}

const RESTARTED: &str =
    "rollout restart deployment.apps/app statefulset.apps/files --field-manager=kdev-restart";

#[test]
fn readers_of_changed_config_map_are_reported() {
    let ran = project("blue").run(&["up"]);
    let notes = "        Note `configmap/colors` has changed, but running containers of `pod/once` keep the old values; run `kubectl --context kind-test --namespace default delete pod/once`, then `cargo kdev up` to create new pods
        Note `configmap/colors` has changed, but running containers of `deployment/app` keep the old values; pass `--restart` to restart it
        Note `configmap/colors` has changed, and the kubelet updates its files in the containers of `statefulset/files` within about 90 s, but most programs read them only at the start; pass `--restart` to restart it\n";
    let stderr = ran.code(0).err();
    assert!(stderr.contains(notes), "{stderr}");
    let ran = project("red").run(&["up"]);
    assert!(!ran.code(0).err().contains("has changed"), "{}", ran.err());
}

#[test]
fn readers_of_changed_config_map_are_restarted_with_flag() {
    let project = project("blue");
    let ran = project.run(&["up", "--restart", "--message-format=json"]);
    let lines: Vec<&str> = ran.code(0).out().lines().collect();
    let changed = r#"{"version":1,"reason":"config-changed","config":"configmap/colors","namespace":"default","workloads":["pod/once"],"files":false,"text":"#;
    let restarted = r#"{"version":1,"reason":"restarted","workloads":["deployment.apps/app","statefulset.apps/files"],"context":"kind-test"}"#;
    let is_changed = |line: &&&str| line.contains("config-changed");
    assert_eq!(lines.iter().filter(is_changed).count(), 1, "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with(changed)), "{lines:?}");
    assert!(lines.contains(&restarted), "{lines:?}");
    assert!(project.calls().contains(RESTARTED), "{}", project.calls());
}

#[test]
fn only_readers_with_older_pods_are_restarted_if_nothing_changes() {
    for (created, expected) in [("2026-01-01T00:00:00Z", true), ("2026-01-01T00:02:00Z", false)] {
        let project = project("red");
        let status = format!(
            r#"{{"name":"app","imageID":"{IMAGE}","state":{{"running":{{"startedAt":"{created}"}}}}}}"#
        );
        let pod = crate::project::pod("app-1", "n1", "app", IMAGE, &status);
        let pod = pod.replace(
            r#""name":"app-1","#,
            &format!(r#""name":"app-1","creationTimestamp":"{created}","#),
        );
        let all = format!(
            r#"{{"items":[{},{},{pod}]}}"#,
            std::fs::read_to_string(project.path("fake/deployment.json")).unwrap(),
            crate::project::REPLICA_SET
        );
        project.write("fake/restarted.json", &all);
        let ran = project.run(&["up", "--restart"]);
        let calls = project.calls();
        let restarted = "rollout restart deployment.apps/app --field-manager=kdev-restart";
        assert_eq!(calls.contains(restarted), expected, "{calls}{}", ran.code(0).err());
    }
}
