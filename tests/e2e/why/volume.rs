//! Volumes that cannot be mounted, and pending claims.

use super::Scenario;
use crate::exclusive::{Claim, Part};
use crate::lab::{apply, get, kubectl, run, wait_for};

/// Exclusive use of volumes and storage classes, so that no other test binds them.
fn volumes_claim() -> Claim {
    Claim::both_nodes().uses(Part::NodeList).breaks(Part::Volumes)
}

impl Scenario {
    /// Builds an image, and deploys it with this volume.
    fn build_and_mount(&self, volume: &str) {
        let image = format!("{}:dev", self.name);
        self.build(&image);
        self.import("node-1", "k8s.io", &image);
        self.deploy_with_volume(volume);
    }

    /// Creates a claim with the scenario's name.
    fn create_claim(&self, lines: &str) {
        self.apply(&format!(
            "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: {}}}\nspec: {{{lines} accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Mi}}}}}}\n",
            self.name
        ));
    }

    /// Waits until the scheduler reports a conflict with the bound volume.
    fn wait_until_bound(&self) {
        wait_for("the scheduler to report the volume", || {
            let pods = get(self.name, &["pods"]).to_string();
            ["volume node affinity conflict", "PersistentVolume's node affinity"]
                .iter()
                .any(|sign| pods.contains(sign))
                .then_some(())
        });
    }

    fn deploy_with_volume(&self, volume: &str) {
        let image = format!("{}:dev", self.name);
        let lines = "imagePullPolicy: Never\nvolumeMounts: [{name: data, mountPath: /data}]";
        let text = self.deployment_manifest("node-1", &image, lines);
        self.apply(&format!("{text}      volumes: [{{name: data, {volume}}}]\n"));
    }
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn volume_of_missing_config_map_reports_config_not_found() {
    let scenario = Scenario::on_node("node-1", "volume-of-map");
    scenario.build_and_mount("configMap: {name: settings}");
    scenario.wait_for_event("MountVolume.SetUp failed for volume \"data\"");
    let report = scenario.assert_causes(&["config-not-found"]);
    report.follow_help_with(0, &[("KEY", "color"), ("VALUE", "blue")]);
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn host_path_of_wrong_type_reports_mount_failed() {
    let scenario = Scenario::on_node("node-1", "file-as-folder");
    scenario.build_and_mount("hostPath: {path: /etc/hostname, type: Directory}");
    scenario.wait_for_event("MountVolume.SetUp failed for volume \"data\"");
    let help = scenario.assert_causes(&["mount-failed"]).help(0).to_owned();
    assert_eq!(help, "correct volume `data` in the manifest of deployment/web");
    scenario.deploy_with_volume("hostPath: {path: /etc, type: Directory}");
    run(&mut scenario.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn missing_claim_reports_claim_pending() {
    let scenario = Scenario::with_claim("claim-missing", volumes_claim());
    scenario.build_and_mount("persistentVolumeClaim: {claimName: claim-missing}");
    scenario.wait_for_event("not found");
    let report = scenario.assert_causes(&["claim-pending"]);
    assert!(report.help(0).contains("PersistentVolumeClaim"), "{}", report.help(0));
    report.follow_help(0);
    // The claim then needs a volume, as in the next test.
    run(&mut scenario.kubectl(&["get", "persistentvolumeclaim", "claim-missing"]));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn claim_without_volume_reports_claim_pending() {
    let scenario = Scenario::with_claim("claim-pending", volumes_claim());
    let _volumes = Volumes::new(scenario.name);
    scenario.create_claim("");
    scenario.build_and_mount("persistentVolumeClaim: {claimName: claim-pending}");
    scenario.wait_for_event("unbound immediate PersistentVolumeClaims");
    scenario.assert_causes(&["claim-pending"]).follow_help(0);
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn volume_of_missing_secret_key_reports_config_not_found() {
    let scenario = Scenario::on_node("node-1", "volume-of-key");
    run(&mut scenario.kubectl(&["create", "secret", "generic", "tls", "--from-literal=crt=1"]));
    scenario.build_and_mount("secret: {secretName: tls, items: [{key: pem, path: pem}]}");
    scenario.wait_for_event("references non-existent secret key");
    scenario.assert_causes(&["config-not-found"]).follow_help_with(0, &[("VALUE", "abc")]);
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn volume_mounted_late_reports_only_crash_loop() {
    let scenario = Scenario::on_node("node-1", "late-config-map");
    scenario.build_and_mount("configMap: {name: settings}");
    scenario.wait_for_event("MountVolume.SetUp failed for volume \"data\"");
    run(&mut scenario.kubectl(&["create", "configmap", "settings", "--from-literal=color=blue"]));
    scenario.wait_until_ready();
    let fails = r#"{"spec":{"template":{"spec":{"containers":[{"name":"web","command":["/busybox","sh","-c","exit 5"]}]}}}}"#;
    run(&mut scenario.kubectl(&["delete", "configmap", "settings"]));
    run(&mut scenario.kubectl(&["patch", "deployment/web", "--patch", fails]));
    scenario.wait_for_event("configmap \"settings\" not found");
    run(&mut scenario.kubectl(&["create", "configmap", "settings", "--from-literal=color=blue"]));
    scenario.wait_for_reason(&["CrashLoopBackOff"]);
    scenario.assert_causes(&["crash-loop"]).follow_help(0);
    run(&mut scenario.kubectl(&["rollout", "undo", "deployment/web"]));
    run(&mut scenario.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn directory_mounted_over_file_reports_mount_failed() {
    let scenario = Scenario::on_node("node-1", "folder-over-file");
    scenario.build("folder-over-file:dev");
    scenario.import("node-1", "k8s.io", "folder-over-file:dev");
    run(&mut scenario.kubectl(&["create", "configmap", "settings", "--from-literal=name=web"]));
    let mounts = |part: &str| {
        let lines = format!(
            "imagePullPolicy: Never\nvolumeMounts: [{{name: data, mountPath: /name, subPath: {part}}}]"
        );
        let text = scenario.deployment_manifest("node-1", "folder-over-file:dev", &lines);
        scenario.apply(&format!(
            "{text}      volumes: [{{name: data, configMap: {{name: settings}}}}]\n"
        ));
    };
    mounts("nam");
    scenario.wait_for_reason(&["RunContainerError", "CrashLoopBackOff"]);
    let help = scenario.assert_causes(&["mount-failed"]).help(0).to_owned();
    assert!(help.starts_with("correct `subPath: nam` of volume `data`"), "{help}");
    mounts("name");
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn unknown_storage_class_reports_claim_pending() {
    let scenario = Scenario::with_claim("unknown-class", volumes_claim());
    let _volumes = Volumes::new(scenario.name);
    scenario.create_claim("storageClassName: unknown-class,");
    scenario.build_and_mount("persistentVolumeClaim: {claimName: unknown-class}");
    scenario.wait_for_event("storageclass.storage.k8s.io \"unknown-class\" not found");
    scenario.wait_for_event("unbound immediate PersistentVolumeClaims");
    let report = scenario.assert_causes(&["claim-pending"]);
    assert!(
        report.message(0).contains("requests StorageClass `unknown-class`, which does not exist"),
        "{}",
        report.message(0)
    );
    report.follow_help(0);
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn claim_waiting_for_consumer_reports_claim_pending() {
    let scenario = Scenario::with_claim("late-binding", volumes_claim());
    let _volumes = Volumes::new(scenario.name);
    let _class = StorageClass::new(scenario.name);
    scenario.create_claim("storageClassName: late-binding,");
    scenario.apply("apiVersion: v1\nkind: PersistentVolume\nmetadata: {name: late-binding}\nspec: {storageClassName: late-binding, accessModes: [ReadWriteOnce], capacity: {storage: 1Mi}, hostPath: {path: /var/lib/volumes/late-binding, type: DirectoryOrCreate}}\n");
    scenario.build("late-binding:dev");
    scenario.import("node-1", "k8s.io", "late-binding:dev");
    let lines = "imagePullPolicy: Never\nvolumeMounts: [{name: data, mountPath: /data}]";
    let volumes = "  volumes: [{name: data, persistentVolumeClaim: {claimName: late-binding}}]\n";
    let pod = format!("{}{volumes}", scenario.pod_manifest("node-1", "late-binding:dev", lines));
    scenario.apply(&pod);
    scenario.wait_for_event("PVC is not bound");
    scenario.wait_for_event("waiting for first consumer");
    let help = scenario.assert_causes(&["claim-pending"]).help(0).to_owned();
    let node = "nodeSelector: {kubernetes.io/hostname: node-1}";
    assert!(help.starts_with(&format!("set `{node}` instead of `nodeName: node-1`")), "{help}");
    run(&mut scenario.kubectl(&["delete", "pod/web"]));
    scenario.apply(&pod.replace("nodeName: node-1", node));
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn class_without_provisioner_reports_claim_pending() {
    let scenario = Scenario::with_claim("no-free-volume", volumes_claim());
    let _volumes = Volumes::new(scenario.name);
    let _class = StorageClass::new(scenario.name);
    scenario.create_claim("storageClassName: no-free-volume,");
    scenario.build_and_mount("persistentVolumeClaim: {claimName: no-free-volume}");
    scenario.wait_for_event("didn't find available persistent volumes to bind");
    scenario.assert_causes(&["claim-pending"]).follow_help(0);
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn volume_on_other_node_reports_volume_node_conflict() {
    let scenario = Scenario::with_claim("volume-on-other-node", volumes_claim());
    let _volumes = Volumes::new(scenario.name);
    // Without a `claimRef`, a pending claim of another test could bind the volume, even if its
    // namespace is being deleted. The volume exists before the claim, which is bound at once
    // instead of at the next resync of the controller.
    scenario.apply("apiVersion: v1\nkind: PersistentVolume\nmetadata: {name: volume-on-other-node}\nspec: {claimRef: {namespace: volume-on-other-node, name: volume-on-other-node}, accessModes: [ReadWriteOnce], capacity: {storage: 1Mi}, hostPath: {path: /var/lib/volumes/volume-on-other-node, type: DirectoryOrCreate}, nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [node-2]}]}]}}}\n");
    scenario.create_claim("storageClassName: \"\",");
    scenario.build_and_mount("persistentVolumeClaim: {claimName: volume-on-other-node}");
    scenario.wait_until_bound();
    let report = scenario.assert_causes(&["volume-node-conflict"]);
    assert!(
        report.help(0).starts_with("allow the pod on a node that `kubectl"),
        "{}",
        report.help(0)
    );
    // Follow the help.
    let image = "volume-on-other-node:dev";
    scenario.import("node-2", "k8s.io", image);
    let patch =
        r#"{"spec":{"template":{"spec":{"nodeSelector":{"kubernetes.io/hostname":"node-2"}}}}}"#;
    run(&mut scenario.kubectl(&["patch", "deployment/web", "--patch", patch]));
    run(&mut scenario.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn claim_for_one_pod_reports_claim_in_use_during_update() {
    let scenario = Scenario::with_claim("one-pod", volumes_claim());
    let _volumes = Volumes::new(scenario.name);
    let mode = "accessModes: [ReadWriteOncePod]";
    scenario.apply(&format!("apiVersion: v1\nkind: PersistentVolume\nmetadata: {{name: one-pod}}\nspec: {{claimRef: {{namespace: one-pod, name: one-pod}}, {mode}, capacity: {{storage: 1Mi}}, hostPath: {{path: /var/lib/volumes/one-pod, type: DirectoryOrCreate}}}}\n"));
    scenario.apply(&format!("apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: one-pod}}\nspec: {{storageClassName: \"\", {mode}, resources: {{requests: {{storage: 1Mi}}}}}}\n"));
    scenario.build_and_mount("persistentVolumeClaim: {claimName: one-pod}");
    scenario.wait_until_ready();
    let change = r#"{"spec":{"template":{"metadata":{"labels":{"changed":"yes"}}}}}"#;
    run(&mut scenario.kubectl(&["patch", "deployment/web", "--patch", change]));
    scenario.wait_for_event("ReadWriteOncePod");
    scenario.assert_causes(&["claim-in-use"]).follow_help(0);
    run(&mut scenario.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]));
}

/// The volumes of a scenario, which belong to no namespace and remain after it. They are deleted
/// when dropped, even if the test fails.
struct Volumes(&'static str);

impl Volumes {
    /// Deletes the volumes of an interrupted run.
    fn new(name: &'static str) -> Self {
        delete_volumes(name);
        Self(name)
    }
}

impl Drop for Volumes {
    fn drop(&mut self) {
        delete_volumes(self.0);
    }
}

fn delete_volumes(name: &str) {
    // Volumes that the test creates, and those that the help creates.
    for volume in [name, &format!("{name}-{name}")] {
        let delete = ["delete", "persistentvolume", volume, "--ignore-not-found", "--wait=false"];
        let _ = kubectl("default", &delete).output();
    }
}

/// A StorageClass without a provisioner, with delayed binding, deleted when dropped.
struct StorageClass(&'static str);

impl StorageClass {
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

impl Drop for StorageClass {
    fn drop(&mut self) {
        let _ = kubectl("default", &["delete", "storageclass", self.0]).output();
    }
}
