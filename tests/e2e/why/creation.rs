//! Pods that the API server refuses, or that nobody wants.

use super::Scene;
use super::scheduling::Undo;
use crate::exclusive::{Claim, Part};
use crate::lab::{eventually, kubectl, run};
use crate::webhook;

const NEVER: &str = "imagePullPolicy: Never";

/// Pods that request CPU or memory.
fn requests() -> Claim {
    Claim::node("node-1").uses(Part::Capacity)
}

impl Scene {
    /// A Deployment that sleeps, with more lines for its container.
    fn makes(&self, lines: &str) {
        let image = format!("{}:dev", self.name);
        self.build_with(&image, "USER 1000\nENTRYPOINT [\"/busybox\", \"sleep\", \"100000\"]\n");
        self.import("node-1", "k8s.io", &image);
        self.deployment("node-1", &image, &format!("{NEVER}\n{lines}"));
    }

    /// Changes a line of the Deployment's manifest.
    fn makes_instead(&self, lines: &str) {
        let image = format!("{}:dev", self.name);
        self.deployment("node-1", &image, &format!("{NEVER}\n{lines}"));
    }
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn exceeded_quota_reports_quota() {
    let scene = Scene::claiming("used-up", requests());
    run(&mut scene.kubectl(&["create", "quota", "small", "--hard=cpu=100m"]));
    scene.makes("resources: {requests: {cpu: 150m}}");
    scene.reports("exceeded quota");
    scene.is_judged(&["quota"]).follow(0);
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn exceeded_quota_of_stateful_set_reports_quota() {
    let scene = Scene::on("node-1", "stateful-quota");
    let image = "stateful-quota:dev";
    scene.build(image);
    scene.import("node-1", "k8s.io", image);
    run(&mut scene.kubectl(&["create", "quota", "none", "--hard=pods=0"]));
    let manifest = scene.deployment_manifest("node-1", image, NEVER);
    scene.apply(&manifest.replace("Deployment", "StatefulSet"));
    scene.reports("exceeded quota");
    scene.is_judged(&["quota"]).follow(0);
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn missing_requests_report_quota() {
    let scene = Scene::claiming("unstated", requests());
    let quota = ["create", "quota", "strict", "--hard=requests.cpu=1,limits.memory=1Gi"];
    run(&mut scene.kubectl(&quota));
    scene.makes("");
    scene.reports("must specify");
    scene.is_judged(&["quota"]).follow(0);
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn limit_range_reports_quota() {
    let scene = Scene::claiming("out-of-bounds", requests());
    scene.apply("apiVersion: v1\nkind: LimitRange\nmetadata: {name: bounds}\nspec: {limits: [{type: Container, max: {memory: 100Mi}, min: {cpu: 20m}}]}\n");
    scene.makes("resources: {requests: {cpu: 10m, memory: 200Mi}, limits: {memory: 200Mi}}");
    scene.reports("per Container is");
    scene.is_judged(&["quota"]).follow(0);
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn restricted_namespace_reports_pod_security() {
    let scene = Scene::on("node-1", "pod-security");
    let label = "pod-security.kubernetes.io/enforce=restricted";
    run(&mut kubectl("default", &["label", "namespace", "pod-security", label]));
    // A container that starts before the others is held to the same.
    let image = "pod-security:dev";
    scene.build_with(image, "USER 1000\nENTRYPOINT [\"/busybox\", \"sleep\", \"100000\"]\n");
    scene.import("node-1", "k8s.io", image);
    let text = scene.deployment_manifest("node-1", image, NEVER);
    let before = "      containers:";
    let init = format!(
        "      initContainers: [{{name: early, image: {image:?}, {NEVER}, command: [/busybox, \"true\"]}}]\n"
    );
    scene.apply(&text.replace(before, &format!("{init}{before}")));
    scene.reports("violates PodSecurity");
    scene.is_judged(&["pod-security"]).follow(0);
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn missing_service_account_reports_not_found() {
    let scene = Scene::on("node-1", "builder-missing");
    let image = "builder-missing:dev";
    scene.build(image);
    scene.import("node-1", "k8s.io", image);
    let manifest = scene.deployment_manifest("node-1", image, NEVER);
    let spec = "      terminationGracePeriodSeconds";
    scene.apply(&manifest.replace(spec, &format!("      serviceAccountName: builder\n{spec}")));
    scene.reports("error looking up service account");
    scene.is_judged(&["service-account-not-found"]).follow(0);
    scene.runs();
}

/// A configuration that asks a webhook about each pod of a scene's.
fn asks(scene: &Scene, client_config: &str) {
    let name = scene.name;
    scene.apply(&format!(
        "apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {{name: {name}}}
webhooks:
- name: check.example.com
  admissionReviewVersions: [v1]
  sideEffects: None
  clientConfig: {client_config}
  namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {name}}}}}
  rules: [{{apiGroups: [\"\"], apiVersions: [v1], operations: [CREATE], resources: [pods]}}]
"
    ));
    // The API server takes a moment to know of it.
    eventually("the webhook", || {
        let pod = ["run", "probe", "--image=probe", "--dry-run=server"];
        (!scene.kubectl(&pod).output().ok()?.status.success()).then_some(())
    });
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn unreachable_webhook_reports_webhook() {
    let scene = Scene::on("node-1", "deaf-webhook");
    let delete = ["delete", "validatingwebhookconfiguration", "deaf-webhook"];
    let undo = Undo::by(&[&delete]);
    let image = "deaf-webhook:dev";
    scene.build(image);
    scene.import("node-1", "k8s.io", image);
    asks(&scene, "{url: \"https://127.0.0.1:9/check\"}");
    scene.makes_instead("");
    scene.reports("failed calling webhook");
    let found = scene.is_judged(&["webhook"]);
    assert!(found.help(0).contains("or delete the cluster-wide configuration"), "{}", found.help(0));
    let listed = found.follow_last(0);
    let line = listed.lines().find(|line| line.ends_with("check.example.com"));
    assert!(line.is_some_and(|line| line.contains(" deaf-webhook ")), "{listed}");
    drop(undo);
    run(&mut scene.kubectl(&["rollout", "restart", "deployment/web"]));
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn denying_webhook_reports_webhook() {
    let scene = Scene::on("node-1", "strict-webhook");
    let _undo = Undo::by(&[&["delete", "validatingwebhookconfiguration", "strict-webhook"]]);
    asks(
        &scene,
        &webhook::serve(|pod| {
            pod.pointer("/metadata/labels/team").is_none().then_some("a pod needs a label `team`")
        }),
    );
    scene.makes("");
    scene.reports("denied the request");
    let found = scene.is_judged(&["webhook"]);
    assert!(found.words(0).ends_with("rejected the pod: a pod needs a label `team`"));
    assert!(found.help(0).starts_with("change the fields that the webhook rejects in"), "{}", found.help(0));
    // As the help says.
    let patch = r#"{"spec":{"template":{"metadata":{"labels":{"team":"a"}}}}}"#;
    run(&mut scene.kubectl(&["patch", "deployment/web", "--patch", patch]));
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn validating_policy_reports_pod_rejected() {
    let scene = Scene::on("node-1", "house-rule");
    let _undo = Undo::by(&[
        &["delete", "validatingadmissionpolicybinding", "house-rule"],
        &["delete", "validatingadmissionpolicy", "house-rule"],
    ]);
    scene.apply("apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: house-rule}
spec:
  failurePolicy: Fail
  matchConstraints: {resourceRules: [{apiGroups: [\"\"], apiVersions: [v1], operations: [CREATE], resources: [pods]}]}
  validations: [{expression: 'object.spec.containers.all(c, has(c.workingDir))', message: each container must name its workingDir}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: house-rule}
spec: {policyName: house-rule, validationActions: [Deny], matchResources: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: house-rule}}}}
");
    eventually("the policy", || {
        let pod = ["run", "probe", "--image=probe", "--dry-run=server"];
        (!scene.kubectl(&pod).output().ok()?.status.success()).then_some(())
    });
    scene.makes("");
    scene.reports("each container must name its workingDir");
    let found = scene.is_judged(&["pod-rejected"]);
    assert!(found.help(0).starts_with("change the fields that the policy rejects in"), "{}", found.help(0));
    // As the API server says.
    scene.makes_instead("workingDir: /");
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn deployment_scaled_to_zero_reports_inactive() {
    let scene = Scene::on("node-1", "to-zero");
    scene.makes("");
    run(&mut scene.kubectl(&["scale", "deployment/web", "--replicas=0"]));
    run(&mut scene.kubectl(&["wait", "--for=delete", "pod", "--all", "--timeout=60s"]));
    assert!(scene.is_well().starts_with("deployment/web is scaled to zero\n"));
    scene.is_judged(&["inactive"]).follow(0);
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn paused_deployment_reports_inactive() {
    let scene = Scene::on("node-1", "paused-update");
    scene.makes("");
    scene.runs();
    run(&mut scene.kubectl(&["rollout", "pause", "deployment/web"]));
    scene.makes_instead("workingDir: /");
    assert!(scene.is_well().starts_with("deployment/web is paused: "));
    scene.is_judged(&["inactive"]).follow(0);
    run(&mut scene.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]));
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn suspended_job_reports_inactive() {
    let scene = Scene::on("node-1", "suspended");
    let image = "suspended:dev";
    scene.build(image);
    scene.import("node-1", "k8s.io", image);
    scene.apply(&format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: web}}\nspec:\n  suspend: true\n  template:\n    spec:\n      nodeSelector: {{kubernetes.io/hostname: node-1}}\n      restartPolicy: Never\n      terminationGracePeriodSeconds: 0\n      containers: [{{name: web, image: {image:?}, {NEVER}}}]\n"
    ));
    scene.is_judged(&["inactive"]).follow(0);
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn failed_job_without_pods_reports_job_failed() {
    let scene = Scene::on("node-1", "pods-gone");
    let image = "pods-gone:dev";
    scene.build(image);
    scene.import("node-1", "k8s.io", image);
    let job = |program: &str| {
        format!(
            "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: web}}\nspec:\n  backoffLimit: 0\n  template:\n    spec:\n      nodeSelector: {{kubernetes.io/hostname: node-1}}\n      restartPolicy: Never\n      terminationGracePeriodSeconds: 0\n      containers: [{{name: web, image: {image:?}, {NEVER}, command: [/busybox, {program}]}}]\n"
        )
    };
    scene.apply(&job("\"false\""));
    run(&mut scene.kubectl(&["wait", "job/web", "--for=condition=Failed", "--timeout=60s"]));
    run(&mut scene.kubectl(&["delete", "pods", "--all"]));
    scene.is_judged(&["job-failed"]).follow(0);
    // As the help says.
    scene.apply(&job("sleep, \"100000\""));
    scene.runs();
}
