//! Commands that bring a node back into order.

use kdev_core::kube::object::{condition, list, text};
use kdev_core::shell::DISK_USAGE_COMMAND;
use serde_json::Value;

use crate::facts::{Facts, NodeObservation};
use crate::fixes::node_shell::Entrance;

/// The conditions of a node that runs out of something, and of what.
const PRESSURES: [(&str, &str); 3] =
    [("DiskPressure", "disk"), ("MemoryPressure", "memory"), ("PIDPressure", "process IDs")];

fn node<'a>(facts: &'a Facts, name: &str) -> Option<&'a Value> {
    facts.nodes.iter().find(|node| text(node, "/metadata/name") == name)
}

/// What the node has too little of.
pub(crate) fn shortage(facts: &Facts, name: &str, message: &str) -> &'static str {
    let is_under = |kind: &str| {
        message.contains(kind)
            || node(facts, name).and_then(|node| condition(node, kind)).is_some_and(is_true)
    };
    let words = PRESSURES.iter().find(|(kind, _)| is_under(kind)).map(|(_, words)| *words);
    let of_resource = || match message {
        _ if message.contains("memory") => "memory",
        _ if message.contains("pids") => "process IDs",
        _ => "disk",
    };
    words.unwrap_or_else(of_resource)
}

fn is_true(condition: &Value) -> bool {
    condition["status"] == "True"
}

/// What the node says of itself that is not well.
pub(crate) fn complaint(facts: &Facts, name: &str) -> Option<String> {
    let conditions = list(&node(facts, name)?["status"]["conditions"]);
    let bad = conditions.filter(|one| (one["type"] == "Ready") != is_true(one));
    let bad: Vec<String> = bad
        .map(|one| {
            format!("{} is {}: {}", text(one, "/type"), text(one, "/status"), text(one, "/message"))
        })
        .collect();
    (!bad.is_empty()).then(|| format!("node `{name}`: {}", bad.join("; ")))
}

/// Brings a node's kubelet back.
pub(crate) fn wake(facts: &Facts, name: &str) -> String {
    let ready = node(facts, name).and_then(|node| condition(node, "Ready"));
    let message = ready.map(|ready| text(ready, "/message")).unwrap_or_default();
    if is_of_network(message) {
        return network_help(facts, name, message);
    }
    let entrance = Entrance::to(facts, name);
    if let Some(NodeObservation::Unknown(_)) = facts.node_images.get(name) {
        return entrance.start();
    }
    format!("start the kubelet of node `{name}`: `{}`", entrance.restart_kubelet())
}

/// Whether the node says that it has too little of it now.
pub(crate) fn is_short(facts: &Facts, name: &str, what: &str) -> Option<bool> {
    let (kind, _) = PRESSURES.iter().find(|(_, words)| *words == what)?;
    condition(node(facts, name)?, kind).map(is_true)
}

/// Gives a node some of what it has too little of.
pub(crate) fn relieve(facts: &Facts, name: &str) -> String {
    let entrance = Entrance::to(facts, name);
    match shortage(facts, name, text(&facts.pod, "/status/message")) {
        "disk" => format!(
            "make room on the disk of node `{name}`: `{}` shows what fills it; to prune images would also delete loaded ones that no pod uses",
            entrance.pipe(DISK_USAGE_COMMAND)
        ),
        "memory" => format!(
            "free memory on node `{name}`: end what uses most of it, by `{} top pods --all-namespaces --sort-by memory`",
            facts.kubectl
        ),
        _ => {
            format!("end processes on node `{name}`: `{}` shows them", entrance.run("ps -eLf"))
        }
    }
}

/// Whether the words are about a network that is not there.
pub(crate) fn is_of_network(words: &str) -> bool {
    ["NetworkReady=false", "NetworkPluginNotReady", "cni plugin not initialized"]
        .iter()
        .any(|sign| words.contains(sign))
}

/// Gives a node's pods a network again.
pub(crate) fn network_help(facts: &Facts, node: &str, message: &str) -> String {
    if let Some((plugin, folder)) = plugin(message) {
        return format!("install the CNI plugin `{plugin}` into `{folder}` of node `{node}`");
    }
    if is_of_network(message) {
        return format!(
            "install the cluster's network plugin on node `{node}`, or put its configuration back into `/etc/cni/net.d` there"
        );
    }
    format!(
        "see whether the network plugin's own pod on node `{node}` is well: `{} get pods --all-namespaces --field-selector spec.nodeName={node}`",
        facts.kubectl
    )
}

/// A plugin that is not where containerd looks for it, and where that is.
pub(crate) fn plugin(message: &str) -> Option<(&str, &str)> {
    let (_, rest) = message.split_once("failed to find plugin \"")?;
    let (plugin, rest) = rest.split_once("\" in path [")?;
    Some((plugin, rest.split([']', ' ']).next()?))
}
