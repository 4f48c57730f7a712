//! Why new pods are not ready.

use std::time::Duration;

use kdev_core::kube::workload::UnblockAction;
use kdev_manifest::expected::FieldDrift;

use crate::details::Details;
use crate::{cluster, process};

/// The result of a rollout.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// Why new pods are not ready.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The new pods cannot become ready.
    #[error("{workload} cannot become ready: {}", describe_pod(pod.as_deref(), node.as_deref()))]
    Failed {
        /// Kind and name.
        workload: String,
        /// The pod that shows it.
        pod: Option<String>,
        /// Where it is.
        node: Option<String>,
        /// kubectl with the context and namespace that were used.
        kubectl: String,
        /// What Kubernetes says of it, and the end of the log of what crashed.
        #[source]
        reason: Details,
    },
    /// The workload waits for somebody to do something.
    #[error("{workload} does not replace its pods")]
    Blocked {
        /// Kind and name.
        workload: String,
        /// What would make it go on.
        action: UnblockAction,
        /// kubectl with the context and namespace that were used.
        kubectl: String,
        /// What holds it.
        #[source]
        reason: Details,
    },
    /// Another build of the image was applied meanwhile.
    #[error("{workload} runs another build: `{live}` has taken the place of `{applied}`")]
    Superseded {
        /// Kind and name.
        workload: String,
        /// The image that was applied here.
        applied: String,
        /// The image that it has now.
        live: String,
    },
    /// The pods are not what was applied, and so cannot run.
    #[error("admission has changed {} of {workload}", pod.as_ref().map_or_else(|| "the template".to_owned(), |pod| format!("pod `{pod}`")))]
    Mutated {
        /// Kind and name.
        workload: String,
        /// The pod, or the workload itself.
        pod: Option<String>,
        /// Which fields.
        changes: Vec<FieldDrift>,
        /// kubectl with the context and namespace that were used.
        kubectl: String,
        /// Which fields, and who is likely to have changed them.
        #[source]
        reason: Details,
    },
    /// A kubelet lets no pod have an image that it has not pulled itself.
    #[error(
        "{workload} cannot become ready: the kubelet of node `{node}` verifies the credentials that each image was pulled with"
    )]
    ImageRejected {
        /// Kind and name.
        workload: String,
        /// Where the pod is.
        node: String,
        /// The policy, and what the kubelet says.
        #[source]
        reason: Details,
    },
    /// The new pods did not become ready in time.
    #[error("{workload} was not ready within {} s: {ready} of {desired} new pods are", limit.as_secs())]
    TimedOut {
        /// Kind and name.
        workload: String,
        /// Ready new pods.
        ready: u64,
        /// Wanted pods.
        desired: u64,
        /// The limit that was set.
        limit: Duration,
        /// kubectl with the context and namespace that were used.
        kubectl: String,
        /// What Kubernetes says of the others.
        #[source]
        reason: Details,
    },
    /// The cluster cannot be used, or refuses.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    /// It was interrupted, or nothing could be run.
    #[error(transparent)]
    Process(#[from] process::Error),
}

fn describe_pod(pod: Option<&str>, node: Option<&str>) -> String {
    match (pod, node) {
        (Some(pod), Some(node)) => format!("pod `{pod}` on node `{node}` does not start"),
        (Some(pod), None) => format!("pod `{pod}` does not start"),
        _ => "its controller reports a failure".to_owned(),
    }
}

impl Error {
    /// The workload whose pods do not become ready, as `deployment/hello`.
    pub(crate) fn stuck_workload(&self) -> Option<&str> {
        match self {
            Self::Failed { workload, .. } | Self::TimedOut { workload, .. } => Some(workload),
            Self::Blocked { .. }
            | Self::Superseded { .. }
            | Self::Mutated { .. }
            | Self::ImageRejected { .. }
            | Self::Cluster(_)
            | Self::Process(_) => None,
        }
    }

    /// One action that helps.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Failed { pod: Some(pod), kubectl, .. } => {
                format!("see `{kubectl} describe pod {pod}`")
            }
            Self::Failed { workload, kubectl, .. } => {
                format!("see `{kubectl} describe {workload}`")
            }
            Self::Blocked { workload, action: cure, kubectl, .. } => blocked_help(kubectl, workload, *cure),
            Self::Superseded { .. } => "if this build shall run, run this again".to_owned(),
            Self::Mutated { changes, kubectl, .. } => mutated_help(kubectl, changes),
            Self::ImageRejected { node, .. } => format!(
                "set `imagePullCredentialsVerificationPolicy: NeverVerifyPreloadedImages`, its default, in the configuration of the kubelet on node `{node}`, and restart that"
            ),
            Self::TimedOut { workload, kubectl, .. } => format!(
                "see `{kubectl} describe {workload}`; if it only needs longer, give `--timeout SECONDS`"
            ),
            Self::Cluster(error) => return error.help(),
            Self::Process(_) => return None,
        })
    }
}

fn blocked_help(kubectl: &str, workload: &str, cure: UnblockAction) -> String {
    match cure {
        UnblockAction::Resume => format!("let it go on with `{kubectl} rollout resume {workload}`"),
        UnblockAction::Unsuspend => {
            let patch = r#"--patch '{"spec":{"suspend":false}}'"#;
            format!("let it run with `{kubectl} patch {workload} {patch}`")
        }
        UnblockAction::DeletePods => {
            format!(
                "see its pods with `{kubectl} get pods`, delete the old ones, and run this again"
            )
        }
    }
}

fn mutated_help(kubectl: &str, changes: &[FieldDrift]) -> String {
    if changes.iter().all(|change| change.field == "imagePullPolicy" && change.live == "Always") {
        return "nothing that is not in a registry runs there: start the API server without it, with `--disable-admission-plugins=AlwaysPullImages`".to_owned();
    }
    format!(
        "find it with `{kubectl} get mutatingwebhookconfigurations`, and let it leave this namespace alone"
    )
}
