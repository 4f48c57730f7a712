//! A volume claim of the pod's is not there, has no volume, or one that is out of
//! reach.

use kdev_core::kube::object::{list, text};
use kdev_core::kube::volume::claim_name;
use kdev_core::shell::quote;
use kdev_core::text;
use serde_json::{Value, json};

use crate::cause::Cause;
use crate::diagnosis::{Confidence, Diagnosis};
use crate::facts::{ApiEvent, Facts};
use crate::scheduler_message;

/// What the volume controller says of a claim that waits for the scheduler.
const WAITING_REASONS: [&str; 2] = ["WaitForFirstConsumer", "WaitForPodScheduled"];
/// Whatever it says of claims.
const CLAIM_REASONS: [&str; 7] = [
    "FailedBinding",
    "ProvisioningFailed",
    "Provisioning",
    "ExternalProvisioning",
    "ClaimLost",
    WAITING_REASONS[0],
    WAITING_REASONS[1],
];
/// What the scheduler says where a volume is on other nodes.
const NODE_CONFLICT: [&str; 2] =
    ["volume node affinity conflict", "didn't match PersistentVolume's node affinity"];

pub(crate) fn diagnose(facts: &Facts) -> Vec<Diagnosis> {
    let volumes = list(&facts.pod["spec"]["volumes"]);
    let found: Vec<Diagnosis> =
        volumes.filter_map(|volume| diagnose_volume(facts, volume)).collect();
    if found.is_empty() { volume_node_conflict(facts).into_iter().collect() } else { found }
}

/// The claims that the pod uses and that are there.
fn used_claims(facts: &Facts) -> impl Iterator<Item = &Value> {
    let names: Vec<String> = list(&facts.pod["spec"]["volumes"])
        .filter_map(|volume| claim_name(&facts.pod, volume))
        .collect();
    facts
        .claims
        .iter()
        .filter(move |claim| names.iter().any(|name| claim["metadata"]["name"] == **name))
}

/// The name of the claim that has this volume of the cluster's.
pub(crate) fn claim_bound_to<'a>(facts: &'a Facts, volume: &str) -> Option<&'a str> {
    let claim = used_claims(facts).find(|claim| claim["spec"]["volumeName"] == volume)?;
    Some(text(claim, "/metadata/name"))
}

fn diagnose_volume(facts: &Facts, volume: &Value) -> Option<Diagnosis> {
    let name = claim_name(&facts.pod, volume)?;
    let claim = facts.claims.iter().find(|claim| text(claim, "/metadata/name") == name);
    let (words, help) = match claim {
        Some(claim) => claim_problem(facts, claim, &name)?,
        // A controller makes this one as soon as it can.
        None if volume.get("ephemeral").is_some() => return None,
        None => {
            let words = format!("the pod's volume claim `{name}` does not exist");
            (words, format!("run `{}`", create_command(facts, &claim_template(&name))))
        }
    };
    Some(Diagnosis {
        cause: Cause::ClaimPending,
        confidence: Confidence::Certain,
        message: words,
        evidence: provisioner_messages(facts, &name),
        help,
    })
}

fn create_command(facts: &Facts, object: &Value) -> String {
    format!("echo {} | {} create --filename -", quote(&object.to_string()), facts.kubectl)
}

fn claim_template(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}})
}

/// What is wrong with a claim, and what helps.
fn claim_problem(facts: &Facts, claim: &Value, name: &str) -> Option<(String, String)> {
    let kubectl = &facts.kubectl;
    if claim.pointer("/metadata/deletionTimestamp").is_some() {
        return Some((
            format!("the volume claim `{name}` is being deleted, and no new pod may use it"),
            format!(
                "end the pods that still use it, which `{kubectl} describe pvc {name}` names, and make the claim anew"
            ),
        ));
    }
    match text(claim, "/status/phase") {
        "Bound" => None,
        "Lost" => Some((
            format!(
                "the volume claim `{name}` has lost its volume `{}`, which does not exist any more",
                text(claim, "/spec/volumeName")
            ),
            format!(
                "make the claim anew, with an empty volume: `{kubectl} delete pvc {name}`, and apply its manifest again"
            ),
        )),
        _ => pending_reason(facts, claim, name),
    }
}

/// What a claim waits for, and what helps; `None` where that is a consequence only.
fn pending_reason(facts: &Facts, claim: &Value, name: &str) -> Option<(String, String)> {
    let kubectl = &facts.kubectl;
    let class = text(claim, "/spec/storageClassName");
    let contains = |pattern: &str| claim_events(facts, name).any(|event| event.message.contains(pattern));
    if class.is_empty() {
        let why = missing_class_reason(facts, claim);
        let words = format!("the volume claim `{name}` waits for a volume: {why}");
        return Some((words, create_volume_help(facts, claim)));
    }
    let is_there = facts.storage_classes.iter().any(|known| known == class);
    if !is_there && contains(&format!("storageclass.storage.k8s.io \"{class}\" not found")) {
        let words = format!(
            "the volume claim `{name}` wants the storage class `{class}`, which the cluster does not have"
        );
        let help = match facts.storage_classes.as_slice() {
            [] => create_volume_help(facts, claim),
            known => format!(
                "use one of {} in the claim, which must be made anew for it",
                text::list(known)
            ),
        };
        return Some((words, help));
    }
    if contains("didn't find available persistent volumes to bind") {
        let words = format!(
            "the volume claim `{name}` waits for a volume of the storage class `{class}`, of which none is free on a node for the pod"
        );
        return Some((words, create_volume_help(facts, claim)));
    }
    let last =
        claim_events(facts, name).rfind(|event| CLAIM_REASONS.contains(&event.reason.as_str()));
    let waits_for_node = last.is_some_and(|event| WAITING_REASONS.contains(&event.reason.as_str()));
    if waits_for_node {
        let node = facts.node_name()?;
        let words = format!(
            "the volume claim `{name}` waits until the scheduler chooses a node for its pod, which names its node itself"
        );
        let help = format!(
            "write `nodeSelector: {{kubernetes.io/hostname: {node}}}` instead of `nodeName: {node}` into the manifest of {}, and make that anew",
            facts.keeper_id()
        );
        return Some((words, help));
    }
    let words =
        format!("the volume claim `{name}` waits for its storage class `{class}` to make a volume");
    Some((words, format!("see why with `{kubectl} describe pvc {name}`")))
}

/// Why a claim without a storage class has no volume. Whoever may not list nodes
/// may not list classes either.
fn missing_class_reason(facts: &Facts, claim: &Value) -> &'static str {
    let names_none = claim.pointer("/spec/storageClassName").is_some();
    match facts.storage_classes.as_slice() {
        _ if names_none => "it asks for one without a storage class, and none is free",
        [] if facts.nodes.is_empty() => "it names no storage class, and was given none",
        [] => "it names no storage class, and the cluster has none",
        _ => "it names no storage class, and the cluster has no default one",
    }
}

fn create_volume_help(facts: &Facts, claim: &Value) -> String {
    format!(
        "run `{}`, which gives it a folder of the pod's node, for trials, or install a provisioner, which makes volumes for claims",
        create_command(facts, &host_path_volume(claim))
    )
}

/// A folder of a node that will do for a claim. Volumes belong to no namespace.
fn host_path_volume(claim: &Value) -> Value {
    let (namespace, claim_name) = (&claim["metadata"]["namespace"], text(claim, "/metadata/name"));
    let name = format!("{}-{claim_name}", namespace.as_str().unwrap_or_default());
    let mut spec = json!({"capacity": {"storage": claim.pointer("/spec/resources/requests/storage")},
        "accessModes": claim["spec"]["accessModes"],
        "claimRef": {"namespace": namespace, "name": claim_name},
        "hostPath": {"path": format!("/var/lib/volumes/{name}"), "type": "DirectoryOrCreate"}});
    let class = &claim["spec"]["storageClassName"];
    if class.is_string() {
        spec["storageClassName"] = class.clone();
    }
    json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec})
}

/// The volumes are there, but on nodes that do not take the pod.
fn volume_node_conflict(facts: &Facts) -> Option<Diagnosis> {
    let scheduled = facts.condition("PodScheduled")?;
    let message = text(scheduled, "/message");
    if facts.node_name().is_some() || !NODE_CONFLICT.iter().any(|pattern| message.contains(pattern)) {
        return None;
    }
    let bound: Vec<(&str, &str)> = used_claims(facts)
        .map(|claim| (text(claim, "/metadata/name"), text(claim, "/spec/volumeName")))
        .filter(|(_, volume)| !volume.is_empty())
        .collect();
    if bound.is_empty() {
        return None;
    }
    let claims: Vec<&str> = bound.iter().map(|(claim, _)| *claim).collect();
    let volumes: Vec<String> = bound.iter().map(|(_, volume)| quote(volume)).collect();
    Some(Diagnosis {
        cause: Cause::VolumeNodeConflict,
        confidence: Confidence::Certain,
        message: format!(
            "no node takes the pod that can have the volume of its claim {}",
            text::list(&claims)
        ),
        evidence: vec![format!("the scheduler: {}", scheduler_message::essence(message))],
        help: format!(
            "let a node take the pod that `{} describe pv {}` names, or make the claim anew, which loses what is in it",
            facts.kubectl,
            volumes.join(" ")
        ),
    })
}

/// Events of the pod's and of a claim's, oldest first.
fn claim_events<'a>(
    facts: &'a Facts,
    claim: &str,
) -> impl DoubleEndedIterator<Item = &'a ApiEvent> {
    let about = [format!("Pod/{}", facts.pod_name()), format!("PersistentVolumeClaim/{claim}")];
    facts.events.iter().filter(move |event| about.contains(&event.regarding))
}

/// The last words of the scheduler's and of the volume controller's.
fn provisioner_messages(facts: &Facts, claim: &str) -> Vec<String> {
    let of = |reason: &str| claim_events(facts, claim).rfind(|event| event.reason == reason);
    let last = std::iter::once("FailedScheduling").chain(CLAIM_REASONS).filter_map(of);
    last.map(|event| format!("{}: {}", event.regarding, event.message)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNSCHEDULABLE: &str = "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had volume node affinity conflict. preemption: x";

    fn facts(claim: &Value, events: &[(&str, &str, &str)], message: &str) -> Facts {
        let event = |(about, reason, message): &(&str, &str, &str)| ApiEvent {
            regarding: (*about).into(),
            reason: (*reason).into(),
            message: (*message).into(),
            ..ApiEvent::default()
        };
        let volume = json!({"name": "data", "persistentVolumeClaim": {"claimName": "files"}});
        Facts {
            kubectl: "kubectl".into(),
            pod: json!({"metadata": {"name": "p"}, "spec": {"volumes": [volume]},
                "status": {"conditions": [{"type": "PodScheduled", "status": "False",
                    "reason": "Unschedulable", "message": message}]}}),
            claims: vec![claim.clone()],
            nodes: vec![json!({"metadata": {"name": "n"}})],
            events: events.iter().map(event).collect(),
            ..Facts::default()
        }
    }

    fn claim(class: &Value, phase: &str) -> Value {
        let mut claim = json!({"metadata": {"name": "files", "namespace": "a"},
            "spec": {"volumeName": "pvc-1"}, "status": {"phase": phase}});
        if !class.is_null() {
            claim["spec"]["storageClassName"] = class.clone();
        }
        claim
    }

    #[test]
    fn each_state_of_a_claim_is_told() {
        let about = "PersistentVolumeClaim/files";
        let first =
            (about, WAITING_REASONS[0], "waiting for first consumer to be created before binding");
        let made = (about, "ExternalProvisioning", "Waiting for a volume to be created");
        let none_free = (
            "Pod/p",
            "FailedScheduling",
            "0/1 nodes are available: 1 node(s) didn't find available persistent volumes to bind.",
        );
        let mut leaving = claim(&json!("fast"), "Bound");
        leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        let table = [
            (claim(&json!("fast"), "Bound"), &[][..], None),
            (
                leaving,
                &[],
                Some("the volume claim `files` is being deleted, and no new pod may use it"),
            ),
            (
                claim(&json!("fast"), "Lost"),
                &[],
                Some(
                    "the volume claim `files` has lost its volume `pvc-1`, which does not exist any more",
                ),
            ),
            (
                claim(&json!(""), "Pending"),
                &[],
                Some(
                    "the volume claim `files` waits for a volume: it asks for one without a storage class, and none is free",
                ),
            ),
            (
                claim(&Value::Null, "Pending"),
                &[],
                Some(
                    "the volume claim `files` waits for a volume: it names no storage class, and the cluster has none",
                ),
            ),
            (claim(&json!("fast"), "Pending"), &[first], None),
            (
                claim(&json!("fast"), "Pending"),
                &[first, none_free],
                Some(
                    "the volume claim `files` waits for a volume of the storage class `fast`, of which none is free on a node for the pod",
                ),
            ),
            (
                claim(&json!("fast"), "Pending"),
                &[first, made],
                Some(
                    "the volume claim `files` waits for its storage class `fast` to make a volume",
                ),
            ),
        ];
        for (claim, events, expected) in table {
            let found = diagnose(&facts(&claim, events, ""));
            assert_eq!(found.first().map(|one| one.message.as_str()), expected, "{claim}");
        }
        // Classes are hidden from whom nodes are hidden from.
        let mut hidden = facts(&claim(&Value::Null, "Pending"), &[], "");
        hidden.nodes.clear();
        let words = "the volume claim `files` waits for a volume: it names no storage class, and was given none";
        assert_eq!(diagnose(&hidden)[0].message, words);
    }

    #[test]
    fn a_volume_that_is_elsewhere_is_told() {
        let newer = "0/2 nodes are available: 2 node(s) didn't match PersistentVolume's node affinity. no new claims to deallocate, preemption: x";
        let bound = claim(&json!("fast"), "Bound");
        for message in [UNSCHEDULABLE, newer] {
            let found = diagnose(&facts(&bound, &[], message));
            assert_eq!(found[0].cause, Cause::VolumeNodeConflict);
            assert_eq!(
                found[0].message,
                "no node takes the pod that can have the volume of its claim `files`"
            );
            assert!(
                found[0]
                    .help
                    .starts_with("let a node take the pod that `kubectl describe pv pvc-1` names")
            );
        }
        assert_eq!(
            diagnose(&facts(&bound, &[], "0/1 nodes are available: 1 Insufficient cpu.")),
            []
        );
    }

    #[test]
    fn the_claim_of_an_ephemeral_volume_is_found() {
        let mut facts = facts(&claim(&json!(""), "Pending"), &[], "");
        facts.pod["spec"]["volumes"] =
            json!([{"name": "data", "ephemeral": {"volumeClaimTemplate": {}}}]);
        // Nobody is to make it by hand.
        assert_eq!(diagnose(&facts), []);
        facts.claims[0]["metadata"]["name"] = "p-data".into();
        assert!(diagnose(&facts)[0].message.starts_with("the volume claim `p-data` waits"));
    }

    #[test]
    fn a_volume_for_trials_is_one_of_its_namespace() {
        let volume = host_path_volume(&claim(&json!("fast"), "Pending"));
        let text = |path: &str| text(&volume, path).to_owned();
        assert_eq!(text("/metadata/name"), "a-files");
        assert_eq!(text("/spec/hostPath/path"), "/var/lib/volumes/a-files");
        assert_eq!(
            (text("/spec/claimRef/namespace"), text("/spec/claimRef/name")),
            ("a".into(), "files".into())
        );
    }
}
