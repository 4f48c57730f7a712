//! The namespaces of a cluster, as the API server returns them, and the fix for a missing one.

use std::cmp::Ordering;

use kdev_core::kube::object::{list, text};
use kdev_core::text::list as join;
use serde_json::Value;

/// The longest list of namespaces in a message.
const MAX_LISTED: usize = 10;
/// Names with a lower similarity are not suggested.
const MIN_SIMILARITY: f64 = 0.85;

/// The namespaces of a cluster.
#[derive(Clone, Debug, Default)]
pub(crate) struct Namespaces(Vec<Value>);

impl Namespaces {
    /// Selects the namespaces in a list of objects.
    pub(super) fn from_list(objects: &Value) -> Self {
        Self(list(&objects["items"]).filter(|object| is_namespace(object)).cloned().collect())
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Returns their names.
    pub(crate) fn names(&self) -> Vec<String> {
        self.0.iter().map(|namespace| text(namespace, "/metadata/name").to_owned()).collect()
    }

    /// Returns a namespace.
    pub(super) fn find(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|namespace| text(namespace, "/metadata/name") == name)
    }
}

pub(super) fn is_namespace(object: &Value) -> bool {
    object["kind"] == "Namespace"
}

/// Returns the fix for a namespace that does not exist.
pub(super) fn not_found_help(
    namespace: &str,
    known: &[String],
    applied_to: &[String],
    create: Option<&str>,
) -> String {
    if !applied_to.is_empty() {
        return format!("use {}, to which `up` has applied this package", one_of(applied_to));
    }
    let similar = similar_names(namespace, known);
    match (create, similar.as_slice()) {
        (None, []) => format!("use {}", one_of(known)),
        (None, similar) => format!("use {}", one_of(similar)),
        (Some(create), []) => format!("run `{create}` to create it, or use {}", one_of(known)),
        // The name is probably mistyped.
        (Some(create), similar) => {
            format!("use {}, or run `{create}` to create it", one_of(similar))
        }
    }
}

fn one_of(names: &[String]) -> String {
    match names {
        [one] => format!("`{one}`"),
        _ if names.len() > MAX_LISTED => {
            let (listed, others) = names.split_at(MAX_LISTED);
            let listed: Vec<String> = listed.iter().map(|name| format!("`{name}`")).collect();
            format!("one of {}, and {} others", listed.join(", "), others.len())
        }
        _ => format!("one of {}", join(names)),
    }
}

/// Returns the names that are similar to this one, the most similar first.
fn similar_names(wanted: &str, known: &[String]) -> Vec<String> {
    let score = |name: &String| (strsim::jaro_winkler(wanted, name), name.clone());
    let mut scored: Vec<(f64, String)> =
        known.iter().map(score).filter(|(score, _)| *score >= MIN_SIMILARITY).collect();
    scored.sort_by(|a, b| b.0.partial_cmp(&a.0).unwrap_or(Ordering::Equal));
    scored.into_iter().map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_namespace_suggests_similar_names() {
        let many: Vec<String> = (0..12).map(|n| format!("team-{n}")).collect();
        let known = ["default".to_owned(), "shop".to_owned(), "shop-test".to_owned()];
        let applied = ["shop-test".to_owned()];
        let create = Some("kubectl create namespace x");
        let table = [
            ("shpo", &known[..], &[][..], None, "use `shop`"),
            ("web", &known, &[], None, "use one of `default`, `shop`, and `shop-test`"),
            (
                "web",
                &known[..1],
                &[],
                create,
                "run `kubectl create namespace x` to create it, or use `default`",
            ),
            (
                "shpo",
                &known,
                &applied,
                None,
                "use `shop-test`, to which `up` has applied this package",
            ),
            (
                "web",
                &many,
                &[],
                None,
                "use one of `team-0`, `team-1`, `team-2`, `team-3`, `team-4`, `team-5`, `team-6`, `team-7`, `team-8`, `team-9`, and 2 others",
            ),
        ];
        for (namespace, known, applied_to, create, expected) in table {
            assert_eq!(not_found_help(namespace, known, applied_to, create), expected);
        }
    }
}
