//! There is no pod, or fewer than there should be: the API server rejects them, or the
//! workload is inactive.

use kdev_core::kube::object::{condition, id, list, text};
use serde_json::{Value, json};

use crate::cause::Cause;
use crate::diagnosis::{Confidence, Diagnosis};
use crate::facts::{ApiEvent, Facts};
use crate::fixes;
use crate::rules::quota;

/// Prefixes of the API server's message in events.
const EVENT_PREFIXES: [&str; 2] = ["(combined from similar events): ", "Error creating: "];
/// The security context that the Pod Security level `restricted` requires of a container, by
/// the violation in its message.
const RESTRICTED_FIELDS: [(&str, &str); 4] = [
    ("allowPrivilegeEscalation != false", r#"{"allowPrivilegeEscalation":false}"#),
    ("unrestricted capabilities", r#"{"capabilities":{"drop":["ALL"]}}"#),
    ("runAsNonRoot != true", r#"{"runAsNonRoot":true}"#),
    ("seccompProfile", r#"{"seccompProfile":{"type":"RuntimeDefault"}}"#),
];

/// The `kubectl get` arguments that list all webhooks with their configurations.
const WEBHOOK_CONFIGURATIONS: &str = "validatingwebhookconfigurations,mutatingwebhookconfigurations --output 'custom-columns=KIND:.kind,NAME:.metadata.name,WEBHOOKS:.webhooks[*].name'";

pub(crate) fn diagnose(facts: &Facts) -> Vec<Diagnosis> {
    if let Some(message) = rejection_message(facts) {
        return vec![explain_rejection(facts, &message)];
    }
    job_failed(facts).or_else(|| inactive(facts)).into_iter().collect()
}

/// The Job has failed, and its pods no longer exist.
fn job_failed(facts: &Facts) -> Option<Diagnosis> {
    let job = facts.owners.first().filter(|owner| owner["kind"] == "Job" && !facts.is_pod())?;
    let failed = condition(job, "Failed").filter(|one| one["status"] == "True")?;
    let (kubectl, id) = (&facts.kubectl, id(job));
    let (reason, message) = (text(failed, "/reason"), text(failed, "/message"));
    let rerun = match facts.controller().filter(|controller| controller["kind"] == "CronJob") {
        Some(controller) => {
            let name = text(controller, "/metadata/name");
            format!("`{kubectl} create job {name}-now --from=cronjob/{name}`")
        }
        None => format!("`{kubectl} delete {id}` and apply its manifest"),
    };
    Some(Diagnosis {
        cause: Cause::JobFailed,
        confidence: Confidence::Certain,
        message: format!("{id} has failed, and its pods no longer exist: {message}"),
        evidence: vec![format!("its condition `Failed` is True: {reason}")],
        help: format!("run {rerun} to start it again, and diagnose it while its pod exists"),
    })
}

/// Returns the API server's message about the last rejected pod, if none has been created
/// since.
fn rejection_message(facts: &Facts) -> Option<String> {
    let owner = facts.owners.first()?;
    let failure = condition(owner, "ReplicaFailure").filter(|one| one["status"] == "True");
    if let Some(failure) = failure.filter(|failure| failure["reason"] == "FailedCreate") {
        return Some(text(failure, "/message").to_owned());
    }
    let regarding = format!("{}/{}", text(owner, "/kind"), text(owner, "/metadata/name"));
    let is_creation_event = |event: &&ApiEvent| {
        event.regarding == regarding
            && matches!(event.reason.as_str(), "FailedCreate" | "SuccessfulCreate")
    };
    // The condition of a ReplicaSet is current, unlike its events.
    let has_condition = matches!(text(owner, "/kind"), "ReplicaSet" | "ReplicationController");
    let last = facts
        .events
        .iter()
        .rfind(is_creation_event)
        .filter(|event| event.reason == "FailedCreate")?;
    (!has_condition && !facts.is_pod()).then(|| strip_event_prefixes(&last.message).to_owned())
}

fn strip_event_prefixes(message: &str) -> &str {
    let message =
        EVENT_PREFIXES.iter().fold(message, |rest, prefix| rest.trim_start_matches(prefix));
    // As in `create Pod db-0 in StatefulSet db failed error: …`.
    message.split_once(" failed error: ").map_or(message, |(_, rest)| rest)
}

fn explain_rejection(facts: &Facts, message: &str) -> Diagnosis {
    let diagnosis = |cause, explanation: String, help: String| Diagnosis {
        cause,
        confidence: Confidence::Certain,
        message: explanation,
        evidence: vec![format!("the API server: {message}")],
        help,
    };
    // `pods "web-1" is forbidden: REASON`.
    let reason = message.split_once(" is forbidden: ").map_or(message, |(_, reason)| reason);
    if let Some((message, help)) = quota::explain(facts, reason) {
        return diagnosis(Cause::Quota, message, help);
    }
    if let Some(rest) = reason.strip_prefix("violates PodSecurity \"") {
        let level = rest.split([':', '"']).next().unwrap_or_default();
        let message = format!("the namespace's Pod Security level `{level}` rejects the pod");
        return diagnosis(Cause::PodSecurity, message, pod_security_help(facts, reason));
    }
    if let Some((_, rest)) = reason.split_once("serviceaccount \"")
        && let Some((account, _)) = rest.split_once("\" not found")
    {
        let create = format!("{} create serviceaccount {account}", facts.kubectl);
        let message = format!("the pod's service account `{account}` does not exist");
        return diagnosis(
            Cause::ServiceAccountNotFound,
            message,
            fixes::with_rollout_restart(facts, &create),
        );
    }
    if let Some((message, help)) = explain_webhook(facts, reason) {
        return diagnosis(Cause::Webhook, message, help);
    }
    let (explanation, source) = match parse_admission_policy(reason) {
        Some((policy, why)) => {
            (format!("the admission policy `{policy}` rejected the pod: {why}"), "policy")
        }
        None => ("the API server rejected the pod".to_owned(), "API server"),
    };
    diagnosis(
        Cause::PodRejected,
        explanation,
        fixes::edit_manifest_help(
            facts,
            &format!("change the fields that the {source} rejects in"),
        ),
    )
}

/// Returns the help that restricts the containers as Pod Security requires, with a patch if
/// that fixes all violations.
fn pod_security_help(facts: &Facts, reason: &str) -> String {
    let mut context = json!({});
    let mut violations = 0;
    for (sign, required) in RESTRICTED_FIELDS {
        if reason.contains(sign) {
            let required: Value = serde_json::from_str(required).unwrap_or_default();
            let required = required.as_object().cloned().unwrap_or_default();
            context.as_object_mut().into_iter().for_each(|all| all.extend(required.clone()));
            violations += 1;
        }
    }
    let all = reason.matches(" (").count();
    let patched = fixes::pod_template(facts).and_then(|spec| {
        let mut patch = json!({});
        for kind in ["initContainers", "containers"] {
            let names = list(&spec[kind]).map(|one| text(one, "/name"));
            let violating = names.filter(|name| reason.contains(&format!("\"{name}\"")));
            let containers: Vec<Value> =
                violating.map(|name| json!({"name": name, "securityContext": context})).collect();
            if !containers.is_empty() {
                patch[kind] = containers.into();
            }
        }
        let is_empty = patch.as_object().is_none_or(serde_json::Map::is_empty);
        fixes::patch_command(facts, &json!({"spec": patch})).filter(|_| !is_empty)
    });
    match patched.filter(|_| violations == all) {
        Some(patch) => format!("run `{patch}`"),
        None => fixes::edit_manifest_help(facts, "fix the violations of Pod Security in"),
    }
}

/// Explains an admission webhook that denied the request or cannot be called.
fn explain_webhook(facts: &Facts, reason: &str) -> Option<(String, String)> {
    if let Some((_, rest)) = reason.split_once("failed calling webhook \"") {
        let name = rest.split('"').next()?;
        let url = rest.split_once("https://").map_or("", |(_, url)| url);
        let host = url.split(['/', ':', '"']).next().unwrap_or_default();
        let mut parts = host.split('.');
        let (service, namespace, is_service) = (parts.next()?, parts.next(), parts.next());
        let kubectl = &facts.kubectl;
        let help = match (namespace, is_service) {
            (Some(namespace), Some("svc")) => format!(
                "make the webhook's service `{service}` available: `{kubectl} get service,endpointslices,pods --namespace {namespace}` shows its state"
            ),
            _ => format!(
                "make `https://{}` available, or exclude this namespace from webhook `{name}` with its `namespaceSelector`; `{kubectl} get {WEBHOOK_CONFIGURATIONS}` lists its configuration",
                url.split(['?', '"']).next().unwrap_or_default()
            ),
        };
        let message = format!(
            "the admission webhook `{name}`, which must approve each new pod, cannot be called"
        );
        return Some((message, help));
    }
    let (_, rest) = reason.split_once("admission webhook \"")?;
    let (name, rest) = rest.split_once('"')?;
    let why = rest.split_once(": ").map_or("", |(_, why)| why);
    let message = format!("the admission webhook `{name}` rejected the pod: {why}");
    Some((
        message,
        fixes::edit_manifest_help(facts, "change the fields that the webhook rejects in"),
    ))
}

/// Parses `ValidatingAdmissionPolicy 'NAME' with binding '…' denied request: REASON`.
fn parse_admission_policy(reason: &str) -> Option<(&str, &str)> {
    let (_, rest) = reason.split_once("ValidatingAdmissionPolicy '")?;
    Some((rest.split('\'').next()?, rest.split_once(" denied request: ")?.1))
}

/// The workload should have no pod, or no newer one.
fn inactive(facts: &Facts) -> Option<Diagnosis> {
    let controller = facts.controller()?;
    let (id, kubectl) = (facts.controller_id(), &facts.kubectl);
    let spec = &controller["spec"];
    let resume = |kind: &str| {
        format!("run `{kubectl} patch {kind} --patch '{{\"spec\":{{\"suspend\":false}}}}'`")
    };
    let (message, evidence, help) = match text(controller, "/kind") {
        "Deployment" if spec["paused"] == true && has_pending_template(facts, controller) => (
            format!("{id} is paused: changes to its template create no pods"),
            "`spec.paused` is true",
            format!("run `{kubectl} rollout resume {id}`"),
        ),
        "Deployment" | "StatefulSet" | "ReplicaSet" | "ReplicationController"
            if spec["replicas"] == 0 && !facts.is_pod() =>
        {
            (
                format!("{id} is scaled to zero"),
                "`spec.replicas` is 0",
                format!("run `{kubectl} scale {id} --replicas=1`"),
            )
        }
        "Job" | "CronJob" if spec["suspend"] == true && !facts.is_pod() => {
            (format!("{id} is suspended"), "`spec.suspend` is true", resume(&id))
        }
        "CronJob" if !facts.is_pod() && facts.owners.len() == 1 => {
            let last = text(controller, "/status/lastScheduleTime");
            let (message, evidence) = if last.is_empty() {
                (format!("{id} has not been due yet"), "it has created no Job")
            } else {
                (
                    format!("{id} was last due at {last}, and its Job no longer exists"),
                    "it has no Job",
                )
            };
            let name = text(controller, "/metadata/name");
            (message, evidence, format!("run `{kubectl} create job {name}-now --from={id}`"))
        }
        _ => return None,
    };
    Some(Diagnosis {
        cause: Cause::Inactive,
        confidence: Confidence::Certain,
        message,
        evidence: vec![evidence.to_owned()],
        help,
    })
}

/// Whether a Deployment's template differs from that of its newest pods.
fn has_pending_template(facts: &Facts, controller: &Value) -> bool {
    let Some(owner) = facts.owners.first().filter(|owner| owner["kind"] == "ReplicaSet") else {
        return true;
    };
    let template = |object: &Value| object.pointer("/spec/template/spec").cloned();
    template(owner) != template(controller)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejection_has_cause_and_help() {
        let owner = json!({"kind": "Deployment", "metadata": {"name": "web"}, "spec": {"template":
            {"spec": {"initContainers": [{"name": "init"}],
                "containers": [{"name": "web", "resources": {"requests": {"cpu": "2"}}}]}}}});
        let facts = Facts { kubectl: "kubectl".into(), owners: vec![owner], ..Facts::default() };
        let table = [
            (
                "pods \"w\" is forbidden: error looking up service account n/builder: serviceaccount \"builder\" not found",
                Cause::ServiceAccountNotFound,
                "run `kubectl create serviceaccount builder && kubectl rollout restart deployment/web`",
            ),
            (
                "pods \"w\" is forbidden: violates PodSecurity \"restricted:latest\": runAsNonRoot != true (pod or container \"web\" must set securityContext.runAsNonRoot=true)",
                Cause::PodSecurity,
                "run `kubectl patch deployment/web --patch '{\"spec\":{\"template\":{\"spec\":{\"containers\":[{\"name\":\"web\",\"securityContext\":{\"runAsNonRoot\":true}}]}}}}'`",
            ),
            (
                "pods \"w\" is forbidden: violates PodSecurity \"restricted:latest\": unrestricted capabilities (containers \"init\", \"web\" must set securityContext.capabilities.drop=[\"ALL\"])",
                Cause::PodSecurity,
                "run `kubectl patch deployment/web --patch '{\"spec\":{\"template\":{\"spec\":{\"containers\":[{\"name\":\"web\",\"securityContext\":{\"capabilities\":{\"drop\":[\"ALL\"]}}}],\"initContainers\":[{\"name\":\"init\",\"securityContext\":{\"capabilities\":{\"drop\":[\"ALL\"]}}}]}}}}'`",
            ),
            (
                "pods \"w\" is forbidden: violates PodSecurity \"baseline:latest\": privileged (container \"web\" must not set securityContext.privileged=true)",
                Cause::PodSecurity,
                "fix the violations of Pod Security in the manifest of deployment/web, and apply it",
            ),
            (
                "Internal error occurred: failed calling webhook \"w.x\": failed to call webhook: Post \"https://hook.tools.svc:443/check?timeout=10s\": dial tcp: connection refused",
                Cause::Webhook,
                "make the webhook's service `hook` available: `kubectl get service,endpointslices,pods --namespace tools` shows its state",
            ),
            (
                "Internal error occurred: failed calling webhook \"w.x\": failed to call webhook: Post \"https://127.0.0.1:9/check?timeout=10s\": dial tcp 127.0.0.1:9: connect: connection refused",
                Cause::Webhook,
                "make `https://127.0.0.1:9/check` available, or exclude this namespace from webhook `w.x` with its `namespaceSelector`; `kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations --output 'custom-columns=KIND:.kind,NAME:.metadata.name,WEBHOOKS:.webhooks[*].name'` lists its configuration",
            ),
            (
                "admission webhook \"w.x\" denied the request: no team label",
                Cause::Webhook,
                "change the fields that the webhook rejects in the manifest of deployment/web, and apply it",
            ),
            (
                "pods \"w\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p' denied request: no",
                Cause::PodRejected,
                "change the fields that the policy rejects in the manifest of deployment/web, and apply it",
            ),
        ];
        for (message, cause, help) in table {
            let found = explain_rejection(&facts, message);
            assert_eq!((found.cause, found.help.as_str()), (cause, help), "{message}");
        }
    }

    #[test]
    fn job_without_pods_is_diagnosed() {
        let job = json!({"kind": "Job", "metadata": {"name": "j"}, "status": {"conditions": [
            {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded",
                "message": "Job has reached the specified backoff limit"}]}});
        let cron = |last: Value| {
            json!({"kind": "CronJob", "metadata": {"name": "c"},
            "status": {"lastScheduleTime": last}})
        };
        let failed = "job/j has failed, and its pods no longer exist: Job has reached the specified backoff limit";
        let table = [
            (
                vec![job.clone()],
                failed,
                "run `kubectl delete job/j` and apply its manifest to start it again, and diagnose it while its pod exists",
            ),
            (
                vec![job, cron(Value::Null)],
                failed,
                "run `kubectl create job c-now --from=cronjob/c` to start it again, and diagnose it while its pod exists",
            ),
            (
                vec![cron(Value::Null)],
                "cronjob/c has not been due yet",
                "run `kubectl create job c-now --from=cronjob/c`",
            ),
            (
                vec![cron("2026-01-01T00:00:00Z".into())],
                "cronjob/c was last due at 2026-01-01T00:00:00Z, and its Job no longer exists",
                "run `kubectl create job c-now --from=cronjob/c`",
            ),
        ];
        for (owners, message, help) in table {
            let facts = Facts { kubectl: "kubectl".into(), owners, ..Facts::default() };
            let found = diagnose(&facts);
            assert_eq!((found[0].message.as_str(), found[0].help.as_str()), (message, help));
        }
    }

    #[test]
    fn event_prefixes_are_stripped() {
        let table = [
            ("Error creating: pods \"a\" is forbidden: x", "pods \"a\" is forbidden: x"),
            ("(combined from similar events): Error creating: pods", "pods"),
            ("create Pod db-0 in StatefulSet db failed error: pods \"db-0\"", "pods \"db-0\""),
        ];
        for (message, expected) in table {
            assert_eq!(strip_event_prefixes(message), expected);
        }
    }
}
