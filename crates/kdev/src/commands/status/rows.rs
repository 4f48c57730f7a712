//! The rows of a status: one per pod, or one for a workload without pods.

use kdev_core::image::reference::Reference;
use kdev_core::kube::object::{format_id, list, text};
use kdev_core::kube::pod::Pod;
use kdev_core::kube::{kinds, workload};
use kdev_manifest::expected::{self, ExpectedWorkload};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::commands::status::builds::{BuildStatus, Builds, classify};

/// The reasons of containers that wait because the image is missing from the node.
const MISSING_IMAGE_REASONS: [&str; 4] =
    ["ErrImageNeverPull", "ErrImagePull", "ImagePullBackOff", "RegistryUnavailable"];

/// The state of a Job that has completed, and that Kubernetes has deleted.
const COMPLETED: &str = "completed and deleted";

/// A pod of a workload, or a workload without pods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StatusRow {
    /// Kind and name, such as `deployment/hello`.
    pub workload: String,
    /// The namespace.
    pub namespace: String,
    /// The number of ready pods of the workload; `None` if the kind has no such number.
    pub ready: Option<u64>,
    /// The desired number of pods.
    pub desired: Option<u64>,
    /// The name of the pod.
    pub pod: Option<String>,
    /// The node of the pod; `None` before it is scheduled.
    pub node: Option<String>,
    /// The status of the pod as in `kubectl get pods`; without a pod, the reason.
    pub state: String,
    /// The image of the project's container as in the pod spec. If there are several containers,
    /// the one with the worst build status.
    pub image: Option<String>,
    /// Which build the container runs.
    pub build: Option<BuildStatus>,
    /// Which build the pod template of the workload has.
    pub applied: Option<BuildStatus>,
    /// The pull policy of the container.
    pub pull_policy: Option<String>,
    /// The number of restarts of the pod's containers.
    pub restarts: u64,
    /// The creation time of the pod, or of a workload without pods, as in the API.
    pub created: Option<String>,
}

impl StatusRow {
    /// Returns whether the workload has not been applied.
    pub fn is_absent(&self) -> bool {
        self.pod.is_none() && self.created.is_none() && self.state != COMPLETED
    }

    /// Returns the name of the Job in the namespace of the record, if it does not exist.
    pub(crate) fn absent_job(&self, namespace: &str) -> Option<&str> {
        let name = self.workload.strip_prefix("job/")?;
        (self.is_absent() && self.namespace == namespace).then_some(name)
    }

    /// Sets the state of a Job that has completed, and that Kubernetes has deleted since then.
    pub(crate) fn complete(&mut self) {
        COMPLETED.clone_into(&mut self.state);
    }
}

/// Returns the rows of a workload.
pub(crate) fn workload_rows(
    wanted: &ExpectedWorkload,
    namespace: &str,
    items: &[Value],
    builds: Option<&Builds>,
) -> Vec<StatusRow> {
    let worst = |containers: &[ContainerImage]| worst_image(containers, builds);
    let Some(image) = wanted.containers.first().and_then(|c| Reference::parse(&c.image).ok())
    else {
        return Vec::new();
    };
    let empty = StatusRow {
        workload: format_id(&wanted.kind, &wanted.name),
        namespace: namespace.to_owned(),
        ready: None,
        desired: None,
        pod: None,
        node: None,
        state: "not applied".to_owned(),
        image: None,
        build: None,
        applied: None,
        pull_policy: None,
        restarts: 0,
        created: None,
    };
    if !is_supported(&wanted.kind) {
        return vec![StatusRow { state: "<unsupported kind>".to_owned(), ..empty }];
    }
    let is_live = |item: &&Value| {
        item["kind"] == *wanted.kind
            && item["metadata"]["name"] == *wanted.name
            && item["metadata"]["namespace"].as_str().is_none_or(|other| other == namespace)
    };
    let Some(live) = items.iter().find(is_live) else { return vec![empty] };
    let (ready, total) = pod_counts(&wanted.kind, live);
    let template = worst(&container_images(&image, wanted, live, false));
    let applied = template.as_ref().map(|(build, ..)| *build);
    let workload =
        StatusRow { ready, desired: total, applied, created: creation_time(live), ..empty };
    let mut pods = workload::counted(&wanted.kind, workload_pods(&wanted.kind, live, items));
    pods.sort_by_key(|pod| (creation_time(pod), text(pod, "/metadata/name")));
    if pods.is_empty() {
        let state = describe_missing_pods(&wanted.kind, live, total);
        return vec![with_image(StatusRow { state, ..workload }, template)];
    }
    let row = |pod: &&Value| {
        let row = StatusRow {
            pod: Some(text(pod, "/metadata/name").to_owned()),
            node: pod.pointer("/spec/nodeName").and_then(Value::as_str).map(str::to_owned),
            state: pod_state(pod),
            restarts: container_statuses(pod)
                .filter_map(|status| status["restartCount"].as_u64())
                .sum(),
            created: creation_time(pod),
            ..workload.clone()
        };
        with_image(row, worst(&container_images(&image, wanted, pod, true)))
    };
    pods.iter().map(row).collect()
}

/// Returns whether the pods of a kind can be found through their owners.
fn is_supported(kind: &str) -> bool {
    kinds::BUILT_IN.find(kind).is_some_and(|kind| kind.runs_pods)
}

/// The image of a container of the project.
struct ContainerImage<'a> {
    image: &'a Reference,
    named: String,
    policy: String,
    /// The image ID and the waiting reason; `None` for a pod template.
    status: Option<(String, String)>,
}

fn container_images<'a>(
    image: &'a Reference,
    wanted: &ExpectedWorkload,
    object: &Value,
    is_pod: bool,
) -> Vec<ContainerImage<'a>> {
    let is_expected = |name: &str| wanted.containers.iter().any(|container| container.name == name);
    let containers =
        expected::containers(object).into_iter().filter(|live| is_expected(&live.name));
    containers
        .map(|live| {
            let status = container_statuses(object).find(|status| status["name"] == *live.name);
            let field = |path| status.map_or("", |status| text(status, path)).to_owned();
            let status = (field("/imageID"), field("/state/waiting/reason"));
            let status = is_pod.then_some(status);
            ContainerImage { image, named: live.image, policy: live.policy, status }
        })
        .collect()
}

/// Returns the build status, image and pull policy of the container with the worst status.
fn worst_image(
    containers: &[ContainerImage],
    builds: Option<&Builds>,
) -> Option<(BuildStatus, String, String)> {
    let all = containers.iter().map(|container| (container.build_status(builds), container));
    let (status, worst) = all.max_by_key(|(status, _)| *status)?;
    Some((status, worst.named.clone(), worst.policy.clone()))
}

impl ContainerImage<'_> {
    fn build_status(&self, builds: Option<&Builds>) -> BuildStatus {
        match &self.status {
            Some((_, reason)) if MISSING_IMAGE_REASONS.contains(&reason.as_str()) => {
                BuildStatus::Missing
            }
            Some((id, _)) if id.is_empty() => match classify(self.image, &self.named, "", builds) {
                BuildStatus::Latest => BuildStatus::NotStarted,
                other => other,
            },
            Some((id, _)) => classify(self.image, &self.named, id, builds),
            None => classify(self.image, &self.named, "", builds),
        }
    }
}

fn with_image(row: StatusRow, image: Option<(BuildStatus, String, String)>) -> StatusRow {
    let Some((build, image, policy)) = image else { return row };
    let pull_policy = (!policy.is_empty()).then_some(policy);
    StatusRow { build: Some(build), image: Some(image), pull_policy, ..row }
}

fn container_statuses(pod: &Value) -> impl Iterator<Item = &Value> {
    let lists = ["initContainerStatuses", "containerStatuses"];
    lists.into_iter().flat_map(|name| list(&pod["status"][name]))
}

fn creation_time(object: &Value) -> Option<String> {
    Some(text(object, "/metadata/creationTimestamp").to_owned()).filter(|text| !text.is_empty())
}

/// Returns the ready and the desired number of pods of a workload.
fn pod_counts(kind: &str, live: &Value) -> (Option<u64>, Option<u64>) {
    let number = |path: &str| live.pointer(path).and_then(Value::as_u64);
    let counts = |ready: &str, desired: &str, default| {
        (Some(number(ready).unwrap_or(0)), Some(number(desired).unwrap_or(default)))
    };
    match kind {
        "CronJob" => (None, None),
        "DaemonSet" => counts("/status/numberReady", "/status/desiredNumberScheduled", 0),
        "Job" => counts("/status/succeeded", "/spec/completions", 1),
        "Pod" => (Some(u64::from(is_ready(live))), Some(1)),
        _ => counts("/status/readyReplicas", "/spec/replicas", 1),
    }
}

fn is_ready(pod: &Value) -> bool {
    kdev_core::kube::object::condition(pod, "Ready").is_some_and(|ready| ready["status"] == "True")
}

fn describe_missing_pods(kind: &str, live: &Value, desired: Option<u64>) -> String {
    let is_set = |path: &str| live.pointer(path).and_then(Value::as_bool) == Some(true);
    let cause = match kind {
        "CronJob" | "Job" if is_set("/spec/suspend") => "suspended",
        "CronJob" => "no run yet",
        "Job" if text(live, "/status/completionTime").is_empty() => "no pod yet",
        "Job" => "pods deleted",
        "DaemonSet" if desired == Some(0) => "no eligible node",
        _ if desired == Some(0) => "scaled to zero",
        _ => "no pod yet",
    };
    cause.to_owned()
}

/// Returns the status of a pod as in `kubectl get pods`.
fn pod_state(pod: &Value) -> String {
    if pod.pointer("/metadata/deletionTimestamp").is_some() {
        return "Terminating".to_owned();
    }
    if pod["status"]["phase"] == "Succeeded" {
        return "Completed".to_owned();
    }
    let ended = container_statuses(pod).map(|status| text(status, "/state/terminated/reason"));
    let failed = ended.into_iter().find(|reason| !reason.is_empty() && *reason != "Completed");
    match (Pod::read(pod).map(|pod| pod.state()), failed) {
        (Some(state), Some(reason)) if ["Running", "Failed"].contains(&state.as_str()) => {
            reason.to_owned()
        }
        (state, _) => state.unwrap_or_default(),
    }
}

/// Returns all pods of a workload, including those of older templates. For a `CronJob`, returns
/// the pods of its last run.
fn workload_pods<'a>(kind: &str, live: &'a Value, items: &'a [Value]) -> Vec<&'a Value> {
    let owned = |owner: &'a Value, kind: &'static str| {
        items.iter().filter(move |item| item["kind"] == kind && workload::owns(owner, item))
    };
    match kind {
        "Pod" => vec![live],
        "Deployment" => owned(live, "ReplicaSet").flat_map(|set| owned(set, "Pod")).collect(),
        "CronJob" => {
            let last = owned(live, "Job").max_by_key(|job| creation_time(job));
            last.map(|job| owned(job, "Pod").collect()).unwrap_or_default()
        }
        _ => owned(live, "Pod").collect(),
    }
}

#[cfg(test)]
#[path = "rows_tests.rs"]
mod tests;
