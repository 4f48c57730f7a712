//! What the scheduler says of a pod that it finds no node for.

/// The scheduler's message without what it says of preemption.
pub(crate) fn essence(message: &str) -> &str {
    let ends = [". no new claims to deallocate", ". preemption:", ", preemption:"];
    let end = ends.iter().filter_map(|end| message.find(end)).min();
    message[..end.unwrap_or(message.len())].trim_end_matches('.')
}

/// The reasons in the scheduler's message, without the numbers of nodes.
pub(crate) fn reasons(message: &str) -> Vec<&str> {
    let message = essence(message);
    let list = message.split_once(" available: ").map_or(message, |(_, list)| list);
    let mut reasons: Vec<&str> = Vec::new();
    let mut start = 0;
    for (at, separator) in list.match_indices(", ") {
        let next = at + separator.len();
        // Within a taint there are commas, too, but no numbers after them.
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

/// Whether it says what the node itself shows.
pub(crate) fn is_of_placement(reason: &str) -> bool {
    const SIGNS: [&str; 4] = [
        "untolerated taint",
        "were unschedulable",
        "node affinity/selector",
        "requested node name",
    ];
    SIGNS.iter().any(|sign| reason.contains(sign))
}

/// What the scheduler says of other pods, in plain words.
pub(crate) fn plainly(words: &str) -> &str {
    const WORDS: [(&str, &str); 5] = [
        ("existing pods anti-affinity", "a pod runs there that must not be near this one"),
        ("anti-affinity", "a pod runs there that this one must not be near"),
        ("affinity", "no pod runs there that this one must be near"),
        ("missing required label", "it has no label for the spread that the pod asks for"),
        ("topology spread", "one more pod there would break the spread that the pod asks for"),
    ];
    WORDS.iter().find(|(sign, _)| words.contains(sign)).map_or(words, |(_, plain)| plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedulers_reasons_are_told_apart() {
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
            assert_eq!(reasons(message), expected, "{message}");
        }
    }
}
