//! The facts about a pod or workload at one point in time. They are the only input of
//! a diagnosis, so a record of them can be diagnosed again on another machine.

use std::collections::BTreeMap;

use kdev_core::image::local::{Engine, LocalImage};
use kdev_core::image::node_images::NodeImages;
use kdev_core::kube::container::Container;
use kdev_core::kube::object::{condition, id, list, text};
use kdev_core::kube::time;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The facts about one pod, or about a workload without pods.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Facts {
    /// The diagnosed object as `pod/hello`.
    pub subject: String,
    /// The `kubectl` command with flags for the context and namespace.
    pub kubectl: String,
    /// The flags that select the same cluster in `cargo kdev`.
    pub flags: String,
    /// The image that the current project builds, without a tag.
    pub project_image: Option<String>,
    /// The flags that select the same project in `cargo kdev`, each after a space.
    pub project_flags: String,
    /// The pod as an API object; null if the workload has no pod.
    pub pod: Value,
    /// The pod's owners, nearest first: its `ReplicaSet`, then its `Deployment`.
    pub owners: Vec<Value>,
    /// The events about the pod, its owners and its claims, and those that show that its
    /// image was on the node; oldest first.
    pub events: Vec<ApiEvent>,
    /// All nodes of the cluster; empty if the user may not list them.
    pub nodes: Vec<Value>,
    /// The `PersistentVolumeClaim`s that the pod uses.
    pub claims: Vec<Value>,
    /// The names of the cluster's storage classes.
    pub storage_classes: Vec<String>,
    /// The end of the log of each container that has crashed, by container.
    pub logs: BTreeMap<String, String>,
    /// The images in Docker or Podman with a similar name; `None` if it does not respond.
    pub local_images: Option<Vec<LocalImage>>,
    /// The program that has these images.
    pub local_engine: Engine,
    /// Whether Docker's image IDs are digests of image configurations, as on the nodes.
    pub local_ids_are_configs: bool,
    /// The pull policy of each container in the last applied configuration, by container.
    pub applied_policies: BTreeMap<String, String>,
    /// Which images the kubelet of the pod's node uses only with verified pull credentials:
    /// fields of its configuration.
    pub kubelet_image_policy: Value,
    /// The images with a similar name on each node.
    pub node_images: BTreeMap<String, NodeObservation>,
    /// The sum of the pods' resource requests by node and resource; collected only if a
    /// pod cannot be scheduled for lack of resources.
    pub requests: BTreeMap<String, BTreeMap<String, String>>,
    /// How many other pods of the same owner are not ready either.
    pub unready_siblings: u64,
    /// The age of the pod, or of the workload without one.
    pub age_seconds: Option<u64>,
}

/// An event of the API, which has occurred `count` times.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApiEvent {
    /// The object that the event is about, as `Pod/hello`.
    pub regarding: String,
    /// The container of the pod; empty if the event does not name one.
    pub container: String,
    pub reason: String,
    pub message: String,
    pub warning: bool,
    pub count: u64,
    /// The time of the last occurrence, as the API writes it.
    pub time: String,
}

/// The images of a node, or why they are unknown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeObservation {
    /// The images that the node has reported.
    Known(NodeImages),
    /// The node could not be reached, for this reason.
    Unknown(String),
}

impl Facts {
    /// Whether the facts are about a pod, and not about a workload without pods.
    pub fn is_pod(&self) -> bool {
        self.pod.is_object()
    }

    /// Returns the name of the pod.
    pub fn pod_name(&self) -> &str {
        text(&self.pod, "/metadata/name")
    }

    /// Whether the pod exists and is neither ready nor succeeded.
    pub fn is_unready(&self) -> bool {
        let ready = self.condition("Ready");
        self.is_pod()
            && text(&self.pod, "/status/phase") != "Succeeded"
            && ready.is_none_or(|ready| ready["status"] != "True")
    }

    /// Returns the state of the pod as `kubectl get pods` shows it.
    pub fn state(&self) -> String {
        if self.was_rejected() {
            return text(&self.pod, "/status/reason").to_owned();
        }
        match serde_json::from_value::<kdev_core::kube::pod::Pod>(self.pod.clone()) {
            Ok(pod) if self.is_pod() => pod.state(),
            _ => "no pod".to_owned(),
        }
    }

    /// Returns the name of the pod's node, if it is scheduled.
    pub fn node_name(&self) -> Option<&str> {
        self.pod.pointer("/spec/nodeName").and_then(Value::as_str)
    }

    /// Returns the pod's node as an API object.
    pub fn node(&self) -> Option<&Value> {
        let name = self.node_name()?;
        self.nodes.iter().find(|node| text(node, "/metadata/name") == name)
    }

    /// Returns the platform of the pod's node in the form of image platforms.
    pub fn platform(&self) -> String {
        let info = |key: &str| {
            let path = format!("/status/nodeInfo/{key}");
            self.node().map(|node| text(node, &path)).unwrap_or_default()
        };
        format!("{}/{}", info("operatingSystem"), info("architecture"))
    }

    /// Returns the images on the pod's node, if they are known.
    pub fn images_on_pod_node(&self) -> Option<&NodeImages> {
        self.images_on_node(self.node_name()?)
    }

    /// Returns the images on a node, if they are known.
    pub fn images_on_node(&self, node: &str) -> Option<&NodeImages> {
        match self.node_images.get(node)? {
            NodeObservation::Known(images) => Some(images),
            NodeObservation::Unknown(_) => None,
        }
    }

    /// Returns the topmost owner, which has the pod's template.
    pub fn controller(&self) -> Option<&Value> {
        self.owners.last()
    }

    /// Returns the controller as `kind/name`, or the pod itself if it has none.
    pub fn controller_id(&self) -> String {
        id(self.controller().unwrap_or(&self.pod))
    }

    /// Whether this is a pod without a known controller.
    pub fn is_bare_pod(&self) -> bool {
        self.is_pod() && self.controller().is_none()
    }

    /// Returns all containers, init containers first.
    pub fn containers(&self) -> Vec<Container<'_>> {
        let kinds =
            [("initContainers", "initContainerStatuses"), ("containers", "containerStatuses")];
        let mut containers = Vec::new();
        for (specs, statuses) in kinds {
            let statuses = &self.pod["status"][statuses];
            for spec in list(&self.pod["spec"][specs]) {
                let status = list(statuses).find(|status| status["name"] == spec["name"]);
                let is_init = specs == "initContainers";
                containers.push(Container::new(spec, status.unwrap_or(&Value::Null), is_init));
            }
        }
        containers
    }

    /// Returns the restart policy of a container.
    pub fn restart_policy<'a>(&'a self, container: Container<'a>) -> &'a str {
        let own = container.spec("/restartPolicy").and_then(Value::as_str);
        own.unwrap_or_else(|| text(&self.pod, "/spec/restartPolicy"))
    }

    /// Returns the user ID of a container, if the pod sets it.
    pub fn run_as_user(&self, container: Container) -> Option<u64> {
        let own = container.spec("/securityContext/runAsUser");
        own.or_else(|| self.pod.pointer("/spec/securityContext/runAsUser"))?.as_u64()
    }

    /// Returns the events about the pod itself, oldest first.
    pub fn pod_events(&self) -> impl DoubleEndedIterator<Item = &ApiEvent> {
        let pod = format!("Pod/{}", self.pod_name());
        self.events.iter().filter(move |event| event.regarding == pod)
    }

    /// Returns the events about a container of the pod, oldest first.
    pub fn container_events<'a>(
        &'a self,
        container: Container<'a>,
    ) -> impl DoubleEndedIterator<Item = &'a ApiEvent> {
        let name = container.name();
        self.pod_events().filter(move |e| e.container.is_empty() || e.container == name)
    }

    /// Whether a running container may crash as its previous run did, because it has not
    /// run much longer than that. After several crashes the kubelet delays restarts, and
    /// the container must run longer before it counts as recovered.
    pub fn may_crash_again(&self, container: Container) -> bool {
        const GRACE: i64 = 10;
        const GRACE_AFTER_BACKOFF: i64 = 60;
        /// A longer run counts as a successful start.
        const MAX_FAILED_START: i64 = 60;
        /// The maximum difference between the clocks of two machines.
        const MAX_CLOCK_SKEW: i64 = 5;
        let (true, Some(ended)) = (container.is_running(), container.ended()) else { return false };
        // The container ended because its node did.
        if ["Unknown", "ContainerStatusUnknown"].contains(&text(ended, "/reason")) {
            return false;
        }
        let at = |path| time::seconds(text(ended, path)).unwrap_or_default();
        // A container that could not be started has an end, but no start.
        let lasted = Some(at("/startedAt")).filter(|started| *started > 0);
        let lasted = lasted.map_or(0, |started| at("/finishedAt") - started).min(MAX_FAILED_START);
        let is_backoff = |event: &ApiEvent| {
            event.reason == "BackOff" && event.is_since(text(ended, "/finishedAt"))
        };
        let has_backoff = self.container_events(container).any(is_backoff);
        let grace = if has_backoff { GRACE_AFTER_BACKOFF } else { GRACE };
        let too_early = -MAX_CLOCK_SKEW..2 * lasted + grace;
        self.running_seconds(container).is_none_or(|seconds| too_early.contains(&seconds))
    }

    /// Returns how many seconds a container has been running.
    pub fn running_seconds(&self, container: Container) -> Option<i64> {
        self.seconds_since(container.started_at())
    }

    /// Returns how many seconds ago a deleted pod should have ended; negative during its
    /// grace period.
    pub fn overdue_seconds(&self) -> Option<i64> {
        self.seconds_since(text(&self.pod, "/metadata/deletionTimestamp"))
    }

    /// Returns the seconds between an API timestamp and the time of these facts.
    pub fn seconds_since(&self, time: &str) -> Option<i64> {
        let age = i64::try_from(self.age_seconds?).ok()?;
        Some(time::created(&self.pod)? + age - time::seconds(time)?)
    }

    /// Whether the pod's state shows that its volumes are mounted.
    pub fn is_mounted(&self) -> bool {
        let is_created = |container: &Container| {
            let waiting = container.waiting().map(|(reason, _)| reason);
            container.is_running()
                || container.ended().is_some()
                || waiting.is_some_and(|reason| {
                    !["ContainerCreating", "PodInitializing"].contains(&reason)
                })
        };
        let has_sandbox = self.condition("PodReadyToStartContainers");
        has_sandbox.is_some_and(|one| one["status"] == "True")
            || self.containers().iter().any(is_created)
    }

    /// Returns the latest event with one of these reasons.
    pub fn last_event(&self, reasons: &[&str]) -> Option<&ApiEvent> {
        self.events.iter().rev().find(|event| reasons.contains(&event.reason.as_str()))
    }

    /// Whether the kubelet has rejected or evicted the pod permanently.
    pub fn was_rejected(&self) -> bool {
        let reason = text(&self.pod, "/status/reason");
        text(&self.pod, "/status/phase") == "Failed" && !matches!(reason, "" | "DeadlineExceeded")
    }

    /// Whether the workload has no pod, but should have one.
    pub fn is_missing_pods(&self) -> bool {
        let Some(owner) = self.owners.first().filter(|_| !self.is_pod()) else { return false };
        match text(owner, "/kind") {
            "DaemonSet" => owner.pointer("/status/desiredNumberScheduled") != Some(&0.into()),
            "Job" => !["Complete", "SuccessCriteriaMet"]
                .iter()
                .any(|kind| condition(owner, kind).is_some_and(|one| one["status"] == "True")),
            "CronJob" => false,
            _ => owner.pointer("/spec/replicas") != Some(&0.into()),
        }
    }

    /// Returns a condition of the pod.
    pub fn condition(&self, kind: &str) -> Option<&Value> {
        condition(&self.pod, kind)
    }
}

impl ApiEvent {
    /// Whether the event occurred at this time or later. Fractions of a second are ignored,
    /// because only some API timestamps have them.
    pub fn is_since(&self, time: &str) -> bool {
        const SECONDS: usize = "2026-01-01T00:00:00".len();
        let to_seconds = |time: &str| time.get(..SECONDS).unwrap_or_default().to_owned();
        to_seconds(&self.time) >= to_seconds(time)
    }

    /// Returns the name of the sandbox image, if the event says that it is missing.
    pub fn sandbox_image(&self) -> Option<&str> {
        let (_, rest) = self.message.split_once("failed to get sandbox image \"")?;
        rest.split('"').next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn facts(state: &Value, sandbox: &str) -> Facts {
        Facts {
            pod: json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c"}]},
                "status": {"containerStatuses": [{"name": "c", "restartCount": 2, "state": state,
                    "lastState": {"terminated": {"finishedAt": "2026-01-01T00:01:00Z"}}}],
                "conditions": [{"type": "PodReadyToStartContainers", "status": sandbox}]}}),
            ..Facts::default()
        }
    }

    #[test]
    fn container_may_crash_again_until_it_outlives_previous_run() {
        let running = json!({"running": {"startedAt": "2026-01-01T00:01:30Z"}});
        let mut facts = facts(&running, "True");
        facts.pod["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z".into();
        let (none, early, late) = ("", "2026-01-01T00:00:59Z", "2026-01-01T00:01:00.5Z");
        let (never, started) = ("1970-01-01T00:00:00Z", "2026-01-01T00:00:40Z");
        let table = [
            (started, none, "c", 90 + 49, true),
            (started, none, "c", 90 + 50, false),
            (started, early, "c", 90 + 50, false),
            (started, late, "c", 90 + 99, true),
            (started, late, "", 90 + 99, true),
            (started, late, "other", 90 + 99, false),
            (started, late, "c", 90 + 100, false),
            (never, none, "c", 90 + 9, true),
            (never, none, "c", 90 + 10, false),
        ];
        for (started, time, container, age, expected) in table {
            let text = |text: &str| text.to_owned();
            facts.pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["startedAt"] =
                started.into();
            facts.age_seconds = Some(age);
            facts.events = vec![ApiEvent {
                regarding: text("Pod/p"),
                reason: text("BackOff"),
                container: text(container),
                time: text(time),
                ..ApiEvent::default()
            }];
            let found = facts.may_crash_again(facts.containers()[0]);
            assert_eq!(found, expected, "{started} {time} {container} {age}");
        }
    }

    #[test]
    fn container_after_reboot_or_long_run_recovers_quickly() {
        let running = json!({"running": {"startedAt": "2026-01-08T00:01:30Z"}});
        let mut facts = facts(&running, "True");
        facts.pod["metadata"]["creationTimestamp"] = "2026-01-08T00:00:00Z".into();
        let week =
            json!({"startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-08T00:00:00Z"});
        let mut reboot = week.clone();
        reboot["reason"] = "Unknown".into();
        // If a run starts in the future, the clocks differ too much for a decision.
        let table = [
            (&week, 90 + 129, true),
            (&week, 90 + 130, false),
            (&week, 90 - 5, true),
            (&week, 90 - 6, false),
            (&reboot, 90 + 1, false),
        ];
        for (ended, age, expected) in table {
            facts.pod["status"]["containerStatuses"][0]["lastState"]["terminated"] = ended.clone();
            facts.age_seconds = Some(age);
            let found = facts.may_crash_again(facts.containers()[0]);
            assert_eq!(found, expected, "{ended} {age}");
        }
    }

    #[test]
    fn volumes_count_as_mounted_after_sandbox_or_container_is_created() {
        let waiting = |reason: &str| json!({"waiting": {"reason": reason}});
        let table = [
            (waiting("ContainerCreating"), "False", false),
            (waiting("ContainerCreating"), "True", true),
            (waiting("ErrImageNeverPull"), "", true),
            (json!({"running": {}}), "", true),
            (json!({"terminated": {}}), "", true),
        ];
        for (state, sandbox, expected) in table {
            let mut facts = facts(&state, sandbox);
            facts.pod["status"]["containerStatuses"][0]["lastState"] = Value::Null;
            assert_eq!(facts.is_mounted(), expected, "{state} {sandbox}");
        }
    }
}
