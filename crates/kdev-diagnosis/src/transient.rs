//! Failures during the preparation of a pod that are transient or have passed.

use crate::facts::{ApiEvent, Facts};

/// Reasons of events that prevent the creation of the containers.
const PREPARATION_FAILURES: [&str; 4] =
    ["FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox", "NetworkNotReady"];
/// Reasons of events that occur only after volumes and sandbox are ready.
const AFTER_PREPARATION: [&str; 4] = ["Pulling", "Pulled", "Created", "Started"];
/// Errors while the kubelet's cache does not contain the pod's config maps and secrets yet,
/// or the API server has not seen yet that the pod is on the node
/// (<https://kubernetes.io/docs/reference/access-authn-authz/node/>).
const TRANSIENT_ERRORS: [&str; 4] = [
    "failed to sync configmap cache",
    "failed to sync secret cache",
    "not registered",
    "no relationship found between node",
];

/// Whether an event is about the pod's preparation, which has succeeded since.
pub(crate) fn has_passed(facts: &Facts, event: &ApiEvent) -> bool {
    let is_past = |one: &ApiEvent| {
        let is_attached =
            one.reason == "SuccessfulAttachVolume" && event.reason == "FailedAttachVolume";
        (is_attached || AFTER_PREPARATION.contains(&one.reason.as_str()))
            && one.is_since(&event.time)
    };
    PREPARATION_FAILURES.contains(&event.reason.as_str())
        && (facts.is_mounted() || facts.pod_events().any(is_past))
}

/// Whether the kubelet will succeed with a mount when it retries.
pub(crate) fn is_transient(event: &ApiEvent) -> bool {
    let error = event.message.split_once("\" : ").map_or("", |(_, error)| error);
    // As in `[object "n"/"a" not registered, object "n"/"b" not registered]`.
    let mut parts = error.trim_matches(['[', ']']).split(", ");
    event.reason == "FailedMount"
        && parts.all(|part| TRANSIENT_ERRORS.iter().any(|sign| part.contains(sign)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(reason: &str, message: &str, time: &str) -> ApiEvent {
        ApiEvent {
            regarding: "Pod/p".into(),
            reason: reason.into(),
            message: message.into(),
            time: time.into(),
            ..ApiEvent::default()
        }
    }

    #[test]
    fn preparation_failure_has_passed_after_container_is_created() {
        let (early, late) = ("2026-01-01T00:00:01Z", "2026-01-01T00:00:02Z");
        let table = [
            ("FailedMount", "Pulling", late, "False", true),
            ("FailedMount", "Pulling", early, "False", false),
            ("FailedMount", "Scheduled", late, "False", false),
            ("FailedMount", "Scheduled", late, "True", true),
            ("FailedMount", "SuccessfulAttachVolume", late, "False", false),
            ("FailedAttachVolume", "SuccessfulAttachVolume", late, "False", true),
            ("FailedCreatePodSandBox", "Pulled", late, "False", true),
            ("Failed", "Pulled", late, "True", false),
        ];
        for (reason, other, time, sandbox, expected) in table {
            let facts = Facts {
                pod: json!({"metadata": {"name": "p"}, "status": {"conditions": [
                    {"type": "PodReadyToStartContainers", "status": sandbox}]}}),
                events: vec![event(other, "", time)],
                ..Facts::default()
            };
            let failure = event(reason, "", "2026-01-01T00:00:02Z");
            assert_eq!(has_passed(&facts, &failure), expected, "{reason} {other} {time} {sandbox}");
        }
    }

    #[test]
    fn transient_mount_error_differs_from_missing_object() {
        let table = [
            ("failed to sync configmap cache: timed out waiting for the condition", true),
            ("object \"default\"/\"settings\" not registered", true),
            (
                "[object \"default\"/\"kube-root-ca.crt\" not registered, failed to sync secret cache: timed out waiting for the condition]",
                true,
            ),
            (
                "[failed to fetch token: serviceaccounts \"builder\" not found, object \"default\"/\"kube-root-ca.crt\" not registered]",
                false,
            ),
            ("configmap \"settings\" not found", false),
        ];
        for (error, expected) in table {
            let message = format!("MountVolume.SetUp failed for volume \"data\" : {error}");
            assert_eq!(is_transient(&event("FailedMount", &message, "")), expected, "{error}");
        }
    }
}
