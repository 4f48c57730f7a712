//! `cargo kdev down`.

use clap::Args;
use kdev::{ConfigLayer, DownRequest};

use crate::flags::{ClusterArgs, PackagesArgs};

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "one per flag")]
pub(crate) struct DownArgs {
    #[command(flatten)]
    project: PackagesArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Namespace to use [default: the context's namespace]
    #[arg(short, long, env = "KDEV_NAMESPACE", hide_env_values = true, value_name = "NAME")]
    namespace: Option<String>,
    /// Also delete namespaces, CustomResourceDefinitions, and volume claims, with everything in
    /// them
    #[arg(long)]
    delete_data: bool,
    /// With --delete-data, delete without a question
    #[arg(short, long, requires = "delete_data")]
    yes: bool,
    /// Also remove the builds of the image from the nodes
    #[arg(long)]
    images: bool,
    /// SSH configuration file to use instead of the default
    #[arg(long, env = "KDEV_SSH_CONFIG", hide_env_values = true, value_name = "PATH")]
    ssh_config: Option<std::path::PathBuf>,
    /// Print the commands that would make changes, without running them
    #[arg(long)]
    pub(crate) dry_run: bool,
}

impl From<DownArgs> for DownRequest {
    fn from(down: DownArgs) -> Self {
        Self {
            selection: down.project.into(),
            target: down.cluster.into(),
            flags: ConfigLayer {
                namespace: down.namespace,
                ssh_config: down.ssh_config,
                ..ConfigLayer::default()
            },
            delete_data: down.delete_data,
            yes: down.yes,
            images: down.images,
        }
    }
}
