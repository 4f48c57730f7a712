//! Gets objects of which some can have a kind that the API server does not know any more: its
//! CustomResourceDefinition was deleted, and its objects with it.

use std::collections::BTreeSet;

use kdev_core::kube::object;
use serde_json::Value;
use xshell::{Cmd, Shell};

use crate::apply::error::Result;
use crate::cluster::{Cluster, KUBECTL_TIMEOUT};
use crate::cx::Cx;
use crate::process::{Command, Failure};

/// What `kubectl get` gets.
#[derive(Clone, Copy)]
pub(super) enum Query<'a> {
    /// Objects by kind and name; those that do not exist are left out.
    Ids(&'a [String]),
    /// All objects of these kinds that match a label selector.
    Selected(&'a [String], &'a str),
}

impl<'a> Query<'a> {
    fn resources(self) -> &'a [String] {
        match self {
            Self::Ids(resources) | Self::Selected(resources, _) => resources,
        }
    }

    fn add_to<'b>(self, cmd: Cmd<'b>, resources: &[&String]) -> Cmd<'b> {
        match self {
            Self::Ids(_) => cmd.args(resources).arg("--ignore-not-found"),
            Self::Selected(_, selector) => {
                let kinds: Vec<&str> = resources.iter().map(|kind| kind.as_str()).collect();
                cmd.arg(kinds.join(",")).args(["--selector", selector])
            }
        }
    }
}

/// Returns objects of a namespace, and cluster-scoped ones, with their managed fields.
pub(super) fn get(
    cx: &Cx,
    cluster: &Cluster,
    namespace: Option<&str>,
    query: Query,
) -> Result<Vec<Value>> {
    let sh = cx.shell()?;
    let all: Vec<&String> = query.resources().iter().collect();
    let failure = match get_known(cx, &sh, cluster, namespace, query, &all) {
        Ok(objects) => return Ok(objects),
        Err(failure) => failure,
    };
    let known = if is_unknown_kind(&failure) { known_kinds(cx, cluster) } else { None };
    let left: Vec<&String> = match known {
        Some(known) => {
            all.iter().copied().filter(|resource| known.contains(&kind(resource))).collect()
        }
        None => all.clone(),
    };
    if left.len() == all.len() {
        return Err(cluster.request_error(failure, "get the objects of the apply set").into());
    }
    get_known(cx, &sh, cluster, namespace, query, &left)
        .map_err(|f| cluster.request_error(f, "get the objects of the apply set").into())
}

fn get_known(
    cx: &Cx,
    sh: &Shell,
    cluster: &Cluster,
    namespace: Option<&str>,
    query: Query,
    resources: &[&String],
) -> Result<Vec<Value>, Failure> {
    if resources.is_empty() {
        return Ok(Vec::new());
    }
    let cmd = query.add_to(cluster.cmd(sh, namespace).arg("get"), resources);
    let cmd = cmd.args(["--show-managed-fields", "--output=json"]);
    let output = Command::new(cmd).timeout(KUBECTL_TIMEOUT).read(cx)?;
    Ok(parse_objects(&output.stdout))
}

/// Returns the custom resources of a definition; none if they cannot be listed.
pub(super) fn custom_resources(cx: &Cx, cluster: &Cluster, definition: &str) -> Vec<Value> {
    let Ok(sh) = cx.shell() else { return Vec::new() };
    let flags = ["--all-namespaces", "--show-managed-fields", "--output=json"];
    let cmd = cluster.cmd(&sh, None).args(["get", definition]).args(flags);
    let output = Command::new(cmd).timeout(KUBECTL_TIMEOUT).read(cx).ok();
    output.map(|output| parse_objects(&output.stdout)).unwrap_or_default()
}

/// Returns the kinds of objects that a namespace can contain, and whether they are all.
pub(super) fn namespaced_kinds(cx: &Cx, cluster: &Cluster) -> Result<(Vec<String>, bool)> {
    let sh = cx.shell()?;
    let flags = ["api-resources", "--verbs=list", "--namespaced", "--output=name"];
    let cmd = cluster.cmd(&sh, None).args(flags);
    let output = Command::new(cmd).timeout(KUBECTL_TIMEOUT).output(cx);
    let output = output.map_err(|f| cluster.request_error(f, "list the kinds of objects"))?;
    let kinds = output.text().split_whitespace().map(str::to_owned).collect();
    Ok((kinds, output.status.success()))
}

/// Returns the objects in a namespace, as far as they can be listed.
pub(super) fn namespace_contents(cx: &Cx, cluster: &Cluster, namespace: &str) -> Vec<Value> {
    let Ok((kinds, _)) = namespaced_kinds(cx, cluster) else { return Vec::new() };
    let Ok(sh) = cx.shell() else { return Vec::new() };
    let flags = ["--ignore-not-found", "--show-managed-fields", "--output=json"];
    let cmd = cluster.cmd(&sh, Some(namespace)).args(["get", &kinds.join(",")]).args(flags);
    let output = Command::new(cmd).timeout(KUBECTL_TIMEOUT).output(cx).ok();
    output.map(|output| parse_objects(&output.stdout)).unwrap_or_default()
}

/// Returns the object or the list of objects that `--output=json` prints.
fn parse_objects(stdout: &[u8]) -> Vec<Value> {
    let output: Value = serde_json::from_slice(stdout).unwrap_or_default();
    if output["items"].is_array() {
        return object::list(&output["items"]).cloned().collect();
    }
    if output.is_object() { vec![output] } else { Vec::new() }
}

/// Whether `kubectl` or, after kubectl has cached the kinds, the API server does not know a kind.
fn is_unknown_kind(failure: &Failure) -> bool {
    let messages = ["doesn't have a resource type", "could not find the requested resource"];
    messages.iter().any(|message| failure.stderr.contains(message))
}

/// Returns the kinds of the API server, as in `deployment.apps`, without kubectl's cache; `None`
/// if they cannot be listed completely.
fn known_kinds(cx: &Cx, cluster: &Cluster) -> Option<BTreeSet<String>> {
    let sh = cx.shell().ok()?;
    let cmd = cluster.cmd(&sh, None).args(["api-resources", "--no-headers"]);
    let output = Command::new(cmd).timeout(KUBECTL_TIMEOUT).read(cx).ok()?;
    Some(output.text().lines().filter_map(parse_kind).collect())
}

/// Parses `NAME [SHORTNAMES] APIVERSION NAMESPACED KIND`.
fn parse_kind(row: &str) -> Option<String> {
    let columns: Vec<&str> = row.split_whitespace().collect();
    let [_, .., version, _, name] = columns.as_slice() else { return None };
    let name = name.to_lowercase();
    Some(match version.split_once('/') {
        Some((group, _)) => format!("{name}.{group}"),
        None => name,
    })
}

/// Returns the kind of `deployment.apps/hello` or `Deployment.apps`.
fn kind(resource: &str) -> String {
    resource.split('/').next().unwrap_or_default().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_parsed_with_group() {
        let table = [
            ("configmaps  cm  v1  true  ConfigMap", Some("configmap")),
            (
                "roles  rbac.authorization.k8s.io/v1  true  Role",
                Some("role.rbac.authorization.k8s.io"),
            ),
            ("widgets  example.com/v1  false  Widget", Some("widget.example.com")),
            ("", None),
        ];
        for (row, expected) in table {
            assert_eq!(parse_kind(row).as_deref(), expected, "{row}");
        }
        assert_eq!(kind("Widget.example.com"), "widget.example.com");
        assert_eq!(kind("widget.example.com/w"), "widget.example.com");
    }
}
