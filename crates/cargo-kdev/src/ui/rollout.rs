//! The progress of a rollout as text.

use std::collections::BTreeMap;
use std::time::Duration;

use kdev::{Event, PodState, pluralize};

/// The minimum width of a shortened workload name.
const MIN_NAME_LENGTH: usize = 5;

/// Formats the progress, such as
/// `deployment/hello: 1 of 2 pods ready (node-1: Ready, node-2: Pending)`.
pub(crate) fn format_full(workload: &str, ready: u64, desired: u64, pods: &[PodState]) -> String {
    let states = count_by(pods, |pod| {
        let node = pod.node.as_deref().unwrap_or("not scheduled");
        (node, pod.state.as_str())
    });
    let states = states.into_iter().map(|((node, state), count)| match count {
        1 => format!("{node}: {state}"),
        _ => format!("{node}: {count} {state}"),
    });
    let states: Vec<String> = states.collect();
    let states =
        if states.is_empty() { String::new() } else { format!(" ({})", states.join(", ")) };
    format!("{workload}: {ready} of {} ready{states}", pluralize(desired, "pod"))
}

/// Formats the progress in at most `room` columns, such as `hello: 1/2 Pending, Ready`. Pods that
/// are not ready come first; a long workload name is shortened.
pub(crate) fn format_short(
    workload: &str,
    (ready, desired): (u64, u64),
    pods: &[PodState],
    room: usize,
) -> String {
    let states = count_by(pods, |pod| (pod.state == "Ready", pod.state.as_str()));
    let states = states.into_iter().map(|((_, state), count)| match count {
        1 => state.to_owned(),
        _ => format!("{count} {state}"),
    });
    let states: Vec<String> = states.collect();
    let progress = format!(": {ready}/{desired} {}", states.join(", "));
    let name = workload.rsplit('/').next().unwrap_or(workload);
    let left = room.saturating_sub(progress.chars().count()).max(MIN_NAME_LENGTH);
    format!("{}{progress}", shorten_start(name, left)).trim_end().to_owned()
}

/// Formats how long a ready workload is still watched, for a line of limited width.
pub(crate) fn format_settling(workload: &str, pods: u64, duration: Duration) -> String {
    format!("{workload}: {} must run for {} s", pluralize(pods, "pod"), duration.as_secs())
}

/// Formats why containers are still watched.
pub(crate) fn format_settling_cause(containers: &[String]) -> String {
    let names: Vec<String> = containers.iter().map(|name| format!("`{name}`")).collect();
    let names = names.join(", ");
    match containers.len() {
        1 => format!("because container {names} has no readiness probe"),
        _ => format!("because containers {names} have no readiness probe"),
    }
}

/// Formats a problem that time may fix; empty for other events.
pub(crate) fn format_problem(event: &Event) -> String {
    let Event::Problem { workload, pod, node, message, outlook, log, remaining } = event else {
        return String::new();
    };
    let subject = match (pod, node) {
        (Some(pod), Some(node)) => format!("pod `{pod}` on node `{node}`"),
        (Some(pod), None) => format!("pod `{pod}`"),
        (None, _) => workload.clone(),
    };
    let log = log.as_ref().map(|log| format!("; its log ends with\n{log}")).unwrap_or_default();
    let seconds = remaining.as_secs();
    format!(
        "{subject}: {message}; it may recover, because {outlook}: waiting up to {seconds} s{log}"
    )
}

/// Shortens a name at the start: its end is more specific.
pub(crate) fn shorten_start(name: &str, room: usize) -> String {
    let length = name.chars().count();
    if length <= room {
        return name.to_owned();
    }
    format!("…{}", name.chars().skip(length + 1 - room).collect::<String>())
}

fn count_by<'a, K: Ord>(
    pods: &'a [PodState],
    key: impl Fn(&'a PodState) -> K,
) -> BTreeMap<K, usize> {
    let mut counts = BTreeMap::new();
    for pod in pods {
        *counts.entry(key(pod)).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pods(states: &[(&str, &str)]) -> Vec<PodState> {
        let pod = |(node, state): &(&str, &str)| {
            serde_json::from_value(serde_json::json!({"pod": "p", "node": node, "state": state}))
        };
        states.iter().map(|state| pod(state).unwrap()).collect()
    }

    #[test]
    fn long_workload_name_is_shortened() {
        let pods = pods(&[("n1", "CrashLoopBackOff"), ("n1", "CrashLoopBackOff"), ("n2", "Ready")]);
        assert_eq!(
            format_full("deployment/hello", 1, 3, &pods),
            "deployment/hello: 1 of 3 pods ready (n1: 2 CrashLoopBackOff, n2: Ready)"
        );
        let short = |room| format_short("deployment/hello", (1, 3), &pods, room);
        assert_eq!(short(50), "hello: 1/3 2 CrashLoopBackOff, Ready");
        let long = format_short("deployment/a-service-of-ours", (0, 1), &pods[..1], 34);
        assert_eq!(long, "…ice-of-ours: 0/1 CrashLoopBackOff");
        let three = Duration::from_secs(3);
        assert_eq!(format_settling("daemonset/x", 1, three), "daemonset/x: 1 pod must run for 3 s");
        assert_eq!(
            format_settling_cause(&["a".to_owned(), "b".to_owned()]),
            "because containers `a`, `b` have no readiness probe"
        );
        assert_eq!(format_short("job/x", (0, 1), &[], 3), "x: 0/1");
    }
}
