//! Troubles of a pod's preparation that pass by themselves, or have passed.

use crate::facts::{ApiEvent, Facts};

/// Events of a pod whose containers cannot be made yet.
const OF_PREPARATION: [&str; 4] =
    ["FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox", "NetworkNotReady"];
/// Events of a pod that has its volumes and its sandbox.
const AFTERWARDS: [&str; 4] = ["Pulling", "Pulled", "Created", "Started"];
/// Errors of a kubelet whose caches have not seen the pod's ConfigMaps and Secrets
/// yet, and of an API server that has not seen the pod's node yet
/// (<https://kubernetes.io/docs/reference/access-authn-authz/node/>).
const TRANSIENT: [&str; 4] = [
    "failed to sync configmap cache",
    "failed to sync secret cache",
    "not registered",
    "no relationship found between node",
];

/// Whether an event is of the pod's preparation, and that is over now.
pub(crate) fn is_over(facts: &Facts, event: &ApiEvent) -> bool {
    let is_past = |one: &ApiEvent| {
        let is_attached =
            one.reason == "SuccessfulAttachVolume" && event.reason == "FailedAttachVolume";
        (is_attached || AFTERWARDS.contains(&one.reason.as_str())) && one.is_since(&event.time)
    };
    OF_PREPARATION.contains(&event.reason.as_str())
        && (facts.is_mounted() || facts.pod_events().any(is_past))
}

/// Whether a mount only has to be tried again.
pub(crate) fn is_transient(event: &ApiEvent) -> bool {
    let why = event.message.split_once("\" : ").map_or("", |(_, why)| why);
    // As in `[object "n"/"a" not registered, object "n"/"b" not registered]`.
    let mut parts = why.trim_matches(['[', ']']).split(", ");
    event.reason == "FailedMount"
        && parts.all(|part| TRANSIENT.iter().any(|sign| part.contains(sign)))
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
    fn preparation_is_over_once_a_container_is_made() {
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
            assert_eq!(is_over(&facts, &failure), expected, "{reason} {other} {time} {sandbox}");
        }
    }

    #[test]
    fn what_is_only_tried_again_is_told_from_what_is_missing() {
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
        for (why, expected) in table {
            let message = format!("MountVolume.SetUp failed for volume \"data\" : {why}");
            assert_eq!(is_transient(&event("FailedMount", &message, "")), expected, "{why}");
        }
    }
}
