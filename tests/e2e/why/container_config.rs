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
fn why_a_config_map_that_is_missing_keeps_a_container_from_starting() {
    let scene = Scene::on("node-2", "map-missing");
    scene.sleeps("envFrom: [{configMapRef: {name: settings}}]");
    scene.waits(&WAITS);
    let found = scene.is_judged(&["config-not-found"]);
    found.follow_with(0, &[("KEY", "COLOR"), ("VALUE", "blue")]);
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn why_a_secret_that_is_missing_keeps_a_container_from_starting() {
    let scene = Scene::on("node-2", "secret-missing");
    scene.sleeps("env: [{name: TOKEN, valueFrom: {secretKeyRef: {name: api, key: token}}}]");
    scene.waits(&WAITS);
    scene.is_judged(&["config-not-found"]).follow_with(0, &[("VALUE", "abc")]);
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn why_a_key_that_is_missing_keeps_a_container_from_starting() {
    let scene = Scene::on("node-2", "key-missing");
    run(&mut scene.kubectl(&["create", "secret", "generic", "api", "--from-literal=user=me"]));
    scene.sleeps("env: [{name: TOKEN, valueFrom: {secretKeyRef: {name: api, key: token}}}]");
    scene.waits(&WAITS);
    scene.is_judged(&["config-not-found"]).follow_with(0, &[("VALUE", "abc")]);
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn why_an_image_of_roots_may_not_run_as_somebody_else() {
    let scene = Scene::on("node-2", "must-not-be-root");
    scene.sleeps("securityContext: {runAsNonRoot: true}");
    scene.waits(&WAITS);
    scene.is_judged(&["run-as-non-root"]).follow(0);
    run(&mut scene.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn why_a_key_that_a_config_map_lacks_keeps_a_container_from_starting() {
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
fn why_a_user_without_a_number_may_be_root() {
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
