//! Images that are not where the kubelet looks for them, or not as it asks.

use super::Scene;
use crate::admission::Strict;
use crate::exclusive::{Claim, Part};
use crate::kubelet::{ALWAYS_VERIFY, Changed, GATE};
use crate::lab::{command, docker, eventually, images_on, in_node, run};

const NEVER: &str = "imagePullPolicy: Never";

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn image_only_in_docker_with_policy_never_reports_not_loaded() {
    let scene = Scene::on("node-1", "docker-never");
    scene.build("docker-never:dev");
    scene.pod("node-1", "docker-never:dev", NEVER);
    scene.waits(&["ErrImageNeverPull"]);
    scene.is_judged(&["image-not-loaded"]).follow(0);
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn image_only_in_docker_when_pulled_reports_not_loaded() {
    let scene = Scene::on("node-2", "docker-pulled");
    scene.build("docker-pulled:dev");
    scene.pod("node-2", "docker-pulled:dev", "imagePullPolicy: IfNotPresent");
    scene.waits(&["ErrImagePull", "ImagePullBackOff"]);
    scene.is_judged(&["image-not-loaded"]).follow(0);
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn image_only_in_docker_with_policy_always_reports_both() {
    let scene = Scene::on("node-1", "docker-always");
    scene.build("docker-always:dev");
    scene.deployment("node-1", "docker-always:dev", "imagePullPolicy: Always");
    scene.waits(&["ErrImagePull", "ImagePullBackOff"]);
    let found = scene.is_judged(&["image-not-loaded", "pull-policy-always"]);
    found.follow(0);
    found.follow(1);
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn stateful_set_reports_pull_policy_always() {
    // Its controller leaves a pod alone that was never ready, whatever its template.
    let scene = Scene::on("node-1", "stateful-always");
    let image = "stateful-always:dev";
    scene.build(image);
    scene.import("node-1", "k8s.io", image);
    let deployment = scene.deployment_manifest("node-1", image, "imagePullPolicy: Always");
    scene.apply(&deployment.replace("kind: Deployment", "kind: StatefulSet"));
    scene.waits(&["ErrImagePull", "ImagePullBackOff"]);
    scene.is_judged(&["pull-policy-always"]).follow(0);
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn image_without_tag_reports_not_loaded_and_pull_policy() {
    let scene = Scene::on("node-1", "no-tag");
    scene.build("no-tag");
    scene.pod("node-1", "no-tag", "");
    scene.waits(&["ErrImagePull", "ImagePullBackOff"]);
    let found = scene.is_judged(&["image-not-loaded", "pull-policy-always"]);
    found.follow(0);
    found.follow(1);
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn latest_tag_reports_pull_policy_always() {
    let scene = Scene::on("node-1", "latest");
    scene.build("latest:latest");
    scene.import("node-1", "k8s.io", "latest:latest");
    scene.deployment("node-1", "latest:latest", "");
    scene.waits(&["ErrImagePull", "ImagePullBackOff"]);
    scene.is_judged(&["pull-policy-always"]).follow(0);
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn image_on_other_node_is_reported() {
    let scene = Scene::claiming("other-node", Claim::both_nodes());
    scene.build("other-node:dev");
    scene.import("node-1", "k8s.io", "other-node:dev");
    run(&mut docker(&["image", "rm", "--no-prune", "other-node:dev"]));
    scene.pod("node-2", "other-node:dev", NEVER);
    scene.waits(&["ErrImageNeverPull"]);
    scene.is_judged(&["image-on-other-node"]).follow(0);
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn image_in_default_namespace_of_containerd_is_reported() {
    let scene = Scene::on("node-1", "other-namespace");
    scene.build("other-namespace:dev");
    scene.import("node-1", "default", "other-namespace:dev");
    run(&mut docker(&["image", "rm", "--no-prune", "other-namespace:dev"]));
    scene.pod("node-1", "other-namespace:dev", NEVER);
    scene.waits(&["ErrImageNeverPull"]);
    scene.is_judged(&["image-in-other-namespace"]).follow(0);
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn image_in_moby_namespace_of_containerd_is_reported() {
    let scene = Scene::on("node-2", "moby-namespace");
    scene.build("moby-namespace:dev");
    scene.import("node-2", "moby", "moby-namespace:dev");
    scene.pod("node-2", "moby-namespace:dev", NEVER);
    scene.waits(&["ErrImageNeverPull"]);
    scene.is_judged(&["image-in-other-namespace"]).follow(0);
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn podman_image_reports_image_under_other_name() {
    let scene = Scene::on("node-1", "localhost-prefix");
    scene.build("localhost/localhost-prefix:dev");
    scene.import("node-1", "k8s.io", "localhost/localhost-prefix:dev");
    scene.pod("node-1", "localhost-prefix:dev", NEVER);
    scene.waits(&["ErrImageNeverPull"]);
    scene.is_judged(&["image-under-other-name"]).follow(0);
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn registry_prefix_reports_image_under_other_name() {
    let scene = Scene::on("node-2", "registry-prefix");
    scene.build("registry.example/team/registry-prefix:dev");
    scene.import("node-2", "k8s.io", "registry.example/team/registry-prefix:dev");
    scene.deployment("node-2", "registry-prefix:dev", NEVER);
    scene.waits(&["ErrImageNeverPull"]);
    scene.is_judged(&["image-under-other-name"]).follow(0);
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn other_tag_reports_local_image_under_other_name() {
    let scene = Scene::on("node-1", "other-tag");
    scene.build("other-tag:v2");
    scene.pod("node-1", "other-tag:v3", NEVER);
    scene.waits(&["ErrImageNeverPull"]);
    scene.is_judged(&["local-image-under-other-name"]).follow(0);
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn upper_case_name_reports_invalid_image_name() {
    let scene = Scene::on("node-1", "upper-case");
    scene.build("upper-case:dev");
    scene.import("node-1", "k8s.io", "upper-case:dev");
    scene.deployment("node-1", "Upper-Case:dev", NEVER);
    scene.waits(&["InvalidImageName"]);
    scene.is_judged(&["invalid-image-name"]).follow(0);
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn digest_of_tagged_image_reports_pinned_by_digest() {
    let scene = Scene::on("node-1", "pinned");
    scene.build("pinned:dev");
    scene.import("node-1", "k8s.io", "pinned:dev");
    let list =
        run(&mut in_node("node-1", &["ctr", "-n", "k8s.io", "images", "ls", "name~=pinned"]));
    let digest = list.split_whitespace().find(|word| word.starts_with("sha256:")).unwrap();
    scene.pod("node-1", &format!("pinned@{digest}"), NEVER);
    scene.waits(&["ErrImageNeverPull"]);
    scene.is_judged(&["pinned-by-digest"]).follow(0);
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn image_never_built_reports_image_not_found() {
    let scene = Scene::claiming("nowhere", Claim::both_nodes());
    scene.pod("node-1", "nowhere:dev", NEVER);
    scene.waits(&["ErrImageNeverPull"]);
    let found = scene.is_judged(&["image-not-found"]);
    // Its Dockerfile is in the scene's folder.
    scene.build("unused-nowhere:dev");
    let folder = scene.path("").display().to_string();
    found.follow_with(0, &[(" .", &format!(" {folder}"))]);
    scene.runs();
}

/// Imports an archive by hand, and unpacks nothing.
fn import_packed(scene: &Scene, node: &str, archive: &str) {
    let local: &[&str] = if node == "node-2" { &["--local"] } else { &[] };
    let import = ["ctr", "-n", "k8s.io", "images", "import", "--no-unpack"];
    let archive = scene.path(archive).display().to_string();
    run(&mut in_node(node, &[&import, local, &[&archive]].concat()));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn image_with_missing_layer_reports_incomplete() {
    let scene = Scene::on("node-1", "incomplete");
    scene.build("incomplete:dev");
    scene.save("incomplete:dev");
    import_packed(&scene, "node-1", "image.tar");
    let ctr =
        |args: &[&str]| run(&mut in_node("node-1", &[&["ctr", "-n", "k8s.io"], args].concat()));
    let list = ctr(&["images", "ls", "name~=incomplete"]);
    let manifest = list.split_whitespace().find(|word| word.starts_with("sha256:")).unwrap();
    let manifest: serde_json::Value =
        serde_json::from_str(&ctr(&["content", "get", manifest])).unwrap();
    let layers = manifest["layers"].as_array().unwrap();
    ctr(&["content", "rm", layers.last().unwrap()["digest"].as_str().unwrap()]);
    scene.pod("node-1", "incomplete:dev", NEVER);
    scene.waits(&["CreateContainerError"]);
    scene.is_judged(&["image-incomplete"]).follow(0);
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn image_with_damaged_layer_reports_not_unpacked() {
    let scene = Scene::on("node-2", "damaged");
    scene.build("damaged:dev");
    scene.save("damaged:dev");
    // One byte of the image's own file, which makes no tar header wrong.
    let archive = std::fs::read(scene.path("image.tar")).unwrap();
    let own = b"damaged damaged:dev";
    let at = archive.windows(own.len()).position(|window| window == own).unwrap();
    let mut damaged = archive;
    damaged[at] ^= 1;
    std::fs::write(scene.path("damaged.tar"), damaged).unwrap();
    import_packed(&scene, "node-2", "damaged.tar");
    scene.pod("node-2", "damaged:dev", NEVER);
    scene.waits(&["CreateContainerError"]);
    scene.is_judged(&["image-not-unpacked"]).follow(0);
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn rebuilt_image_reports_outdated_build() {
    let scene = Scene::on("node-2", "rebuilt");
    scene.build("rebuilt:dev");
    scene.import("node-2", "k8s.io", "rebuilt:dev");
    scene.deployment("node-2", "rebuilt:dev", NEVER);
    scene.runs();
    assert_eq!(scene.is_well(), "");
    scene.build_with("rebuilt:dev", "ENTRYPOINT [\"/busybox\", \"sleep\", \"200000\"]\n");
    scene.is_judged(&["outdated-build"]).follow(0);
    run(&mut scene.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]));
    assert_eq!(scene.is_well(), "");
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn newer_content_tag_reports_outdated_build() {
    let scene = Scene::on("node-1", "newer-build");
    scene.build("newer-build:kdev-000000000001");
    scene.import("node-1", "k8s.io", "newer-build:kdev-000000000001");
    scene.deployment("node-1", "newer-build:kdev-000000000001", NEVER);
    scene.runs();
    scene.build("newer-build:kdev-000000000002");
    scene.is_judged(&["outdated-build"]).follow(0);
    run(&mut scene.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]));
    assert_eq!(scene.is_well(), "");
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn admission_plugin_reports_always_pull_images() {
    let claim = Claim::node("node-1").breaks(Part::SecondApiServer);
    let scene = Scene::claiming("admission", claim);
    scene.build("admission:dev");
    scene.import("node-1", "k8s.io", "admission:dev");
    let pod = scene.pod_manifest("node-1", "admission:dev", NEVER);
    let strict = Strict::start(&scene.permit, &scene.path(""));
    std::fs::write(scene.path("pod.yaml"), &pod).unwrap();
    let mut apply = command("kubectl");
    apply.arg("--kubeconfig").arg(&strict.kubeconfig).args(["--namespace", scene.name, "apply"]);
    run(apply.arg("--filename").arg(scene.path("pod.yaml")));
    scene.waits(&["ErrImagePull", "ImagePullBackOff"]);
    let help = scene.is_judged(&["always-pull-images"]).help(0).to_owned();
    assert!(help.starts_with("start the API server without `AlwaysPullImages`"), "{help}");
    // As the help says.
    drop(strict);
    run(&mut scene.kubectl(&["delete", "pod", "web", "--now"]));
    scene.apply(&pod);
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn always_verify_reports_image_credentials_unverified() {
    let claim = Claim::access().breaks(Part::Pods("node-1"));
    let scene = Scene::claiming("verified-image", claim);
    scene.build("verified-image:dev");
    scene.import("node-1", "k8s.io", "verified-image:dev");
    let keys = format!("{GATE}\n{ALWAYS_VERIFY}");
    let kubelet = Changed::start(&scene.permit, &scene.path(""), "node-1", &keys);
    scene.pod("node-1", "verified-image:dev", NEVER);
    scene.waits(&["ErrImageNeverPull"]);
    let help = scene.is_judged(&["image-credentials-unverified"]).help(0).to_owned();
    let key = "`imagePullCredentialsVerificationPolicy: NeverVerifyPreloadedImages`";
    assert!(help.starts_with(&format!("set {key}")), "{help}");
    // As the help says; it is the lab's own setting.
    drop(kubelet);
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn image_deleted_by_kubelet_reports_garbage_collected() {
    // The kubelet collects images of other tests, too.
    let scene = Scene::claiming("garbage", Claim::broken_node("node-2"));
    scene.build("garbage:dev");
    scene.import("node-2", "k8s.io", "garbage:dev");
    scene.deployment("node-2", "garbage:dev", NEVER);
    scene.runs();
    run(&mut scene.kubectl(&["scale", "deployment/web", "--replicas=0"]));
    run(&mut scene.kubectl(&["wait", "pods", "--all", "--for=delete", "--timeout=60s"]));
    // As if the disk were full.
    let keys = "imageMinimumGCAge: 1s\nevictionHard: {imagefs.available: \"99%\", nodefs.available: \"99%\"}";
    let kubelet = Changed::start(&scene.permit, &scene.path(""), "node-2", keys);
    eventually("the image's end", || images_on("node-2", "garbage:dev").is_empty().then_some(()));
    drop(kubelet);
    let taints = ["get", "node", "node-2", "--output=jsonpath={.spec.taints}"];
    eventually("room", || run(&mut scene.kubectl(&taints)).is_empty().then_some(()));
    run(&mut scene.kubectl(&["scale", "deployment/web", "--replicas=1"]));
    scene.waits(&["ErrImageNeverPull"]);
    scene.is_judged(&["image-garbage-collected"]).follow(0);
    scene.runs();
}
