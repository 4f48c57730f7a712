//! Volumes that cannot be mounted.

use super::Scene;
use crate::lab::{kubectl, run};

impl Scene {
    /// A Deployment that sleeps, and mounts this volume.
    fn mounts(&self, volume: &str) {
        let image = format!("{}:dev", self.name);
        self.build(&image);
        self.import("node-1", "k8s.io", &image);
        self.mounting(volume);
    }

    fn mounting(&self, volume: &str) {
        let image = format!("{}:dev", self.name);
        let lines = "imagePullPolicy: Never\nvolumeMounts: [{name: data, mountPath: /data}]";
        let text = self.deployment_manifest("node-1", &image, lines);
        self.apply(&format!("{text}      volumes: [{{name: data, {volume}}}]\n"));
    }
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn why_a_volume_of_a_missing_config_map_is_not_mounted() {
    let scene = Scene::new("volume-of-map");
    scene.mounts("configMap: {name: settings}");
    scene.reports("MountVolume.SetUp failed");
    let found = scene.is_judged(&["config-missing"]);
    found.follow_with(0, &[("KEY", "color"), ("VALUE", "blue")]);
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn why_a_file_is_not_mounted_as_a_folder() {
    let scene = Scene::new("file-as-folder");
    scene.mounts("hostPath: {path: /etc/hostname, type: Directory}");
    scene.reports("MountVolume.SetUp failed");
    let help = scene.is_judged(&["volume-unmountable"]).help(0).to_owned();
    assert_eq!(help, "correct volume `data` in the manifest of deployment/web");
    scene.mounting("hostPath: {path: /etc, type: Directory}");
    run(&mut scene.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn why_a_claim_that_is_missing_keeps_a_pod_from_a_node() {
    let scene = Scene::new("claim-missing");
    scene.mounts("persistentVolumeClaim: {claimName: claim-missing}");
    scene.reports("not found");
    let found = scene.is_judged(&["claim-pending"]);
    assert!(found.help(0).contains("PersistentVolumeClaim"), "{}", found.help(0));
    found.follow(0);
    // It then waits for a volume, as the next one does.
    run(&mut scene.kubectl(&["get", "persistentvolumeclaim", "claim-missing"]));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn why_a_claim_without_a_volume_keeps_a_pod_from_a_node() {
    let scene = Scene::new("claim-pending");
    let _ =
        kubectl("default", &["delete", "persistentvolume", "claim-pending", "--ignore-not-found"])
            .output();
    scene.apply("apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: claim-pending}\nspec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}\n");
    scene.mounts("persistentVolumeClaim: {claimName: claim-pending}");
    scene.reports("unbound immediate PersistentVolumeClaims");
    scene.is_judged(&["claim-pending"]).follow(0);
    scene.runs();
    run(&mut kubectl("default", &["delete", "deployment", "web", "--namespace", scene.name]));
    run(&mut kubectl("default", &["delete", "persistentvolume", "claim-pending", "--wait=false"]));
}
