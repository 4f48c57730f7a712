//! Volumes that cannot be mounted.

use super::Scene;
use crate::exclusive::{Claim, Part};
use crate::lab::{apply, eventually, get, kubectl, run};

/// Volumes and classes that no other test sees, nor binds.
fn volumes() -> Claim {
    Claim::both_nodes().uses(Part::NodeList).breaks(Part::Volumes)
}

impl Scene {
    /// A Deployment that sleeps, and mounts this volume.
    fn mounts(&self, volume: &str) {
        let image = format!("{}:dev", self.name);
        self.build(&image);
        self.import("node-1", "k8s.io", &image);
        self.mounting(volume);
    }

    /// A claim of the scene's name; no volume is left from an earlier run.
    fn claims(&self, lines: &str) {
        self.forgets_volume();
        self.apply(&format!(
            "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: {}}}\nspec: {{{lines} accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Mi}}}}}}\n",
            self.name
        ));
    }

    /// Volumes belong to no namespace, and outlive it.
    fn forgets_volume(&self) {
        // Those of the tests themselves, and those of the advice.
        for name in [self.name, &format!("{0}-{0}", self.name)] {
            let delete = ["delete", "persistentvolume", name, "--ignore-not-found", "--wait=false"];
            run(&mut kubectl("default", &delete));
        }
    }

    /// Waits until the scheduler has looked at a claim that is bound.
    fn becomes_bound(&self) {
        eventually("the scheduler's word on the volume", || {
            let pods = get(self.name, &["pods"]).to_string();
            ["volume node affinity conflict", "PersistentVolume's node affinity"]
                .iter()
                .any(|sign| pods.contains(sign))
                .then_some(())
        });
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
fn volume_of_missing_config_map_reports_config_not_found() {
    let scene = Scene::on("node-1", "volume-of-map");
    scene.mounts("configMap: {name: settings}");
    scene.reports("MountVolume.SetUp failed for volume \"data\"");
    let found = scene.is_judged(&["config-not-found"]);
    found.follow_with(0, &[("KEY", "color"), ("VALUE", "blue")]);
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn host_path_of_wrong_type_reports_mount_failed() {
    let scene = Scene::on("node-1", "file-as-folder");
    scene.mounts("hostPath: {path: /etc/hostname, type: Directory}");
    scene.reports("MountVolume.SetUp failed for volume \"data\"");
    let help = scene.is_judged(&["mount-failed"]).help(0).to_owned();
    assert_eq!(help, "correct volume `data` in the manifest of deployment/web");
    scene.mounting("hostPath: {path: /etc, type: Directory}");
    run(&mut scene.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn missing_claim_reports_claim_pending() {
    let scene = Scene::claiming("claim-missing", volumes());
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
fn claim_without_volume_reports_claim_pending() {
    let scene = Scene::claiming("claim-pending", volumes());
    scene.claims("");
    scene.mounts("persistentVolumeClaim: {claimName: claim-pending}");
    scene.reports("unbound immediate PersistentVolumeClaims");
    scene.is_judged(&["claim-pending"]).follow(0);
    scene.runs();
    scene.forgets_volume();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn volume_of_missing_secret_key_reports_config_not_found() {
    let scene = Scene::on("node-1", "volume-of-key");
    run(&mut scene.kubectl(&["create", "secret", "generic", "tls", "--from-literal=crt=1"]));
    scene.mounts("secret: {secretName: tls, items: [{key: pem, path: pem}]}");
    scene.reports("references non-existent secret key");
    scene.is_judged(&["config-not-found"]).follow_with(0, &[("VALUE", "abc")]);
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn volume_mounted_late_reports_only_crash_loop() {
    let scene = Scene::on("node-1", "late-map");
    scene.mounts("configMap: {name: settings}");
    scene.reports("MountVolume.SetUp failed for volume \"data\"");
    run(&mut scene.kubectl(&["create", "configmap", "settings", "--from-literal=color=blue"]));
    scene.runs();
    let fails = r#"{"spec":{"template":{"spec":{"containers":[{"name":"web","command":["/busybox","sh","-c","exit 5"]}]}}}}"#;
    run(&mut scene.kubectl(&["delete", "configmap", "settings"]));
    run(&mut scene.kubectl(&["patch", "deployment/web", "--patch", fails]));
    scene.reports("configmap \"settings\" not found");
    run(&mut scene.kubectl(&["create", "configmap", "settings", "--from-literal=color=blue"]));
    scene.waits(&["CrashLoopBackOff"]);
    scene.is_judged(&["crash-loop"]).follow(0);
    run(&mut scene.kubectl(&["rollout", "undo", "deployment/web"]));
    run(&mut scene.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn directory_mounted_over_file_reports_mount_failed() {
    let scene = Scene::on("node-1", "folder-over-file");
    scene.build("folder-over-file:dev");
    scene.import("node-1", "k8s.io", "folder-over-file:dev");
    run(&mut scene.kubectl(&["create", "configmap", "settings", "--from-literal=name=web"]));
    let mounts = |part: &str| {
        let lines = format!(
            "imagePullPolicy: Never\nvolumeMounts: [{{name: data, mountPath: /name, subPath: {part}}}]"
        );
        let text = scene.deployment_manifest("node-1", "folder-over-file:dev", &lines);
        scene.apply(&format!(
            "{text}      volumes: [{{name: data, configMap: {{name: settings}}}}]\n"
        ));
    };
    mounts("nam");
    scene.waits(&["RunContainerError", "CrashLoopBackOff"]);
    let help = scene.is_judged(&["mount-failed"]).help(0).to_owned();
    assert!(help.starts_with("correct `subPath: nam` of volume `data`"), "{help}");
    mounts("name");
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn unknown_storage_class_reports_claim_pending() {
    let scene = Scene::claiming("unknown-class", volumes());
    scene.claims("storageClassName: unknown-class,");
    scene.mounts("persistentVolumeClaim: {claimName: unknown-class}");
    scene.reports("storageclass.storage.k8s.io \"unknown-class\" not found");
    scene.reports("unbound immediate PersistentVolumeClaims");
    let found = scene.is_judged(&["claim-pending"]);
    assert!(
        found.words(0).contains("requests StorageClass `unknown-class`, which does not exist"),
        "{}",
        found.words(0)
    );
    found.follow(0);
    scene.runs();
    scene.forgets_volume();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn claim_waiting_for_consumer_reports_claim_pending() {
    let scene = Scene::claiming("late-binding", volumes());
    let _class = Class::new(scene.name);
    scene.claims("storageClassName: late-binding,");
    scene.apply("apiVersion: v1\nkind: PersistentVolume\nmetadata: {name: late-binding}\nspec: {storageClassName: late-binding, accessModes: [ReadWriteOnce], capacity: {storage: 1Mi}, hostPath: {path: /var/lib/volumes/late-binding, type: DirectoryOrCreate}}\n");
    scene.build("late-binding:dev");
    scene.import("node-1", "k8s.io", "late-binding:dev");
    let lines = "imagePullPolicy: Never\nvolumeMounts: [{name: data, mountPath: /data}]";
    let volumes = "  volumes: [{name: data, persistentVolumeClaim: {claimName: late-binding}}]\n";
    let pod = format!("{}{volumes}", scene.pod_manifest("node-1", "late-binding:dev", lines));
    scene.apply(&pod);
    scene.reports("PVC is not bound");
    scene.reports("waiting for first consumer");
    let help = scene.is_judged(&["claim-pending"]).help(0).to_owned();
    let node = "nodeSelector: {kubernetes.io/hostname: node-1}";
    assert!(help.starts_with(&format!("set `{node}` instead of `nodeName: node-1`")), "{help}");
    run(&mut scene.kubectl(&["delete", "pod/web"]));
    scene.apply(&pod.replace("nodeName: node-1", node));
    scene.runs();
    scene.forgets_volume();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn class_without_provisioner_reports_claim_pending() {
    let scene = Scene::claiming("no-free-volume", volumes());
    let _class = Class::new(scene.name);
    scene.claims("storageClassName: no-free-volume,");
    scene.mounts("persistentVolumeClaim: {claimName: no-free-volume}");
    scene.reports("didn't find available persistent volumes to bind");
    scene.is_judged(&["claim-pending"]).follow(0);
    scene.runs();
    scene.forgets_volume();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn volume_on_other_node_reports_volume_node_conflict() {
    let scene = Scene::claiming("volume-elsewhere", volumes());
    scene.claims("storageClassName: \"\", volumeName: volume-elsewhere,");
    scene.apply("apiVersion: v1\nkind: PersistentVolume\nmetadata: {name: volume-elsewhere}\nspec: {accessModes: [ReadWriteOnce], capacity: {storage: 1Mi}, hostPath: {path: /var/lib/volumes/volume-elsewhere, type: DirectoryOrCreate}, nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [node-2]}]}]}}}\n");
    scene.mounts("persistentVolumeClaim: {claimName: volume-elsewhere}");
    scene.becomes_bound();
    let found = scene.is_judged(&["volume-node-conflict"]);
    assert!(
        found.help(0).starts_with("allow the pod on a node that `kubectl"),
        "{}",
        found.help(0)
    );
    // As the help says.
    let image = "volume-elsewhere:dev";
    scene.import("node-2", "k8s.io", image);
    let patch =
        r#"{"spec":{"template":{"spec":{"nodeSelector":{"kubernetes.io/hostname":"node-2"}}}}}"#;
    run(&mut scene.kubectl(&["patch", "deployment/web", "--patch", patch]));
    run(&mut scene.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]));
    scene.forgets_volume();
}

/// A storage class that makes no volumes, and binds none before a pod has its node;
/// gone at the end.
struct Class(&'static str);

impl Class {
    fn new(name: &'static str) -> Self {
        apply(
            "default",
            &format!(
                "apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {{name: {name}}}\nprovisioner: kubernetes.io/no-provisioner\nvolumeBindingMode: WaitForFirstConsumer\n"
            ),
        );
        Self(name)
    }
}

impl Drop for Class {
    fn drop(&mut self) {
        let _ = kubectl("default", &["delete", "storageclass", self.0]).output();
    }
}
