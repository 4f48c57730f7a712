//! A volume cannot be mounted, or its claim waits. Pure.

use serde_json::{Value, json};

use super::{Cause, Confidence, Diagnosis, container_config};
use crate::cmd::quoted;
use crate::facts::{Container, Facts, list, text};

pub(super) fn diagnose(facts: &Facts) -> Vec<Diagnosis> {
    if facts.containers().iter().any(Container::is_running) {
        return Vec::new();
    }
    let claims = list(&facts.pod["spec"]["volumes"]).filter_map(|volume| claim(facts, volume));
    let mut found: Vec<Diagnosis> = claims.collect();
    if found.is_empty() {
        found.extend(mount(facts));
    }
    found
}

/// What the kubelet could not mount last.
fn mount(facts: &Facts) -> Option<Diagnosis> {
    let event = facts.pod_events().rev().find(|event| event.reason == "FailedMount")?;
    let evidence = vec![format!("{}: {}", event.reason, event.message)];
    if let Some((kind, name)) = container_config::missing(&event.message) {
        return Some(container_config::absent(facts, kind, &name, None, evidence));
    }
    let volume =
        event.message.split("for volume \"").nth(1).and_then(|rest| rest.split('"').next());
    let volume = volume.unwrap_or("?");
    let why = event.message.split_once("\" : ").map_or(event.message.as_str(), |(_, why)| why);
    Some(Diagnosis {
        cause: Cause::VolumeUnmountable,
        confidence: Confidence::Certain,
        words: format!("volume `{volume}` cannot be mounted: {why}"),
        evidence,
        help: format!("correct volume `{volume}` in the manifest of {}", facts.keeper_id()),
    })
}

/// A claim that has no volume.
fn claim(facts: &Facts, volume: &Value) -> Option<Diagnosis> {
    let name = text(volume, "/persistentVolumeClaim/claimName");
    if name.is_empty() {
        return None;
    }
    let kubectl = &facts.kubectl;
    let Some(claim) = facts.claims.iter().find(|claim| text(claim, "/metadata/name") == name)
    else {
        let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": name}, "spec": {"accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}}}});
        return Some(Diagnosis {
            cause: Cause::ClaimPending,
            confidence: Confidence::Certain,
            words: format!("the pod's volume claim `{name}` does not exist"),
            evidence: said(facts),
            help: format!(
                "run `echo {} | {kubectl} apply --filename -`",
                quoted(&claim.to_string())
            ),
        });
    };
    if text(claim, "/status/phase") == "Bound" {
        return None;
    }
    let class = text(claim, "/spec/storageClassName");
    let is_known = facts.storage_classes.iter().any(|known| known == class);
    let (words, help) = if !class.is_empty() && !is_known && !facts.storage_classes.is_empty() {
        (
            format!(
                "the volume claim `{name}` wants the storage class `{class}`, which the cluster does not have"
            ),
            format!(
                "use one of {} in the claim, which must be made anew for it",
                crate::words::list(&facts.storage_classes)
            ),
        )
    } else if is_known {
        (
            format!(
                "the volume claim `{name}` waits for its storage class `{class}` to make a volume"
            ),
            format!("see why with `{kubectl} describe pvc {name}`"),
        )
    } else {
        (
            format!(
                "the volume claim `{name}` waits for a volume, and the cluster has no storage class that makes one"
            ),
            format!(
                "run `echo {} | {kubectl} apply --filename -`, or install what provisions volumes",
                quoted(&volume_for(claim).to_string())
            ),
        )
    };
    let (cause, confidence) = (Cause::ClaimPending, Confidence::Certain);
    Some(Diagnosis { cause, confidence, words, evidence: said(facts), help })
}

/// The last words of the scheduler's and of the volume controller's.
fn said(facts: &Facts) -> Vec<String> {
    let reasons = ["FailedScheduling", "FailedBinding", "ProvisioningFailed"];
    let of = |reason: &&str| facts.last_event(&[reason]);
    let events = reasons.iter().filter_map(of);
    events.map(|event| format!("{}: {}", event.about, event.message)).collect()
}

/// A folder of the node that will do for a claim.
fn volume_for(claim: &Value) -> Value {
    let name = text(claim, "/metadata/name");
    let mut spec = json!({"capacity": {"storage": claim.pointer("/spec/resources/requests/storage")},
        "accessModes": claim["spec"]["accessModes"],
        "claimRef": {"namespace": claim["metadata"]["namespace"], "name": name},
        "hostPath": {"path": format!("/var/lib/volumes/{name}"), "type": "DirectoryOrCreate"}});
    let class = &claim["spec"]["storageClassName"];
    if class.is_string() {
        spec["storageClassName"] = class.clone();
    }
    json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec})
}
