//! The values that a shell can complete: contexts, namespaces, nodes, packages, and pods.

use std::time::Duration;

use crate::cluster::kubeconfig::{self, ClusterTarget};
use crate::cluster::kubectl::kubectl_command;
use crate::cx::Cx;
use crate::process::Command;
use crate::project::{PackageSelection, names};
use crate::tools;

/// How long a user waits for a completion.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The kind of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ValueKind {
    /// A context of the kubeconfig.
    Context,
    /// A namespace of the cluster.
    Namespace,
    /// A node of the cluster.
    Node,
    /// A package of the workspace.
    Package,
    /// A pod of the namespace.
    Pod,
}

/// Where the values are.
#[derive(Clone, Debug, Default)]
pub struct ValuesRequest {
    /// The workspace.
    pub selection: PackageSelection,
    /// The cluster.
    pub target: ClusterTarget,
    /// The namespace of pods.
    pub namespace: Option<String>,
}

/// Lists the values of a kind. Returns none if they cannot be listed, because a completion
/// cannot report errors.
pub fn list_values(cx: &Cx, kind: ValueKind, request: &ValuesRequest) -> Vec<String> {
    let values = match kind {
        ValueKind::Context => contexts(request),
        ValueKind::Package => names::package_names(cx, &request.selection).ok(),
        ValueKind::Namespace => objects(cx, "namespaces", request),
        ValueKind::Node => objects(cx, "nodes", request),
        ValueKind::Pod => objects(cx, "pods", request),
    };
    values.unwrap_or_default()
}

fn contexts(request: &ValuesRequest) -> Option<Vec<String>> {
    let view = kubeconfig::read_selected(&request.target)?;
    Some(view.contexts().into_iter().map(|entry| entry.name).collect())
}

fn objects(cx: &Cx, resource: &str, request: &ValuesRequest) -> Option<Vec<String>> {
    let kubectl = tools::KUBECTL.find().ok()?;
    let sh = cx.shell().ok()?;
    let mut cmd = kubectl_command(&sh, &kubectl, request.target.kubeconfig.as_ref());
    if let Some(context) = request.target.explicit_context() {
        cmd = cmd.arg("--context").arg(context);
    }
    if let Some(namespace) = &request.namespace {
        cmd = cmd.arg("--namespace").arg(namespace);
    }
    let cmd = cmd.args(["get", resource, "--output=name", "--request-timeout=2s"]);
    let output = Command::new(cmd).timeout(TIMEOUT).read(cx).ok()?.text();
    // `pod/hello-1`
    let name = |line: &str| line.split_once('/').map(|(_, name)| name.to_owned());
    Some(output.lines().filter_map(name).collect())
}
