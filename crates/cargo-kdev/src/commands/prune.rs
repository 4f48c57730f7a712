//! `cargo kdev prune`: flags.

use clap::Args;
use kdev::{ConfigLayer, KeepBuilds, PruneRequest};

use crate::flags::{BuilderArgs, TargetArgs};

#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    builder: BuilderArgs,
    #[command(flatten)]
    keep: KeepArgs,
}

/// How many builds are kept.
#[derive(Debug, Args)]
pub(crate) struct KeepArgs {
    /// Builds to keep on each node and on this machine: a number from 1 on, or all [default: 3]
    #[arg(long, env = "KDEV_KEEP", hide_env_values = true, value_name = "NUMBER")]
    pub(crate) keep: Option<KeepBuilds>,
}

impl From<PruneArgs> for PruneRequest {
    fn from(PruneArgs { target, builder, keep }: PruneArgs) -> Self {
        Self {
            selection: target.project.into(),
            target: target.cluster.into(),
            nodes: target.nodes,
            flags: ConfigLayer {
                builder: builder.builder,
                ssh_config: target.ssh_config,
                keep: keep.keep,
                ..ConfigLayer::default()
            },
        }
    }
}
