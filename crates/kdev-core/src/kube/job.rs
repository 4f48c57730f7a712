//! Jobs that Kubernetes deletes after they have finished, and their results.

use serde_json::Value;

use crate::kube::object::text;

/// A Job with a shorter time to live may be gone before its result is read.
const SHORT_TTL: u64 = 60;

/// The reasons with which the controller of Jobs reports that a Job has failed.
const FAILURES: [&str; 5] = [
    "BackoffLimitExceeded",
    "DeadlineExceeded",
    "FailedIndexes",
    "MaxFailedIndexesExceeded",
    "PodFailurePolicy",
];

/// The result of a Job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobResult {
    Completed,
    /// The text is the reason.
    Failed(String),
}

/// Returns the seconds after which the finished Job is deleted, if they are few.
pub fn short_ttl(job: &Value) -> Option<u64> {
    job.pointer("/spec/ttlSecondsAfterFinished")?.as_u64().filter(|ttl| *ttl < SHORT_TTL)
}

/// Returns the result that the events of a Job report. They outlive the Job.
pub fn result_from_events<'a>(events: impl IntoIterator<Item = &'a Value>) -> Option<JobResult> {
    events.into_iter().find_map(|event| match text(event, "/reason") {
        "Completed" => Some(JobResult::Completed),
        reason if FAILURES.contains(&reason) => {
            Some(JobResult::Failed(format!("{reason}: {}", text(event, "/message"))))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn event_of_end_has_result() {
        let event = |reason: &str| json!({"reason": reason, "message": "m"});
        let result = |reasons: &[&str]| {
            let events: Vec<Value> = reasons.iter().map(|reason| event(reason)).collect();
            result_from_events(&events)
        };
        assert_eq!(result(&["SuccessfulCreate", "Completed"]), Some(JobResult::Completed));
        let failed = JobResult::Failed("BackoffLimitExceeded: m".to_owned());
        assert_eq!(result(&["SuccessfulCreate", "BackoffLimitExceeded"]), Some(failed));
        // These do not end it.
        assert_eq!(result(&["SuccessfulCreate", "FailedCreate", "Suspended"]), None);
        assert_eq!(result(&[]), None);
    }

    #[test]
    fn only_few_seconds_are_short() {
        let ttl =
            |seconds: Value| short_ttl(&json!({"spec": {"ttlSecondsAfterFinished": seconds}}));
        let table =
            [(json!(0), Some(0)), (json!(59), Some(59)), (json!(60), None), (json!(null), None)];
        for (seconds, expected) in table {
            assert_eq!(ttl(seconds.clone()), expected, "{seconds}");
        }
        assert_eq!(short_ttl(&json!({"spec": {}})), None);
    }
}
