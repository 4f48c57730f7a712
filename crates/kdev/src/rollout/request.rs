//! The workloads of a rollout, and how long to wait for them.

use std::time::Duration;

use kdev_core::image::built::BuiltImage;
use kdev_core::kube::applyset::Member;
use kdev_manifest::expected::ExpectedWorkload;
use kdev_manifest::objects::Object;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::cx::Cx;
use crate::load::Loaded;

/// The workloads to wait for, and the timeout.
pub(crate) struct Rollout<'a> {
    pub(crate) cx: &'a Cx<'a>,
    pub(crate) cluster: &'a Cluster,
    pub(crate) image: &'a BuiltImage,
    /// The nodes that have the image.
    pub(crate) loaded: &'a Loaded,
    /// The workloads as they were applied.
    pub(crate) expected_workloads: &'a [ExpectedWorkload],
    /// The objects that this run changed.
    pub(crate) applied: &'a [Member],
    /// The Jobs that this run changed.
    pub(crate) live_jobs: &'a [Value],
    pub(crate) limit: Duration,
    /// How long containers without a readiness probe must run.
    pub(crate) settle: Duration,
}

impl Rollout<'_> {
    /// Returns the Job as it was applied, if this run has changed it.
    pub(crate) fn applied_job(&self, object: &Object) -> Option<&Value> {
        let namespace = object.namespace.as_ref().unwrap_or(&self.cluster.namespace);
        self.live_jobs.iter().filter(|_| object.kind == "Job").find(|job| {
            job["metadata"]["name"] == *object.name && job["metadata"]["namespace"] == **namespace
        })
    }

    /// Returns whether this run has changed the object.
    pub(crate) fn has_changed(&self, object: &Object) -> bool {
        let object_namespace = object.namespace.as_ref().unwrap_or(&self.cluster.namespace);
        let kind = object.kind.to_lowercase();
        let is_object = |id: &str| {
            let (resource, name) = id.split_once('/').unwrap_or_default();
            name == object.name && resource.split('.').next() == Some(&kind)
        };
        self.applied.iter().any(|(namespace, id)| namespace == object_namespace && is_object(id))
    }
}
