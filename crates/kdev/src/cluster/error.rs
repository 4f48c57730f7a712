//! Why a cluster cannot be used, or refuses.

use std::path::PathBuf;

use kdev_core::kube::placement;
use kdev_core::shell::quote;
use kdev_core::text::list;

use crate::details::Details;
use crate::process::{self, Failure};
use crate::tools;

/// The result of asking a cluster.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a cluster cannot be used, or refuses.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No context was named, and none is current.
    #[error("no kube context is selected")]
    NoCurrentContext {
        /// Kubeconfigs that were named, and do not exist.
        missing: Vec<PathBuf>,
    },
    /// The context does not exist.
    #[error("no kube context is named `{context}`")]
    ContextNotFound {
        /// The name.
        context: String,
        /// Those that exist.
        known: Vec<String>,
        /// Kubeconfigs that were named, and do not exist.
        missing: Vec<PathBuf>,
    },
    /// The context may not be changed.
    #[error("kdev does not change the cluster of context `{context}` (server {server}) unasked")]
    ContextNotAllowed {
        /// The name.
        context: String,
        /// The API server's address.
        server: String,
    },
    /// The cluster does not answer.
    #[error("the cluster of context `{context}` does not answer")]
    Unreachable {
        /// The context.
        context: String,
        /// kubectl with the context and namespace that were used.
        kubectl: String,
        /// kubectl's words.
        #[source]
        source: Failure,
    },
    /// The API refused what kubectl asked.
    #[error("the cluster of context `{context}` refused to {action}")]
    Rejected {
        /// The context.
        context: String,
        /// A verb phrase.
        action: String,
        /// kubectl with the context and namespace that were used.
        kubectl: String,
        /// kubectl's words.
        #[source]
        source: Failure,
    },
    /// No node may run the pods.
    #[error("no node of context `{context}` may run the pods")]
    NoEligibleNode {
        /// The context.
        context: String,
        /// kubectl with the context that was used.
        kubectl: String,
        /// Each node with what keeps the pods away.
        reasons: Vec<(String, String)>,
        /// The same in words.
        #[source]
        reason: Details,
    },
    /// A node that was asked for does not exist.
    #[error("the cluster has no node `{node}`")]
    NodeNotFound {
        /// The name.
        node: String,
        /// Those that exist.
        known: Vec<String>,
    },
    /// The namespace does not exist.
    #[error("context `{context}` has no namespace `{namespace}`")]
    NamespaceNotFound {
        /// The context.
        context: String,
        /// The name.
        namespace: String,
        /// Those that exist.
        known: Vec<String>,
    },
    /// kubectl ran, and failed before it asked a cluster.
    #[error("cannot {action}")]
    Command {
        /// A verb phrase.
        action: &'static str,
        /// kubectl's words.
        #[source]
        source: Failure,
    },
    /// kubectl is missing or too old, or cannot be understood.
    #[error(transparent)]
    Tool(#[from] tools::Error),
    /// Nothing could be run.
    #[error(transparent)]
    Process(#[from] process::Error),
}

impl Error {
    /// One action that helps.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::NoCurrentContext { missing } | Self::ContextNotFound { missing, .. }
                if !missing.is_empty() =>
            {
                missing_kubeconfig_help(missing)
            }
            Self::NoCurrentContext { .. } => {
                "name one with `--context NAME`; `kubectl config get-contexts` lists them"
                    .to_owned()
            }
            Self::ContextNotFound { known, .. } if known.is_empty() => {
                "name the file that has it with `--kubeconfig FILE`".to_owned()
            }
            Self::ContextNotFound { known, .. }
            | Self::NamespaceNotFound { known, .. }
            | Self::NodeNotFound { known, .. } => format!("use one of {}", list(known)),
            Self::ContextNotAllowed { context, .. } => format!(
                "if it is meant, name it with `--context {context}`, or for good with `contexts = [\"{context}\"]` in `[package.metadata.kdev]`"
            ),
            Self::Unreachable { kubectl, .. } => format!("check it with `{kubectl} get nodes`"),
            Self::Rejected { kubectl, source, .. } => rejected_help(kubectl, &source.stderr),
            Self::NoEligibleNode { kubectl, reasons, .. } => no_node_help(kubectl, reasons),
            Self::Tool(error) => return error.help(),
            Self::Command { .. } | Self::Process(_) => return None,
        })
    }
}

fn missing_kubeconfig_help(missing: &[PathBuf]) -> String {
    let missing: Vec<_> = missing.iter().map(|path| path.to_string_lossy()).collect();
    let verb = if missing.len() == 1 { "does" } else { "do" };
    format!(
        "{} {verb} not exist: name the file that has it in KUBECONFIG, or with `--kubeconfig FILE`",
        list(&missing)
    )
}

/// What helps against what the API server says.
fn rejected_help(kubectl: &str, stderr: &str) -> String {
    let says = |sign: &str| stderr.contains(sign);
    let after = |sign: &str| stderr.split(sign).nth(1).and_then(|rest| rest.split('"').next());
    match after("namespaces \"") {
        Some(name) if says("not found") => {
            let kubectl = without_namespace(kubectl);
            return format!("create it with `{kubectl} create namespace {name}`");
        }
        _ => {}
    }
    if says("failed calling webhook") || says("denied the request") {
        let hooks = "validatingwebhookconfigurations,mutatingwebhookconfigurations";
        let name = after("webhook \"").map(|name| format!(" of `{name}`")).unwrap_or_default();
        return format!("meet the rule{name}; see `{kubectl} get {hooks}`");
    }
    if says("violates PodSecurity") {
        return "give the pods a `securityContext` that the namespace's level allows".to_owned();
    }
    if says("no matches for kind") {
        return format!("install what brings the kind; see `{kubectl} api-resources`");
    }
    if says("exceeded quota") {
        return format!("see `{kubectl} describe quota`");
    }
    if says("(Forbidden)") && says("cannot ") {
        return format!("see what you may do with `{kubectl} auth can-i --list`");
    }
    if says("is invalid: ") || says("unknown field") || says("failed to create typed patch") {
        return "correct this field in the manifest".to_owned();
    }
    format!("try it with `{kubectl} apply --server-side --dry-run=server -f FILE`")
}

/// kubectl for what lives in no namespace.
fn without_namespace(kubectl: &str) -> &str {
    kubectl.rsplit_once(" --namespace ").map_or(kubectl, |(rest, _)| rest)
}

/// What lets a node take the pods, where that is the cluster's to change.
pub(crate) fn no_node_help(kubectl: &str, reasons: &[(String, String)]) -> String {
    let kubectl = without_namespace(kubectl);
    let of_label = |(node, why): &(String, String)| {
        let label = why.strip_prefix(placement::MISSING_LABEL)?.trim_matches('`');
        Some(format!("give a node the label with `{kubectl} label node {node} {}`", quote(label)))
    };
    let cordoned = |(node, why): &(String, String)| {
        let help = format!("let pods go there again with `{kubectl} uncordon {node}`");
        (why == placement::IS_CORDONED).then_some(help)
    };
    let found = reasons.iter().find_map(cordoned).or_else(|| reasons.iter().find_map(of_label));
    found.unwrap_or_else(|| {
        "change the pods' node selector, affinity or tolerations in the manifest".to_owned()
    })
}
