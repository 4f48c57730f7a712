//! Volumes that cannot be attached or mounted.
//!
//! - `claims.rs`: volume claims that do not exist or have no volume, and volumes on other nodes

pub(crate) mod claims;

use kdev_core::kube::object::{list, text};
use kdev_core::text;
use serde_json::Value;

use crate::cause::Cause;
use crate::diagnosis::{Confidence, Diagnosis};
use crate::facts::{ApiEvent, Facts};
use crate::fixes::{self, placement};
use crate::rules::container::config;
use crate::transient;

/// Name prefix of the volume that the API server adds to each pod. It holds the token of
/// the service account, and is not in the manifest.
const TOKEN_VOLUME_PREFIX: &str = "kube-api-access-";

/// Whether a volume is not in the manifest, but was added by the API server or a webhook.
fn is_injected(facts: &Facts, volume: &str) -> bool {
    let is_missing_in = |template: &Value| {
        let claims =
            facts.owners.iter().flat_map(|owner| list(&owner["spec"]["volumeClaimTemplates"]));
        !list(&template["volumes"]).any(|one| one["name"] == volume)
            && !claims.into_iter().any(|claim| claim["metadata"]["name"] == volume)
    };
    volume.starts_with(TOKEN_VOLUME_PREFIX) || fixes::pod_template(facts).is_some_and(is_missing_in)
}

pub(crate) fn diagnose(facts: &Facts) -> Vec<Diagnosis> {
    // The events of volumes that are now mounted are outdated.
    if facts.is_mounted() {
        return Vec::new();
    }
    let found = claims::diagnose(facts);
    if !found.is_empty() {
        return found;
    }
    attach_failure(facts).or_else(|| mount_failure(facts)).into_iter().collect()
}

/// Returns the events with this reason whose failure persists, newest first.
fn unresolved_failures<'a>(
    facts: &'a Facts,
    reason: &'static str,
) -> impl Iterator<Item = &'a ApiEvent> {
    facts.pod_events().rev().filter(move |event| {
        event.reason == reason
            && !transient::has_passed(facts, event)
            && !transient::is_transient(event)
    })
}

fn mount_failed(message: String, event: &ApiEvent, help: String) -> Diagnosis {
    Diagnosis {
        cause: Cause::MountFailed,
        confidence: Confidence::Certain,
        message,
        evidence: vec![format!("{}: {}", event.reason, event.message)],
        help,
    }
}

/// Diagnoses a volume that cannot be attached to the node.
fn attach_failure(facts: &Facts) -> Option<Diagnosis> {
    let event = unresolved_failures(facts, "FailedAttachVolume").next()?;
    let message = &event.message;
    let volume = text_between(message, "for volume \"", "\"")?;
    let claim = claims::claim_bound_to(facts, volume);
    let subject = match claim {
        Some(claim) => format!("the volume of PersistentVolumeClaim `{claim}`"),
        None => format!("volume `{volume}`"),
    };
    if !message.starts_with("Multi-Attach error") {
        let error = error_text(message);
        let help = fixes::describe_help(facts);
        return Some(mount_failed(
            format!("{subject} cannot be attached to the node: {error}"),
            event,
            help,
        ));
    }
    let holder = message.split_once("used by pod(s) ");
    let holder = holder.and_then(|(_, rest)| rest.split([',', ' ']).next());
    let user = holder.map(|pod| format!(", where pod `{pod}` uses it")).unwrap_or_default();
    let message =
        format!("{subject} can be attached to only one node, and is attached to another one{user}");
    Some(mount_failed(message, event, detach_help(facts, holder, claim)))
}

/// Returns help to detach a volume from another node.
fn detach_help(facts: &Facts, holder: Option<&str>, claim: Option<&str>) -> String {
    let kubectl = &facts.kubectl;
    match (holder, claim) {
        // An old pod that was not replaced, for example because its node has failed.
        (Some(pod), _) if is_alone(facts) && is_pod_of_controller(facts, pod) => {
            format!("delete the pod that uses it: `{kubectl} delete pod/{pod}`")
        }
        (Some(_), Some(claim)) => claims::release_help(facts, Some(claim)),
        // The attach/detach controller lists the pods that use it, so none does.
        (None, _) => format!(
            "wait until it is detached, which takes up to 6 minutes if its node has failed; `{kubectl} get volumeattachments` shows the node"
        ),
        (Some(_), None) => fixes::describe_help(facts),
    }
}

/// Returns whether a pod has a name that the controller gives its pods.
fn is_pod_of_controller(facts: &Facts, pod: &str) -> bool {
    let controller = facts.controller_id();
    let Some((kind, name)) = controller.split_once('/') else { return false };
    // The name of the ReplicaSet or Job has a suffix, and that of its pod another one.
    let suffixes = if ["deployment", "cronjob"].contains(&kind) { 2 } else { 1 };
    pod.rsplitn(suffixes + 1, '-').nth(suffixes) == Some(name)
}

/// Returns whether no update or scale of the controller is the reason for a second pod.
fn is_alone(facts: &Facts) -> bool {
    let replicas =
        facts.controller().and_then(|controller| controller["spec"]["replicas"].as_u64());
    replicas.is_none_or(|replicas| replicas <= 1) && placement::recreate_help(facts).is_none()
}

/// Diagnoses the last volume that the kubelet failed to mount.
fn mount_failure(facts: &Facts) -> Option<Diagnosis> {
    const ONE_VOLUME: &str = "for volume \"";
    // Later events report only a timeout, and not its cause.
    let of_one = || {
        unresolved_failures(facts, "FailedMount").filter(|event| event.message.contains(ONE_VOLUME))
    };
    let is_of_manifest = |event: &&ApiEvent| {
        text_between(&event.message, ONE_VOLUME, "\"").is_some_and(|name| !is_injected(facts, name))
    };
    let of_manifest = of_one().find(is_of_manifest);
    let event = of_manifest
        .or_else(|| of_one().next())
        .or_else(|| unresolved_failures(facts, "FailedMount").next())?;
    let message = &event.message;
    if let Some((kind, name)) = config::parse_missing_object(message) {
        let evidence = vec![format!("{}: {message}", event.reason)];
        return Some(config::object_not_found(facts, kind, &name, evidence));
    }
    let volumes: Vec<&str> = match text_between(message, ONE_VOLUME, "\"") {
        Some(volume) => vec![volume],
        None => text_between(message, "unmounted volumes=[", "]")
            .unwrap_or_default()
            .split_whitespace()
            .collect(),
    };
    let error = error_text(message);
    let [volume] = volumes.as_slice() else {
        let message = match volumes.as_slice() {
            [] => format!("the pod's volumes cannot be mounted: {error}"),
            _ => format!("volumes {} cannot be mounted: {error}", text::list(&volumes)),
        };
        return Some(mount_failed(message, event, fixes::describe_help(facts)));
    };
    if let Some((kind, name, key)) = parse_missing_key(facts, volume, message) {
        let evidence = vec![format!("{}: {message}", event.reason)];
        return Some(config::key_not_found(facts, kind, name, key, evidence));
    }
    let message = format!("volume `{volume}` cannot be mounted: {error}");
    if is_injected(facts, volume) {
        let help = format!(
            "wait for the kubelet to retry; if the error persists, run `{} describe {}`",
            facts.kubectl, facts.subject
        );
        return Some(Diagnosis {
            confidence: Confidence::Likely,
            ..mount_failed(message, event, help)
        });
    }
    let help = format!("correct volume `{volume}` in the manifest of {}", facts.controller_id());
    Some(mount_failed(message, event, help))
}

fn text_between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    rest.split(end).next()
}

/// Returns the error at the end of an event's message.
fn error_text(message: &str) -> &str {
    let lists = message.split_once("unmounted volumes=[").and_then(|_| message.split_once("]: "));
    message.split_once("\" : ").or(lists).map_or(message, |(_, error)| error)
}

/// Parses `references non-existent config key: KEY`, or `secret key`, into the kind and
/// name of the volume's source, and the key.
fn parse_missing_key<'a>(
    facts: &'a Facts,
    volume: &str,
    message: &'a str,
) -> Option<(&'static str, &'a str, &'a str)> {
    let (_, rest) = message.split_once("references non-existent ")?;
    let (_, key) = rest.split_once(" key: ")?;
    let volume = list(&facts.pod["spec"]["volumes"]).find(|one| one["name"] == volume)?;
    let kinds = [("configmap", "/configMap/name"), ("secret", "/secret/secretName")];
    let named = kinds.into_iter().map(|(kind, path)| (kind, text(volume, path)));
    let (kind, name) = named.into_iter().find(|(_, name)| !name.is_empty())?;
    Some((kind, name, key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn facts(owner: Value, messages: &[(&str, &str, &str)]) -> Facts {
        let event = |(reason, time, message): &(&str, &str, &str)| ApiEvent {
            regarding: "Pod/web-2".into(),
            reason: (*reason).into(),
            message: (*message).into(),
            time: format!("2026-01-01T00:{time}Z"),
            warning: true,
            ..ApiEvent::default()
        };
        let claimed = json!({"name": "data", "persistentVolumeClaim": {"claimName": "files"}});
        Facts {
            subject: "pod/web-2".into(),
            kubectl: "kubectl".into(),
            pod: json!({"kind": "Pod", "metadata": {"name": "web-2"}, "spec": {"nodeName": "n", "volumes": [claimed],
                "containers": [{"name": "c"}]}}),
            owners: vec![owner],
            claims: vec![
                json!({"metadata": {"name": "files"}, "spec": {"volumeName": "pvc-1"}, "status": {"phase": "Bound"}}),
            ],
            events: messages.iter().map(event).collect(),
            ..Facts::default()
        }
    }

    fn deployment(replicas: u64) -> Value {
        json!({"kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": replicas}})
    }

    const MISSING: &str =
        "MountVolume.SetUp failed for volume \"data\" : configmap \"settings\" not found";
    const LATER: &str = "Unable to attach or mount volumes: unmounted volumes=[data], unattached volumes=[data kube-api-access-x], failed to process volumes=[]: timed out waiting for the condition";

    #[test]
    fn injected_volume_is_not_corrected_in_manifest() {
        let failed = |volume: &str| {
            format!("MountVolume.SetUp failed for volume \"{volume}\" : no such directory")
        };
        let set = json!({"kind": "StatefulSet", "metadata": {"name": "web"}, "spec": {
            "template": {"spec": {"volumes": [{"name": "own"}]}},
            "volumeClaimTemplates": [{"metadata": {"name": "data"}}]}});
        for (volume, injected) in [("own", false), ("data", false), ("mesh-token", true)] {
            let message = failed(volume);
            let found = diagnose(&facts(set.clone(), &[("FailedMount", "01:00", &message)]));
            assert_eq!(!found[0].help.contains("manifest"), injected, "{}", found[0].help);
        }
        let (own, mesh) = (failed("own"), failed("mesh-token"));
        let events = [("FailedMount", "01:00", own.as_str()), ("FailedMount", "01:01", &mesh)];
        let found = diagnose(&facts(set, &events));
        assert!(found[0].message.contains("`own`"), "{}", found[0].message);
    }

    #[test]
    fn failed_mount_names_volume_and_error() {
        let both = "Unable to attach or mount volumes: unmounted volumes=[a b], unattached volumes=[], failed to process volumes=[]: context deadline exceeded";
        let unsynced = "MountVolume.SetUp failed for volume \"kube-api-access-x\" : failed to sync configmap cache: timed out waiting for the condition";
        let token = "MountVolume.SetUp failed for volume \"kube-api-access-x\" : failed to fetch token: connection refused";
        let refused = "volume `kube-api-access-x` cannot be mounted: failed to fetch token: connection refused";
        let unrelated = "MountVolume.SetUp failed for volume \"kube-api-access-x\" : [failed to fetch token: serviceaccounts \"default\" is forbidden: User \"system:node:n\" cannot create resource \"serviceaccounts/token\" in API group \"\" in the namespace \"a\": no relationship found between node 'n' and this object, object \"a\"/\"kube-root-ca.crt\" not registered]";
        let absent = "ConfigMap `settings` not found in the pod's namespace";
        let table = [
            (&[("FailedMount", "01:00", MISSING)][..], Some(absent)),
            (&[("FailedMount", "01:00", MISSING), ("FailedMount", "02:00", LATER)], Some(absent)),
            (
                &[("FailedMount", "02:00", LATER)],
                Some("volume `data` cannot be mounted: timed out waiting for the condition"),
            ),
            (
                &[("FailedMount", "02:00", both)],
                Some("volumes `a` and `b` cannot be mounted: context deadline exceeded"),
            ),
            (
                &[("FailedMount", "02:00", "an unknown message")],
                Some("the pod's volumes cannot be mounted: an unknown message"),
            ),
            (&[("FailedMount", "01:00", token)], Some(refused)),
            (&[("FailedMount", "01:00", MISSING), ("FailedMount", "01:01", token)], Some(absent)),
            (&[("FailedMount", "01:00", unrelated)], None),
            (&[("FailedMount", "01:00", unsynced)], None),
            (&[("FailedMount", "01:00", unsynced), ("Pulling", "01:01", "")], None),
            (&[("FailedMount", "01:00", MISSING), ("Pulling", "01:01", "")], None),
        ];
        for (events, expected) in table {
            let found = diagnose(&facts(deployment(1), events));
            let message = found.first().map(|one| one.message.as_str());
            assert_eq!(message, expected, "{events:?}");
        }
        let found = diagnose(&facts(deployment(1), &[("FailedMount", "01:00", token)]));
        assert_eq!(found[0].confidence, Confidence::Likely);
        assert!(!found[0].help.contains("manifest"), "{}", found[0].help);
    }

    #[test]
    fn multi_attach_error_determines_message_and_help() {
        let multi = "Multi-Attach error for volume \"pvc-1\" Volume is already ";
        let by = format!("{multi}used by pod(s) web-7f9c-x2z");
        let exclusive =
            format!("{multi}exclusively attached to one node and can't be attached to another");
        let rolling = json!({"kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"replicas": 1, "strategy": {"type": "RollingUpdate"}},
            "status": {"replicas": 2, "updatedReplicas": 1}});
        let message = "the volume of PersistentVolumeClaim `files` can be attached to only one node, and is attached to another one";
        let used = format!("{message}, where pod `web-7f9c-x2z` uses it");
        let table = [
            (
                &by,
                rolling,
                used.as_str(),
                "run `kubectl patch deployment/web --patch '{\"spec\":{\"strategy\":{\"rollingUpdate\":null,\"type\":\"Recreate\"}}}'` to stop the old pod before the new one starts",
            ),
            (
                &by,
                deployment(2),
                &used,
                "run `kubectl scale deployment/web --replicas=1`, or use a claim with the access mode `ReadWriteMany`",
            ),
            (
                &by,
                deployment(1),
                &used,
                "delete the pod that uses it: `kubectl delete pod/web-7f9c-x2z`",
            ),
            (
                &exclusive,
                deployment(1),
                message,
                "wait until it is detached, which takes up to 6 minutes if its node has failed; `kubectl get volumeattachments` shows the node",
            ),
            (
                &format!("{multi}used by pod(s) web-api-7f9c-x2z"),
                deployment(1),
                &format!("{message}, where pod `web-api-7f9c-x2z` uses it"),
                "use another claim in the manifest of deployment/web, and apply it; `kubectl describe pvc files` lists the pod that uses this one",
            ),
        ];
        for (event, owner, message, help) in table {
            let events =
                [("FailedAttachVolume", "01:00", event.as_str()), ("FailedMount", "03:00", LATER)];
            let found = diagnose(&facts(owner, &events));
            assert_eq!((found[0].message.as_str(), found[0].help.as_str()), (message, help));
        }
    }
}
