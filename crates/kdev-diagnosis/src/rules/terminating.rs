//! The pod is being deleted: it takes its time, or something holds it.

use kdev_core::kube::container::Container;
use kdev_core::kube::object::list;
use kdev_core::text;

use crate::cause::Cause;
use crate::diagnosis::{Confidence, Diagnosis};
use crate::facts::Facts;

/// How long a kubelet may take over the time that containers have to end, in seconds;
/// two machines' clocks may differ by some.
const PATIENCE: i64 = 30;

pub(crate) fn diagnose(facts: &Facts) -> Option<Diagnosis> {
    let overdue = facts.overdue()?;
    let (kubectl, pod) = (&facts.kubectl, facts.pod_name());
    let holders: Vec<&str> =
        list(&facts.pod["metadata"]["finalizers"]).filter_map(|one| one.as_str()).collect();
    let has_ended = !facts.containers().iter().any(Container::is_running);
    let (words, confidence, help) = if has_ended && !holders.is_empty() {
        let holders = text::list(&holders);
        (
            format!("the pod is deleted and has ended, but its finalizer {holders} holds it"),
            Confidence::Certain,
            format!(
                "see that the controller runs that takes {holders} away, or let it go with `{kubectl} patch pod/{pod} --type json --patch '[{{\"op\":\"remove\",\"path\":\"/metadata/finalizers\"}}]'`"
            ),
        )
    } else if overdue < PATIENCE {
        (
            "the pod is being deleted, and its containers are given time to end".to_owned(),
            Confidence::Certain,
            format!("wait: `{kubectl} get pod/{pod} --watch`"),
        )
    } else {
        (
            format!("the pod is deleted, and its node should have ended it {overdue} s ago"),
            Confidence::Likely,
            format!(
                "let it go with `{kubectl} delete pod/{pod} --grace-period=0 --force`, after which its containers may still run on the node"
            ),
        )
    };
    let evidence = vec!["the pod has a `deletionTimestamp`".to_owned()];
    Some(Diagnosis { cause: Cause::Terminating, confidence, message: words, evidence, help })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_that_is_deleted_is_waited_for_as_long_as_it_may_take() {
        let facts = |finalizers: &[&str], state: &str, age: u64| Facts {
            pod: json!({"metadata": {"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z",
                "deletionTimestamp": "2026-01-01T00:01:00Z", "finalizers": finalizers},
                "spec": {"containers": [{"name": "c"}]},
                "status": {"containerStatuses": [{"name": "c", "state": {state: {}}}]}}),
            age_seconds: Some(age),
            ..Facts::default()
        };
        let table = [
            (facts(&[], "running", 50), "are given time to end"),
            (facts(&["a/b"], "running", 89), "are given time to end"),
            (facts(&["a/b"], "terminated", 50), "its finalizer `a/b` holds it"),
            (facts(&[], "running", 90), "its node should have ended it 30 s ago"),
        ];
        for (facts, words) in table {
            assert!(diagnose(&facts).unwrap().message.ends_with(words), "{words}");
        }
        assert_eq!(diagnose(&Facts::default()), None);
    }
}
