//! `cargo kdev forward`: flags. The output consists of events.

use clap::Args;
use kdev::{ConfigLayer, ForwardRequest};

use crate::flags::{ClusterArgs, PackagesArgs};

#[derive(Debug, Args)]
pub(crate) struct ForwardArgs {
    /// Port to forward: of this machine and of the pod, or one for both (repeatable)
    /// [default: the TCP ports of the project's first workload]
    #[arg(value_name = "PORT")]
    ports: Vec<String>,
    #[command(flatten)]
    project: PackagesArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Name of the image, without a tag [default: package name]
    #[arg(long, env = "KDEV_IMAGE", hide_env_values = true, value_name = "NAME")]
    image: Option<String>,
    /// Namespace to use [default: the context's namespace]
    #[arg(short, long, env = "KDEV_NAMESPACE", hide_env_values = true, value_name = "NAME")]
    namespace: Option<String>,
}

impl From<ForwardArgs> for ForwardRequest {
    fn from(forward: ForwardArgs) -> Self {
        Self {
            selection: forward.project.into(),
            target: forward.cluster.into(),
            ports: forward.ports,
            flags: ConfigLayer {
                image: forward.image,
                namespace: forward.namespace,
                ..ConfigLayer::default()
            },
        }
    }
}
