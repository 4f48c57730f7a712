//! `cargo kdev up`.

use clap::Args;
use kdev::{ApplyOptions, ConfigLayer, UpRequest, WatchRequest};

use crate::commands::prune::KeepArgs;
use crate::commands::watch::WatchArgs;
use crate::flags::{BuilderArgs, CargoArgs, PullPolicyArg, TargetArgs};

#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// Name of the image, without a tag [default: package name]
    #[arg(long, env = "KDEV_IMAGE", hide_env_values = true, value_name = "NAME")]
    image: Option<String>,
    #[command(flatten)]
    builder: BuilderArgs,
    /// Pull policy of the containers that run the image [default: Never]
    #[arg(long, env = "KDEV_PULL_POLICY", hide_env_values = true, value_name = "POLICY")]
    pull_policy: Option<PullPolicyArg>,
    /// Namespace to use [default: the context's namespace]
    #[arg(short, long, env = "KDEV_NAMESPACE", hide_env_values = true, value_name = "NAME")]
    namespace: Option<String>,
    /// Seconds to wait for the rollout [default: 120]
    #[arg(long, env = "KDEV_TIMEOUT", hide_env_values = true, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Seconds that containers without a readiness probe must run [default: 3]
    #[arg(long, env = "KDEV_SETTLE", hide_env_values = true, value_name = "SECONDS")]
    settle: Option<u64>,
    #[command(flatten)]
    keep: KeepArgs,
    #[command(flatten)]
    apply: ApplyArgs,
    /// Roll back if the rollout fails
    #[arg(long)]
    rollback: bool,
    /// Only list the files that the build and the deployment depend on
    #[arg(long)]
    pub(crate) inputs: bool,
    #[command(flatten)]
    cargo: CargoArgs,
    #[command(flatten)]
    pub(crate) watch: WatchArgs,
}

/// What an apply is allowed to do.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "one per flag")]
struct ApplyArgs {
    /// Take over fields owned by other field managers
    #[arg(long)]
    force_conflicts: bool,
    /// Delete and recreate objects whose changes are immutable
    #[arg(long)]
    recreate: bool,
    /// Delete objects that are no longer in the manifests
    #[arg(long)]
    prune: bool,
    /// With --prune, also delete namespaces, CustomResourceDefinitions, and volume claims, with
    /// everything in them
    #[arg(long, requires = "prune")]
    delete_data: bool,
    /// With --delete-data, delete without a question
    #[arg(short, long, requires = "delete_data")]
    yes: bool,
    /// Restart workloads whose pods read a changed ConfigMap or Secret
    #[arg(long)]
    restart: bool,
}

impl From<UpArgs> for WatchRequest {
    fn from(mut up: UpArgs) -> Self {
        let watch = std::mem::take(&mut up.watch);
        watch.into_request(up.into())
    }
}

impl From<UpArgs> for UpRequest {
    fn from(up: UpArgs) -> Self {
        let target = up.target;
        Self {
            selection: target.project.into(),
            target: target.cluster.into(),
            nodes: target.nodes,
            apply_options: up.apply.into(),
            rollback: up.rollback,
            flags: ConfigLayer {
                image: up.image,
                builder: up.builder.builder,
                cargo_flags: up.cargo.into(),
                pull_policy: up.pull_policy.map(PullPolicyArg::into),
                namespace: up.namespace,
                ssh_config: target.ssh_config,
                timeout: up.timeout,
                settle: up.settle,
                keep: up.keep.keep,
                ..ConfigLayer::default()
            },
        }
    }
}

impl From<ApplyArgs> for ApplyOptions {
    fn from(args: ApplyArgs) -> Self {
        let ApplyArgs { force_conflicts, recreate, prune, delete_data, yes, restart } = args;
        Self { force_conflicts, recreate, prune, delete_data, yes, restart }
    }
}
