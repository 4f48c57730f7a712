//! The pod's sandbox cannot be made: its image is missing, or its network cannot
//! be set up.

use kdev_core::image::node_images::CRI_NAMESPACE;
use kdev_core::image::reference::Reference;
use kdev_core::kube::container::Container;
use kdev_core::kube::object::{condition, text};
use kdev_core::kube::{quantity, resources};

use crate::cause::Cause;
use crate::diagnosis::{Confidence, Diagnosis};
use crate::facts::{ApiEvent, Facts};
use crate::location::Whereabouts;
use crate::{fixes, transient};

/// Events of a pod that has no sandbox.
const REASONS: [&str; 2] = ["FailedCreatePodSandBox", "NetworkNotReady"];

pub(crate) fn diagnose(facts: &Facts) -> Vec<Diagnosis> {
    if !facts.is_in_trouble() || facts.containers().iter().any(has_begun) {
        return Vec::new();
    }
    let is_stuck = |event: &&ApiEvent| {
        REASONS.contains(&event.reason.as_str()) && !transient::is_over(facts, event)
    };
    let Some(event) = facts.pod_events().rfind(is_stuck) else { return Vec::new() };
    let Some(node) = facts.node_name() else { return Vec::new() };
    let found = image(facts, event, node)
        .or_else(|| memory(facts, event))
        .or_else(|| network(facts, event, node))
        .unwrap_or_else(|| other(facts, event, node));
    vec![found]
}

/// Whether a container of it has got so far that there must be a sandbox.
fn has_begun(container: &Container) -> bool {
    let is_early =
        |(reason, _): (&str, &str)| matches!(reason, "ContainerCreating" | "PodInitializing" | "");
    container.is_running()
        || container.ended().is_some()
        || container.waiting().is_some_and(|waiting| !is_early(waiting))
}

fn said(event: &ApiEvent) -> String {
    format!("{}: {}", event.reason, event.message)
}

fn image(facts: &Facts, event: &ApiEvent, node: &str) -> Option<Diagnosis> {
    let name = event.sandbox_image()?;
    let seen = Whereabouts::of(facts, Reference::parse(name).ok()?);
    let load = fixes::load_command(facts, &seen.wanted);
    let from = seen.others.first().and_then(|other| facts.stock_of(other));
    let from = from.map(|stock| format!("{} -n {CRI_NAMESPACE}", stock.ctr));
    let help = match from.and_then(|from| fixes::image::bring(facts, &seen, &from)) {
        Some(help) => help,
        None if seen.local.is_some() => format!("run `{load}`"),
        None => format!("run `docker pull {name} && {load}`"),
    };
    let lacks = seen.is_missed(facts).then(|| {
        format!(
            "containerd on node `{node}` has no `{}` in its namespace `{CRI_NAMESPACE}`",
            seen.wanted
        )
    });
    Some(Diagnosis {
        cause: Cause::SandboxImage,
        confidence: Confidence::Certain,
        message: format!(
            "node `{node}` lacks the pause image `{name}`, without which no pod starts there, and cannot pull it"
        ),
        evidence: [Some(said(event)), lacks].into_iter().flatten().collect(),
        help,
    })
}

/// What starts a container needs some memory, too, and has it from the pod's limit.
fn memory(facts: &Facts, event: &ApiEvent) -> Option<Diagnosis> {
    /// What runtimes say of a process that has died before its start.
    const DEAD: [&str; 2] =
        ["cannot start a stopped process", "cannot start a container that has stopped"];
    /// With more than this a sandbox starts: 16 MiB, in thousandths of a byte.
    const ENOUGH: i128 = 1000 << 24;
    // One without a limit leaves the pod without any.
    let limits = facts.containers().into_iter().map(|container| {
        let limits = resources::amounts(container.spec("/resources/limits")?);
        Some((limits.get("memory").copied()?, container))
    });
    let limits: Vec<_> = limits.collect::<Option<_>>()?;
    let total: i128 = limits.iter().map(|(limit, _)| limit).sum();
    let (_, container) = limits.into_iter().min_by_key(|(limit, _)| *limit)?;
    let is_told = event.message.contains("container init was OOM-killed");
    let has_died = DEAD.iter().any(|sign| event.message.contains(sign));
    let is_likely = has_died && total < ENOUGH;
    if !is_told && !is_likely {
        return None;
    }
    Some(Diagnosis {
        cause: Cause::OutOfMemory,
        confidence: if is_told { Confidence::Certain } else { Confidence::Likely },
        message: format!(
            "the memory limit of the pod's containers, {} in all, is too small even to start one",
            quantity::format("memory", total)
        ),
        evidence: vec![said(event)],
        help: fixes::set_memory(facts, container, "32Mi"),
    })
}

fn network(facts: &Facts, event: &ApiEvent, node: &str) -> Option<Diagnosis> {
    let message = &event.message;
    if !fixes::node::is_of_network(message)
        && !message.contains("setup network for sandbox")
        && !message.contains("set up sandbox container")
    {
        return None;
    }
    let ready = facts.node().and_then(|node| condition(node, "Ready"));
    let complaint = ready
        .filter(|ready| ready["status"] != "True")
        .map(|ready| format!("node `{node}`: {}", text(ready, "/message")));
    Some(Diagnosis {
        cause: Cause::SandboxNetwork,
        confidence: Confidence::Certain,
        message: match fixes::node::plugin(message) {
            Some((plugin, _)) => format!(
                "node `{node}` cannot give the pod a network: the CNI plugin `{plugin}` is not installed there"
            ),
            None if fixes::node::is_of_network(message) => format!(
                "node `{node}` cannot give the pod a network: no usable CNI configuration is there"
            ),
            None => format!("the network plugin of node `{node}` cannot give the pod a network"),
        },
        evidence: [Some(said(event)), complaint].into_iter().flatten().collect(),
        help: fixes::node::network_help(facts, node, message),
    })
}

fn other(facts: &Facts, event: &ApiEvent, node: &str) -> Diagnosis {
    Diagnosis {
        cause: Cause::Sandbox,
        confidence: Confidence::Likely,
        message: format!("node `{node}` cannot make the pod's sandbox, which holds its containers"),
        evidence: vec![said(event)],
        help: format!("see `{} describe {}`", facts.kubectl, facts.subject),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_missing_plugin_is_named_with_its_folder() {
        let words = "plugin type=\"bridge\" failed (add): failed to find plugin \"bridge\" in path [/usr/lib/cni]";
        assert_eq!(fixes::node::plugin(words), Some(("bridge", "/usr/lib/cni")));
    }

    #[test]
    fn what_has_passed_is_not_told() {
        let message = "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox \"a\": cni plugin not initialized";
        let event = |reason: &str, message: &str, time: &str| ApiEvent {
            regarding: "Pod/p".into(),
            reason: reason.into(),
            message: message.into(),
            time: time.into(),
            ..ApiEvent::default()
        };
        let (early, late) = ("2026-01-01T00:00:01Z", "2026-01-01T00:00:03Z");
        let usable = "node `n` cannot give the pod a network: no usable CNI configuration is there";
        let table = [
            ("Pulling", early, "False", Some(usable)),
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
            let words = found.first().map(|one| one.message.as_str());
            assert_eq!(words, expected, "{reason} {time} {sandbox}");
        }
    }

    #[test]
    fn a_limit_that_is_too_small_for_a_sandbox_is_told() {
        let (killed, stopped) = (
            "container init was OOM-killed (memory limit too low?)",
            "cannot start a stopped process",
        );
        let limit = |limit: &str| json!({"name": "c", "resources": {"limits": {"memory": limit}}});
        let table = [
            (killed, vec![limit("2Mi")], Some(Confidence::Certain)),
            (stopped, vec![limit("2Mi")], Some(Confidence::Likely)),
            (stopped, vec![limit("2Mi"), limit("3Mi")], Some(Confidence::Likely)),
            (
                "OCI runtime start failed: cannot start a container that has stopped",
                vec![limit("2Mi")],
                Some(Confidence::Likely),
            ),
            (stopped, vec![limit("64Mi")], None),
            (stopped, vec![limit("2Mi"), json!({"name": "d"})], None),
            ("no such file", vec![limit("2Mi")], None),
        ];
        for (message, containers, expected) in table {
            let facts = Facts {
                pod: json!({"metadata": {"name": "p"}, "spec": {"containers": containers}}),
                ..Facts::default()
            };
            let event = ApiEvent { message: message.to_owned(), ..ApiEvent::default() };
            let found = memory(&facts, &event);
            assert_eq!(found.map(|one| one.confidence), expected, "{message} {}", facts.pod);
        }
    }
}
