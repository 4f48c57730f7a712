//! The pod's sandbox cannot be created: the pause image is missing, or the network cannot be
//! set up.

use kdev_core::image::node_images::CRI_NAMESPACE;
use kdev_core::image::reference::Reference;
use kdev_core::kube::container::Container;
use kdev_core::kube::object::{condition, text};
use kdev_core::kube::{quantity, resources};

use crate::cause::Cause;
use crate::diagnosis::{Confidence, Diagnosis};
use crate::facts::{ApiEvent, Facts};
use crate::location::ImageLocations;
use crate::{fixes, transient};

/// Reasons of events about a pod without a sandbox.
const SANDBOX_REASONS: [&str; 2] = ["FailedCreatePodSandBox", "NetworkNotReady"];

pub(crate) fn diagnose(facts: &Facts) -> Vec<Diagnosis> {
    if !facts.is_unready() || facts.containers().iter().any(has_started) {
        return Vec::new();
    }
    let is_stuck = |event: &&ApiEvent| {
        SANDBOX_REASONS.contains(&event.reason.as_str()) && !transient::has_passed(facts, event)
    };
    let Some(event) = facts.pod_events().rfind(is_stuck) else { return Vec::new() };
    let Some(node) = facts.node_name() else { return Vec::new() };
    let found = pause_image_missing(facts, event, node)
        .or_else(|| memory_limit_too_low(facts, event))
        .or_else(|| network_failed(facts, event, node))
        .unwrap_or_else(|| sandbox_failed(facts, event, node));
    vec![found]
}

/// Whether the container's state shows that the sandbox exists.
fn has_started(container: &Container) -> bool {
    let is_early =
        |(reason, _): (&str, &str)| matches!(reason, "ContainerCreating" | "PodInitializing" | "");
    container.is_running()
        || container.ended().is_some()
        || container.waiting().is_some_and(|waiting| !is_early(waiting))
}

fn event_evidence(event: &ApiEvent) -> String {
    format!("{}: {}", event.reason, event.message)
}

fn pause_image_missing(facts: &Facts, event: &ApiEvent, node: &str) -> Option<Diagnosis> {
    let name = event.sandbox_image()?;
    let locations = ImageLocations::new(facts, Reference::parse(name).ok()?);
    let load = fixes::load_command(facts, &locations.reference);
    let from = locations.other_nodes.first().and_then(|other| facts.images_on_node(other));
    let from = from.map(|found| format!("{} -n {CRI_NAMESPACE}", found.ctr));
    let help = match from.and_then(|from| fixes::image::copy_to_node_help(facts, &locations, &from))
    {
        Some(help) => help,
        None if locations.in_docker.is_some() => format!("run `{load}`"),
        None => format!("run `{} && {load}`", fixes::image::pull_command_line(facts, &locations)),
    };
    let node_evidence = locations.is_missing_on_node(facts).then(|| {
        format!(
            "containerd on node `{node}` has no `{}` in namespace `{CRI_NAMESPACE}`",
            locations.reference
        )
    });
    Some(Diagnosis {
        cause: Cause::SandboxImage,
        confidence: Confidence::Certain,
        message: format!(
            "the pause image `{name}`, which each pod needs, is not on node `{node}` and cannot be pulled"
        ),
        evidence: [Some(event_evidence(event)), node_evidence].into_iter().flatten().collect(),
        help,
    })
}

/// The memory limit is too low for the runtime, whose own memory counts against the limit
/// while it starts a container.
fn memory_limit_too_low(facts: &Facts, event: &ApiEvent) -> Option<Diagnosis> {
    /// Errors of containerd and runc while they start a process. Which one is reported depends
    /// on the moment in which the kernel kills it.
    const START_FAILED: [&str; 5] = [
        "cannot start a stopped process",
        "cannot start a container that has stopped",
        "failed to start sandbox container task",
        "failed to create containerd task",
        "OCI runtime create failed",
    ];
    /// A limit that is high enough to start a container: 16 MiB in millibytes, as quantities
    /// are stored.
    const SUFFICIENT_MEMORY: i128 = 1000 << 24;
    // The pod has a limit only if each container has one.
    let limits = facts.containers().into_iter().map(|container| {
        let limits = resources::amounts(container.spec("/resources/limits")?);
        Some((limits.get("memory").copied()?, container))
    });
    let limits: Vec<_> = limits.collect::<Option<_>>()?;
    let total: i128 = limits.iter().map(|(limit, _)| limit).sum();
    let (_, container) = limits.into_iter().min_by_key(|(limit, _)| *limit)?;
    let is_oom_killed = event.message.contains("container init was OOM-killed");
    let has_failed = START_FAILED.iter().any(|sign| event.message.contains(sign));
    let is_likely = has_failed && total < SUFFICIENT_MEMORY;
    if !is_oom_killed && !is_likely {
        return None;
    }
    Some(Diagnosis {
        cause: Cause::OutOfMemory,
        confidence: if is_oom_killed { Confidence::Certain } else { Confidence::Likely },
        message: format!(
            "the memory limit of the pod's containers, {} in total, is too low to start a container",
            quantity::format("memory", total)
        ),
        evidence: vec![event_evidence(event)],
        help: fixes::set_memory_limit_help(facts, container, "32Mi"),
    })
}

fn network_failed(facts: &Facts, event: &ApiEvent, node: &str) -> Option<Diagnosis> {
    let message = &event.message;
    if !fixes::node::is_network_not_ready(message)
        && !message.contains("setup network for sandbox")
        && !message.contains("set up sandbox container")
    {
        return None;
    }
    let ready = facts.node().and_then(|node| condition(node, "Ready"));
    let condition = ready
        .filter(|ready| ready["status"] != "True")
        .map(|ready| format!("node `{node}`: {}", text(ready, "/message")));
    Some(Diagnosis {
        cause: Cause::SandboxNetwork,
        confidence: Confidence::Certain,
        message: match fixes::node::parse_missing_plugin(message) {
            Some((plugin, _)) => format!(
                "node `{node}` cannot set up the pod's network: the CNI plugin `{plugin}` is not installed"
            ),
            None if fixes::node::is_network_not_ready(message) => format!(
                "node `{node}` cannot set up the pod's network: it has no valid CNI configuration"
            ),
            None => format!("the network plugin on node `{node}` cannot set up the pod's network"),
        },
        evidence: [Some(event_evidence(event)), condition].into_iter().flatten().collect(),
        help: fixes::node::network_help(facts, node, message),
    })
}

fn sandbox_failed(facts: &Facts, event: &ApiEvent, node: &str) -> Diagnosis {
    Diagnosis {
        cause: Cause::Sandbox,
        confidence: Confidence::Likely,
        message: format!(
            "node `{node}` cannot create the pod's sandbox, in which the containers run"
        ),
        evidence: vec![event_evidence(event)],
        help: fixes::describe_help(facts),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn missing_plugin_is_parsed_with_directory() {
        let message = "plugin type=\"bridge\" failed (add): failed to find plugin \"bridge\" in path [/usr/lib/cni]";
        assert_eq!(fixes::node::parse_missing_plugin(message), Some(("bridge", "/usr/lib/cni")));
    }

    #[test]
    fn passed_failure_is_not_reported() {
        let message = "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox \"a\": cni plugin not initialized";
        let event = |reason: &str, message: &str, time: &str| ApiEvent {
            regarding: "Pod/p".into(),
            reason: reason.into(),
            message: message.into(),
            time: time.into(),
            ..ApiEvent::default()
        };
        let (early, late) = ("2026-01-01T00:00:01Z", "2026-01-01T00:00:03Z");
        let invalid = "node `n` cannot set up the pod's network: it has no valid CNI configuration";
        let table = [
            ("Pulling", early, "False", Some(invalid)),
            ("Pulling", late, "False", None),
            ("Scheduled", early, "True", None),
        ];
        for (reason, time, sandbox, expected) in table {
            let facts = Facts {
                pod: json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n",
                    "containers": [{"name": "c"}]}, "status": {"conditions": [
                    {"type": "PodReadyToStartContainers", "status": sandbox}]}}),
                events: vec![
                    event("FailedCreatePodSandBox", message, "2026-01-01T00:00:02Z"),
                    event(reason, "", time),
                ],
                ..Facts::default()
            };
            let found = diagnose(&facts);
            let message = found.first().map(|one| one.message.as_str());
            assert_eq!(message, expected, "{reason} {time} {sandbox}");
        }
    }

    #[test]
    fn memory_limit_too_low_for_sandbox_is_detected() {
        let (oom_killed, stopped) = (
            "container init was OOM-killed (memory limit too low?)",
            "cannot start a stopped process",
        );
        let limit = |limit: &str| json!({"name": "c", "resources": {"limits": {"memory": limit}}});
        let table = [
            (oom_killed, vec![limit("2Mi")], Some(Confidence::Certain)),
            (stopped, vec![limit("2Mi")], Some(Confidence::Likely)),
            (stopped, vec![limit("2Mi"), limit("3Mi")], Some(Confidence::Likely)),
            (
                "OCI runtime start failed: cannot start a container that has stopped",
                vec![limit("2Mi")],
                Some(Confidence::Likely),
            ),
            (
                "failed to start sandbox container task \"a\": OCI runtime start failed: container process is already dead",
                vec![limit("2Mi")],
                Some(Confidence::Likely),
            ),
            (
                "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: can't get final child's PID from pipe: EOF",
                vec![limit("2Mi")],
                Some(Confidence::Likely),
            ),
            (stopped, vec![limit("64Mi")], None),
            ("OCI runtime create failed: no such file", vec![limit("64Mi")], None),
            ("failed to setup network for sandbox", vec![limit("2Mi")], None),
            (stopped, vec![limit("2Mi"), json!({"name": "d"})], None),
            ("no such file", vec![limit("2Mi")], None),
        ];
        for (message, containers, expected) in table {
            let facts = Facts {
                pod: json!({"metadata": {"name": "p"}, "spec": {"containers": containers}}),
                ..Facts::default()
            };
            let event = ApiEvent { message: message.to_owned(), ..ApiEvent::default() };
            let found = memory_limit_too_low(&facts, &event);
            assert_eq!(found.map(|one| one.confidence), expected, "{message} {}", facts.pod);
        }
    }
}
