//! The pod is being deleted: it is within its grace period, or something blocks the deletion.

use kdev_core::kube::container::Container;
use kdev_core::kube::object::list;
use kdev_core::text;

use crate::cause::Cause;
use crate::diagnosis::{Confidence, Diagnosis};
use crate::facts::Facts;

/// The seconds after the grace period in which a kubelet should have removed the pod, with a
/// margin for clock skew.
const OVERDUE_AFTER: i64 = 30;

pub(crate) fn diagnose(facts: &Facts) -> Option<Diagnosis> {
    let overdue = facts.overdue_seconds()?;
    let (kubectl, pod) = (&facts.kubectl, facts.pod_name());
    let finalizers: Vec<&str> =
        list(&facts.pod["metadata"]["finalizers"]).filter_map(|one| one.as_str()).collect();
    let has_ended = !facts.containers().iter().any(Container::is_running);
    let (message, confidence, help) = if has_ended && !finalizers.is_empty() {
        let finalizers = text::list(&finalizers);
        (
            format!("the pod has ended, but its finalizer {finalizers} blocks its deletion"),
            Confidence::Certain,
            format!(
                "check the controller that removes {finalizers}, or remove the finalizer with `{kubectl} patch pod/{pod} --type json --patch '[{{\"op\":\"remove\",\"path\":\"/metadata/finalizers\"}}]'`"
            ),
        )
    } else if overdue < OVERDUE_AFTER {
        (
            "the pod is being deleted, and its containers have time to shut down".to_owned(),
            Confidence::Certain,
            format!("wait: `{kubectl} get pod/{pod} --watch`"),
        )
    } else {
        (
            format!(
                "the pod is being deleted, and its node should have stopped it {overdue} s ago"
            ),
            Confidence::Likely,
            format!(
                "run `{kubectl} delete pod/{pod} --grace-period=0 --force`; its containers may continue to run on the node"
            ),
        )
    };
    let evidence = vec!["the pod has a `deletionTimestamp`".to_owned()];
    Some(Diagnosis { cause: Cause::Terminating, confidence, message, evidence, help })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn deletion_within_grace_period_is_not_blocked() {
        let facts = |finalizers: &[&str], state: &str, age: u64| Facts {
            pod: json!({"metadata": {"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z",
                "deletionTimestamp": "2026-01-01T00:01:00Z", "finalizers": finalizers},
                "spec": {"containers": [{"name": "c"}]},
                "status": {"containerStatuses": [{"name": "c", "state": {state: {}}}]}}),
            age_seconds: Some(age),
            ..Facts::default()
        };
        let table = [
            (facts(&[], "running", 50), "have time to shut down"),
            (facts(&["a/b"], "running", 89), "have time to shut down"),
            (facts(&["a/b"], "terminated", 50), "its finalizer `a/b` blocks its deletion"),
            (facts(&[], "running", 90), "its node should have stopped it 30 s ago"),
        ];
        for (facts, message) in table {
            assert!(diagnose(&facts).unwrap().message.ends_with(message), "{message}");
        }
        assert_eq!(diagnose(&Facts::default()), None);
    }
}
