//! Takes a cluster and a question and gives the facts for a diagnosis: from the cluster in
//! one look, from docker, and from the nodes. Nothing is changed anywhere.
//!
//! - `node_requests.rs`: what pods request of the nodes

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
use kdev_diagnosis::subject::{self, Asked, Subject};
use serde::Deserialize;
use serde_json::Value;

use crate::cluster::{self, Cluster, kubelet_config, snapshot};
use crate::config::{Config, NodeSettings};
use crate::cx::Cx;
use crate::docker::Docker;
use crate::node::connection::NodeConnection;
use crate::node::transport::Transports;
use crate::parallel::{map_all, run_both};

pub use error::Error;
pub(crate) use error::Result;

/// What a diagnosis needs of a namespace besides its workloads.
const OTHER_RESOURCES: &str = "persistentvolumeclaims,events";
/// What belongs to no namespace; not every user may see it.
const CLUSTER_RESOURCES: &str = "nodes,storageclasses.storage.k8s.io";
/// How many nodes are asked at most.
const MAX_NODES: usize = 16;
/// Reasons of a container whose image may be missing, or hurt.
const IMAGE_FAILURE_REASONS: [&str; 6] = [
    "ErrImageNeverPull",
    "ErrImagePull",
    "ImagePullBackOff",
    "ImageInspectError",
    "CreateContainerError",
    "RegistryUnavailable",
];

/// The facts about what is asked about; without a question, about each workload
/// of the namespace.
pub(crate) fn collect(
    cx: &Cx,
    cluster: &Cluster,
    config: &Config,
    asked: Option<&str>,
) -> Result<Vec<Facts>> {
    let items = fetch_objects(cx, cluster)?;
    if subject::names(&items).is_empty() {
        cluster.require_namespace(cx)?;
    }
    let subjects = match asked {
        Some(text) => vec![find_subject(&items, cluster, text)?],
        None => subject::all(&items),
    };
    let mut facts: Vec<Facts> =
        subjects.into_iter().map(|subject| collect_from_cluster(cluster, &items, subject)).collect();
    let bases = image_base_names(&facts);
    let (stocks, local) = run_both(
        || list_node_images(cx, config, &facts, &bases),
        || {
            let of_pods = || {
                run_both(
                    || collect_from_kubelets(cx, cluster, &facts),
                    || node_requests::sum_per_node(cx, cluster, &facts),
                )
            };
            run_both(|| local_images(cx), of_pods)
        },
    );
    let (local, (of_kubelets, taken)) = local;
    for (facts, (logs, verification)) in facts.iter_mut().zip(of_kubelets) {
        let bases = self::image_base_names(std::slice::from_ref(facts));
        let is_alike = |name: &str| bases.contains(&base(name));
        if let Some((_, images)) = &local {
            let images = images.iter().filter(|image| is_alike(&image.name));
            facts.local_images = Some(images.cloned().collect());
        }
        facts.node_images = stocks.clone();
        for shelf in facts.node_images.values_mut() {
            if let NodeObservation::Known(stock) = shelf {
                stock.images.retain(|image| is_alike(&image.name));
            }
        }
        (facts.logs, facts.kubelet_image_policy) = (logs, verification);
        facts.requests = taken.clone();
    }
    if let Some((docker, _)) = &local {
        add_docker_details(cx, docker, &mut facts);
    }
    Ok(facts)
}

fn find_subject(items: &[Value], cluster: &Cluster, text: &str) -> Result<Subject> {
    let found = Asked::parse(text).and_then(|asked| subject::find(items, &asked));
    found.ok_or_else(|| Error::WorkloadNotFound {
        query: text.to_owned(),
        namespace: cluster.namespace.clone(),
        known: subject::names(items),
    })
}

/// What the API has of the namespace, and of the cluster if the user may see it.
fn fetch_objects(cx: &Cx, cluster: &Cluster) -> Result<Vec<Value>> {
    #[derive(Deserialize)]
    struct List {
        items: Vec<Value>,
    }
    let get = |resources: &str| {
        let sh = cx.shell()?;
        let cmd = cluster.cmd(&sh, None).args(["get", resources, "--output=json"]);
        cluster.get_json::<List>(cx, cmd, "show the workloads and their pods")
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
    let about: Vec<&Value> = subject
        .pod
        .iter()
        .chain(&subject.owners)
        .chain(&claims)
        .map(|o| &o["metadata"]["uid"])
        .collect();
    let had = image_present_filters(&pod);
    let is_about = |event: &&Value| {
        about.contains(&&event["involvedObject"]["uid"]) || had.iter().any(|had| had(event))
    };
    let mut events: Vec<ApiEvent> = of_kind("Event").filter(is_about).map(api_event).collect();
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

/// The pull policies in what `kubectl apply` has noted down.
fn applied_policies(pod: &Value) -> BTreeMap<String, String> {
    const NOTE: &str = "/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration";
    let applied: Value = serde_json::from_str(text(pod, NOTE)).unwrap_or_default();
    list(&applied["spec"]["containers"])
        .map(|one| (text(one, "/name").to_owned(), text(one, "/imagePullPolicy").to_owned()))
        .filter(|(_, policy)| !policy.is_empty())
        .collect()
}

/// Tells events of the pod's node, about whichever pod, that say that an image of
/// the pod's was there.
fn image_present_filters(pod: &Value) -> Vec<impl Fn(&Value) -> bool + use<>> {
    let node = text(pod, "/spec/nodeName").to_owned();
    list(&pod["spec"]["containers"])
        .map(|one| format!("Container image \"{}\" already present", text(one, "/image")))
        .map(|words| {
            let node = node.clone();
            move |event: &Value| {
                text(event, "/source/host") == node && text(event, "/message").starts_with(&words)
            }
        })
        .collect()
}

fn api_event(event: &Value) -> ApiEvent {
    let about = &event["involvedObject"];
    let times = ["/series/lastObservedTime", "/lastTimestamp", "/eventTime", "/firstTimestamp"];
    let time = times.iter().map(|path| text(event, path)).find(|time| !time.is_empty());
    // As in `spec.containers{web}`.
    let container =
        text(about, "/fieldPath").split_once('{').map(|(_, name)| name.trim_end_matches('}'));
    let count = event["count"].as_u64().or_else(|| event.pointer("/series/count")?.as_u64());
    ApiEvent {
        regarding: format!("{}/{}", text(about, "/kind"), text(about, "/name")),
        container: container.unwrap_or_default().to_owned(),
        reason: text(event, "/reason").to_owned(),
        message: printable(text(event, "/message").trim()),
        warning: event["type"] == "Warning",
        count: count.unwrap_or(1),
        time: time.unwrap_or_default().to_owned(),
    }
}

/// Without what tells nothing of a cause, or may be secret: values of variables.
fn redact(mut object: Value) -> Value {
    // An index would make an object of nothing.
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

/// The last parts of the images' names, in lower case.
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

/// docker and its images; `None` where it does not answer.
fn local_images(cx: &Cx) -> Option<(Docker, Vec<LocalImage>)> {
    let docker = Docker::connect(cx).ok()?;
    let images = docker.images(cx).ok()?;
    Some((docker, images))
}

/// What of docker's images matters to pods that run.
fn add_docker_details(cx: &Cx, docker: &Docker, facts: &mut [Facts]) {
    for facts in &mut *facts {
        facts.local_ids_are_configs = docker.uses_config_digest_as_id();
    }
    let rivals = facts.iter().flat_map(|facts| {
        facts.containers().into_iter().filter_map(|container| newer_local_image(facts, container))
    });
    let mut ids: Vec<&str> = rivals.map(|image| image.id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    let platforms = docker.platforms(cx, &ids).unwrap_or_default();
    for image in facts.iter_mut().filter_map(|facts| facts.local_images.as_mut()).flatten() {
        image.platform = platforms.get(&image.id).cloned().unwrap_or_default();
    }
}

/// Logs of what has crashed, by container.
type Logs = BTreeMap<String, String>;

/// What only kubelets know: the end of each log of a container that has crashed, and
/// what they do with images that they have not pulled.
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

/// What the nodes have that matter: those of pods in trouble, and all others if
/// an image is missed.
fn list_node_images(
    cx: &Cx,
    config: &Config,
    facts: &[Facts],
    bases: &[String],
) -> BTreeMap<String, NodeObservation> {
    let Some(any) = facts.first() else { return BTreeMap::new() };
    // One that has just been started again may be in trouble in a moment.
    let is_troubled = |facts: &&Facts| {
        facts.is_unready() || facts.containers().iter().any(|one| facts.may_crash_again(*one))
    };
    let troubled: Vec<&Facts> = facts.iter().filter(is_troubled).collect();
    let misses_image = troubled.iter().any(|facts| {
        facts.node_name().is_none()
            || facts.events.iter().any(|event| event.sandbox_image().is_some())
            || facts.containers().iter().any(|container| {
                container.waiting().is_some_and(|(reason, _)| IMAGE_FAILURE_REASONS.contains(&reason))
            })
    });
    let matters = |node: &Node| {
        misses_image || troubled.iter().any(|facts| facts.node_name() == Some(&node.name))
    };
    let mut nodes: Vec<Node> = any.nodes.iter().filter_map(node::node).filter(matters).collect();
    // Those of the pods first, should there be too many.
    nodes.sort_by_key(|node| !troubled.iter().any(|facts| facts.node_name() == Some(&node.name)));
    nodes.truncate(MAX_NODES);
    let nodes: Vec<&Node> = nodes.iter().collect();
    let transports = match Transports::find(cx, config, &nodes) {
        Ok(transports) => transports,
        Err(error) => {
            let shelf = NodeObservation::Unknown(error.to_string());
            return nodes.iter().map(|node| (node.name.clone(), shelf.clone())).collect();
        }
    };
    let nobody = NodeSettings::default();
    let stock = |node: &&Node| {
        let settings = config.nodes.get(&node.name).unwrap_or(&nobody);
        let stock = transports
            .get(node)
            .and_then(|transport| NodeConnection::open(cx, transport, node, settings))
            .and_then(|link| link.list_images(cx, bases));
        stock.map_or_else(
            |error| NodeObservation::Unknown(error.to_string()),
            NodeObservation::Known,
        )
    };
    let names = nodes.iter().map(|node| node.name.clone());
    let stocks = names.zip(map_all(&nodes, stock)).collect();
    transports.close(cx);
    stocks
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn no_value_of_a_variable_is_kept() {
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
