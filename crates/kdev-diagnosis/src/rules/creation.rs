//! There is no pod, or not as many as there should be: the API server refuses
//! them, or they are not wanted.

use kdev_core::kube::object::{condition, id, list, text};
use serde_json::{Value, json};

use crate::cause::Cause;
use crate::diagnosis::{Confidence, Diagnosis};
use crate::facts::{ApiEvent, Facts};
use crate::fixes;
use crate::rules::quota;

/// What stands before the API server's own words in events.
const NOISE: [&str; 2] = ["(combined from similar events): ", "Error creating: "];
/// What Pod Security's level `restricted` asks of a container, by its words.
const RESTRICTED: [(&str, &str); 4] = [
    ("allowPrivilegeEscalation != false", r#"{"allowPrivilegeEscalation":false}"#),
    ("unrestricted capabilities", r#"{"capabilities":{"drop":["ALL"]}}"#),
    ("runAsNonRoot != true", r#"{"runAsNonRoot":true}"#),
    ("seccompProfile", r#"{"seccompProfile":{"type":"RuntimeDefault"}}"#),
];

/// All webhooks, with where they are configured.
const CONFIGURATIONS: &str = "validatingwebhookconfigurations,mutatingwebhookconfigurations --output 'custom-columns=KIND:.kind,NAME:.metadata.name,WEBHOOKS:.webhooks[*].name'";

pub(crate) fn diagnose(facts: &Facts) -> Vec<Diagnosis> {
    if let Some(words) = refusal(facts) {
        return vec![refused(facts, &words)];
    }
    failed(facts).or_else(|| unwanted(facts)).into_iter().collect()
}

/// The Job that would make pods has failed, and those that it made are gone.
fn failed(facts: &Facts) -> Option<Diagnosis> {
    let job = facts.owners.first().filter(|maker| maker["kind"] == "Job" && !facts.is_pod())?;
    let failed = condition(job, "Failed").filter(|one| one["status"] == "True")?;
    let (kubectl, id) = (&facts.kubectl, id(job));
    let (reason, message) = (text(failed, "/reason"), text(failed, "/message"));
    let again = match facts.keeper().filter(|keeper| keeper["kind"] == "CronJob") {
        Some(keeper) => {
            let name = text(keeper, "/metadata/name");
            format!("`{kubectl} create job {name}-now --from=cronjob/{name}`")
        }
        None => format!("`{kubectl} delete {id}`, and apply its manifest"),
    };
    Some(Diagnosis {
        cause: Cause::JobFailed,
        confidence: Confidence::Certain,
        message: format!("{id} has failed, and its pods are gone: {message}"),
        evidence: vec![format!("its condition `Failed` is True: {reason}")],
        help: format!("run it again, and ask while its pod is there: {again}"),
    })
}

/// What the API server last said against a new pod, if no pod has come since.
fn refusal(facts: &Facts) -> Option<String> {
    let maker = facts.owners.first()?;
    let failure = condition(maker, "ReplicaFailure").filter(|one| one["status"] == "True");
    if let Some(failure) = failure.filter(|failure| failure["reason"] == "FailedCreate") {
        return Some(text(failure, "/message").to_owned());
    }
    let about = format!("{}/{}", text(maker, "/kind"), text(maker, "/metadata/name"));
    let is_told = |event: &&ApiEvent| {
        event.regarding == about
            && matches!(event.reason.as_str(), "FailedCreate" | "SuccessfulCreate")
    };
    // Of a ReplicaSet the condition tells what is still so.
    let keeps_condition = matches!(text(maker, "/kind"), "ReplicaSet" | "ReplicationController");
    let last = facts.events.iter().rfind(is_told).filter(|event| event.reason == "FailedCreate")?;
    (!keeps_condition && !facts.is_pod()).then(|| clean(&last.message).to_owned())
}

fn clean(message: &str) -> &str {
    let message = NOISE.iter().fold(message, |rest, noise| rest.trim_start_matches(noise));
    // As in `create Pod db-0 in StatefulSet db failed error: …`.
    message.split_once(" failed error: ").map_or(message, |(_, rest)| rest)
}

fn refused(facts: &Facts, message: &str) -> Diagnosis {
    let of = |cause, words: String, help: String| Diagnosis {
        cause,
        confidence: Confidence::Certain,
        message: words,
        evidence: vec![format!("the API server: {message}")],
        help,
    };
    // `pods "web-1" is forbidden: REASON`.
    let reason = message.split_once(" is forbidden: ").map_or(message, |(_, reason)| reason);
    if let Some((words, help)) = quota::explain(facts, reason) {
        return of(Cause::Quota, words, help);
    }
    if let Some(rest) = reason.strip_prefix("violates PodSecurity \"") {
        let level = rest.split([':', '"']).next().unwrap_or_default();
        let words =
            format!("the namespace's Pod Security level `{level}` forbids pods such as this one");
        return of(Cause::PodSecurity, words, secure(facts, reason));
    }
    if let Some((_, rest)) = reason.split_once("serviceaccount \"")
        && let Some((account, _)) = rest.split_once("\" not found")
    {
        let create = format!("{} create serviceaccount {account}", facts.kubectl);
        let words = format!("the pod's service account `{account}` does not exist");
        return of(Cause::ServiceAccountNotFound, words, fixes::again(facts, &create));
    }
    if let Some((words, help)) = webhook(facts, reason) {
        return of(Cause::Webhook, words, help);
    }
    let (words, who) = match policy(reason) {
        Some((policy, why)) => {
            (format!("the admission policy `{policy}` refuses the pod: {why}"), "policy")
        }
        None => ("the API server refuses the pod".to_owned(), "API server"),
    };
    of(Cause::PodRejected, words, fixes::by_hand(facts, &format!("change what the {who} names in")))
}

/// Lets the containers that Pod Security names be as restricted as it asks, where
/// that is all.
fn secure(facts: &Facts, reason: &str) -> String {
    let mut context = json!({});
    let mut violations = 0;
    for (sign, wanted) in RESTRICTED {
        if reason.contains(sign) {
            let wanted: Value = serde_json::from_str(wanted).unwrap_or_default();
            let wanted = wanted.as_object().cloned().unwrap_or_default();
            context.as_object_mut().into_iter().for_each(|all| all.extend(wanted.clone()));
            violations += 1;
        }
    }
    let all = reason.matches(" (").count();
    let patched = fixes::template(facts).and_then(|spec| {
        let mut patch = json!({});
        for kind in ["initContainers", "containers"] {
            let names = list(&spec[kind]).map(|one| text(one, "/name"));
            let told = names.filter(|name| reason.contains(&format!("\"{name}\"")));
            let containers: Vec<Value> =
                told.map(|name| json!({"name": name, "securityContext": context})).collect();
            if !containers.is_empty() {
                patch[kind] = containers.into();
            }
        }
        let is_none = patch.as_object().is_none_or(serde_json::Map::is_empty);
        fixes::patch(facts, &json!({"spec": patch})).filter(|_| !is_none)
    });
    match patched.filter(|_| violations == all) {
        Some(patch) => format!("run `{patch}`"),
        None => fixes::by_hand(facts, "change what Pod Security names in"),
    }
}

/// A webhook that says no, or nothing.
fn webhook(facts: &Facts, reason: &str) -> Option<(String, String)> {
    if let Some((_, rest)) = reason.split_once("failed calling webhook \"") {
        let name = rest.split('"').next()?;
        let url = rest.split_once("https://").map_or("", |(_, url)| url);
        let host = url.split(['/', ':', '"']).next().unwrap_or_default();
        let mut parts = host.split('.');
        let (service, namespace, is_service) = (parts.next()?, parts.next(), parts.next());
        let kubectl = &facts.kubectl;
        let help = match (namespace, is_service) {
            (Some(namespace), Some("svc")) => format!(
                "let the webhook's service answer: see `{kubectl} get service,endpointslices,pods --namespace {namespace}` for `{service}`"
            ),
            _ => format!(
                "let `https://{}` answer, or delete the configuration that names `{name}`, which is one for the whole cluster: `{kubectl} get {CONFIGURATIONS}`",
                url.split(['?', '"']).next().unwrap_or_default()
            ),
        };
        let words = format!(
            "each new pod must pass the admission webhook `{name}`, which cannot be called"
        );
        return Some((words, help));
    }
    let (_, rest) = reason.split_once("admission webhook \"")?;
    let (name, rest) = rest.split_once('"')?;
    let why = rest.split_once(": ").map_or("", |(_, why)| why);
    let words = format!("the admission webhook `{name}` refuses the pod: {why}");
    Some((words, fixes::by_hand(facts, "change what the webhook names in")))
}

/// `ValidatingAdmissionPolicy 'NAME' with binding '…' denied request: WHY`.
fn policy(reason: &str) -> Option<(&str, &str)> {
    let (_, rest) = reason.split_once("ValidatingAdmissionPolicy '")?;
    Some((rest.split('\'').next()?, rest.split_once(" denied request: ")?.1))
}

/// Nobody has asked for a pod, or for a newer one.
fn unwanted(facts: &Facts) -> Option<Diagnosis> {
    let keeper = facts.keeper()?;
    let (id, kubectl) = (facts.keeper_id(), &facts.kubectl);
    let spec = &keeper["spec"];
    let resume = |kind: &str| {
        format!("run `{kubectl} patch {kind} --patch '{{\"spec\":{{\"suspend\":false}}}}'`")
    };
    let (words, evidence, help) = match text(keeper, "/kind") {
        "Deployment" if spec["paused"] == true && is_behind(facts, keeper) => (
            format!("{id} is paused: what was changed in it since makes no pods"),
            "`spec.paused` is true",
            format!("run `{kubectl} rollout resume {id}`"),
        ),
        "Deployment" | "StatefulSet" | "ReplicaSet" | "ReplicationController"
            if spec["replicas"] == 0 && !facts.is_pod() =>
        {
            (
                format!("{id} is scaled to zero: no pod is wanted"),
                "`spec.replicas` is 0",
                format!("run `{kubectl} scale {id} --replicas=1`"),
            )
        }
        "Job" | "CronJob" if spec["suspend"] == true && !facts.is_pod() => {
            (format!("{id} is suspended: no pod is wanted"), "`spec.suspend` is true", resume(&id))
        }
        "CronJob" if !facts.is_pod() && facts.owners.len() == 1 => {
            let last = text(keeper, "/status/lastScheduleTime");
            let (words, evidence) = if last.is_empty() {
                (format!("{id} has not been due yet"), "it has made no job")
            } else {
                (format!("{id} was due at {last}, and the job of that is gone"), "it has no job")
            };
            let name = text(keeper, "/metadata/name");
            (words, evidence, format!("run `{kubectl} create job {name}-now --from={id}`"))
        }
        _ => return None,
    };
    Some(Diagnosis {
        cause: Cause::Inactive,
        confidence: Confidence::Certain,
        message: words,
        evidence: vec![evidence.to_owned()],
        help,
    })
}

/// Whether a Deployment's template is another one than that of its newest pods.
fn is_behind(facts: &Facts, keeper: &Value) -> bool {
    let Some(maker) = facts.owners.first().filter(|maker| maker["kind"] == "ReplicaSet") else {
        return true;
    };
    let template = |object: &Value| object.pointer("/spec/template/spec").cloned();
    template(maker) != template(keeper)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_is_told() {
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
                "change what Pod Security names in the manifest of deployment/web, and apply it",
            ),
            (
                "Internal error occurred: failed calling webhook \"w.x\": failed to call webhook: Post \"https://hook.tools.svc:443/check?timeout=10s\": dial tcp: connection refused",
                Cause::Webhook,
                "let the webhook's service answer: see `kubectl get service,endpointslices,pods --namespace tools` for `hook`",
            ),
            (
                "Internal error occurred: failed calling webhook \"w.x\": failed to call webhook: Post \"https://127.0.0.1:9/check?timeout=10s\": dial tcp 127.0.0.1:9: connect: connection refused",
                Cause::Webhook,
                "let `https://127.0.0.1:9/check` answer, or delete the configuration that names `w.x`, which is one for the whole cluster: `kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations --output 'custom-columns=KIND:.kind,NAME:.metadata.name,WEBHOOKS:.webhooks[*].name'`",
            ),
            (
                "admission webhook \"w.x\" denied the request: no team label",
                Cause::Webhook,
                "change what the webhook names in the manifest of deployment/web, and apply it",
            ),
            (
                "pods \"w\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p' denied request: no",
                Cause::PodRejected,
                "change what the policy names in the manifest of deployment/web, and apply it",
            ),
        ];
        for (message, cause, help) in table {
            let found = refused(&facts, message);
            assert_eq!((found.cause, found.help.as_str()), (cause, help), "{message}");
        }
    }

    #[test]
    fn a_job_without_pods_is_told() {
        let job = json!({"kind": "Job", "metadata": {"name": "j"}, "status": {"conditions": [
            {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded",
                "message": "Job has reached the specified backoff limit"}]}});
        let cron = |last: Value| {
            json!({"kind": "CronJob", "metadata": {"name": "c"},
            "status": {"lastScheduleTime": last}})
        };
        let failed =
            "job/j has failed, and its pods are gone: Job has reached the specified backoff limit";
        let table = [
            (
                vec![job.clone()],
                failed,
                "run it again, and ask while its pod is there: `kubectl delete job/j`, and apply its manifest",
            ),
            (
                vec![job, cron(Value::Null)],
                failed,
                "run it again, and ask while its pod is there: `kubectl create job c-now --from=cronjob/c`",
            ),
            (
                vec![cron(Value::Null)],
                "cronjob/c has not been due yet",
                "run `kubectl create job c-now --from=cronjob/c`",
            ),
            (
                vec![cron("2026-01-01T00:00:00Z".into())],
                "cronjob/c was due at 2026-01-01T00:00:00Z, and the job of that is gone",
                "run `kubectl create job c-now --from=cronjob/c`",
            ),
        ];
        for (owners, words, help) in table {
            let facts = Facts { kubectl: "kubectl".into(), owners, ..Facts::default() };
            let found = diagnose(&facts);
            assert_eq!((found[0].message.as_str(), found[0].help.as_str()), (words, help));
        }
    }

    #[test]
    fn what_controllers_say_before_the_reason_is_left_out() {
        let table = [
            ("Error creating: pods \"a\" is forbidden: x", "pods \"a\" is forbidden: x"),
            ("(combined from similar events): Error creating: pods", "pods"),
            ("create Pod db-0 in StatefulSet db failed error: pods \"db-0\"", "pods \"db-0\""),
        ];
        for (message, expected) in table {
            assert_eq!(clean(message), expected);
        }
    }
}
