//! Completed Jobs that Kubernetes deletes (`ttlSecondsAfterFinished`). The record of an apply
//! set lists them, so that an unchanged Job is not run again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::image::digest;
use crate::kube::applyset::{self, Parent, Set};
use crate::kube::object::{condition, text};
use crate::kube::time;

/// Annotation of the record: the completed Jobs.
const ANNOTATION: &str = "kdev/completed-jobs";
/// How much the clocks of the machines may differ, in seconds.
const CLOCK_TOLERANCE: i64 = 60;

/// The completed Jobs of an apply set, by name. They are in the namespace of the record, because
/// the record would outlive a Job in another namespace that is deleted and created again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CompletedJobs(BTreeMap<String, CompletedJob>);

/// A completed Job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CompletedJob {
    /// The digest of its manifest.
    manifest: String,
    /// When Kubernetes deletes it, in seconds since 1970.
    deleted_at: i64,
}

/// A Job that has completed, as it was when it was seen last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// `None` for the namespace of the record.
    pub namespace: Option<String>,
    pub name: String,
    /// When Kubernetes deletes it, in seconds since 1970.
    pub deleted_at: i64,
}

impl Completion {
    /// Returns the completion of a Job that Kubernetes will delete, in the namespace of its
    /// manifest. `now`, in seconds since 1970, is used for a Job that was deleted before its
    /// completion was seen.
    pub fn of(namespace: Option<&str>, job: &Value, now: i64) -> Option<Self> {
        let ttl = job.pointer("/spec/ttlSecondsAfterFinished")?.as_i64()?;
        let condition = condition(job, "Complete");
        let completed =
            condition.and_then(|condition| time::seconds(text(condition, "/lastTransitionTime")));
        Some(Self {
            namespace: namespace.map(str::to_owned),
            name: text(job, "/metadata/name").to_owned(),
            deleted_at: completed.unwrap_or(now).saturating_add(ttl),
        })
    }

    /// Returns whether the record of a set can list it.
    pub fn is_recordable(&self, parent: &Parent) -> bool {
        self.namespace.as_ref().is_none_or(|namespace| *namespace == parent.namespace)
    }
}

impl CompletedJobs {
    /// Reads the Jobs from the record of an apply set.
    pub fn read(record: &Value) -> Self {
        let annotation = record["metadata"]["annotations"][ANNOTATION].as_str();
        annotation.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default()
    }

    /// Returns whether a Job has completed with this manifest, and has been deleted since then. A
    /// Job that is absent before that was not deleted by Kubernetes.
    pub fn is_deleted(&self, manifest: &Value, now: i64) -> bool {
        let job = self.0.get(text(manifest, "/metadata/name"));
        job.is_some_and(|job| {
            job.manifest == manifest_digest(manifest) && now + CLOCK_TOLERANCE >= job.deleted_at
        })
    }

    /// Returns whether the Job of this name has completed, whatever its manifest was, and should
    /// have been deleted since then.
    pub fn has_completed(&self, name: &str, now: i64) -> bool {
        self.0.get(name).is_some_and(|job| now + CLOCK_TOLERANCE >= job.deleted_at)
    }

    /// Adds a completed Job. Returns whether that changes the list.
    pub fn add(&mut self, completion: &Completion, manifest: &Value) -> bool {
        let job =
            CompletedJob { manifest: manifest_digest(manifest), deleted_at: completion.deleted_at };
        self.0.insert(completion.name.clone(), job.clone()) != Some(job)
    }

    /// Removes the Jobs that are not in the set.
    pub fn retain(&mut self, set: &Set) {
        self.0.retain(|name, _| set.has(&set.parent.namespace, &job_id(name)));
    }

    /// Returns the manifest that adds the list to the record.
    pub fn document(&self, parent: &Parent) -> String {
        let list = json!(self).to_string();
        let metadata = json!({"name": parent.name, "annotations": {ANNOTATION: list}});
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}).to_string()
    }
}

/// Returns whether an object of the manifests is a Job that the record can list.
pub fn is_recordable_job(manifest: &Value, parent: &Parent) -> bool {
    let namespace = text(manifest, "/metadata/namespace");
    applyset::id(manifest) == job_id(text(manifest, "/metadata/name"))
        && (namespace.is_empty() || namespace == parent.namespace)
}

fn job_id(name: &str) -> String {
    format!("job.batch/{name}")
}

fn manifest_digest(manifest: &Value) -> String {
    digest::sha256(manifest.to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPLETED: i64 = 1_769_860_800;

    fn manifest(image: &str) -> Value {
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "migrate"},
            "spec": {"ttlSecondsAfterFinished": 300, "image": image}})
    }

    fn live() -> Value {
        let condition = json!({"type": "Complete", "status": "True",
            "lastTransitionTime": "2026-01-31T12:00:00Z"});
        json!({"metadata": {"name": "migrate"},
            "spec": {"ttlSecondsAfterFinished": 300}, "status": {"conditions": [condition]}})
    }

    fn parent() -> Parent {
        Parent::without_identity("app", "n")
    }

    #[test]
    fn completion_has_time_of_deletion() {
        assert_eq!(Completion::of(None, &live(), 0).unwrap().deleted_at, COMPLETED + 300);
        let unseen = json!({"metadata": {"name": "a"}, "spec": {"ttlSecondsAfterFinished": 0}});
        assert_eq!(Completion::of(None, &unseen, 7).unwrap().deleted_at, 7);
        assert_eq!(Completion::of(None, &json!({"spec": {}}), 7), None);
    }

    #[test]
    fn only_unchanged_job_that_was_deleted_in_time_is_not_run_again() {
        let mut jobs = CompletedJobs::default();
        assert!(jobs.add(&Completion::of(None, &live(), 0).unwrap(), &manifest("app:1")));
        let deleted_at = COMPLETED + 300;
        let table = [
            ("app:1", deleted_at, true),
            ("app:1", deleted_at - CLOCK_TOLERANCE, true),
            ("app:1", deleted_at - CLOCK_TOLERANCE - 1, false),
            ("app:2", deleted_at, false),
        ];
        for (image, now, expected) in table {
            assert_eq!(jobs.is_deleted(&manifest(image), now), expected, "{image} {now}");
        }
        assert!(!CompletedJobs::default().is_deleted(&manifest("app:1"), deleted_at));
    }

    #[test]
    fn list_is_read_from_record() {
        let mut jobs = CompletedJobs::default();
        let completion = Completion::of(None, &live(), 0).unwrap();
        assert!(jobs.add(&completion, &manifest("app:1")));
        assert!(!jobs.add(&completion, &manifest("app:1")));
        let record: Value = serde_json::from_str(&jobs.document(&parent())).unwrap();
        assert_eq!(CompletedJobs::read(&record), jobs);
        for record in [json!({}), json!({"metadata": {"annotations": {ANNOTATION: "{"}}})] {
            assert_eq!(CompletedJobs::read(&record), CompletedJobs::default());
        }
    }

    #[test]
    fn job_that_left_set_is_forgotten() {
        let mut jobs = CompletedJobs::default();
        jobs.add(&Completion::of(None, &live(), 0).unwrap(), &manifest("app:1"));
        jobs.retain(&Set::from_objects(parent(), [manifest("app:2")]));
        assert_ne!(jobs, CompletedJobs::default());
        jobs.retain(&Set::from_objects(parent(), []));
        assert_eq!(jobs, CompletedJobs::default());
    }

    #[test]
    fn only_job_in_namespace_of_record_is_recordable() {
        let in_namespace = |namespace: &str| {
            let mut job = manifest("app:1");
            job["metadata"]["namespace"] = json!(namespace);
            job
        };
        let mut deployment = manifest("app:1");
        deployment["apiVersion"] = json!("apps/v1");
        deployment["kind"] = json!("Deployment");
        let table = [
            (manifest("app:1"), true),
            (in_namespace("n"), true),
            (in_namespace("other"), false),
            (deployment, false),
        ];
        for (object, expected) in table {
            assert_eq!(is_recordable_job(&object, &parent()), expected, "{object}");
        }
        let completion = |namespace: &str| Completion {
            namespace: Some(namespace.to_owned()),
            name: "migrate".to_owned(),
            deleted_at: 0,
        };
        assert!(completion("n").is_recordable(&parent()));
        assert!(!completion("other").is_recordable(&parent()));
    }
}
