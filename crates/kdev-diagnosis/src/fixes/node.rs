//! Commands that repair a node.

use kdev_core::kube::object::{condition, list, text};
use kdev_core::shell::DISK_USAGE_COMMAND;
use serde_json::Value;

use crate::facts::{Facts, NodeObservation};
use crate::fixes::node_shell::NodeShell;

/// The pressure conditions of a node, with the resource that each is about.
const PRESSURES: [(&str, &str); 3] =
    [("DiskPressure", "disk"), ("MemoryPressure", "memory"), ("PIDPressure", "process IDs")];

fn find_node<'a>(facts: &'a Facts, name: &str) -> Option<&'a Value> {
    facts.nodes.iter().find(|node| text(node, "/metadata/name") == name)
}

/// Returns the resource under pressure on the node.
pub(crate) fn pressure(facts: &Facts, name: &str, message: &str) -> &'static str {
    let is_under = |kind: &str| {
        message.contains(kind)
            || find_node(facts, name).and_then(|node| condition(node, kind)).is_some_and(is_true)
    };
    let of_condition =
        PRESSURES.iter().find(|(kind, _)| is_under(kind)).map(|(_, resource)| *resource);
    let of_message = || match message {
        _ if message.contains("memory") => "memory",
        _ if message.contains("pids") => "process IDs",
        _ => "disk",
    };
    of_condition.unwrap_or_else(of_message)
}

fn is_true(condition: &Value) -> bool {
    condition["status"] == "True"
}

/// Describes the conditions of the node that are not healthy.
pub(crate) fn unhealthy_conditions(facts: &Facts, name: &str) -> Option<String> {
    let conditions = list(&find_node(facts, name)?["status"]["conditions"]);
    let unhealthy = conditions.filter(|one| (one["type"] == "Ready") != is_true(one));
    let unhealthy: Vec<String> = unhealthy
        .map(|one| {
            format!("{} is {}: {}", text(one, "/type"), text(one, "/status"), text(one, "/message"))
        })
        .collect();
    (!unhealthy.is_empty()).then(|| format!("node `{name}`: {}", unhealthy.join("; ")))
}

/// Returns the help that makes a node ready again.
pub(crate) fn start_kubelet_help(facts: &Facts, name: &str) -> String {
    let ready = find_node(facts, name).and_then(|node| condition(node, "Ready"));
    let message = ready.map(|ready| text(ready, "/message")).unwrap_or_default();
    if is_network_not_ready(message) {
        return network_help(facts, name, message);
    }
    let shell = NodeShell::for_node(facts, name);
    if let Some(NodeObservation::Unknown(_)) = facts.node_images.get(name) {
        return shell.start_node_help();
    }
    format!("start the kubelet on node `{name}`: `{}`", shell.restart_kubelet_command())
}

/// Whether the node reports pressure on the resource now; `None` if that is unknown.
pub(crate) fn is_under_pressure(facts: &Facts, name: &str, resource: &str) -> Option<bool> {
    let (kind, _) = PRESSURES.iter().find(|(_, known)| *known == resource)?;
    condition(find_node(facts, name)?, kind).map(is_true)
}

/// Returns the help that frees the resource under pressure.
pub(crate) fn relieve_pressure_help(facts: &Facts, name: &str) -> String {
    let shell = NodeShell::for_node(facts, name);
    match pressure(facts, name, text(&facts.pod, "/status/message")) {
        "disk" => format!(
            "free disk space on node `{name}`: `{}` shows the largest directories; do not prune images, because that also deletes loaded images that no pod uses",
            shell.pipeline_command(DISK_USAGE_COMMAND)
        ),
        "memory" => format!(
            "free memory on node `{name}`: `{} top pods --all-namespaces --sort-by memory` shows the pods that use the most",
            facts.kubectl
        ),
        _ => {
            format!("stop processes on node `{name}`: `{}` lists them", shell.command("ps -eLf"))
        }
    }
}

/// Whether the message says that the node has no working network plugin.
pub(crate) fn is_network_not_ready(message: &str) -> bool {
    ["NetworkReady=false", "NetworkPluginNotReady", "cni plugin not initialized"]
        .iter()
        .any(|sign| message.contains(sign))
}

/// Returns the help that repairs the network plugin of a node.
pub(crate) fn network_help(facts: &Facts, node: &str, message: &str) -> String {
    if let Some((plugin, directory)) = parse_missing_plugin(message) {
        return format!("install the CNI plugin `{plugin}` in `{directory}` on node `{node}`");
    }
    if is_network_not_ready(message) {
        return format!(
            "install the cluster's network plugin on node `{node}`, or restore its configuration in `/etc/cni/net.d`"
        );
    }
    format!(
        "check the network plugin's pod on node `{node}`: `{} get pods --all-namespaces --field-selector spec.nodeName={node}`",
        facts.kubectl
    )
}

/// Parses the name of a missing CNI plugin and the directory that must contain it.
pub(crate) fn parse_missing_plugin(message: &str) -> Option<(&str, &str)> {
    let (_, rest) = message.split_once("failed to find plugin \"")?;
    let (plugin, rest) = rest.split_once("\" in path [")?;
    Some((plugin, rest.split([']', ' ']).next()?))
}
