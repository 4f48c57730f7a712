//! `cargo kdev load`.

use clap::Args;
use kdev::{ConfigLayer, LoadRequest};

use crate::flags::{BuilderArgs, TargetArgs};

#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    /// Image in Docker, or image archive (`FILE.tar`, `./FILE`, `-` for stdin)
    /// [default: last build of the project]
    #[arg(value_name = "IMAGE|FILE")]
    reference: Option<String>,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    builder: BuilderArgs,
}

impl From<LoadArgs> for LoadRequest {
    fn from(LoadArgs { reference, target, builder }: LoadArgs) -> Self {
        Self {
            image: reference,
            selection: target.project.into(),
            target: target.cluster.into(),
            nodes: target.nodes,
            flags: ConfigLayer {
                builder: builder.builder,
                ssh_config: target.ssh_config,
                ..ConfigLayer::default()
            },
        }
    }
}
