//! Collects the facts for a diagnosis: from the cluster, from Docker or Podman, and from the nodes.
//! Read-only.
//!
//! - `node_requests.rs`: the resource requests of the pods on each node

mod error;
mod node_requests;

use std::collections::BTreeMap;

use jiff::Timestamp;
use kdev_core::image::local::LocalImage;
use kdev_core::image::reference::base;
use kdev_core::kube::container::Container;
use kdev_core::kube::kinds;
use kdev_core::kube::node::{self, Node};
use kdev_core::kube::object::{list, text};
use kdev_core::kube::time;
use kdev_core::kube::volume::claim_name;
use kdev_core::text::printable;
use kdev_diagnosis::facts::{ApiEvent, Facts, NodeObservation};
use kdev_diagnosis::newer_local_image;
use kdev_diagnosis::subject::{self, Subject, WorkloadQuery};
use serde::Deserialize;
use serde_json::Value;

use crate::cluster::{self, Cluster, kubelet_config, snapshot};
use crate::config::{Config, NodeSettings};
use crate::cx::Cx;
use crate::docker::ImageStore;
use crate::node::connection::NodeConnection;
use crate::node::transport::Transports;
use crate::parallel::{map_all, run_both};

pub use error::Error;
pub(crate) use error::Result;

/// The resources of a namespace that a diagnosis needs in addition to workloads.
const OTHER_RESOURCES: &str = "persistentvolumeclaims,events";
/// Cluster-scoped resources, which not every user is allowed to list.
const CLUSTER_RESOURCES: &str = "nodes,storageclasses.storage.k8s.io";
/// The maximum number of nodes that are examined.
const MAX_NODES: usize = 16;
/// The waiting reasons of a container whose image may be missing or damaged.
const IMAGE_FAILURE_REASONS: [&str; 6] = [
    "ErrImageNeverPull",
    "ErrImagePull",
    "ImagePullBackOff",
    "ImageInspectError",
    "CreateContainerError",
    "RegistryUnavailable",
];

/// Collects the facts about one pod or workload or, without a query, about all workloads of
/// the namespace.
pub(crate) fn collect(
    cx: &Cx,
    cluster: &Cluster,
    config: &Config,
    query: Option<&str>,
) -> Result<Vec<Facts>> {
    let items = fetch_objects(cx, cluster)?;
    if subject::names(&items).is_empty() {
        cluster.require_namespace(cx)?;
    }
    let subjects = match query {
        Some(text) => vec![find_subject(&items, cluster, text)?],
        None => subject::all(&items),
    };
    let mut facts: Vec<Facts> = subjects
        .into_iter()
        .map(|subject| collect_from_cluster(cluster, &items, subject))
        .collect();
    let bases = image_base_names(&facts);
    let (node_images, local) = run_both(
        || list_node_images(cx, config, &facts, &bases),
        || {
            let pod_facts = || {
                run_both(
                    || collect_from_kubelets(cx, cluster, &facts),
                    || node_requests::sum_per_node(cx, cluster, &facts),
                )
            };
            run_both(|| local_images(cx, config), pod_facts)
        },
    );
    let (local, (kubelet_facts, requests)) = local;
    for (facts, (logs, verification)) in facts.iter_mut().zip(kubelet_facts) {
        let bases = self::image_base_names(std::slice::from_ref(facts));
        let is_similar = |name: &str| bases.contains(&base(name));
        if let Some((_, images)) = &local {
            let images = images.iter().filter(|image| is_similar(&image.name));
            facts.local_images = Some(images.cloned().collect());
        }
        facts.node_images = node_images.clone();
        for observation in facts.node_images.values_mut() {
            if let NodeObservation::Known(images_on_node) = observation {
                images_on_node.images.retain(|image| is_similar(&image.name));
            }
        }
        (facts.logs, facts.kubelet_image_policy) = (logs, verification);
        facts.requests = requests.clone();
    }
    if let Some((store, _)) = &local {
        add_local_details(cx, store, &mut facts);
    }
    Ok(facts)
}

fn find_subject(items: &[Value], cluster: &Cluster, text: &str) -> Result<Subject> {
    let found = WorkloadQuery::parse(text).and_then(|query| subject::find(items, &query));
    found.ok_or_else(|| Error::WorkloadNotFound {
        query: text.to_owned(),
        namespace: cluster.namespace.clone(),
        known: subject::names(items),
    })
}

/// Fetches the objects of the namespace, and cluster-scoped ones if the user is allowed to.
fn fetch_objects(cx: &Cx, cluster: &Cluster) -> Result<Vec<Value>> {
    #[derive(Deserialize)]
    struct List {
        items: Vec<Value>,
    }
    let get = |resources: &str| {
        let sh = cx.shell()?;
        let cmd = cluster.cmd(&sh, None).args(["get", resources, "--output=json"]);
        cluster.get_json::<List>(cx, cmd, "list workloads and pods")
    };
    let resources = format!("{},{OTHER_RESOURCES}", kinds::BUILT_IN.resources());
    let list = match get(&format!("{resources},{CLUSTER_RESOURCES}")) {
        Err(cluster::Error::Rejected { .. }) => get(&resources)?,
        list => list?,
    };
    Ok(list.items)
}

fn collect_from_cluster(cluster: &Cluster, items: &[Value], subject: Subject) -> Facts {
    let of_kind = |kind: &'static str| items.iter().filter(move |item| item["kind"] == kind);
    let pod = subject.pod.clone().unwrap_or_default();
    let claims: Vec<Value> = list(&pod["spec"]["volumes"])
        .filter_map(|volume| claim_name(&pod, volume))
        .filter_map(|name| {
            of_kind("PersistentVolumeClaim").find(|c| c["metadata"]["name"] == name).cloned()
        })
        .collect();
    let regarding: Vec<&Value> = subject
        .pod
        .iter()
        .chain(&subject.owners)
        .chain(&claims)
        .map(|o| &o["metadata"]["uid"])
        .collect();
    let was_present = image_present_filters(&pod);
    let is_relevant = |event: &&Value| {
        regarding.contains(&&event["involvedObject"]["uid"])
            || was_present.iter().any(|was_present| was_present(event))
    };
    let mut events: Vec<ApiEvent> = of_kind("Event").filter(is_relevant).map(api_event).collect();
    events.sort_by(|a, b| a.time.cmp(&b.time));
    let name = |item: &Value| text(item, "/metadata/name").to_owned();
    let now = Timestamp::now().as_second();
    Facts {
        subject: subject.id(),
        kubectl: cluster.display_command(None),
        flags: cluster.display_flags(),
        age_seconds: subject
            .pod
            .as_ref()
            .or(subject.owners.first())
            .and_then(|one| time::age(one, now)),
        unready_siblings: subject.unready_siblings,
        owners: subject.owners.into_iter().map(redact).collect(),
        applied_policies: applied_policies(&pod),
        pod: redact(pod),
        events,
        nodes: of_kind("Node").cloned().map(redact).collect(),
        claims: claims.into_iter().map(redact).collect(),
        storage_classes: of_kind("StorageClass").map(name).collect(),
        ..Facts::default()
    }
}

/// Returns the pull policies in the `last-applied-configuration` annotation.
fn applied_policies(pod: &Value) -> BTreeMap<String, String> {
    const ANNOTATION: &str =
        "/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration";
    let applied: Value = serde_json::from_str(text(pod, ANNOTATION)).unwrap_or_default();
    list(&applied["spec"]["containers"])
        .map(|one| (text(one, "/name").to_owned(), text(one, "/imagePullPolicy").to_owned()))
        .filter(|(_, policy)| !policy.is_empty())
        .collect()
}

/// Returns filters for events of any pod on the same node that show that an image of this
/// pod was present.
fn image_present_filters(pod: &Value) -> Vec<impl Fn(&Value) -> bool + use<>> {
    let node = text(pod, "/spec/nodeName").to_owned();
    list(&pod["spec"]["containers"])
        .map(|one| format!("Container image \"{}\" already present", text(one, "/image")))
        .map(|message| {
            let node = node.clone();
            move |event: &Value| {
                text(event, "/source/host") == node && text(event, "/message").starts_with(&message)
            }
        })
        .collect()
}

fn api_event(event: &Value) -> ApiEvent {
    let regarding = &event["involvedObject"];
    let times = ["/series/lastObservedTime", "/lastTimestamp", "/eventTime", "/firstTimestamp"];
    let time = times.iter().map(|path| text(event, path)).find(|time| !time.is_empty());
    // For example `spec.containers{web}`.
    let container =
        text(regarding, "/fieldPath").split_once('{').map(|(_, name)| name.trim_end_matches('}'));
    let count = event["count"].as_u64().or_else(|| event.pointer("/series/count")?.as_u64());
    ApiEvent {
        regarding: format!("{}/{}", text(regarding, "/kind"), text(regarding, "/name")),
        container: container.unwrap_or_default().to_owned(),
        reason: text(event, "/reason").to_owned(),
        message: printable(text(event, "/message").trim()),
        warning: event["type"] == "Warning",
        count: count.unwrap_or(1),
        time: time.unwrap_or_default().to_owned(),
    }
}

/// Removes fields that do not help to find a cause, and values of environment variables,
/// which can be secret.
fn redact(mut object: Value) -> Value {
    // Indexing would turn null into an object.
    if object.is_null() {
        return object;
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
        metadata.remove("annotations");
    }
    if let Some(status) = object["status"].as_object_mut() {
        for key in ["images", "volumesInUse", "volumesAttached", "daemonEndpoints", "features"] {
            status.remove(key);
        }
    }
    for spec in ["/spec", "/spec/template/spec", "/spec/jobTemplate/spec/template/spec"] {
        for kind in ["containers", "initContainers"] {
            let containers = object.pointer_mut(&format!("{spec}/{kind}"));
            for container in containers.and_then(Value::as_array_mut).into_iter().flatten() {
                let env = container.get_mut("env").and_then(Value::as_array_mut);
                for variable in env.into_iter().flatten().filter_map(Value::as_object_mut) {
                    variable.remove("value");
                }
            }
        }
    }
    object
}

/// Returns the base names of the images: the last part of the path, in lower case.
fn image_base_names(facts: &[Facts]) -> Vec<String> {
    let images = facts.iter().flat_map(|facts| {
        facts.containers().iter().map(|container| base(container.image())).collect::<Vec<_>>()
    });
    let of_sandboxes = facts.iter().flat_map(|facts| &facts.events).filter_map(|event| {
        let image = event.sandbox_image()?;
        Some(base(image))
    });
    let mut bases: Vec<String> =
        images.chain(of_sandboxes).filter(|base| !base.is_empty()).collect();
    bases.sort();
    bases.dedup();
    bases
}

/// Returns Docker or Podman and its images, or `None` if it is not available.
fn local_images(cx: &Cx, config: &Config) -> Option<(ImageStore, Vec<LocalImage>)> {
    let store = ImageStore::connect(cx, config).ok()?;
    let images = store.images(cx).ok()?;
    Some((store, images))
}

/// Adds details of newer local images to the facts about running pods.
fn add_local_details(cx: &Cx, store: &ImageStore, facts: &mut [Facts]) {
    for facts in &mut *facts {
        facts.local_engine = store.engine();
        facts.local_ids_are_configs = store.uses_config_digest_as_id();
    }
    let newer = facts.iter().flat_map(|facts| {
        facts.containers().into_iter().filter_map(|container| newer_local_image(facts, container))
    });
    let mut ids: Vec<&str> = newer.map(|image| image.id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    let platforms = store.platforms(cx, &ids).unwrap_or_default();
    for image in facts.iter_mut().filter_map(|facts| facts.local_images.as_mut()).flatten() {
        image.platform = platforms.get(&image.id).cloned().unwrap_or_default();
    }
}

/// The logs of crashed containers, by container.
type Logs = BTreeMap<String, String>;

/// Collects the facts that only kubelets know: the last log lines of crashed containers, and
/// the policy for images that the kubelet did not pull itself.
fn collect_from_kubelets(cx: &Cx, cluster: &Cluster, facts: &[Facts]) -> Vec<(Logs, Value)> {
    map_all(facts, |facts| {
        run_both(|| crash_logs(cx, cluster, facts), || kubelet_image_policy(cx, cluster, facts))
    })
}

fn crash_logs(cx: &Cx, cluster: &Cluster, facts: &Facts) -> Logs {
    let is_crashed = |one: &Container| one.exit_code().is_some_and(|code| code != 0);
    let crashed: Vec<Container> = facts.containers().into_iter().filter(is_crashed).collect();
    let log = |one: &Container| {
        snapshot::fetch_log(cx, cluster, None, facts.pod_name(), one.name(), one.is_running())
    };
    let logs = map_all(&crashed, log);
    crashed.iter().zip(logs).filter_map(|(one, log)| Some((one.name().to_owned(), log?))).collect()
}

fn kubelet_image_policy(cx: &Cx, cluster: &Cluster, facts: &Facts) -> Value {
    let waits = facts.containers().iter().any(Container::waits_for_image);
    let node = facts.node_name().filter(|_| waits);
    node.map(|node| kubelet_config::fetch_image_policy(cx, cluster, node)).unwrap_or_default()
}

/// Lists the images on the nodes of unhealthy pods or, if an image is missing, on all
/// nodes.
fn list_node_images(
    cx: &Cx,
    config: &Config,
    facts: &[Facts],
    bases: &[String],
) -> BTreeMap<String, NodeObservation> {
    let Some(any) = facts.first() else { return BTreeMap::new() };
    // A restarted container may crash again soon.
    let is_unhealthy = |facts: &&Facts| {
        facts.is_unready() || facts.containers().iter().any(|one| facts.may_crash_again(*one))
    };
    let unhealthy: Vec<&Facts> = facts.iter().filter(is_unhealthy).collect();
    let is_image_missing = unhealthy.iter().any(|facts| {
        facts.node_name().is_none()
            || facts.events.iter().any(|event| event.sandbox_image().is_some())
            || facts.containers().iter().any(|container| {
                container
                    .waiting()
                    .is_some_and(|(reason, _)| IMAGE_FAILURE_REASONS.contains(&reason))
            })
    });
    let matters = |node: &Node| {
        is_image_missing || unhealthy.iter().any(|facts| facts.node_name() == Some(&node.name))
    };
    let mut nodes: Vec<Node> = any.nodes.iter().filter_map(node::node).filter(matters).collect();
    // Nodes of unhealthy pods come first, because the number of nodes is limited.
    nodes.sort_by_key(|node| !unhealthy.iter().any(|facts| facts.node_name() == Some(&node.name)));
    nodes.truncate(MAX_NODES);
    let nodes: Vec<&Node> = nodes.iter().collect();
    let transports = match Transports::find(cx, config, &nodes) {
        Ok(transports) => transports,
        Err(error) => {
            let observation = NodeObservation::Unknown(error.to_string());
            return nodes.iter().map(|node| (node.name.clone(), observation.clone())).collect();
        }
    };
    let default = NodeSettings::default();
    let images_on_node = |node: &&Node| {
        let settings = config.nodes.get(&node.name).unwrap_or(&default);
        let images_on_node = transports
            .get(node)
            .and_then(|transport| NodeConnection::open(cx, transport, node, settings))
            .and_then(NodeConnection::require_known_boot)
            .and_then(|connection| connection.list_images(cx, bases));
        images_on_node.map_or_else(
            |error| NodeObservation::Unknown(error.to_string()),
            NodeObservation::Known,
        )
    };
    let names = nodes.iter().map(|node| node.name.clone());
    let node_images = names.zip(map_all(&nodes, images_on_node)).collect();
    transports.close(cx);
    node_images
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn redact_removes_environment_values() {
        let container = json!({"name": "c", "env": [{"name": "TOKEN", "value": "secret"}]});
        let pod = json!({"metadata": {"name": "p", "annotations": {"a": "secret"}},
            "spec": {"containers": [container], "initContainers": [container]}});
        let owner = json!({"spec": {"template": {"spec": {"containers": [container]}}}});
        for object in [pod, owner] {
            let kept = redact(object).to_string();
            assert!(kept.contains("TOKEN") && !kept.contains("secret"), "{kept}");
        }
    }
}
