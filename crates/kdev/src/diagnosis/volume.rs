//! A volume cannot be mounted, or its claim waits. Pure.

use serde_json::{Value, json};

use super::{Cause, Confidence, Diagnosis, container_config};
use crate::cmd::quoted;
use crate::facts::{ApiEvent, Facts, list, text};

pub(super) fn diagnose(facts: &Facts) -> Vec<Diagnosis> {
    // What is mounted now may have been missing before.
    if facts.is_mounted() {
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
        return Some(container_config::absent(facts, kind, &name, evidence));
    }
    let volume =
        event.message.split("for volume \"").nth(1).and_then(|rest| rest.split('"').next());
    let volume = volume.unwrap_or("?");
    if let Some((kind, name, key)) = missing_key(facts, volume, &event.message) {
        return Some(container_config::without_key(facts, kind, name, key, evidence));
    }
    let why = event.message.split_once("\" : ").map_or(event.message.as_str(), |(_, why)| why);
    Some(Diagnosis {
        cause: Cause::VolumeUnmountable,
        confidence: Confidence::Certain,
        words: format!("volume `{volume}` cannot be mounted: {why}"),
        evidence,
        help: format!("correct volume `{volume}` in the manifest of {}", facts.keeper_id()),
    })
}

/// `references non-existent config key: KEY`, or `secret key`: kind and name of what
/// the volume is made of, and the key.
fn missing_key<'a>(
    facts: &'a Facts,
    volume: &str,
    said: &'a str,
) -> Option<(&'static str, &'a str, &'a str)> {
    let (_, rest) = said.split_once("references non-existent ")?;
    let (_, key) = rest.split_once(" key: ")?;
    let volume = list(&facts.pod["spec"]["volumes"]).find(|one| one["name"] == volume)?;
    let kinds = [("configmap", "/configMap/name"), ("secret", "/secret/secretName")];
    let named = kinds.into_iter().map(|(kind, path)| (kind, text(volume, path)));
    let (kind, name) = named.into_iter().find(|(_, name)| !name.is_empty())?;
    Some((kind, name, key))
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
    let (words, help) = waits(facts, claim, name);
    let (cause, confidence) = (Cause::ClaimPending, Confidence::Certain);
    Some(Diagnosis { cause, confidence, words, evidence: said(facts), help })
}

/// What a claim waits for, and what helps.
fn waits(facts: &Facts, claim: &Value, name: &str) -> (String, String) {
    let kubectl = &facts.kubectl;
    let class = text(claim, "/spec/storageClassName");
    let says = |sign: &str| facts.events.iter().any(|event| event.message.contains(sign));
    let has_class = facts.storage_classes.iter().any(|known| known == class);
    let make = format!(
        "run `echo {} | {kubectl} apply --filename -`, or install what provisions volumes",
        quoted(&volume_for(claim).to_string())
    );
    let waits_for_node = |event: &ApiEvent| {
        ["WaitForFirstConsumer", "WaitForPodScheduled"].contains(&event.reason.as_str())
    };
    if class.is_empty() {
        let others = match facts.storage_classes.as_slice() {
            [] => "has none",
            _ => "has no default one",
        };
        let words = format!(
            "the volume claim `{name}` waits for a volume: it names no storage class, and the cluster {others}"
        );
        (words, make)
    } else if !has_class && says(&format!("storageclass.storage.k8s.io \"{class}\" not found")) {
        let words = format!(
            "the volume claim `{name}` wants the storage class `{class}`, which the cluster does not have"
        );
        let help = match facts.storage_classes.as_slice() {
            [] => make,
            known => format!(
                "use one of {} in the claim, which must be made anew for it",
                crate::words::list(known)
            ),
        };
        (words, help)
    } else if says("didn't find available persistent volumes to bind") {
        let words = format!(
            "the volume claim `{name}` waits for a volume of the storage class `{class}`, of which none is free on a node for the pod"
        );
        (words, make)
    } else if let Some(node) = facts.node_name().filter(|_| facts.events.iter().any(waits_for_node))
    {
        let words = format!(
            "the volume claim `{name}` waits until the scheduler chooses a node for its pod, which names its node itself"
        );
        let help = format!(
            "write `nodeSelector: {{kubernetes.io/hostname: {node}}}` instead of `nodeName: {node}` into the manifest of {}, and make that anew",
            facts.keeper_id()
        );
        (words, help)
    } else {
        let words = format!(
            "the volume claim `{name}` waits for its storage class `{class}` to make a volume"
        );
        (words, format!("see why with `{kubectl} describe pvc {name}`"))
    }
}

/// The last words of the scheduler's and of the volume controller's.
fn said(facts: &Facts) -> Vec<String> {
    let reasons = [
        "FailedScheduling",
        "FailedBinding",
        "ProvisioningFailed",
        "WaitForFirstConsumer",
        "WaitForPodScheduled",
    ];
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
