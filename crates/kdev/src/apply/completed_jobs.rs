//! Jobs that have completed and that Kubernetes has deleted: they are not applied again.

use jiff::Timestamp;
use kdev_core::kube::applyset::{self, Parent, Set};
use kdev_core::kube::completed_jobs::{self, CompletedJobs, Completion};
use kdev_core::kube::object::text;
use kdev_core::kube::owner::Owner;
use kdev_core::text::list;
use kdev_manifest::expected;
use kdev_manifest::objects::Object;
use serde_json::Value;

use crate::apply::diff::ObjectDiff;
use crate::apply::record;
use crate::cluster::Cluster;
use crate::cx::Cx;
use crate::event::Event;

/// A Job with a shorter time to live is usually gone before the next run.
const SHORT_TTL: i64 = 60;

/// The completed Jobs of an apply set.
pub(crate) struct JobRecord {
    set: Set,
    recorded: CompletedJobs,
    /// The Jobs in the manifests that can be recorded.
    manifests: Vec<Value>,
    /// The names of the Jobs that are not applied again.
    deleted: Vec<String>,
}

/// Returns the completed Jobs that the record of a project lists; none if it cannot be read.
pub(crate) fn recorded(cx: &Cx, cluster: &Cluster, owner: &Owner) -> CompletedJobs {
    let parent = Parent::new(&owner.package, &cluster.namespace, &owner.identity);
    let records = record::get_if_allowed(cx, cluster, &cluster.namespace, &[&parent]);
    let records = records.ok().flatten().unwrap_or_default();
    records.get(&parent.name).map(CompletedJobs::read).unwrap_or_default()
}

impl JobRecord {
    /// Reads the record from the result of the diff of these documents, which contains it.
    pub(crate) fn read<'a>(
        set: &Set,
        documents: impl IntoIterator<Item = &'a String>,
        compared: &[ObjectDiff],
    ) -> Self {
        let is_record = |live: &Value| {
            applyset::id(live) == set.parent.object()
                && text(live, "/metadata/namespace") == set.parent.namespace
        };
        let record = compared.iter().map(|diff| &diff.live).find(|live| is_record(live));
        let objects = documents.into_iter().flat_map(|document| expected::objects_in(document));
        let is_recordable = |object: &Value| completed_jobs::is_recordable_job(object, &set.parent);
        Self {
            set: set.clone(),
            recorded: record.map(CompletedJobs::read).unwrap_or_default(),
            manifests: objects.filter(is_recordable).collect(),
            deleted: Vec::new(),
        }
    }

    /// Removes the Jobs that have completed and were deleted from the documents to apply.
    pub(crate) fn remove_deleted(
        &mut self,
        cx: &Cx,
        changed: &mut Vec<String>,
        compared: &[ObjectDiff],
    ) {
        changed.retain(|document| match expected::objects_in(document).as_slice() {
            [job] if self.is_deleted(job, compared) => {
                let name = text(job, "/metadata/name").to_owned();
                let text = format!(
                    "job/{name} has completed, and was deleted after its `ttlSecondsAfterFinished`; it runs again when its manifest changes"
                );
                cx.emit(Event::Note { text });
                self.deleted.push(name);
                false
            }
            _ => true,
        });
    }

    fn is_deleted(&self, job: &Value, compared: &[ObjectDiff]) -> bool {
        let is_absent = || compared.iter().any(|diff| diff.is_of(job) && diff.live.is_null());
        self.manifests.contains(job)
            && self.recorded.is_deleted(job, Timestamp::now().as_second())
            && is_absent()
    }

    /// Returns whether the object is a Job that was not applied again.
    pub(crate) fn has_deleted(&self, object: &Object) -> bool {
        let namespace = &object.namespace;
        object.kind == "Job"
            && namespace.as_ref().is_none_or(|one| *one == self.set.parent.namespace)
            && self.deleted.contains(&object.name)
    }

    /// Records Jobs that have completed, unless they are recorded already. Notes which of them
    /// each run will repeat because they cannot be recorded.
    pub(crate) fn record(mut self, cx: &Cx, cluster: &Cluster, completed: &[Completion]) {
        let mut added = Vec::new();
        for completion in completed {
            let is_of = |job: &&Value| text(job, "/metadata/name") == completion.name;
            let recordable = completion.is_recordable(&self.set.parent);
            let manifest = self.manifests.iter().find(is_of).filter(|_| recordable);
            match manifest {
                Some(manifest) if self.recorded.add(completion, manifest) => {
                    added.push(completion.name.as_str());
                }
                None => note_repeated(cx, completion),
                Some(_) => {}
            }
        }
        if added.is_empty() || cx.interrupt().is_raised() {
            return;
        }
        self.recorded.retain(&self.set);
        let document = self.recorded.document(&self.set.parent);
        if let Err(error) = record::write_completed_jobs(cx, cluster, &self.set, &document) {
            let jobs = list(&added.iter().map(|name| format!("job/{name}")).collect::<Vec<_>>());
            let text = format!(
                "cannot record that {jobs} completed, so the next `up` repeats it: {error}"
            );
            cx.emit(Event::Note { text });
        }
    }
}

fn note_repeated(cx: &Cx, completion: &Completion) {
    if completion.deleted_at > Timestamp::now().as_second() + SHORT_TTL {
        return;
    }
    let text = format!(
        "job/{} has a short `ttlSecondsAfterFinished`, so it is deleted after it has finished, and each `up` runs it again; remove the field to run it only once",
        completion.name
    );
    cx.emit(Event::Note { text });
}
