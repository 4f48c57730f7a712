//! Containers whose configuration is incomplete: missing objects, keys, and users.

use std::fs;

use super::Scenario;
use crate::lab::run;

const NEVER: &str = "imagePullPolicy: Never";
const WAITING_REASONS: [&str; 1] = ["CreateContainerConfigError"];

impl Scenario {
    /// Builds an image that sleeps, and deploys it with these lines in its container.
    fn deploy_sleeping(&self, lines: &str) {
        let image = format!("{}:dev", self.name);
        self.build(&image);
        self.import("node-2", "k8s.io", &image);
        self.create_deployment("node-2", &image, &format!("{NEVER}\n{lines}"));
    }
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn missing_config_map_reports_config_not_found() {
    let scenario = Scenario::on_node("node-2", "map-missing");
    scenario.deploy_sleeping("envFrom: [{configMapRef: {name: settings}}]");
    scenario.wait_for_reason(&WAITING_REASONS);
    let report = scenario.assert_causes(&["config-not-found"]);
    report.follow_help_with(0, &[("KEY", "COLOR"), ("VALUE", "blue")]);
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn missing_secret_reports_config_not_found() {
    let scenario = Scenario::on_node("node-2", "secret-missing");
    scenario.deploy_sleeping(
        "env: [{name: TOKEN, valueFrom: {secretKeyRef: {name: api, key: token}}}]",
    );
    scenario.wait_for_reason(&WAITING_REASONS);
    scenario.assert_causes(&["config-not-found"]).follow_help_with(0, &[("VALUE", "abc")]);
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn missing_secret_key_reports_config_not_found() {
    let scenario = Scenario::on_node("node-2", "key-missing");
    run(&mut scenario.kubectl(&["create", "secret", "generic", "api", "--from-literal=user=me"]));
    scenario.deploy_sleeping(
        "env: [{name: TOKEN, valueFrom: {secretKeyRef: {name: api, key: token}}}]",
    );
    scenario.wait_for_reason(&WAITING_REASONS);
    scenario.assert_causes(&["config-not-found"]).follow_help_with(0, &[("VALUE", "abc")]);
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn root_image_reports_run_as_non_root() {
    let scenario = Scenario::on_node("node-2", "run-as-non-root");
    scenario.deploy_sleeping("securityContext: {runAsNonRoot: true}");
    scenario.wait_for_reason(&WAITING_REASONS);
    scenario.assert_causes(&["run-as-non-root"]).follow_help(0);
    run(&mut scenario.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn missing_config_map_key_reports_config_not_found() {
    let scenario = Scenario::on_node("node-2", "map-lacks-key");
    run(&mut scenario.kubectl(&["create", "configmap", "settings", "--from-literal=size=1"]));
    scenario.deploy_sleeping(
        "env: [{name: COLOR, valueFrom: {configMapKeyRef: {name: settings, key: color}}}]",
    );
    scenario.wait_for_reason(&WAITING_REASONS);
    scenario.assert_causes(&["config-not-found"]).follow_help_with(0, &[("VALUE", "blue")]);
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn image_with_user_name_reports_run_as_non_root() {
    let scenario = Scenario::on_node("node-2", "user-by-name");
    fs::write(scenario.path("passwd"), "app:x:1000:1000::/:/bin/sh\n").unwrap();
    let lines =
        "COPY passwd /etc/passwd\nUSER app\nENTRYPOINT [\"/busybox\", \"sleep\", \"9999\"]\n";
    scenario.build_with("user-by-name:dev", lines);
    scenario.import("node-2", "k8s.io", "user-by-name:dev");
    let lines = format!("{NEVER}\nsecurityContext: {{runAsNonRoot: true}}");
    scenario.create_deployment("node-2", "user-by-name:dev", &lines);
    scenario.wait_for_reason(&WAITING_REASONS);
    scenario.assert_causes(&["run-as-non-root"]).follow_help(0);
    run(&mut scenario.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]));
}
