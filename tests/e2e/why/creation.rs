//! Pods that the API server rejects, and workloads without pods.

use super::Scenario;
use crate::exclusive::{Claim, Part};
use crate::lab::{kubectl, run, wait_for};
use crate::undo::Undo;
use crate::webhook;

const NEVER: &str = "imagePullPolicy: Never";

/// Pods on `node-1` that request CPU or memory.
fn capacity_claim() -> Claim {
    Claim::node("node-1").uses(Part::Capacity)
}

impl Scenario {
    /// Builds an image, and creates a Deployment with these lines in its container.
    fn build_and_deploy(&self, lines: &str) {
        let image = format!("{}:dev", self.name);
        self.build_with(&image, "USER 1000\nENTRYPOINT [\"/busybox\", \"sleep\", \"100000\"]\n");
        self.import("node-1", "k8s.io", &image);
        self.create_deployment("node-1", &image, &format!("{NEVER}\n{lines}"));
    }

    /// Applies the Deployment with other lines in its container.
    fn redeploy(&self, lines: &str) {
        let image = format!("{}:dev", self.name);
        self.create_deployment("node-1", &image, &format!("{NEVER}\n{lines}"));
    }
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn exceeded_quota_reports_quota() {
    let scenario = Scenario::with_claim("quota-exceeded", capacity_claim());
    run(&mut scenario.kubectl(&["create", "quota", "small", "--hard=cpu=100m"]));
    scenario.build_and_deploy("resources: {requests: {cpu: 150m}}");
    scenario.wait_for_event("exceeded quota");
    scenario.assert_causes(&["quota"]).follow_help(0);
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn exceeded_quota_of_stateful_set_reports_quota() {
    let scenario = Scenario::on_node("node-1", "stateful-quota");
    let image = "stateful-quota:dev";
    scenario.build(image);
    scenario.import("node-1", "k8s.io", image);
    run(&mut scenario.kubectl(&["create", "quota", "none", "--hard=pods=0"]));
    let manifest = scenario.deployment_manifest("node-1", image, NEVER);
    scenario.apply(&manifest.replace("Deployment", "StatefulSet"));
    scenario.wait_for_event("exceeded quota");
    scenario.assert_causes(&["quota"]).follow_help(0);
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn missing_requests_report_quota() {
    let scenario = Scenario::with_claim("quota-without-requests", capacity_claim());
    let quota = ["create", "quota", "strict", "--hard=requests.cpu=1,limits.memory=1Gi"];
    run(&mut scenario.kubectl(&quota));
    scenario.build_and_deploy("");
    scenario.wait_for_event("must specify");
    scenario.assert_causes(&["quota"]).follow_help(0);
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn limit_range_reports_quota() {
    let scenario = Scenario::with_claim("limit-range", capacity_claim());
    scenario.apply("apiVersion: v1\nkind: LimitRange\nmetadata: {name: bounds}\nspec: {limits: [{type: Container, max: {memory: 100Mi}, min: {cpu: 20m}}]}\n");
    scenario.build_and_deploy(
        "resources: {requests: {cpu: 10m, memory: 200Mi}, limits: {memory: 200Mi}}",
    );
    scenario.wait_for_event("per Container is");
    scenario.assert_causes(&["quota"]).follow_help(0);
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn restricted_namespace_reports_pod_security() {
    let scenario = Scenario::on_node("node-1", "pod-security");
    let label = "pod-security.kubernetes.io/enforce=restricted";
    run(&mut kubectl("default", &["label", "namespace", "pod-security", label]));
    // An init container, which must satisfy the same level.
    let image = "pod-security:dev";
    scenario.build_with(image, "USER 1000\nENTRYPOINT [\"/busybox\", \"sleep\", \"100000\"]\n");
    scenario.import("node-1", "k8s.io", image);
    let text = scenario.deployment_manifest("node-1", image, NEVER);
    let before = "      containers:";
    let init = format!(
        "      initContainers: [{{name: early, image: {image:?}, {NEVER}, command: [/busybox, \"true\"]}}]\n"
    );
    scenario.apply(&text.replace(before, &format!("{init}{before}")));
    scenario.wait_for_event("violates PodSecurity");
    scenario.assert_causes(&["pod-security"]).follow_help(0);
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn missing_service_account_reports_not_found() {
    let scenario = Scenario::on_node("node-1", "builder-missing");
    let image = "builder-missing:dev";
    scenario.build(image);
    scenario.import("node-1", "k8s.io", image);
    let manifest = scenario.deployment_manifest("node-1", image, NEVER);
    let spec = "      terminationGracePeriodSeconds";
    scenario.apply(&manifest.replace(spec, &format!("      serviceAccountName: builder\n{spec}")));
    scenario.wait_for_event("error looking up service account");
    scenario.assert_causes(&["service-account-not-found"]).follow_help(0);
    scenario.wait_until_ready();
}

/// Registers a webhook for the pods of a scenario, and waits until it is called.
fn create_webhook(scenario: &Scenario, client_config: &str) {
    let name = scenario.name;
    scenario.apply(&format!(
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
    // The API server needs a moment to load the configuration.
    wait_for("the webhook", || {
        let pod = ["run", "probe", "--image=probe", "--dry-run=server"];
        (!scenario.kubectl(&pod).output().ok()?.status.success()).then_some(())
    });
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn unreachable_webhook_reports_webhook() {
    let scenario = Scenario::on_node("node-1", "webhook-unreachable");
    let delete = ["delete", "validatingwebhookconfiguration", "webhook-unreachable"];
    let undo = Undo::new([kubectl("default", &delete)]);
    let image = "webhook-unreachable:dev";
    scenario.build(image);
    scenario.import("node-1", "k8s.io", image);
    create_webhook(&scenario, "{url: \"https://127.0.0.1:9/check\"}");
    scenario.redeploy("");
    scenario.wait_for_event("failed calling webhook");
    let report = scenario.assert_causes(&["webhook"]);
    assert!(
        report.help(0).contains("exclude this namespace from webhook `check.example.com`"),
        "{}",
        report.help(0)
    );
    let output = report.follow_last_command(0);
    let line = output.lines().find(|line| line.ends_with("check.example.com"));
    assert!(line.is_some_and(|line| line.contains(" webhook-unreachable ")), "{output}");
    drop(undo);
    run(&mut scenario.kubectl(&["rollout", "restart", "deployment/web"]));
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn denying_webhook_reports_webhook() {
    let scenario = Scenario::on_node("node-1", "webhook-denies");
    let delete = ["delete", "validatingwebhookconfiguration", "webhook-denies"];
    let _undo = Undo::new([kubectl("default", &delete)]);
    create_webhook(
        &scenario,
        &webhook::serve(|pod| {
            pod.pointer("/metadata/labels/team").is_none().then_some("a pod needs a label `team`")
        }),
    );
    scenario.build_and_deploy("");
    scenario.wait_for_event("denied the request");
    let report = scenario.assert_causes(&["webhook"]);
    assert!(report.message(0).ends_with("rejected the pod: a pod needs a label `team`"));
    assert!(
        report.help(0).starts_with("change the fields that the webhook rejects in"),
        "{}",
        report.help(0)
    );
    // Follow the help.
    let patch = r#"{"spec":{"template":{"metadata":{"labels":{"team":"a"}}}}}"#;
    run(&mut scenario.kubectl(&["patch", "deployment/web", "--patch", patch]));
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn validating_policy_reports_pod_rejected() {
    let scenario = Scenario::on_node("node-1", "admission-policy");
    let _undo = Undo::new([
        kubectl("default", &["delete", "validatingadmissionpolicybinding", "admission-policy"]),
        kubectl("default", &["delete", "validatingadmissionpolicy", "admission-policy"]),
    ]);
    scenario.apply("apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: admission-policy}
spec:
  failurePolicy: Fail
  matchConstraints: {resourceRules: [{apiGroups: [\"\"], apiVersions: [v1], operations: [CREATE], resources: [pods]}]}
  validations: [{expression: 'object.spec.containers.all(c, has(c.workingDir))', message: each container must name its workingDir}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: admission-policy}
spec: {policyName: admission-policy, validationActions: [Deny], matchResources: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: admission-policy}}}}
");
    wait_for("the policy", || {
        let pod = ["run", "probe", "--image=probe", "--dry-run=server"];
        (!scenario.kubectl(&pod).output().ok()?.status.success()).then_some(())
    });
    scenario.build_and_deploy("");
    scenario.wait_for_event("each container must name its workingDir");
    let report = scenario.assert_causes(&["pod-rejected"]);
    assert!(
        report.help(0).starts_with("change the fields that the policy rejects in"),
        "{}",
        report.help(0)
    );
    // Fix the problem in the message of the policy.
    scenario.redeploy("workingDir: /");
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn deployment_scaled_to_zero_reports_inactive() {
    let scenario = Scenario::on_node("node-1", "scaled-to-zero");
    scenario.build_and_deploy("");
    run(&mut scenario.kubectl(&["scale", "deployment/web", "--replicas=0"]));
    run(&mut scenario.kubectl(&["wait", "--for=delete", "pod", "--all", "--timeout=60s"]));
    assert!(scenario.check_namespace().starts_with("deployment/web is scaled to zero\n"));
    scenario.assert_causes(&["inactive"]).follow_help(0);
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn paused_deployment_reports_inactive() {
    let scenario = Scenario::on_node("node-1", "paused-update");
    scenario.build_and_deploy("");
    scenario.wait_until_ready();
    run(&mut scenario.kubectl(&["rollout", "pause", "deployment/web"]));
    scenario.redeploy("workingDir: /");
    assert!(scenario.check_namespace().starts_with("deployment/web is paused: "));
    scenario.assert_causes(&["inactive"]).follow_help(0);
    run(&mut scenario.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]));
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn suspended_job_reports_inactive() {
    let scenario = Scenario::on_node("node-1", "suspended");
    let image = "suspended:dev";
    scenario.build(image);
    scenario.import("node-1", "k8s.io", image);
    scenario.apply(&format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: web}}\nspec:\n  suspend: true\n  template:\n    spec:\n      nodeSelector: {{kubernetes.io/hostname: node-1}}\n      restartPolicy: Never\n      terminationGracePeriodSeconds: 0\n      containers: [{{name: web, image: {image:?}, {NEVER}}}]\n"
    ));
    scenario.assert_causes(&["inactive"]).follow_help(0);
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn failed_job_without_pods_reports_job_failed() {
    let scenario = Scenario::on_node("node-1", "job-without-pods");
    let image = "job-without-pods:dev";
    scenario.build(image);
    scenario.import("node-1", "k8s.io", image);
    let job = |program: &str| {
        format!(
            "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: web}}\nspec:\n  backoffLimit: 0\n  template:\n    spec:\n      nodeSelector: {{kubernetes.io/hostname: node-1}}\n      restartPolicy: Never\n      terminationGracePeriodSeconds: 0\n      containers: [{{name: web, image: {image:?}, {NEVER}, command: [/busybox, {program}]}}]\n"
        )
    };
    scenario.apply(&job("\"false\""));
    run(&mut scenario.kubectl(&["wait", "job/web", "--for=condition=Failed", "--timeout=60s"]));
    run(&mut scenario.kubectl(&["delete", "pods", "--all"]));
    scenario.assert_causes(&["job-failed"]).follow_help(0);
    // Follow the help.
    scenario.apply(&job("sleep, \"100000\""));
    scenario.wait_until_ready();
}
