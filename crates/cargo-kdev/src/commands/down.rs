//! `cargo kdev down`.

use clap::Args;
use kdev::{DownRequest, ConfigLayer};

use crate::flags::{ClusterArgs, ProjectArgs};

#[derive(Debug, Args)]
pub(crate) struct DownArgs {
    #[command(flatten)]
    project: ProjectArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Namespace that was applied to [default: the context's]
    #[arg(short, long, env = "KDEV_NAMESPACE", hide_env_values = true, value_name = "NAME")]
    namespace: Option<String>,
    /// Show each command that would change something, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

impl From<DownArgs> for DownRequest {
    fn from(down: DownArgs) -> Self {
        Self {
            selection: down.project.into(),
            target: down.cluster.into(),
            flags: ConfigLayer { namespace: down.namespace, ..ConfigLayer::default() },
        }
    }
}
