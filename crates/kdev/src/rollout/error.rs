//! Errors of a rollout.

use std::time::Duration;

use kdev_core::kube::workload::UnblockAction;
use kdev_manifest::expected::FieldDrift;

use crate::details::Details;
use crate::{cluster, process};

/// The result of a rollout.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of a rollout.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The new pods cannot become ready.
    #[error("{workload} failed to roll out: {}", describe_failure(*failure, pod.as_deref(), node.as_deref()))]
    Failed {
        /// Kind and name of the workload.
        workload: String,
        /// The failed pod.
        pod: Option<String>,
        /// The pod's node.
        node: Option<String>,
        /// Whether waiting longer may help.
        failure: Failure,
        /// `kubectl` with the context and namespace that were used.
        kubectl: String,
        /// The reason in the pod's status, and the last log lines of a crashed container.
        #[source]
        reason: Details,
    },
    /// The rollout waits for an action of the user.
    #[error("the rollout of {workload} is blocked")]
    Blocked {
        /// Kind and name of the workload.
        workload: String,
        /// The action that continues the rollout.
        action: UnblockAction,
        /// `kubectl` with the context and namespace that were used.
        kubectl: String,
        /// Why it is blocked.
        #[source]
        reason: Details,
    },
    /// Another build of the image was applied in the meantime.
    #[error(
        "another build of {workload} was applied in the meantime: `{live}` replaced `{applied}`"
    )]
    Superseded {
        /// Kind and name of the workload.
        workload: String,
        /// The image that this run applied.
        applied: String,
        /// The image of the workload now.
        live: String,
    },
    /// Admission control modified the pods so that they cannot run.
    #[error("admission control modified {} of {workload}", pod.as_ref().map_or_else(|| "the template".to_owned(), |pod| format!("pod `{pod}`")))]
    Mutated {
        /// Kind and name of the workload.
        workload: String,
        /// The modified pod; `None` for the template of the workload.
        pod: Option<String>,
        /// The modified fields.
        changes: Vec<FieldDrift>,
        /// `kubectl` with the context and namespace that were used.
        kubectl: String,
        /// The modified fields and the likely cause, as text.
        #[source]
        reason: Details,
    },
    /// The kubelet rejects images that it did not pull itself.
    #[error(
        "{workload} failed to roll out: the kubelet on node `{node}` rejects images that it did not pull itself"
    )]
    ImageRejected {
        /// Kind and name of the workload.
        workload: String,
        /// The pod's node.
        node: String,
        /// The policy, and the message of the kubelet.
        #[source]
        reason: Details,
    },
    /// The new pods did not become ready in time.
    #[error("timed out after {} s waiting for {workload}: {ready} of {desired} new pods are ready", limit.as_secs())]
    TimedOut {
        /// Kind and name of the workload.
        workload: String,
        /// The number of ready new pods.
        ready: u64,
        /// The number of desired pods.
        desired: u64,
        /// The configured timeout.
        limit: Duration,
        /// `kubectl` with the context and namespace that were used.
        kubectl: String,
        /// The reasons in the status of the other pods.
        #[source]
        reason: Details,
    },
    /// The cluster cannot be used, or rejected a request.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    /// A process could not be started, or the run was interrupted.
    #[error(transparent)]
    Process(#[from] process::Error),
}

/// How the pods of a rollout failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// Each retry has the same result, so the rollout ended immediately.
    CannotRecover,
    /// A retry might have succeeded, but none did within the timeout.
    NotInTime(Duration),
    /// The pod runs another image.
    OtherImage,
    /// The status of the workload reports the failure.
    Reported,
    /// The workload no longer exists.
    Deleted,
}

fn describe_failure(failure: Failure, pod: Option<&str>, node: Option<&str>) -> String {
    let pod = match (pod, node) {
        (Some(pod), Some(node)) => format!("pod `{pod}` on node `{node}`"),
        (Some(pod), None) => format!("pod `{pod}`"),
        (None, _) => {
            return match failure {
                Failure::CannotRecover => "its pods cannot be created".to_owned(),
                Failure::NotInTime(limit) => {
                    format!("its pods could not be created within {} s", limit.as_secs())
                }
                Failure::Deleted => "it was deleted".to_owned(),
                _ => "its controller reported a failure".to_owned(),
            };
        }
    };
    match failure {
        Failure::CannotRecover => format!("{pod} cannot start"),
        Failure::NotInTime(limit) => format!("{pod} did not start within {} s", limit.as_secs()),
        Failure::OtherImage => format!("{pod} runs another image"),
        Failure::Reported | Failure::Deleted => format!("{pod} failed"),
    }
}

impl Error {
    /// Returns the workload whose pods do not become ready, as `deployment/hello`.
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

    /// Returns the text of the `help:` line, if there is one.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Failed { workload, failure: Failure::Deleted, kubectl, .. } => {
                let name = workload.rsplit('/').next().unwrap_or(workload);
                format!(
                    "run `{kubectl} get events --field-selector involvedObject.name={name}` to see its events"
                )
            }
            Self::Failed { workload, pod, failure, kubectl, .. } => {
                let subject = pod.as_ref().map_or(workload.clone(), |pod| format!("pod {pod}"));
                let longer = match failure {
                    Failure::NotInTime(_) => ", or pass `--timeout SECONDS` to wait longer",
                    _ => "",
                };
                format!("run `{kubectl} describe {subject}` to see its events{longer}")
            }
            Self::Blocked { workload, action, kubectl, .. } => {
                blocked_help(kubectl, workload, *action)
            }
            Self::Superseded { .. } => "run the command again to deploy this build".to_owned(),
            Self::Mutated { changes, kubectl, .. } => mutated_help(kubectl, changes),
            Self::ImageRejected { node, .. } => format!(
                "set `imagePullCredentialsVerificationPolicy: NeverVerifyPreloadedImages`, the default, in the kubelet configuration of node `{node}`, and restart the kubelet"
            ),
            Self::TimedOut { workload, kubectl, .. } => format!(
                "run `{kubectl} describe {workload}` to see the cause, or pass `--timeout SECONDS` to wait longer"
            ),
            Self::Cluster(error) => return error.help(),
            Self::Process(_) => return None,
        })
    }
}

fn blocked_help(kubectl: &str, workload: &str, action: UnblockAction) -> String {
    match action {
        UnblockAction::Resume => format!(
            "run `{kubectl} rollout resume {workload}`, and remove `paused` from the manifest if it is set there"
        ),
        UnblockAction::Unsuspend => {
            let patch = r#"--patch '{"spec":{"suspend":false}}'"#;
            format!("run `{kubectl} patch {workload} {patch}`")
        }
        UnblockAction::RemovePartition => {
            let spec = r#"{"updateStrategy":{"rollingUpdate":{"partition":0}}}"#;
            format!(
                "remove `partition` from the manifest, or run `{kubectl} patch {workload} --patch '{{\"spec\":{spec}}}'`"
            )
        }
        UnblockAction::DeletePods => {
            format!("run `{kubectl} get pods`, delete the old pods, and run the command again")
        }
    }
}

fn mutated_help(kubectl: &str, changes: &[FieldDrift]) -> String {
    if changes.iter().all(|change| change.field == "imagePullPolicy" && change.live == "Always") {
        return "start the API server with `--disable-admission-plugins=AlwaysPullImages`; this plugin only allows images from a registry".to_owned();
    }
    format!(
        "run `{kubectl} get mutatingwebhookconfigurations` to find the webhook, and exclude this namespace from it"
    )
}
