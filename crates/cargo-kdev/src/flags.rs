//! Flags that several commands share.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use kdev::{PullPolicy, PackageSelection, ClusterTarget};

/// Which package.
#[derive(Debug, Args)]
pub(crate) struct ProjectArgs {
    /// Package to work on
    #[arg(short, long, value_name = "NAME")]
    pub(crate) package: Option<String>,
    /// Path to Cargo.toml
    #[arg(long, value_name = "PATH")]
    pub(crate) manifest_path: Option<PathBuf>,
}

/// Which cluster.
#[derive(Debug, Args)]
pub(crate) struct ClusterArgs {
    /// Kube context whose cluster is to be changed; to name it is to allow it
    /// [default: the current one]
    #[arg(long, env = "KDEV_CONTEXT", hide_env_values = true, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// Kubeconfig to use
    #[arg(long, value_name = "PATH")]
    pub(crate) kubeconfig: Option<PathBuf>,
}

/// Which project, cluster and nodes.
#[derive(Debug, Args)]
pub(crate) struct TargetArgs {
    #[command(flatten)]
    pub(crate) project: ProjectArgs,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// Node to load onto, instead of all that may run the pods (repeatable)
    #[arg(long = "node", value_name = "NAME")]
    pub(crate) nodes: Vec<String>,
    /// ssh configuration to use instead of your own
    #[arg(long, env = "KDEV_SSH_CONFIG", hide_env_values = true, value_name = "PATH")]
    pub(crate) ssh_config: Option<PathBuf>,
    /// Show each command that would change something, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// How to talk to the user.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArgs {
    /// Show the commands that build
    #[arg(short, long, global = true, conflicts_with = "quiet")]
    pub(crate) verbose: bool,
    /// Show warnings and errors only
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: Color,
    /// How to tell what happens: for people, or one JSON object a line on stdout
    #[arg(long, global = true, value_name = "FORMAT", default_value = "human")]
    pub(crate) message_format: MessageFormat,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum MessageFormat {
    Human,
    Json,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum PullPolicyArg {
    #[value(name = "Never")]
    Never,
    #[value(name = "IfNotPresent")]
    IfNotPresent,
}

impl From<PullPolicyArg> for PullPolicy {
    fn from(policy: PullPolicyArg) -> Self {
        match policy {
            PullPolicyArg::Never => Self::Never,
            PullPolicyArg::IfNotPresent => Self::IfNotPresent,
        }
    }
}

impl From<ProjectArgs> for PackageSelection {
    fn from(ProjectArgs { package, manifest_path }: ProjectArgs) -> Self {
        Self { manifest_path, package }
    }
}

impl From<ClusterArgs> for ClusterTarget {
    /// With where kubectl would look by itself.
    fn from(ClusterArgs { context, kubeconfig }: ClusterArgs) -> Self {
        let named = std::env::var_os("KUBECONFIG").filter(|files| !files.is_empty());
        let home = || etcetera::home_dir().ok().map(|home| home.join(".kube/config"));
        let usual = match named {
            Some(files) => {
                std::env::split_paths(&files).filter(|f| !f.as_os_str().is_empty()).collect()
            }
            None => home().into_iter().collect(),
        };
        Self { context, kubeconfig, default_paths: usual }
    }
}
