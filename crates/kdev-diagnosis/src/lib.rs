//! Finds out from facts about a pod or workload why it does not run, with evidence and a
//! fix. Internal to `cargo kdev`: the API is not stable.
//!
//! Each rule in `rules/` checks the facts for one group of causes. The results are sorted
//! in the order in which the causes must be fixed. If no rule matches, the raw facts are
//! shown.
//!
//! - `capacity.rs`: allocatable and remaining resources of nodes
//! - `cause.rs`: the known causes, in the order in which they must be fixed
//! - `diagnosis.rs`: a cause with its evidence and a fix
//! - `facts.rs`: the facts about a pod or workload
//! - `fixes/`: the commands that fix a cause
//! - `location.rs`: where an image is, and images with a similar name
//! - `record.rs`: the file format of recorded facts
//! - `rules/`: the rules
//! - `scheduler_message.rs`: parses the scheduler's message
//! - `subject.rs`: selects the pod or workload to diagnose
//! - `transient.rs`: failures that are transient or have passed

mod capacity;
pub mod cause;
pub mod diagnosis;
pub mod facts;
mod fixes;
mod location;
pub mod record;
mod rules;
mod scheduler_message;
pub mod subject;
mod transient;

use kdev_core::kube::object::{list, text};

use crate::cause::Cause;
use crate::diagnosis::{Confidence, Diagnosis};
use crate::facts::Facts;
use crate::rules::{
    container, creation, image, in_progress, node, scheduling, terminating, volume,
};

pub use rules::image::outdated::newer_local_image;

/// Checks the facts for one group of causes.
type Rule = fn(&Facts) -> Vec<Diagnosis>;

const RULES: [Rule; 13] = [
    creation::diagnose,
    scheduling::diagnose,
    node::health::diagnose,
    node::sandbox::diagnose,
    volume::diagnose,
    image::missing::diagnose,
    image::unusable::diagnose,
    image::pull::diagnose,
    container::config::diagnose,
    container::start::diagnose,
    container::crash::diagnose,
    container::probe::diagnose,
    image::outdated::diagnose,
];

/// Returns everything that is wrong according to the facts.
pub fn diagnose(facts: &Facts) -> Vec<Diagnosis> {
    let mut found: Vec<Diagnosis> = RULES.iter().flat_map(|rule| rule(facts)).collect();
    if facts.was_rejected() {
        // The state of its containers is irrelevant then.
        found.retain(|diagnosis| diagnosis.cause <= Cause::NodePressure);
    }
    if let Some(terminating) = terminating::diagnose(facts) {
        // Only a node that does not respond can prevent the deletion.
        found.retain(|diagnosis| diagnosis.cause == Cause::NodeNotReady);
        found.push(terminating);
    }
    found.sort_by_key(|diagnosis| diagnosis.cause);
    // Several containers may have the same cause and the same fix.
    let mut known: Vec<(Cause, String)> = Vec::new();
    found.retain(|one| {
        let is_new = !known.iter().any(|(cause, help)| *cause == one.cause && *help == one.help);
        known.push((one.cause, one.help.clone()));
        is_new
    });
    for diagnosis in &mut found {
        fixes::add_manifest_hint(facts, &mut diagnosis.help);
    }
    if found.is_empty() && (facts.is_unready() || facts.is_missing_pods()) {
        found.push(in_progress::diagnose(facts).unwrap_or_else(|| unknown(facts)));
    }
    found
}

/// Returns the raw facts, for a state that no rule knows.
fn unknown(facts: &Facts) -> Diagnosis {
    let mut evidence: Vec<String> = pod_evidence(facts);
    evidence.extend(facts.containers().iter().filter_map(|container| {
        let (reason, message) = container.waiting()?;
        Some(format!(
            "container `{}` is waiting: {}",
            container.name(),
            join_reason(reason, message)
        ))
    }));
    if let (false, Some(owner)) = (facts.is_pod(), facts.owners.first()) {
        evidence.extend(list(&owner["status"]["conditions"]).map(|one| {
            let field = |path| text(one, path);
            format!("{} is {}: {}", field("/type"), field("/status"), field("/message"))
        }));
    }
    let warnings = facts.events.iter().rev().filter(|event| event.warning).take(3);
    evidence.extend(warnings.map(|event| format!("{}: {}", event.reason, event.message)));
    evidence.extend(facts.logs.iter().map(|(name, log)| format!("log of `{name}`:\n{log}")));
    Diagnosis {
        cause: Cause::Unknown,
        confidence: Confidence::Possible,
        message: "unknown".to_owned(),
        evidence,
        help: fixes::describe_help(facts),
    }
}

/// Returns why the pod has ended and why it has no node, according to its status.
fn pod_evidence(facts: &Facts) -> Vec<String> {
    let reason = text(&facts.pod, "/status/reason");
    let ended = join_reason(reason, text(&facts.pod, "/status/message"));
    let scheduled = facts.condition("PodScheduled").filter(|one| one["status"] == "False");
    let scheduling = scheduled.map(|one| {
        format!(
            "PodScheduled is False: {}",
            join_reason(text(one, "/reason"), text(one, "/message"))
        )
    });
    Some(ended).filter(|ended| !ended.is_empty()).into_iter().chain(scheduling).collect()
}

/// Joins a reason and a message, either of which may be empty.
fn join_reason(reason: &str, message: &str) -> String {
    let separator = if reason.is_empty() || message.is_empty() { "" } else { ": " };
    format!("{reason}{separator}{message}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn unknown_cause_shows_raw_facts() {
        let table = [
            (
                json!({"phase": "Failed", "reason": "Terminated",
                    "message": "Pod was terminated in response to imminent node shutdown."}),
                "Terminated: Pod was terminated in response to imminent node shutdown.",
            ),
            (
                json!({"phase": "Pending", "conditions": [{"type": "PodScheduled",
                    "status": "False", "reason": "SchedulerError", "message": "no such plugin"}]}),
                "PodScheduled is False: SchedulerError: no such plugin",
            ),
            (json!({"phase": "Failed", "reason": "Odd"}), "Odd"),
        ];
        for (status, expected) in table {
            let pod = json!({"kind": "Pod", "metadata": {"name": "p"}, "status": status});
            let found = diagnose(&Facts { pod, ..Facts::default() });
            assert_eq!(
                (found[0].cause, found[0].evidence.as_slice()),
                (Cause::Unknown, &[expected.to_owned()][..])
            );
        }
    }
}
