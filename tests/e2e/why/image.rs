//! Images that the kubelet does not find, does not accept, or pulls although they exist.

use super::Scenario;
use crate::admission::StrictApiServer;
use crate::exclusive::{Claim, Part};
use crate::kubelet::{ALWAYS_VERIFY, FEATURE_GATE, ReconfiguredKubelet};
use crate::lab::{command, docker, images_on, in_node, run, wait_for};

const NEVER: &str = "imagePullPolicy: Never";

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn image_only_in_docker_with_policy_never_reports_not_loaded() {
    let scenario = Scenario::on_node("node-1", "docker-never");
    scenario.build("docker-never:dev");
    scenario.create_pod("node-1", "docker-never:dev", NEVER);
    scenario.wait_for_reason(&["ErrImageNeverPull"]);
    scenario.assert_causes(&["image-not-loaded"]).follow_help(0);
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn image_only_in_docker_when_pulled_reports_not_loaded() {
    let scenario = Scenario::on_node("node-2", "docker-pulled");
    scenario.build("docker-pulled:dev");
    scenario.create_pod("node-2", "docker-pulled:dev", "imagePullPolicy: IfNotPresent");
    scenario.wait_for_reason(&["ErrImagePull", "ImagePullBackOff"]);
    scenario.assert_causes(&["image-not-loaded"]).follow_help(0);
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn image_only_in_docker_with_policy_always_reports_both() {
    let scenario = Scenario::on_node("node-1", "docker-always");
    scenario.build("docker-always:dev");
    scenario.create_deployment("node-1", "docker-always:dev", "imagePullPolicy: Always");
    scenario.wait_for_reason(&["ErrImagePull", "ImagePullBackOff"]);
    let report = scenario.assert_causes(&["image-not-loaded", "pull-policy-always"]);
    report.follow_help(0);
    report.follow_help(1);
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn stateful_set_reports_pull_policy_always() {
    // The StatefulSet controller does not replace a pod that was never ready, even if the
    // template changes.
    let scenario = Scenario::on_node("node-1", "stateful-always");
    let image = "stateful-always:dev";
    scenario.build(image);
    scenario.import("node-1", "k8s.io", image);
    let deployment = scenario.deployment_manifest("node-1", image, "imagePullPolicy: Always");
    scenario.apply(&deployment.replace("kind: Deployment", "kind: StatefulSet"));
    scenario.wait_for_reason(&["ErrImagePull", "ImagePullBackOff"]);
    scenario.assert_causes(&["pull-policy-always"]).follow_help(0);
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn image_without_tag_reports_not_loaded_and_pull_policy() {
    let scenario = Scenario::on_node("node-1", "no-tag");
    scenario.build("no-tag");
    scenario.create_pod("node-1", "no-tag", "");
    scenario.wait_for_reason(&["ErrImagePull", "ImagePullBackOff"]);
    let report = scenario.assert_causes(&["image-not-loaded", "pull-policy-always"]);
    report.follow_help(0);
    report.follow_help(1);
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn latest_tag_reports_pull_policy_always() {
    let scenario = Scenario::on_node("node-1", "latest");
    scenario.build("latest:latest");
    scenario.import("node-1", "k8s.io", "latest:latest");
    scenario.create_deployment("node-1", "latest:latest", "");
    scenario.wait_for_reason(&["ErrImagePull", "ImagePullBackOff"]);
    scenario.assert_causes(&["pull-policy-always"]).follow_help(0);
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn image_on_other_node_is_reported() {
    let scenario = Scenario::with_claim("other-node", Claim::both_nodes());
    scenario.build("other-node:dev");
    scenario.import("node-1", "k8s.io", "other-node:dev");
    run(&mut docker(&["image", "rm", "--no-prune", "other-node:dev"]));
    scenario.create_pod("node-2", "other-node:dev", NEVER);
    scenario.wait_for_reason(&["ErrImageNeverPull"]);
    scenario.assert_causes(&["image-on-other-node"]).follow_help(0);
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn image_in_default_namespace_of_containerd_is_reported() {
    let scenario = Scenario::on_node("node-1", "other-namespace");
    scenario.build("other-namespace:dev");
    scenario.import("node-1", "default", "other-namespace:dev");
    run(&mut docker(&["image", "rm", "--no-prune", "other-namespace:dev"]));
    scenario.create_pod("node-1", "other-namespace:dev", NEVER);
    scenario.wait_for_reason(&["ErrImageNeverPull"]);
    scenario.assert_causes(&["image-in-other-namespace"]).follow_help(0);
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn image_in_moby_namespace_of_containerd_is_reported() {
    let scenario = Scenario::on_node("node-2", "moby-namespace");
    scenario.build("moby-namespace:dev");
    scenario.import("node-2", "moby", "moby-namespace:dev");
    scenario.create_pod("node-2", "moby-namespace:dev", NEVER);
    scenario.wait_for_reason(&["ErrImageNeverPull"]);
    scenario.assert_causes(&["image-in-other-namespace"]).follow_help(0);
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn podman_image_reports_image_under_other_name() {
    let scenario = Scenario::on_node("node-1", "localhost-prefix");
    scenario.build("localhost/localhost-prefix:dev");
    scenario.import("node-1", "k8s.io", "localhost/localhost-prefix:dev");
    scenario.create_pod("node-1", "localhost-prefix:dev", NEVER);
    scenario.wait_for_reason(&["ErrImageNeverPull"]);
    scenario.assert_causes(&["image-under-other-name"]).follow_help(0);
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn registry_prefix_reports_image_under_other_name() {
    let scenario = Scenario::on_node("node-2", "registry-prefix");
    scenario.build("registry.example/team/registry-prefix:dev");
    scenario.import("node-2", "k8s.io", "registry.example/team/registry-prefix:dev");
    scenario.create_deployment("node-2", "registry-prefix:dev", NEVER);
    scenario.wait_for_reason(&["ErrImageNeverPull"]);
    scenario.assert_causes(&["image-under-other-name"]).follow_help(0);
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn other_tag_reports_local_image_under_other_name() {
    let scenario = Scenario::on_node("node-1", "other-tag");
    scenario.build("other-tag:v2");
    scenario.create_pod("node-1", "other-tag:v3", NEVER);
    scenario.wait_for_reason(&["ErrImageNeverPull"]);
    scenario.assert_causes(&["local-image-under-other-name"]).follow_help(0);
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn upper_case_name_reports_invalid_image_name() {
    let scenario = Scenario::on_node("node-1", "upper-case");
    scenario.build("upper-case:dev");
    scenario.import("node-1", "k8s.io", "upper-case:dev");
    scenario.create_deployment("node-1", "Upper-Case:dev", NEVER);
    scenario.wait_for_reason(&["InvalidImageName"]);
    scenario.assert_causes(&["invalid-image-name"]).follow_help(0);
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn digest_of_tagged_image_reports_pinned_by_digest() {
    let scenario = Scenario::on_node("node-1", "pinned");
    scenario.build("pinned:dev");
    scenario.import("node-1", "k8s.io", "pinned:dev");
    let list =
        run(&mut in_node("node-1", &["ctr", "-n", "k8s.io", "images", "ls", "name~=pinned"]));
    let digest = list.split_whitespace().find(|word| word.starts_with("sha256:")).unwrap();
    scenario.create_pod("node-1", &format!("pinned@{digest}"), NEVER);
    scenario.wait_for_reason(&["ErrImageNeverPull"]);
    scenario.assert_causes(&["pinned-by-digest"]).follow_help(0);
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn image_never_built_reports_image_not_found() {
    let scenario = Scenario::with_claim("never-built", Claim::both_nodes());
    scenario.create_pod("node-1", "never-built:dev", NEVER);
    scenario.wait_for_reason(&["ErrImageNeverPull"]);
    let report = scenario.assert_causes(&["image-not-found"]);
    // The Dockerfile is in the scenario's folder.
    scenario.build("unused-nowhere:dev");
    let folder = scenario.path("").display().to_string();
    report.follow_help_with(0, &[(" .", &format!(" {folder}"))]);
    scenario.wait_until_ready();
}

/// Imports an archive with `ctr` without unpacking it.
fn import_packed(scenario: &Scenario, node: &str, archive: &str) {
    let local: &[&str] = if node == "node-2" { &["--local"] } else { &[] };
    let import = ["ctr", "-n", "k8s.io", "images", "import", "--no-unpack"];
    let archive = scenario.path(archive).display().to_string();
    run(&mut in_node(node, &[&import, local, &[&archive]].concat()));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn image_with_missing_layer_reports_incomplete() {
    let scenario = Scenario::on_node("node-1", "incomplete");
    scenario.build("incomplete:dev");
    scenario.save("incomplete:dev");
    import_packed(&scenario, "node-1", "image.tar");
    let ctr =
        |args: &[&str]| run(&mut in_node("node-1", &[&["ctr", "-n", "k8s.io"], args].concat()));
    let list = ctr(&["images", "ls", "name~=incomplete"]);
    let manifest = list.split_whitespace().find(|word| word.starts_with("sha256:")).unwrap();
    let manifest: serde_json::Value =
        serde_json::from_str(&ctr(&["content", "get", manifest])).unwrap();
    let layers = manifest["layers"].as_array().unwrap();
    ctr(&["content", "rm", layers.last().unwrap()["digest"].as_str().unwrap()]);
    scenario.create_pod("node-1", "incomplete:dev", NEVER);
    scenario.wait_for_reason(&["CreateContainerError"]);
    scenario.assert_causes(&["image-incomplete"]).follow_help(0);
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn image_with_damaged_layer_reports_not_unpacked() {
    let scenario = Scenario::on_node("node-2", "damaged");
    scenario.build("damaged:dev");
    scenario.save("damaged:dev");
    // Change one byte of a file's content, which keeps the tar headers valid.
    let archive = std::fs::read(scenario.path("image.tar")).unwrap();
    let own = b"damaged damaged:dev";
    let at = archive.windows(own.len()).position(|window| window == own).unwrap();
    let mut damaged = archive;
    damaged[at] ^= 1;
    std::fs::write(scenario.path("damaged.tar"), damaged).unwrap();
    import_packed(&scenario, "node-2", "damaged.tar");
    scenario.create_pod("node-2", "damaged:dev", NEVER);
    scenario.wait_for_reason(&["CreateContainerError"]);
    scenario.assert_causes(&["image-not-unpacked"]).follow_help(0);
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn rebuilt_image_reports_outdated_build() {
    let scenario = Scenario::on_node("node-2", "rebuilt");
    scenario.build("rebuilt:dev");
    scenario.import("node-2", "k8s.io", "rebuilt:dev");
    scenario.create_deployment("node-2", "rebuilt:dev", NEVER);
    scenario.wait_until_ready();
    assert_eq!(scenario.check_namespace(), "");
    scenario.build_with("rebuilt:dev", "ENTRYPOINT [\"/busybox\", \"sleep\", \"200000\"]\n");
    scenario.assert_causes(&["outdated-build"]).follow_help(0);
    run(&mut scenario.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]));
    assert_eq!(scenario.check_namespace(), "");
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn newer_content_tag_reports_outdated_build() {
    let scenario = Scenario::on_node("node-1", "newer-build");
    scenario.build("newer-build:kdev-000000000001");
    scenario.import("node-1", "k8s.io", "newer-build:kdev-000000000001");
    scenario.create_deployment("node-1", "newer-build:kdev-000000000001", NEVER);
    scenario.wait_until_ready();
    scenario.build("newer-build:kdev-000000000002");
    scenario.assert_causes(&["outdated-build"]).follow_help(0);
    run(&mut scenario.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]));
    assert_eq!(scenario.check_namespace(), "");
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn admission_plugin_reports_always_pull_images() {
    let claim = Claim::node("node-1").breaks(Part::SecondApiServer);
    let scenario = Scenario::with_claim("admission", claim);
    scenario.build("admission:dev");
    scenario.import("node-1", "k8s.io", "admission:dev");
    let pod = scenario.pod_manifest("node-1", "admission:dev", NEVER);
    let strict = StrictApiServer::start(&scenario.permit, &scenario.path(""));
    std::fs::write(scenario.path("pod.yaml"), &pod).unwrap();
    let mut apply = command("kubectl");
    apply.arg("--kubeconfig").arg(&strict.kubeconfig).args(["--namespace", scenario.name, "apply"]);
    run(apply.arg("--filename").arg(scenario.path("pod.yaml")));
    scenario.wait_for_reason(&["ErrImagePull", "ImagePullBackOff"]);
    let help = scenario.assert_causes(&["always-pull-images"]).help(0).to_owned();
    assert!(help.starts_with("start the API server without `AlwaysPullImages`"), "{help}");
    // Follow the help.
    drop(strict);
    run(&mut scenario.kubectl(&["delete", "pod", "web", "--now"]));
    scenario.apply(&pod);
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn always_verify_reports_image_credentials_unverified() {
    let claim = Claim::access().breaks(Part::Pods("node-1"));
    let scenario = Scenario::with_claim("verified-image", claim);
    scenario.build("verified-image:dev");
    scenario.import("node-1", "k8s.io", "verified-image:dev");
    let keys = format!("{FEATURE_GATE}\n{ALWAYS_VERIFY}");
    let kubelet = ReconfiguredKubelet::start(&scenario.permit, &scenario.path(""), "node-1", &keys);
    scenario.create_pod("node-1", "verified-image:dev", NEVER);
    scenario.wait_for_reason(&["ErrImageNeverPull"]);
    let help = scenario.assert_causes(&["image-credentials-unverified"]).help(0).to_owned();
    let key = "`imagePullCredentialsVerificationPolicy: NeverVerifyPreloadedImages`";
    assert!(help.starts_with(&format!("set {key}")), "{help}");
    // Follow the help: the lab's configuration has this setting.
    drop(kubelet);
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn image_deleted_by_kubelet_reports_garbage_collected() {
    // The whole node is claimed, because the kubelet also deletes images of other tests.
    let scenario = Scenario::with_claim("image-removed", Claim::broken_node("node-2"));
    scenario.build("image-removed:dev");
    scenario.import("node-2", "k8s.io", "image-removed:dev");
    scenario.create_deployment("node-2", "image-removed:dev", NEVER);
    scenario.wait_until_ready();
    run(&mut scenario.kubectl(&["scale", "deployment/web", "--replicas=0"]));
    run(&mut scenario.kubectl(&["wait", "pods", "--all", "--for=delete", "--timeout=60s"]));
    // Thresholds that make the disk count as full.
    let keys = "imageMinimumGCAge: 1s\nevictionHard: {imagefs.available: \"99%\", nodefs.available: \"99%\"}";
    let kubelet = ReconfiguredKubelet::start(&scenario.permit, &scenario.path(""), "node-2", keys);
    wait_for("removal of the image", || {
        images_on("node-2", "image-removed:dev").is_empty().then_some(())
    });
    drop(kubelet);
    let taints = ["get", "node", "node-2", "--output=jsonpath={.spec.taints}"];
    wait_for("removal of the taints", || {
        run(&mut scenario.kubectl(&taints)).is_empty().then_some(())
    });
    run(&mut scenario.kubectl(&["scale", "deployment/web", "--replicas=1"]));
    scenario.wait_for_reason(&["ErrImageNeverPull"]);
    scenario.assert_causes(&["image-garbage-collected"]).follow_help(0);
    scenario.wait_until_ready();
}
