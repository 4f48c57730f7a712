//! `cargo kdev up`.

use clap::Args;
use kdev::{ApplyOptions, ConfigLayer, UpRequest};

use crate::flags::{TargetArgs, PullPolicyArg};

#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// Name of the image, without tag [default: the package's name]
    #[arg(long, env = "KDEV_IMAGE", hide_env_values = true, value_name = "NAME")]
    image: Option<String>,
    /// Pull policy of the containers that run the image [default: Never]
    #[arg(long, env = "KDEV_PULL_POLICY", hide_env_values = true, value_name = "POLICY")]
    pull_policy: Option<PullPolicyArg>,
    /// Namespace to apply to [default: the context's]
    #[arg(short, long, env = "KDEV_NAMESPACE", hide_env_values = true, value_name = "NAME")]
    namespace: Option<String>,
    /// How long the new pods may take [default: 120]
    #[arg(long, env = "KDEV_TIMEOUT", hide_env_values = true, value_name = "SECONDS")]
    timeout: Option<u64>,
    #[command(flatten)]
    apply: ApplyArgs,
    /// Put the revision before back if the new pods cannot become ready
    #[arg(long)]
    rollback: bool,
}

/// What an apply may do that it does not do by itself.
#[derive(Debug, Args)]
struct ApplyArgs {
    /// Take fields over that another field manager owns
    #[arg(long)]
    force_conflicts: bool,
    /// Delete and create anew what cannot be changed: a Job, a selector; without
    /// it, asks where it can
    #[arg(long)]
    recreate: bool,
    /// Delete what has left the manifests since it was applied
    #[arg(long)]
    prune: bool,
}

impl From<UpArgs> for UpRequest {
    fn from(up: UpArgs) -> Self {
        let place = up.target;
        Self {
            selection: place.project.into(),
            target: place.cluster.into(),
            nodes: place.nodes,
            consent: up.apply.into(),
            rollback: up.rollback,
            flags: ConfigLayer {
                image: up.image,
                pull_policy: up.pull_policy.map(PullPolicyArg::into),
                namespace: up.namespace,
                ssh_config: place.ssh_config,
                timeout: up.timeout,
                ..ConfigLayer::default()
            },
        }
    }
}

impl From<ApplyArgs> for ApplyOptions {
    fn from(ApplyArgs { force_conflicts, recreate, prune }: ApplyArgs) -> Self {
        Self { force_conflicts, recreate, prune }
    }
}
