//! `cargo kdev load`.

use clap::Args;
use kdev::{ConfigLayer, LoadRequest};

use crate::flags::TargetArgs;

#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    /// Local image, or an archive of one (`FILE.tar`, `./FILE`, `-` for stdin),
    /// loaded under its own name [default: the project's last build, under the
    /// name of its content]
    #[arg(value_name = "IMAGE|FILE")]
    reference: Option<String>,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
}

impl From<LoadArgs> for LoadRequest {
    fn from(LoadArgs { reference, target: place }: LoadArgs) -> Self {
        Self {
            image: reference,
            selection: place.project.into(),
            target: place.cluster.into(),
            nodes: place.nodes,
            flags: ConfigLayer { ssh_config: place.ssh_config, ..ConfigLayer::default() },
        }
    }
}
