//! The scheduler's message about a pod for which it found no node.

/// Returns the scheduler's message without the part about preemption.
pub(crate) fn without_preemption(message: &str) -> &str {
    let ends = [". no new claims to deallocate", ". preemption:", ", preemption:"];
    let end = ends.iter().filter_map(|end| message.find(end)).min();
    message[..end.unwrap_or(message.len())].trim_end_matches('.')
}

/// Returns the reasons in the scheduler's message, without the node counts.
pub(crate) fn parse_reasons(message: &str) -> Vec<&str> {
    let message = without_preemption(message);
    let list = message.split_once(" available: ").map_or(message, |(_, list)| list);
    let mut reasons: Vec<&str> = Vec::new();
    let mut start = 0;
    for (at, separator) in list.match_indices(", ") {
        let next = at + separator.len();
        // A taint may contain commas, too, but no digit follows them.
        if list[next..].starts_with(|c: char| c.is_ascii_digit()) {
            reasons.push(&list[start..at]);
            start = next;
        }
    }
    reasons.push(&list[start..]);
    let without_number =
        |reason: &&str| reason.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    reasons.iter().map(|reason| reason[reason.len() - without_number(reason)..].trim()).collect()
}

/// Whether the reason is one that the node object shows, too.
pub(crate) fn is_placement(reason: &str) -> bool {
    const SIGNS: [&str; 4] = [
        "untolerated taint",
        "were unschedulable",
        "node affinity/selector",
        "requested node name",
    ];
    SIGNS.iter().any(|sign| reason.contains(sign))
}

/// Explains a reason of the scheduler's that is about other pods.
pub(crate) fn explain(reason: &str) -> &str {
    const EXPLANATIONS: [(&str, &str); 5] = [
        ("existing pods anti-affinity", "it runs a pod whose anti-affinity excludes this pod"),
        ("anti-affinity", "it runs a pod that this pod's anti-affinity excludes"),
        ("affinity", "it does not run a pod that this pod's affinity requires"),
        (
            "missing required label",
            "it does not have the label that the topology spread constraint requires",
        ),
        ("topology spread", "another pod would violate the topology spread constraint"),
    ];
    EXPLANATIONS.iter().find(|(sign, _)| reason.contains(sign)).map_or(reason, |(_, text)| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_split_at_node_counts() {
        let table: [(&str, &[&str]); 5] = [
            (
                "0/2 nodes are available: 2 Insufficient example.com/gpu, 2 Insufficient memory. no new claims to deallocate, preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.",
                &["Insufficient example.com/gpu", "Insufficient memory"],
            ),
            (
                "0/2 nodes are available: 1 node(s) had untolerated taint {a: b, c: d}, 1 Too many pods. preemption: 0/2 nodes",
                &["node(s) had untolerated taint {a: b, c: d}", "Too many pods"],
            ),
            (
                "0/2 nodes are available: 2 node(s) didn't match pod topology spread constraints (missing required label). no new claims to deallocate, preemption: x",
                &["node(s) didn't match pod topology spread constraints (missing required label)"],
            ),
            (
                "0/2 nodes are available: persistentvolumeclaim \"nope\" not found. not found",
                &["persistentvolumeclaim \"nope\" not found. not found"],
            ),
            ("no nodes available to schedule pods", &["no nodes available to schedule pods"]),
        ];
        for (message, expected) in table {
            assert_eq!(parse_reasons(message), expected, "{message}");
        }
    }
}
