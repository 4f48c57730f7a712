//! The lines of a status: one for each pod of a workload, or one for the workload
//! where it has none. Pure.

use kdev_core::image::reference::Reference;
use kdev_core::kube::object::{list, text};
use kdev_core::kube::pod::Pod;
use kdev_core::kube::{kinds, workload};
use kdev_manifest::expected::{self, ExpectedWorkload};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::commands::status::builds::{BuildStatus, Builds, classify};

/// Reasons of a container that waits for an image that its node has not.
const MISSING_IMAGE_REASONS: [&str; 4] =
    ["ErrImageNeverPull", "ErrImagePull", "ImagePullBackOff", "RegistryUnavailable"];

/// A pod of a workload, or a workload that has none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StatusRow {
    /// Kind and name, as `deployment/hello`.
    pub workload: String,
    /// Where it is.
    pub namespace: String,
    /// How many pods of the workload are ready; `None` where that is not counted.
    pub ready: Option<u64>,
    /// How many there should be.
    pub desired: Option<u64>,
    /// The pod's name.
    pub pod: Option<String>,
    /// The pod's node, once it has one.
    pub node: Option<String>,
    /// The pod's state in a word, as kubectl has it; else why there is no pod.
    pub state: String,
    /// The image of the project's container, as the pod names it; of several the
    /// one that is judged worst.
    pub image: Option<String>,
    /// Whether it is the newest build.
    pub build: Option<BuildStatus>,
    /// Whether the newest build is applied: what the workload makes its pods of.
    pub applied: Option<BuildStatus>,
    /// The container's pull policy.
    pub pull_policy: Option<String>,
    /// How often the pod's containers were restarted.
    pub restarts: u64,
    /// When the pod, else the workload, was created, as the API writes it.
    pub created: Option<String>,
}

impl StatusRow {
    /// Whether the workload has not been applied.
    pub fn is_absent(&self) -> bool {
        self.pod.is_none() && self.created.is_none()
    }
}

/// The lines of one workload.
pub(crate) fn workload_rows(
    wanted: &ExpectedWorkload,
    namespace: &str,
    items: &[Value],
    builds: Option<&Builds>,
) -> Vec<StatusRow> {
    let judge = |containers: &[ContainerImage]| worst_image(containers, builds);
    let Some(image) = wanted.containers.first().and_then(|c| Reference::parse(&c.image).ok())
    else {
        return Vec::new();
    };
    let nothing = StatusRow {
        workload: format!("{}/{}", wanted.kind.to_lowercase(), wanted.name),
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
        return vec![StatusRow { state: "<unsupported kind>".to_owned(), ..nothing }];
    }
    let is_it = |item: &&Value| {
        item["kind"] == *wanted.kind
            && item["metadata"]["name"] == *wanted.name
            && item["metadata"]["namespace"].as_str().is_none_or(|its| its == namespace)
    };
    let Some(live) = items.iter().find(is_it) else { return vec![nothing] };
    let (ready, total) = pod_counts(&wanted.kind, live);
    let template = judge(&container_images(&image, wanted, live, false));
    let applied = template.as_ref().map(|(build, ..)| *build);
    let workload = StatusRow { ready, desired: total, applied, created: creation_time(live), ..nothing };
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
            restarts: container_statuses(pod).filter_map(|status| status["restartCount"].as_u64()).sum(),
            created: creation_time(pod),
            ..workload.clone()
        };
        with_image(row, judge(&container_images(&image, wanted, pod, true)))
    };
    pods.iter().map(row).collect()
}

/// Kinds whose pods can be told by their owners.
fn is_supported(kind: &str) -> bool {
    kinds::BUILT_IN.find(kind).is_some_and(|kind| kind.runs_pods)
}

/// A container of the project's image, as it really is.
struct ContainerImage<'a> {
    image: &'a Reference,
    named: String,
    policy: String,
    /// The ID of what it runs, and what it waits for; `None` for a template.
    status: Option<(String, String)>,
}

fn container_images<'a>(
    image: &'a Reference,
    wanted: &ExpectedWorkload,
    object: &Value,
    is_pod: bool,
) -> Vec<ContainerImage<'a>> {
    let is_ours = |name: &str| wanted.containers.iter().any(|ours| ours.name == name);
    let ours = expected::containers(object).into_iter().filter(|live| is_ours(&live.name));
    ours.map(|live| {
        let status = container_statuses(object).find(|status| status["name"] == *live.name);
        let of = |path| status.map_or("", |status| text(status, path)).to_owned();
        let status = (of("/imageID"), of("/state/waiting/reason"));
        let status = is_pod.then_some(status);
        ContainerImage { image, named: live.image, policy: live.policy, status }
    })
    .collect()
}

/// The container that is judged worst.
fn worst_image(containers: &[ContainerImage], builds: Option<&Builds>) -> Option<(BuildStatus, String, String)> {
    let all = containers.iter().map(|one| (one.build_status(builds), one));
    let (worst, one) = all.max_by_key(|(freshness, _)| *freshness)?;
    Some((worst, one.named.clone(), one.policy.clone()))
}

impl ContainerImage<'_> {
    fn build_status(&self, builds: Option<&Builds>) -> BuildStatus {
        match &self.status {
            Some((_, reason)) if MISSING_IMAGE_REASONS.contains(&reason.as_str()) => BuildStatus::Missing,
            Some((id, _)) if id.is_empty() => match classify(self.image, &self.named, "", builds) {
                BuildStatus::Latest => BuildStatus::NotStarted,
                other => other,
            },
            Some((id, _)) => classify(self.image, &self.named, id, builds),
            None => classify(self.image, &self.named, "", builds),
        }
    }
}

fn with_image(row: StatusRow, judged: Option<(BuildStatus, String, String)>) -> StatusRow {
    let Some((build, image, policy)) = judged else { return row };
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

/// How many of its pods are ready, and how many there should be.
fn pod_counts(kind: &str, live: &Value) -> (Option<u64>, Option<u64>) {
    let number = |path: &str| live.pointer(path).and_then(Value::as_u64);
    let of = |ready: &str, wanted: &str, default| {
        (Some(number(ready).unwrap_or(0)), Some(number(wanted).unwrap_or(default)))
    };
    match kind {
        "CronJob" => (None, None),
        "DaemonSet" => of("/status/numberReady", "/status/desiredNumberScheduled", 0),
        "Job" => of("/status/succeeded", "/spec/completions", 1),
        "Pod" => (Some(u64::from(is_ready(live))), Some(1)),
        _ => of("/status/readyReplicas", "/spec/replicas", 1),
    }
}

fn is_ready(pod: &Value) -> bool {
    kdev_core::kube::object::condition(pod, "Ready").is_some_and(|ready| ready["status"] == "True")
}

fn describe_missing_pods(kind: &str, live: &Value, wanted: Option<u64>) -> String {
    let is_set = |path: &str| live.pointer(path).and_then(Value::as_bool) == Some(true);
    let words = match kind {
        "CronJob" | "Job" if is_set("/spec/suspend") => "suspended",
        "CronJob" => "no run yet",
        "Job" if text(live, "/status/completionTime").is_empty() => "no pod yet",
        "Job" => "its pods have gone",
        "DaemonSet" if wanted == Some(0) => "no node takes it",
        _ if wanted == Some(0) => "scaled to zero",
        _ => "no pod yet",
    };
    words.to_owned()
}

/// The pod's state in a word, as `kubectl get pods` has it.
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

/// All pods of a workload, those of its older templates too; of a `CronJob` those
/// of its last run.
fn workload_pods<'a>(kind: &str, live: &'a Value, items: &'a [Value]) -> Vec<&'a Value> {
    let made = |by: &'a Value, kind: &'static str| {
        items.iter().filter(move |item| item["kind"] == kind && workload::owns(by, item))
    };
    match kind {
        "Pod" => vec![live],
        "Deployment" => made(live, "ReplicaSet").flat_map(|set| made(set, "Pod")).collect(),
        "CronJob" => {
            let last = made(live, "Job").max_by_key(|job| creation_time(job));
            last.map(|job| made(job, "Pod").collect()).unwrap_or_default()
        }
        _ => made(live, "Pod").collect(),
    }
}

#[cfg(test)]
#[path = "rows_tests.rs"]
mod tests;
