//! Takes facts about a pod or workload and gives the causes why it does not run, with
//! evidence and a fix. Internal to `cargo kdev`: nothing here is promised to stay.
//!
//! Each rule in `rules/` looks at the facts for one group of causes. The cause that must
//! be fixed first comes first; if no rule applies, the facts are shown.

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

/// One family of causes.
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

/// Everything that is wrong by these facts; nothing if all is well.
pub fn diagnose(facts: &Facts) -> Vec<Diagnosis> {
    let mut found: Vec<Diagnosis> = RULES.iter().flat_map(|rule| rule(facts)).collect();
    if facts.was_turned_away() {
        // What befell its containers then has no meaning any more.
        found.retain(|diagnosis| diagnosis.cause <= Cause::NodePressure);
    }
    if let Some(leaving) = terminating::diagnose(facts) {
        // Only a node that does not answer keeps it from going.
        found.retain(|diagnosis| diagnosis.cause == Cause::NodeNotReady);
        found.push(leaving);
    }
    found.sort_by_key(|diagnosis| diagnosis.cause);
    // Containers may share a cause, and its cure.
    let mut told: Vec<(Cause, String)> = Vec::new();
    found.retain(|one| {
        let is_new = !told.iter().any(|(cause, help)| *cause == one.cause && *help == one.help);
        told.push((one.cause, one.help.clone()));
        is_new
    });
    for diagnosis in &mut found {
        fixes::keep(facts, &mut diagnosis.help);
    }
    if found.is_empty() && (facts.is_in_trouble() || facts.lacks_pods()) {
        found.push(in_progress::diagnose(facts).unwrap_or_else(|| unknown(facts)));
    }
    found
}

/// The facts, where no rule knows what they mean.
fn unknown(facts: &Facts) -> Diagnosis {
    let mut evidence: Vec<String> = of_pod(facts);
    evidence.extend(facts.containers().iter().filter_map(|container| {
        let (reason, message) = container.waiting()?;
        Some(format!("container `{}` waits: {}", container.name(), told(reason, message)))
    }));
    if let (false, Some(maker)) = (facts.is_pod(), facts.owners.first()) {
        evidence.extend(list(&maker["status"]["conditions"]).map(|one| {
            let word = |path| text(one, path);
            format!("{} is {}: {}", word("/type"), word("/status"), word("/message"))
        }));
    }
    let warnings = facts.events.iter().rev().filter(|event| event.warning).take(3);
    evidence.extend(warnings.map(|event| format!("{}: {}", event.reason, event.message)));
    evidence.extend(facts.logs.iter().map(|(name, log)| format!("log of `{name}`:\n{log}")));
    Diagnosis {
        cause: Cause::Unknown,
        confidence: Confidence::Possible,
        message: "none that kdev knows of".to_owned(),
        evidence,
        help: format!("see `{} describe {}`", facts.kubectl, facts.subject),
    }
}

/// What the pod says of itself: why it has ended, and why it has no node.
fn of_pod(facts: &Facts) -> Vec<String> {
    let reason = text(&facts.pod, "/status/reason");
    let ended = told(reason, text(&facts.pod, "/status/message"));
    let scheduled = facts.condition("PodScheduled").filter(|one| one["status"] == "False");
    let placed = scheduled.map(|one| {
        format!("PodScheduled is False: {}", told(text(one, "/reason"), text(one, "/message")))
    });
    Some(ended).filter(|ended| !ended.is_empty()).into_iter().chain(placed).collect()
}

/// A reason with its message, where there is one.
fn told(reason: &str, message: &str) -> String {
    let separator = if reason.is_empty() || message.is_empty() { "" } else { ": " };
    format!("{reason}{separator}{message}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_no_rule_knows_is_shown() {
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
