//! Describes the cluster for a test that fails because it waited too long.

use std::cell::Cell;

use crate::lab::kubectl;

thread_local! {
    /// The namespace of the test in this thread.
    static NAMESPACE: Cell<Option<&'static str>> = const { Cell::new(None) };
}

/// Objects in the test's namespace that a wait may depend on, and those of the cluster.
const QUERIES: [&[&str]; 4] = [
    &["get", "nodes,persistentvolumes"],
    &["get", "all,persistentvolumeclaims", "--output=wide"],
    &[
        "get",
        "pods",
        "--output=jsonpath={range .items[*]}{.metadata.name}: {.status}{\"\\n\"}{end}",
    ],
    &["get", "events", "--sort-by=.metadata.creationTimestamp"],
];

/// Sets the namespace that a failure of the test in this thread describes.
pub(crate) fn set_namespace(name: &'static str) {
    NAMESPACE.set(Some(name));
}

/// Returns the objects and events of the test's namespace, with nodes and volumes. A query that
/// fails contributes its error.
pub(crate) fn describe_cluster() -> String {
    let Some(namespace) = NAMESPACE.get() else { return String::new() };
    let answers = QUERIES.map(|query| {
        let mut kubectl = kubectl(namespace, &["--request-timeout=10s"]);
        let answer = match kubectl.args(query).output() {
            Ok(output) => String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into(),
            Err(error) => error.to_string(),
        };
        format!("\n$ kubectl --namespace {namespace} {}\n{answer}", query.join(" "))
    });
    answers.concat()
}
