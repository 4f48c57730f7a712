//! Errors of kubeconfigs, of `kubectl`, and of the API server.

use std::path::PathBuf;

use kdev_core::kube::placement;
use kdev_core::shell::quote;
use kdev_core::text::list;

use crate::cluster::credentials::RejectedCredentials;
use crate::cluster::{help, namespaces};
use crate::details::Details;
use crate::process::{self, Failure};
use crate::tools;

/// The result of an operation on a cluster.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of a kubeconfig, of `kubectl`, or of the API server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No context was given, and the kubeconfig has no current context.
    #[error("no current context is set")]
    NoCurrentContext {
        /// Kubeconfigs that were given but do not exist.
        missing: Vec<PathBuf>,
    },
    /// The kubeconfig has no such context.
    #[error("context `{context}` not found in the kubeconfig")]
    ContextNotFound {
        /// The context's name.
        context: String,
        /// The contexts in the kubeconfig.
        known: Vec<String>,
        /// Kubeconfigs that were given but do not exist.
        missing: Vec<PathBuf>,
    },
    /// The user has not allowed changes to the context.
    #[error("refusing to modify context `{context}` ({server}) without permission")]
    ContextNotAllowed {
        /// The context's name.
        context: String,
        /// The URL of the API server.
        server: String,
    },
    /// The API server cannot be reached.
    #[error("cannot connect to the cluster of context `{context}`")]
    Unreachable {
        /// The context.
        context: String,
        /// `kubectl` with the context and namespace that were used.
        kubectl: String,
        /// The failed `kubectl`.
        #[source]
        source: Failure,
    },
    /// `kubectl` cannot use the kubeconfig's files or credentials for the context.
    #[error("cannot use context `{context}` of the kubeconfig")]
    UnusableContext {
        /// The context.
        context: String,
        /// The fix.
        help: String,
        /// The failed `kubectl`.
        #[source]
        source: Failure,
    },
    /// The API server rejected the credentials.
    #[error("the API server of context `{context}` rejected the credentials")]
    Unauthorized {
        /// The context.
        context: String,
        /// How to renew the credentials.
        help: String,
        /// The credentials, and the failed `kubectl`.
        #[source]
        source: RejectedCredentials,
    },
    /// The API server rejected a request.
    #[error("the API server of context `{context}` rejected the request to {action}")]
    Rejected {
        /// The context.
        context: String,
        /// A verb phrase.
        action: String,
        /// `kubectl` with the context and namespace that were used.
        kubectl: String,
        /// The failed `kubectl`.
        #[source]
        source: Failure,
    },
    /// No node can run the pods.
    #[error("no node of context `{context}` can run the pods")]
    NoEligibleNode {
        /// The context.
        context: String,
        /// `kubectl` with the context that was used.
        kubectl: String,
        /// Each node with the reason why the pods cannot run there.
        reasons: Vec<(String, String)>,
        /// The reasons as text.
        #[source]
        reason: Details,
    },
    /// The cluster has no node with the requested name.
    #[error("node `{node}` not found")]
    NodeNotFound {
        /// The requested name.
        node: String,
        /// The nodes of the cluster.
        known: Vec<String>,
    },
    /// The namespace does not exist.
    #[error("namespace `{namespace}` not found in context `{context}`")]
    NamespaceNotFound {
        /// The context.
        context: String,
        /// The namespace's name.
        namespace: String,
        /// The namespaces of the cluster.
        known: Vec<String>,
        /// The namespaces to which `up` has applied the package, as far as it is known.
        applied_to: Vec<String>,
        /// The command that creates it, if this is useful.
        create: Option<String>,
    },
    /// The workloads of the project do not exist.
    #[error("{} not found in namespace `{namespace}` of context `{context}`", list(workloads))]
    NotApplied {
        /// The context.
        context: String,
        /// The namespace's name.
        namespace: String,
        /// Kinds and names of the workloads.
        workloads: Vec<String>,
        /// The command that applies them.
        command: String,
    },
    /// The namespace is being deleted, so no object can be created in it.
    #[error(
        "namespace `{namespace}` of context `{context}` is being deleted since {since}, so no object can be created in it"
    )]
    NamespaceTerminating {
        /// The context.
        context: String,
        /// The namespace's name.
        namespace: String,
        /// When the deletion began.
        since: String,
        /// The command after which it can be used.
        command: String,
        /// The objects and finalizers that remain, as the API server reports them.
        #[source]
        reason: Option<Details>,
    },
    /// A `kubectl` command failed before it connected to a cluster.
    #[error("failed to {action}")]
    Command {
        /// A verb phrase.
        action: &'static str,
        /// The failed `kubectl`.
        #[source]
        source: Failure,
    },
    /// `kubectl` is missing, too old, or printed unexpected output.
    #[error(transparent)]
    Tool(#[from] tools::Error),
    /// A process could not be started, or the run was interrupted.
    #[error(transparent)]
    Process(#[from] process::Error),
}

impl Error {
    /// Returns the text of the `help:` line, if there is one.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::NoCurrentContext { missing } | Self::ContextNotFound { missing, .. }
                if !missing.is_empty() =>
            {
                missing_kubeconfig_help(missing)
            }
            Self::NoCurrentContext { .. } => {
                "pass `--context NAME`; run `kubectl config get-contexts` to list the contexts"
                    .to_owned()
            }
            Self::ContextNotFound { known, .. } if known.is_empty() => {
                "pass `--kubeconfig FILE` to use another kubeconfig".to_owned()
            }
            Self::NamespaceNotFound { namespace, known, applied_to, create, .. } => {
                namespaces::not_found_help(namespace, known, applied_to, create.as_deref())
            }
            Self::NotApplied { command, .. } => format!("run `{command}` to apply the manifests"),
            Self::NamespaceTerminating { command, .. } => {
                format!("run `{command}`, or pass `--namespace NAME` to use another namespace")
            }
            Self::ContextNotFound { known, .. } | Self::NodeNotFound { known, .. } => {
                format!("use one of {}", list(known))
            }
            Self::ContextNotAllowed { context, .. } => format!(
                "pass `--context {context}` to allow it once, or add it to `contexts` in `[package.metadata.kdev]`"
            ),
            Self::UnusableContext { help, .. } | Self::Unauthorized { help, .. } => help.clone(),
            Self::Unreachable { kubectl, source, .. } => help::unreachable_help(kubectl, source),
            Self::Rejected { kubectl, source, .. } => {
                help::rejected_help(kubectl, without_namespace(kubectl), source)
            }
            Self::NoEligibleNode { kubectl, reasons, .. } => no_node_help(kubectl, reasons),
            Self::Tool(error) => return error.help(),
            Self::Command { .. } => {
                "correct the kubeconfig, or pass `--kubeconfig FILE` to use another one".to_owned()
            }
            Self::Process(_) => return None,
        })
    }
}

fn missing_kubeconfig_help(missing: &[PathBuf]) -> String {
    let missing: Vec<_> = missing.iter().map(|path| path.to_string_lossy()).collect();
    let verb = if missing.len() == 1 { "does" } else { "do" };
    format!("{} {verb} not exist; set KUBECONFIG or pass `--kubeconfig FILE`", list(&missing))
}

/// Removes the namespace, for resources that are not namespaced.
pub(super) fn without_namespace(kubectl: &str) -> &str {
    kubectl.rsplit_once(" --namespace ").map_or(kubectl, |(rest, _)| rest)
}

/// The start of the description of a taint that is removed when the node is healthy.
const HAS_HEALTH_TAINT: &str = "it has the taint `node.kubernetes.io/";

/// Returns the fix for a cluster in which no node can run the pods: a change to a node
/// if one is enough, else to the manifest.
pub(crate) fn no_node_help(kubectl: &str, reasons: &[(String, String)]) -> String {
    let kubectl = without_namespace(kubectl);
    let uncordon = |(node, reason): &(String, String)| {
        let help = format!("run `{kubectl} uncordon {node}` to allow new pods on the node");
        (reason == placement::IS_CORDONED).then_some(help)
    };
    let explain_taint = |(node, reason): &(String, String)| {
        let help = format!("run `{kubectl} describe node {node}` to see why it has the taint");
        reason.starts_with(HAS_HEALTH_TAINT).then_some(help)
    };
    // The pods select a node if a taint is its only obstacle, so no other node is meant.
    let is_selected = |(_, reason): &(String, String)| reason.starts_with(placement::HAS_TAINT);
    let add_label = |(node, reason): &(String, String)| {
        let label = reason.strip_prefix(placement::MISSING_LABEL)?.trim_matches('`');
        let (key, _) = label.split_once('=')?;
        let label = quote(label);
        let help = format!("run `{kubectl} label node {node} {label}` to add the label to a node");
        (!placement::is_managed_label(key)).then_some(help)
    };
    let label = reasons.iter().find_map(add_label).filter(|_| !reasons.iter().any(is_selected));
    let fix = reasons.iter().find_map(uncordon).or_else(|| reasons.iter().find_map(explain_taint));
    fix.or(label).unwrap_or_else(|| {
        "change the node selector, affinity, or tolerations of the pods in the manifest".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_changes_only_nodes_that_pods_select() {
        let manifest =
            "change the node selector, affinity, or tolerations of the pods in the manifest";
        let label = "it does not have the label `gpu=yes`";
        let table = [
            ([label, label], "run `kubectl label node n1 'gpu=yes'` to add the label to a node"),
            ([label, "it is cordoned"], "run `kubectl uncordon n2` to allow new pods on the node"),
            (
                [
                    "it does not have the label `kubernetes.io/hostname=n2`",
                    "it has the taint `node.kubernetes.io/disk-pressure:NoSchedule`",
                ],
                "run `kubectl describe node n2` to see why it has the taint",
            ),
            ([label, "it has the taint `team=data:NoSchedule`"], manifest),
            (
                ["it does not have the label `kubernetes.io/arch=arm64`", label],
                "run `kubectl label node n2 'gpu=yes'` to add the label to a node",
            ),
            (
                [
                    "it does not have the label `kubernetes.io/arch=arm64`",
                    "the pods' node affinity excludes it",
                ],
                manifest,
            ),
        ];
        for (reasons, expected) in table {
            let [first, second] = reasons.map(str::to_owned);
            let reasons = [("n1".to_owned(), first), ("n2".to_owned(), second)];
            assert_eq!(no_node_help("kubectl --namespace a", &reasons), expected);
        }
    }
}
