//! Containers that cannot be made from what their specification names.

use std::fs;

use super::Scene;
use crate::lab::run;

const NEVER: &str = "imagePullPolicy: Never";
const WAITS: [&str; 1] = ["CreateContainerConfigError"];

impl Scene {
    /// A Deployment that sleeps, with more lines for its container.
    fn sleeps(&self, lines: &str) {
        let image = format!("{}:dev", self.name);
        self.build(&image);
        self.import("node-2", "k8s.io", &image);
        self.deployment("node-2", &image, &format!("{NEVER}\n{lines}"));
    }
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn missing_config_map_reports_config_not_found() {
    let scene = Scene::on("node-2", "map-missing");
    scene.sleeps("envFrom: [{configMapRef: {name: settings}}]");
    scene.waits(&WAITS);
    let found = scene.is_judged(&["config-not-found"]);
    found.follow_with(0, &[("KEY", "COLOR"), ("VALUE", "blue")]);
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn missing_secret_reports_config_not_found() {
    let scene = Scene::on("node-2", "secret-missing");
    scene.sleeps("env: [{name: TOKEN, valueFrom: {secretKeyRef: {name: api, key: token}}}]");
    scene.waits(&WAITS);
    scene.is_judged(&["config-not-found"]).follow_with(0, &[("VALUE", "abc")]);
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn missing_secret_key_reports_config_not_found() {
    let scene = Scene::on("node-2", "key-missing");
    run(&mut scene.kubectl(&["create", "secret", "generic", "api", "--from-literal=user=me"]));
    scene.sleeps("env: [{name: TOKEN, valueFrom: {secretKeyRef: {name: api, key: token}}}]");
    scene.waits(&WAITS);
    scene.is_judged(&["config-not-found"]).follow_with(0, &[("VALUE", "abc")]);
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn root_image_reports_run_as_non_root() {
    let scene = Scene::on("node-2", "must-not-be-root");
    scene.sleeps("securityContext: {runAsNonRoot: true}");
    scene.waits(&WAITS);
    scene.is_judged(&["run-as-non-root"]).follow(0);
    run(&mut scene.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn missing_config_map_key_reports_config_not_found() {
    let scene = Scene::on("node-2", "map-lacks-key");
    run(&mut scene.kubectl(&["create", "configmap", "settings", "--from-literal=size=1"]));
    scene
        .sleeps("env: [{name: COLOR, valueFrom: {configMapKeyRef: {name: settings, key: color}}}]");
    scene.waits(&WAITS);
    scene.is_judged(&["config-not-found"]).follow_with(0, &[("VALUE", "blue")]);
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn image_with_user_name_reports_run_as_non_root() {
    let scene = Scene::on("node-2", "user-by-name");
    fs::write(scene.path("passwd"), "app:x:1000:1000::/:/bin/sh\n").unwrap();
    let lines =
        "COPY passwd /etc/passwd\nUSER app\nENTRYPOINT [\"/busybox\", \"sleep\", \"9999\"]\n";
    scene.build_with("user-by-name:dev", lines);
    scene.import("node-2", "k8s.io", "user-by-name:dev");
    let lines = format!("{NEVER}\nsecurityContext: {{runAsNonRoot: true}}");
    scene.deployment("node-2", "user-by-name:dev", &lines);
    scene.waits(&WAITS);
    scene.is_judged(&["run-as-non-root"]).follow(0);
    run(&mut scene.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]));
}
