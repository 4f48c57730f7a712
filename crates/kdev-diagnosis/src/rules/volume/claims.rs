//! Volume claims that do not exist or have no volume, and volumes on other nodes.

use kdev_core::kube::object::{list, text};
use kdev_core::kube::volume::claim_name;
use kdev_core::shell::quote;
use kdev_core::text;
use serde_json::{Value, json};

use crate::cause::Cause;
use crate::diagnosis::{Confidence, Diagnosis};
use crate::facts::{ApiEvent, Facts};
use crate::fixes::{self, placement};
use crate::scheduler_message;

/// The access mode of a claim that permits only one pod.
pub(crate) const ONE_POD: &str = "ReadWriteOncePod";
/// Event reasons of the volume controller for a claim that waits for the scheduler.
const WAITING_REASONS: [&str; 2] = ["WaitForFirstConsumer", "WaitForPodScheduled"];
/// Event reasons of the volume controller and of provisioners.
const CLAIM_REASONS: [&str; 7] = [
    "FailedBinding",
    "ProvisioningFailed",
    "Provisioning",
    "ExternalProvisioning",
    "ClaimLost",
    WAITING_REASONS[0],
    WAITING_REASONS[1],
];
/// Messages of the scheduler for a volume on other nodes.
const NODE_CONFLICT: [&str; 2] =
    ["volume node affinity conflict", "didn't match PersistentVolume's node affinity"];

pub(crate) fn diagnose(facts: &Facts) -> Vec<Diagnosis> {
    let volumes = list(&facts.pod["spec"]["volumes"]);
    let found: Vec<Diagnosis> =
        volumes.filter_map(|volume| diagnose_volume(facts, volume)).collect();
    if found.is_empty() { volume_node_conflict(facts).into_iter().collect() } else { found }
}

/// Returns the existing claims that the pod uses.
fn used_claims(facts: &Facts) -> impl Iterator<Item = &Value> {
    let names: Vec<String> = list(&facts.pod["spec"]["volumes"])
        .filter_map(|volume| claim_name(&facts.pod, volume))
        .collect();
    facts
        .claims
        .iter()
        .filter(move |claim| names.iter().any(|name| claim["metadata"]["name"] == **name))
}

/// Returns the name of the pod's claim that is bound to this `PersistentVolume`.
pub(crate) fn claim_bound_to<'a>(facts: &'a Facts, volume: &str) -> Option<&'a str> {
    let claim = used_claims(facts).find(|claim| claim["spec"]["volumeName"] == volume)?;
    Some(text(claim, "/metadata/name"))
}

/// Names the claims of the pod that permit only one pod.
pub(crate) fn describe_one_pod_claims(facts: &Facts) -> Option<String> {
    let claims: Vec<&str> = one_pod_claims(facts).collect();
    let claims = (!claims.is_empty()).then(|| text::list(&claims))?;
    Some(format!("PersistentVolumeClaim {claims}: access mode `{ONE_POD}`"))
}

fn one_pod_claims(facts: &Facts) -> impl Iterator<Item = &str> {
    let is_one_pod =
        |claim: &&Value| list(&claim["spec"]["accessModes"]).any(|mode| mode == ONE_POD);
    used_claims(facts).filter(is_one_pod).map(|claim| text(claim, "/metadata/name"))
}

/// Returns the help for a claim that another pod uses, so that this pod cannot. `claim` is known
/// if its volume cannot be attached to a second node.
pub(crate) fn release_help(facts: &Facts, claim: Option<&str>) -> String {
    let kubectl = &facts.kubectl;
    let mode = if claim.is_some() { "ReadWriteMany" } else { "ReadWriteOnce" };
    let replicas =
        facts.controller().and_then(|controller| controller["spec"]["replicas"].as_u64());
    if replicas.is_some_and(|replicas| replicas > 1) {
        return format!(
            "run `{kubectl} scale {} --replicas=1`, or use a claim with the access mode `{mode}`",
            facts.controller_id()
        );
    }
    if let Some(help) = placement::recreate_help(facts) {
        return help;
    }
    // A pod of another workload would be created again if it was deleted.
    let help = fixes::edit_manifest_help(facts, "use another claim in");
    match claim.or_else(|| one_pod_claims(facts).next()) {
        Some(claim) => {
            format!("{help}; `{kubectl} describe pvc {claim}` lists the pod that uses this one")
        }
        None => help,
    }
}

fn diagnose_volume(facts: &Facts, volume: &Value) -> Option<Diagnosis> {
    let name = claim_name(&facts.pod, volume)?;
    let claim = facts.claims.iter().find(|claim| text(claim, "/metadata/name") == name);
    let (message, help) = match claim {
        Some(claim) => claim_problem(facts, claim, &name)?,
        // A controller creates the claim of an ephemeral volume.
        None if volume.get("ephemeral").is_some() => return None,
        None => {
            let message = format!("PersistentVolumeClaim `{name}` not found");
            (message, format!("run `{}`", create_command(facts, &claim_template(&name))))
        }
    };
    Some(Diagnosis {
        cause: Cause::ClaimPending,
        confidence: Confidence::Certain,
        message,
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

/// Explains what is wrong with a claim, and returns the message and the help.
fn claim_problem(facts: &Facts, claim: &Value, name: &str) -> Option<(String, String)> {
    let kubectl = &facts.kubectl;
    if claim.pointer("/metadata/deletionTimestamp").is_some() {
        return Some((
            format!("PersistentVolumeClaim `{name}` is being deleted, so new pods cannot use it"),
            format!(
                "run `{kubectl} describe pvc {name}` to find the pods that use it, delete them, and recreate the claim"
            ),
        ));
    }
    match text(claim, "/status/phase") {
        "Bound" => None,
        "Lost" => Some((
            format!(
                "PersistentVolumeClaim `{name}` has lost its volume: `{}` no longer exists",
                text(claim, "/spec/volumeName")
            ),
            format!(
                "run `{kubectl} delete pvc {name}` and apply the claim's manifest again, which creates an empty volume"
            ),
        )),
        _ => pending_reason(facts, claim, name),
    }
}

/// Explains why a claim is pending; `None` if that is only a consequence.
fn pending_reason(facts: &Facts, claim: &Value, name: &str) -> Option<(String, String)> {
    let kubectl = &facts.kubectl;
    let class = text(claim, "/spec/storageClassName");
    let contains =
        |pattern: &str| claim_events(facts, name).any(|event| event.message.contains(pattern));
    if class.is_empty() {
        let reason = missing_class_reason(facts, claim);
        let message = format!("PersistentVolumeClaim `{name}` is pending: {reason}");
        return Some((message, create_volume_help(facts, claim)));
    }
    let exists = facts.storage_classes.iter().any(|known| known == class);
    if !exists && contains(&format!("storageclass.storage.k8s.io \"{class}\" not found")) {
        let message = format!(
            "PersistentVolumeClaim `{name}` requests StorageClass `{class}`, which does not exist"
        );
        let help = match facts.storage_classes.as_slice() {
            [] => create_volume_help(facts, claim),
            known => {
                format!("recreate the claim with an existing StorageClass: {}", text::list(known))
            }
        };
        return Some((message, help));
    }
    if contains("didn't find available persistent volumes to bind") {
        let message = format!(
            "PersistentVolumeClaim `{name}` is pending: no volume of StorageClass `{class}` is available on a node for the pod"
        );
        return Some((message, create_volume_help(facts, claim)));
    }
    let last =
        claim_events(facts, name).rfind(|event| CLAIM_REASONS.contains(&event.reason.as_str()));
    let waits_for_node = last.is_some_and(|event| WAITING_REASONS.contains(&event.reason.as_str()));
    if waits_for_node {
        let node = facts.node_name()?;
        let message = format!(
            "PersistentVolumeClaim `{name}` is pending until the scheduler selects a node, but the pod sets `nodeName`, which bypasses the scheduler"
        );
        let help = format!(
            "set `nodeSelector: {{kubernetes.io/hostname: {node}}}` instead of `nodeName: {node}` in the manifest of {}, and recreate it",
            facts.controller_id()
        );
        return Some((message, help));
    }
    let message = format!(
        "PersistentVolumeClaim `{name}` is pending: StorageClass `{class}` has not created a volume"
    );
    Some((message, format!("run `{kubectl} describe pvc {name}` to see why")))
}

/// Explains why a claim without a storage class has no volume. A user who may not list
/// nodes may not list storage classes either.
fn missing_class_reason(facts: &Facts, claim: &Value) -> &'static str {
    let is_empty = claim.pointer("/spec/storageClassName").is_some();
    match facts.storage_classes.as_slice() {
        _ if is_empty => "its `storageClassName` is empty, and no volume is available",
        [] if facts.nodes.is_empty() => "it sets no `storageClassName`, and none was added",
        [] => "it sets no `storageClassName`, and the cluster has no StorageClass",
        _ => "it sets no `storageClassName`, and the cluster has no default StorageClass",
    }
}

fn create_volume_help(facts: &Facts, claim: &Value) -> String {
    format!(
        "run `{}` to use a directory on the node as a test volume, or install a provisioner",
        create_command(facts, &host_path_volume(claim))
    )
}

/// Returns a `PersistentVolume` for a claim, in a directory of a node. Its name contains
/// the namespace, because a `PersistentVolume` has none.
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

/// Diagnoses volumes that exist only on nodes where the pod cannot run.
fn volume_node_conflict(facts: &Facts) -> Option<Diagnosis> {
    let scheduled = facts.condition("PodScheduled")?;
    let message = text(scheduled, "/message");
    if facts.node_name().is_some() || !NODE_CONFLICT.iter().any(|pattern| message.contains(pattern))
    {
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
            "no node that can run the pod has access to the volume of PersistentVolumeClaim {}",
            text::list(&claims)
        ),
        evidence: vec![format!(
            "the scheduler: {}",
            scheduler_message::without_preemption(message)
        )],
        help: format!(
            "allow the pod on a node that `{} describe pv {}` lists, or recreate the claim, which loses its data",
            facts.kubectl,
            volumes.join(" ")
        ),
    })
}

/// Returns the events of the pod and of a claim, oldest first.
fn claim_events<'a>(
    facts: &'a Facts,
    claim: &str,
) -> impl DoubleEndedIterator<Item = &'a ApiEvent> {
    let objects = [format!("Pod/{}", facts.pod_name()), format!("PersistentVolumeClaim/{claim}")];
    facts.events.iter().filter(move |event| objects.contains(&event.regarding))
}

/// Returns the last messages of the scheduler, the volume controller, and provisioners.
fn provisioner_messages(facts: &Facts, claim: &str) -> Vec<String> {
    let last_event =
        |reason: &str| claim_events(facts, claim).rfind(|event| event.reason == reason);
    let last = std::iter::once("FailedScheduling").chain(CLAIM_REASONS).filter_map(last_event);
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
    fn claim_state_determines_message() {
        let about = "PersistentVolumeClaim/files";
        let first =
            (about, WAITING_REASONS[0], "waiting for first consumer to be created before binding");
        let provisioning = (about, "ExternalProvisioning", "Waiting for a volume to be created");
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
                Some("PersistentVolumeClaim `files` is being deleted, so new pods cannot use it"),
            ),
            (
                claim(&json!("fast"), "Lost"),
                &[],
                Some("PersistentVolumeClaim `files` has lost its volume: `pvc-1` no longer exists"),
            ),
            (
                claim(&json!(""), "Pending"),
                &[],
                Some(
                    "PersistentVolumeClaim `files` is pending: its `storageClassName` is empty, and no volume is available",
                ),
            ),
            (
                claim(&Value::Null, "Pending"),
                &[],
                Some(
                    "PersistentVolumeClaim `files` is pending: it sets no `storageClassName`, and the cluster has no StorageClass",
                ),
            ),
            (claim(&json!("fast"), "Pending"), &[first], None),
            (
                claim(&json!("fast"), "Pending"),
                &[first, none_free],
                Some(
                    "PersistentVolumeClaim `files` is pending: no volume of StorageClass `fast` is available on a node for the pod",
                ),
            ),
            (
                claim(&json!("fast"), "Pending"),
                &[first, provisioning],
                Some(
                    "PersistentVolumeClaim `files` is pending: StorageClass `fast` has not created a volume",
                ),
            ),
        ];
        for (claim, events, expected) in table {
            let found = diagnose(&facts(&claim, events, ""));
            assert_eq!(found.first().map(|one| one.message.as_str()), expected, "{claim}");
        }
        // A user who may not list nodes may not list StorageClasses either.
        let mut hidden = facts(&claim(&Value::Null, "Pending"), &[], "");
        hidden.nodes.clear();
        let message = "PersistentVolumeClaim `files` is pending: it sets no `storageClassName`, and none was added";
        assert_eq!(diagnose(&hidden)[0].message, message);
    }

    #[test]
    fn volume_on_other_node_is_reported() {
        let newer = "0/2 nodes are available: 2 node(s) didn't match PersistentVolume's node affinity. no new claims to deallocate, preemption: x";
        let bound = claim(&json!("fast"), "Bound");
        for message in [UNSCHEDULABLE, newer] {
            let found = diagnose(&facts(&bound, &[], message));
            assert_eq!(found[0].cause, Cause::VolumeNodeConflict);
            assert_eq!(
                found[0].message,
                "no node that can run the pod has access to the volume of PersistentVolumeClaim `files`"
            );
            assert!(
                found[0]
                    .help
                    .starts_with("allow the pod on a node that `kubectl describe pv pvc-1` lists")
            );
        }
        assert_eq!(
            diagnose(&facts(&bound, &[], "0/1 nodes are available: 1 Insufficient cpu.")),
            []
        );
    }

    #[test]
    fn claim_of_ephemeral_volume_is_found() {
        let mut facts = facts(&claim(&json!(""), "Pending"), &[], "");
        facts.pod["spec"]["volumes"] =
            json!([{"name": "data", "ephemeral": {"volumeClaimTemplate": {}}}]);
        // A controller creates it.
        assert_eq!(diagnose(&facts), []);
        facts.claims[0]["metadata"]["name"] = "p-data".into();
        assert!(
            diagnose(&facts)[0].message.starts_with("PersistentVolumeClaim `p-data` is pending")
        );
    }

    #[test]
    fn test_volume_is_named_after_namespace_and_claim() {
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
