//! What is known of a workload that does not run as it should, at one moment.
//! A diagnosis is made from this alone, so that a record of it can be judged
//! again, and elsewhere.

use std::collections::BTreeMap;

use kdev_core::image::local::LocalImage;
use kdev_core::image::node_images::NodeImages;
use kdev_core::kube::container::Container;
use kdev_core::kube::object::{condition, id, list, text};
use kdev_core::kube::time;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The facts about one pod, or about a workload that has none.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Facts {
    /// Kind and name of what was asked about, as `pod/hello`.
    pub subject: String,
    /// kubectl with context and namespace, as a person types it.
    pub kubectl: String,
    /// The flags that lead `cargo kdev` to the same cluster.
    pub flags: String,
    /// The image that the project in the current folder builds, without tag.
    pub project_image: Option<String>,
    /// The flags that lead `cargo kdev` to the same project, each after a blank.
    pub project_flags: String,
    /// The pod as the API has it; null where there is none.
    pub pod: Value,
    /// Who has made it: its `ReplicaSet`, then its `Deployment`.
    pub owners: Vec<Value>,
    /// What was reported of all these and of the pod's claims, oldest first.
    pub events: Vec<ApiEvent>,
    pub nodes: Vec<Value>,
    /// The volume claims of its namespace that it names.
    pub claims: Vec<Value>,
    /// The storage classes of the cluster, by name.
    pub storage_classes: Vec<String>,
    /// The end of the log, by container, of those that have crashed.
    pub logs: BTreeMap<String, String>,
    /// The images of docker here that are called alike; `None` where docker does
    /// not answer.
    pub local_images: Option<Vec<LocalImage>>,
    /// Whether docker's IDs are digests of configurations, as the nodes' are.
    pub local_ids_are_configs: bool,
    /// The pull policies that were applied, by container, where the pod tells.
    pub applied_policies: BTreeMap<String, String>,
    /// What the kubelet of the pod's node is told of images that it has not pulled.
    pub kubelet_image_policy: Value,
    /// What the nodes have of images that are called alike.
    pub node_images: BTreeMap<String, NodeObservation>,
    /// What pods request of the nodes, by resource; only where a pod lacks some.
    pub requests: BTreeMap<String, BTreeMap<String, String>>,
    /// How many other pods of its maker are not ready either.
    pub unready_siblings: u64,
    /// How long the pod, or the workload without one, has been there.
    pub age_seconds: Option<u64>,
}

/// An event of the API, which tells the same as many times as `count` says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApiEvent {
    /// Kind and name, as `Pod/hello`.
    pub regarding: String,
    /// Which of a pod's containers; empty where it does not tell.
    pub container: String,
    pub reason: String,
    pub message: String,
    pub warning: bool,
    pub count: u64,
    /// When it was last so, as the API writes it.
    pub time: String,
}

/// What is known of what a node has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeObservation {
    /// The node has told.
    Known(NodeImages),
    /// It could not be asked, for this reason.
    Unknown(String),
}

impl Facts {
    /// What the pod is called, or else the workload.
    pub fn is_pod(&self) -> bool {
        self.pod.is_object()
    }

    /// Name of the pod.
    pub fn pod_name(&self) -> &str {
        text(&self.pod, "/metadata/name")
    }

    /// Whether there is a pod that is neither ready nor done.
    pub fn is_in_trouble(&self) -> bool {
        let ready = self.condition("Ready");
        self.is_pod()
            && text(&self.pod, "/status/phase") != "Succeeded"
            && ready.is_none_or(|ready| ready["status"] != "True")
    }

    /// One word for its state, as `kubectl get pods` has it.
    pub fn state(&self) -> String {
        if self.was_turned_away() {
            return text(&self.pod, "/status/reason").to_owned();
        }
        match serde_json::from_value::<kdev_core::kube::pod::Pod>(self.pod.clone()) {
            Ok(pod) if self.is_pod() => pod.state(),
            _ => "no pod".to_owned(),
        }
    }

    /// The pod's node, once it has one.
    pub fn node_name(&self) -> Option<&str> {
        self.pod.pointer("/spec/nodeName").and_then(Value::as_str)
    }

    /// The pod's node as the API has it.
    pub fn node(&self) -> Option<&Value> {
        let name = self.node_name()?;
        self.nodes.iter().find(|node| text(node, "/metadata/name") == name)
    }

    /// Of the pod's node, as images have it.
    pub fn platform(&self) -> String {
        let info = |key: &str| {
            let path = format!("/status/nodeInfo/{key}");
            self.node().map(|node| text(node, &path)).unwrap_or_default()
        };
        format!("{}/{}", info("operatingSystem"), info("architecture"))
    }

    /// What the pod's node has.
    pub fn stock(&self) -> Option<&NodeImages> {
        self.stock_of(self.node_name()?)
    }

    pub fn stock_of(&self, node: &str) -> Option<&NodeImages> {
        match self.node_images.get(node)? {
            NodeObservation::Known(stock) => Some(stock),
            NodeObservation::Unknown(_) => None,
        }
    }

    /// Whoever keeps the pod's template: the uppermost of its owners.
    pub fn keeper(&self) -> Option<&Value> {
        self.owners.last()
    }

    /// The keeper as kubectl takes it, or the pod itself.
    pub fn keeper_id(&self) -> String {
        id(self.keeper().unwrap_or(&self.pod))
    }

    /// Whether it is a pod that nothing known here keeps.
    pub fn is_bare_pod(&self) -> bool {
        self.is_pod() && self.keeper().is_none()
    }

    /// Init containers first, as they run.
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

    /// When a container is started again that has ended.
    pub fn restart_policy<'a>(&'a self, container: Container<'a>) -> &'a str {
        let own = container.spec("/restartPolicy").and_then(Value::as_str);
        own.unwrap_or_else(|| text(&self.pod, "/spec/restartPolicy"))
    }

    /// Who runs a container's program, where the pod says so.
    pub fn user(&self, container: Container) -> Option<u64> {
        let own = container.spec("/securityContext/runAsUser");
        own.or_else(|| self.pod.pointer("/spec/securityContext/runAsUser"))?.as_u64()
    }

    /// Events about the pod itself, oldest first.
    pub fn pod_events(&self) -> impl DoubleEndedIterator<Item = &ApiEvent> {
        let about = format!("Pod/{}", self.pod_name());
        self.events.iter().filter(move |event| event.regarding == about)
    }

    /// Events about a container of the pod, oldest first.
    pub fn container_events<'a>(
        &'a self,
        container: Container<'a>,
    ) -> impl DoubleEndedIterator<Item = &'a ApiEvent> {
        let name = container.name();
        self.pod_events().filter(move |e| e.container.is_empty() || e.container == name)
    }

    /// Whether a container that runs now may well end as its last run did: it has not
    /// outlived that one for long. The kubelet waits before it starts what has ended
    /// several times, and then more time must pass.
    pub fn may_end_again(&self, container: Container) -> bool {
        const GRACE: i64 = 10;
        const GRACE_OF_MANY: i64 = 60;
        /// A run of this length was no failed start.
        const LONG: i64 = 60;
        /// How far two machines' clocks may be apart.
        const SKEW: i64 = 5;
        let (true, Some(ended)) = (container.is_running(), container.ended()) else { return false };
        // What ends with its node has done nothing wrong.
        if ["Unknown", "ContainerStatusUnknown"].contains(&text(ended, "/reason")) {
            return false;
        }
        let at = |path| time::seconds(text(ended, path)).unwrap_or_default();
        // What could not be started has ended, but never began.
        let lasted = Some(at("/startedAt")).filter(|began| *began > 0);
        let lasted = lasted.map_or(0, |began| at("/finishedAt") - began).min(LONG);
        let is_held_back = |event: &ApiEvent| {
            event.reason == "BackOff" && event.is_since(text(ended, "/finishedAt"))
        };
        let is_one_of_many = self.container_events(container).any(is_held_back);
        let grace = if is_one_of_many { GRACE_OF_MANY } else { GRACE };
        let doubtful = -SKEW..2 * lasted + grace;
        self.runs_for(container).is_none_or(|seconds| doubtful.contains(&seconds))
    }

    /// For how many seconds a container has run.
    pub fn runs_for(&self, container: Container) -> Option<i64> {
        self.since(container.started_at())
    }

    /// For how many seconds a pod that is deleted should have been gone; less than
    /// none while its containers may still end by themselves.
    pub fn overdue(&self) -> Option<i64> {
        self.since(text(&self.pod, "/metadata/deletionTimestamp"))
    }

    /// The seconds from a time of the API's to the moment of these facts.
    pub fn since(&self, time: &str) -> Option<i64> {
        let age = i64::try_from(self.age_seconds?).ok()?;
        Some(time::created(&self.pod)? + age - time::seconds(time)?)
    }

    /// Whether the pod's volumes are mounted, as far as its state tells.
    pub fn is_mounted(&self) -> bool {
        let has_been_made = |container: &Container| {
            let waits = container.waiting().map(|(reason, _)| reason);
            container.is_running()
                || container.ended().is_some()
                || waits.is_some_and(|reason| {
                    !["ContainerCreating", "PodInitializing"].contains(&reason)
                })
        };
        let has_sandbox = self.condition("PodReadyToStartContainers");
        has_sandbox.is_some_and(|one| one["status"] == "True")
            || self.containers().iter().any(has_been_made)
    }

    /// The newest event of one of these reasons.
    pub fn last_event(&self, reasons: &[&str]) -> Option<&ApiEvent> {
        self.events.iter().rev().find(|event| reasons.contains(&event.reason.as_str()))
    }

    /// Whether the node's kubelet has refused or evicted the pod, for good.
    pub fn was_turned_away(&self) -> bool {
        let reason = text(&self.pod, "/status/reason");
        text(&self.pod, "/status/phase") == "Failed" && !matches!(reason, "" | "DeadlineExceeded")
    }

    /// Whether there is no pod, though some are wanted.
    pub fn lacks_pods(&self) -> bool {
        let Some(maker) = self.owners.first().filter(|_| !self.is_pod()) else { return false };
        match text(maker, "/kind") {
            "DaemonSet" => maker.pointer("/status/desiredNumberScheduled") != Some(&0.into()),
            "Job" => !["Complete", "SuccessCriteriaMet"]
                .iter()
                .any(|kind| condition(maker, kind).is_some_and(|one| one["status"] == "True")),
            "CronJob" => false,
            _ => maker.pointer("/spec/replicas") != Some(&0.into()),
        }
    }

    /// A condition of the pod.
    pub fn condition(&self, kind: &str) -> Option<&Value> {
        condition(&self.pod, kind)
    }
}

impl ApiEvent {
    /// Whether it was so at a time, or later; the API writes some times with
    /// fractions of a second, and some without.
    pub fn is_since(&self, time: &str) -> bool {
        const SECONDS: usize = "2026-01-01T00:00:00".len();
        let to_seconds = |time: &str| time.get(..SECONDS).unwrap_or_default().to_owned();
        to_seconds(&self.time) >= to_seconds(time)
    }

    /// The name of the image of pods' sandboxes that the runtime lacks, if it
    /// says so.
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
    fn a_container_may_end_again_until_it_has_outlived_its_last_run() {
        let running = json!({"running": {"startedAt": "2026-01-01T00:01:30Z"}});
        let mut facts = facts(&running, "True");
        facts.pod["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z".into();
        let (none, early, late) = ("", "2026-01-01T00:00:59Z", "2026-01-01T00:01:00.5Z");
        let (never, began) = ("1970-01-01T00:00:00Z", "2026-01-01T00:00:40Z");
        let table = [
            (began, none, "c", 90 + 49, true),
            (began, none, "c", 90 + 50, false),
            (began, early, "c", 90 + 50, false),
            (began, late, "c", 90 + 99, true),
            (began, late, "", 90 + 99, true),
            (began, late, "other", 90 + 99, false),
            (began, late, "c", 90 + 100, false),
            (never, none, "c", 90 + 9, true),
            (never, none, "c", 90 + 10, false),
        ];
        for (began, time, container, age, expected) in table {
            let text = |text: &str| text.to_owned();
            facts.pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["startedAt"] =
                began.into();
            facts.age_seconds = Some(age);
            facts.events = vec![ApiEvent {
                regarding: text("Pod/p"),
                reason: text("BackOff"),
                container: text(container),
                time: text(time),
                ..ApiEvent::default()
            }];
            let found = facts.may_end_again(facts.containers()[0]);
            assert_eq!(found, expected, "{began} {time} {container} {age}");
        }
    }

    #[test]
    fn what_a_node_has_ended_and_what_ran_for_long_is_not_doubted_for_long() {
        let running = json!({"running": {"startedAt": "2026-01-08T00:01:30Z"}});
        let mut facts = facts(&running, "True");
        facts.pod["metadata"]["creationTimestamp"] = "2026-01-08T00:00:00Z".into();
        let week =
            json!({"startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-08T00:00:00Z"});
        let mut reboot = week.clone();
        reboot["reason"] = "Unknown".into();
        // A clock that is behind tells nothing.
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
            let found = facts.may_end_again(facts.containers()[0]);
            assert_eq!(found, expected, "{ended} {age}");
        }
    }

    #[test]
    fn volumes_are_mounted_once_a_container_could_be_made() {
        let waits = |reason: &str| json!({"waiting": {"reason": reason}});
        let table = [
            (waits("ContainerCreating"), "False", false),
            (waits("ContainerCreating"), "True", true),
            (waits("ErrImageNeverPull"), "", true),
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
