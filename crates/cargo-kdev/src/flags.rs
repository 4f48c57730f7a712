//! Flags that several commands share.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use kdev::{BuilderChoice, CargoFlags, ClusterTarget, PackageSelection, PullPolicy};

/// The package.
#[derive(Debug, Args)]
pub(crate) struct ProjectArgs {
    /// Package to work on
    #[arg(short, long, value_name = "NAME")]
    pub(crate) package: Option<String>,
    /// Path to Cargo.toml
    #[arg(long, value_name = "PATH")]
    pub(crate) manifest_path: Option<PathBuf>,
}

/// The packages of a command that can act on several.
#[derive(Debug, Args)]
pub(crate) struct PackagesArgs {
    /// Package to work on (repeatable, with wildcards)
    #[arg(short, long = "package", value_name = "NAME")]
    packages: Vec<String>,
    /// All services of the workspace: packages with a Dockerfile or kdev settings
    #[arg(long)]
    workspace: bool,
    /// Package that --workspace leaves out (repeatable, with wildcards)
    #[arg(long, value_name = "NAME", requires = "workspace")]
    exclude: Vec<String>,
    /// Path to Cargo.toml
    #[arg(long, value_name = "PATH")]
    manifest_path: Option<PathBuf>,
}

/// The cluster.
#[derive(Debug, Args)]
pub(crate) struct ClusterArgs {
    /// Kube context to use; naming a context also allows changes to it
    /// [default: current context]
    #[arg(long, env = "KDEV_CONTEXT", hide_env_values = true, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// Kubeconfig to use
    #[arg(long, value_name = "PATH")]
    pub(crate) kubeconfig: Option<PathBuf>,
}

/// The program that builds the image, and that has it afterwards.
#[derive(Debug, Args)]
pub(crate) struct BuilderArgs {
    /// Program that builds the image: auto, docker, buildx:NAME, podman, or cargo [default: auto]
    #[arg(long, env = "KDEV_BUILDER", hide_env_values = true, value_name = "BUILDER")]
    pub(crate) builder: Option<BuilderChoice>,
}

/// Flags of `cargo build`.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of cargo build")]
#[expect(clippy::struct_excessive_bools, reason = "one per flag")]
pub(crate) struct CargoArgs {
    /// Build with the release profile
    #[arg(short, long, conflicts_with = "profile")]
    release: bool,
    /// Build with this profile
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Features to activate (repeatable)
    #[arg(short = 'F', long, value_name = "FEATURES")]
    features: Vec<String>,
    /// Activate all features
    #[arg(long)]
    all_features: bool,
    /// Do not activate the `default` feature
    #[arg(long)]
    no_default_features: bool,
    /// Fail if Cargo.lock would change
    #[arg(long)]
    locked: bool,
    /// Run without network access
    #[arg(long)]
    offline: bool,
    /// Equivalent to --locked and --offline
    #[arg(long)]
    frozen: bool,
    /// Build only this program (repeatable); with the builder cargo, the program of the image
    #[arg(long = "bin", value_name = "NAME")]
    bins: Vec<String>,
}

/// The project, cluster and nodes.
#[derive(Debug, Args)]
pub(crate) struct TargetArgs {
    #[command(flatten)]
    pub(crate) project: PackagesArgs,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// Load onto this node only (repeatable)
    /// [default: all nodes that may run the pods]
    #[arg(long = "node", value_name = "NAME")]
    pub(crate) nodes: Vec<String>,
    /// SSH configuration file to use instead of the default
    #[arg(long, env = "KDEV_SSH_CONFIG", hide_env_values = true, value_name = "PATH")]
    pub(crate) ssh_config: Option<PathBuf>,
    /// Print the commands that would make changes, without running them
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// The output.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArgs {
    /// Print build commands
    #[arg(short, long, global = true, conflicts_with = "quiet")]
    pub(crate) verbose: bool,
    /// Print only warnings and errors
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// When to use colors
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: Color,
    /// Output format: human-readable, or one JSON object per line on stdout
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

impl From<CargoArgs> for CargoFlags {
    fn from(args: CargoArgs) -> Self {
        let CargoArgs { release, profile, features, all_features, .. } = args;
        let CargoArgs { no_default_features, locked, offline, frozen, bins, .. } = args;
        Self {
            release,
            profile,
            features,
            all_features,
            no_default_features,
            locked,
            offline,
            frozen,
            bins,
        }
    }
}

impl From<ProjectArgs> for PackageSelection {
    fn from(ProjectArgs { package, manifest_path }: ProjectArgs) -> Self {
        Self { manifest_path, packages: package.into_iter().collect(), ..Self::default() }
    }
}

impl From<PackagesArgs> for PackageSelection {
    fn from(args: PackagesArgs) -> Self {
        let PackagesArgs { packages, workspace, exclude, manifest_path } = args;
        Self { manifest_path, packages, workspace, exclude }
    }
}

impl From<ClusterArgs> for ClusterTarget {
    /// Adds the default kubeconfigs of `kubectl`.
    fn from(ClusterArgs { context, kubeconfig }: ClusterArgs) -> Self {
        let from_env = std::env::var_os("KUBECONFIG").filter(|files| !files.is_empty());
        let home = || etcetera::home_dir().ok().map(|home| home.join(".kube/config"));
        let usual = match from_env {
            Some(files) => {
                std::env::split_paths(&files).filter(|f| !f.as_os_str().is_empty()).collect()
            }
            None => home().into_iter().collect(),
        };
        Self { context, kubeconfig, default_paths: usual }
    }
}
