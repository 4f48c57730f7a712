//! The namespaces of a cluster: which of them exist, and which are being deleted.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use kdev_core::kube::deletion;
use kdev_core::kube::node::{Node, NodeList};
use kdev_core::kube::object::{list, text};
use kdev_core::text::list as join;
use serde_json::{Value, json};

use crate::cluster::error::{Error, Result};
use crate::cluster::{Cluster, Listed};
use crate::cx::Cx;
use crate::details::Details;
use crate::tools;

/// The longest list of namespaces in a message.
const MAX_LISTED: usize = 10;
/// Names with a lower similarity are not suggested.
const MIN_SIMILARITY: f64 = 0.85;

/// The namespaces of a cluster, as the API server returned them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Namespaces(Vec<Value>);

impl Namespaces {
    /// Selects the namespaces in a list of objects.
    fn from_list(objects: &Value) -> Self {
        Self(list(&objects["items"]).filter(|object| is_namespace(object)).cloned().collect())
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Returns their names.
    pub(crate) fn names(&self) -> Vec<String> {
        self.0.iter().map(|namespace| name(namespace).to_owned()).collect()
    }

    /// Checks that objects can be created in these namespaces; `created` are those that the
    /// manifests create.
    pub(crate) fn check_usable(
        &self,
        cluster: &Cluster,
        used: &BTreeSet<&str>,
        created: &BTreeSet<&str>,
    ) -> Result<()> {
        for &namespace in used {
            let is_created = created.contains(namespace);
            match self.find(namespace) {
                Some(live) => check_not_terminating(cluster, live, is_created)?,
                None if is_created => {}
                None => {
                    return Err(Error::NamespaceNotFound {
                        context: cluster.context.clone(),
                        namespace: namespace.to_owned(),
                        known: self.names(),
                        applied_to: Vec::new(),
                        create: Some(create_command(cluster, namespace)),
                    });
                }
            }
        }
        Ok(())
    }

    fn find(&self, wanted: &str) -> Option<&Value> {
        self.0.iter().find(|namespace| name(namespace) == wanted)
    }
}

impl Cluster {
    /// Lists all nodes and, if the user is allowed to, all namespaces, with one request.
    pub(crate) fn nodes_and_namespaces(&self, cx: &Cx) -> Result<Listed> {
        if let Some(listed) = &self.listed {
            return Ok(listed.clone());
        }
        let sh = cx.shell()?;
        let cmd = self.cmd(&sh, None).args(["get", "nodes,namespaces", "--output=json"]);
        let objects: Value = match self.get_json(cx, cmd, "list nodes and namespaces") {
            Err(Error::Rejected { .. }) => return Ok((self.nodes(cx)?, None)),
            objects => objects?,
        };
        Ok((select_nodes(&objects)?, Some(Namespaces::from_list(&objects))))
    }

    /// Lists all namespaces; `None` if the user is not allowed to.
    pub(crate) fn namespaces(&self, cx: &Cx) -> Result<Option<Namespaces>> {
        if let Some((_, namespaces)) = &self.listed {
            return Ok(namespaces.clone());
        }
        let sh = cx.shell()?;
        let cmd = self.cmd(&sh, None).args(["get", "namespaces", "--output=json"]);
        match self.get_json::<Value>(cx, cmd, "list namespaces") {
            Err(Error::Rejected { .. }) => Ok(None),
            objects => Ok(Some(Namespaces::from_list(&objects?))),
        }
    }

    /// Returns an error if the namespace does not exist. Users who are not allowed to list
    /// namespaces get no error.
    pub(crate) fn require_namespace(&self, cx: &Cx) -> Result<()> {
        self.require_namespace_or(cx, &[])
    }

    /// Does the same; the error suggests the namespaces to which `up` has applied the package.
    pub(crate) fn require_namespace_or(&self, cx: &Cx, applied_to: &[String]) -> Result<()> {
        match self.namespaces(cx)? {
            Some(known) if !known.has(&self.namespace) => Err(Error::NamespaceNotFound {
                context: self.context.clone(),
                namespace: self.namespace.clone(),
                known: known.names(),
                applied_to: applied_to.to_vec(),
                create: None,
            }),
            _ => Ok(()),
        }
    }
}

/// Parses the nodes in a list of objects.
fn select_nodes(objects: &Value) -> Result<Vec<Node>> {
    let nodes: Vec<&Value> =
        list(&objects["items"]).filter(|object| !is_namespace(object)).collect();
    let list: NodeList = serde_json::from_value(json!({"items": nodes}))
        .map_err(|error| tools::Error::unexpected("kubectl", error))?;
    Ok(list.into())
}

fn is_namespace(object: &Value) -> bool {
    object["kind"] == "Namespace"
}

fn name(namespace: &Value) -> &str {
    text(namespace, "/metadata/name")
}

fn create_command(cluster: &Cluster, namespace: &str) -> String {
    format!("{} create namespace {namespace}", cluster.display_cluster_command())
}

fn check_not_terminating(cluster: &Cluster, live: &Value, is_created: bool) -> Result<()> {
    let since = text(live, "/metadata/deletionTimestamp");
    if since.is_empty() {
        return Ok(());
    }
    let (namespace, kubectl) = (name(live), cluster.display_cluster_command());
    let wait = format!("{kubectl} wait --for=delete namespace/{namespace} --timeout=120s");
    let create = create_command(cluster, namespace);
    let remains = deletion::namespace_remains(live);
    Err(Error::NamespaceTerminating {
        context: cluster.context.clone(),
        namespace: namespace.to_owned(),
        since: since.to_owned(),
        command: if is_created { wait } else { format!("{wait} && {create}") },
        reason: (!remains.is_empty()).then(|| Details(remains.join("; "))),
    })
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
    let usable = if similar.is_empty() { one_of(known) } else { one_of(&similar) };
    match create {
        Some(command) => format!("use {usable}, or run `{command}` to create it"),
        None => format!("use {usable}"),
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
                "use `default`, or run `kubectl create namespace x` to create it",
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
