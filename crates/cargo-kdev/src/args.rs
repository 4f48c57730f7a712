//! The command line, and what it means to the library.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use kdev::{
    Consent, DoctorRequest, DownRequest, Layer, LoadRequest, PullPolicy, RenderRequest, Request,
    Selection, StatusRequest, Target, WhyRequest,
};

/// What cargo passes to a plugin: the plugin's own name comes first.
#[derive(Debug, Parser)]
#[command(name = "cargo", bin_name = "cargo", styles = clap_cargo::style::CLAP_STYLING)]
pub(crate) enum Cargo {
    Kdev(Kdev),
}

/// The Kubernetes inner loop without a registry
#[derive(Debug, Args)]
#[command(version, about, long_about = None, after_help = EXIT_CODES)]
pub(crate) struct Kdev {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Kept equal to the library's `ExitCode` and the README by a test.
const EXIT_CODES: &str = "\
Exit codes:
    0  all is done, and proven
    2  the command line is wrong
   90  the project, its configuration or its manifests are wrong
   91  a tool is missing or too old, or docker does not answer
   92  the context is unknown, not allowed or unreachable, or the API refused
   93  a node cannot be reached or used
   94  the image could not be loaded, or its presence not be proven
   95  the new pods cannot become ready
   96  the new pods were not ready in time
  130  interrupted
A failed build ends with the builder's own exit code.";

/// For those who change nothing.
const ASKED_CONTEXT: &str = "Kube context to ask [default: the current one]";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build, load onto every node that may run it, apply, and wait until the
    /// new pods are ready
    Up(Up),
    /// Delete all that `up` has applied, data included; the images stay on the
    /// nodes
    Down(Down),
    /// Print the manifests as `up` would apply them; needs no cluster
    Render(Render),
    /// Load an image that docker or an archive has, and nothing else
    Load(Load),
    /// Tell why a pod does not run: the root cause, what it was seen by, and
    /// what helps; changes nothing
    #[command(mut_arg("context", |arg| arg.help(ASKED_CONTEXT)))]
    Why(Why),
    /// Show what runs of the project, and whether it is the newest build; ends
    /// with 0 whatever it has seen
    #[command(mut_arg("context", |arg| arg.help(ASKED_CONTEXT)))]
    Status(Status),
    /// Check all that `up` needs, here, in the cluster and on each node, and tell
    /// what helps; ends with the code of the first error
    #[command(mut_arg("context", |arg| arg.help(ASKED_CONTEXT)))]
    Doctor(Doctor),
}

impl Command {
    /// Whether changes are only shown.
    pub(crate) fn is_dry_run(&self) -> bool {
        match self {
            Self::Up(Up { place, .. }) | Self::Load(Load { place, .. }) => place.dry_run,
            Self::Down(down) => down.dry_run,
            Self::Render(_) | Self::Why(_) | Self::Status(_) | Self::Doctor(_) => false,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Load {
    /// Local image, or an archive of one (`FILE.tar`, `./FILE`, `-` for stdin),
    /// loaded under its own name [default: the project's last build, under the
    /// name of its content]
    #[arg(value_name = "IMAGE|FILE")]
    reference: Option<String>,
    #[command(flatten)]
    pub(crate) place: Place,
}

#[derive(Debug, Args)]
pub(crate) struct Why {
    /// Pod, or what makes pods (a Deployment, a Job, …) [default: whatever in
    /// the namespace does not run as it should]
    #[arg(value_name = "POD|KIND/NAME")]
    asked: Option<String>,
    /// As kubectl takes it: kind and name, each a word
    #[arg(hide = true)]
    name: Option<String>,
    #[command(flatten)]
    project: Project,
    #[command(flatten)]
    cluster: Cluster,
    /// Namespace to look into [default: the context's]
    #[arg(short, long, env = "KDEV_NAMESPACE", hide_env_values = true, value_name = "NAME")]
    namespace: Option<String>,
    /// ssh configuration to use instead of your own
    #[arg(long, env = "KDEV_SSH_CONFIG", hide_env_values = true, value_name = "PATH")]
    ssh_config: Option<PathBuf>,
    /// Keep the facts in a file, for somebody else to look at; values of
    /// variables are left out
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Judge the facts in such a file, and ask no cluster
    #[arg(long, value_name = "FILE", conflicts_with_all = ["asked", "record"])]
    replay: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    #[command(flatten)]
    project: Project,
    #[command(flatten)]
    cluster: Cluster,
    /// Name of the image, without tag [default: the package's name]
    #[arg(long, env = "KDEV_IMAGE", hide_env_values = true, value_name = "NAME")]
    image: Option<String>,
    /// Namespace to look into [default: the context's]
    #[arg(short, long, env = "KDEV_NAMESPACE", hide_env_values = true, value_name = "NAME")]
    namespace: Option<String>,
    /// Look every two seconds, until Ctrl-C; where stdout is no terminal, print
    /// only what has changed
    #[arg(short, long)]
    pub(crate) watch: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    #[command(flatten)]
    project: Project,
    #[command(flatten)]
    cluster: Cluster,
    /// Namespace that would be applied to [default: the context's]
    #[arg(short, long, env = "KDEV_NAMESPACE", hide_env_values = true, value_name = "NAME")]
    namespace: Option<String>,
    /// Node to check, instead of all that may run the pods (repeatable)
    #[arg(long = "node", value_name = "NAME")]
    nodes: Vec<String>,
    /// ssh configuration to use instead of your own
    #[arg(long, env = "KDEV_SSH_CONFIG", hide_env_values = true, value_name = "PATH")]
    ssh_config: Option<PathBuf>,
    /// Ask whether to do what is safe: start docker, list the context in
    /// kdev.local.toml, add a node's host key to ssh's list
    #[arg(long)]
    fix: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Up {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Name of the image, without tag [default: the package's name]
    #[arg(long, env = "KDEV_IMAGE", hide_env_values = true, value_name = "NAME")]
    image: Option<String>,
    /// Pull policy of the containers that run the image [default: Never]
    #[arg(long, env = "KDEV_PULL_POLICY", hide_env_values = true, value_name = "POLICY")]
    pull_policy: Option<Policy>,
    /// Namespace to apply to [default: the context's]
    #[arg(short, long, env = "KDEV_NAMESPACE", hide_env_values = true, value_name = "NAME")]
    namespace: Option<String>,
    /// How long the new pods may take [default: 120]
    #[arg(long, env = "KDEV_TIMEOUT", hide_env_values = true, value_name = "SECONDS")]
    timeout: Option<u64>,
    #[command(flatten)]
    allowed: Allowed,
    /// Put the revision before back if the new pods cannot become ready
    #[arg(long)]
    rollback: bool,
}

/// What an apply may do that it does not do by itself.
#[derive(Debug, Args)]
struct Allowed {
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

#[derive(Debug, Args)]
pub(crate) struct Down {
    #[command(flatten)]
    project: Project,
    #[command(flatten)]
    cluster: Cluster,
    /// Namespace that was applied to [default: the context's]
    #[arg(short, long, env = "KDEV_NAMESPACE", hide_env_values = true, value_name = "NAME")]
    namespace: Option<String>,
    /// Show each command that would change something, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Render {
    #[command(flatten)]
    project: Project,
    /// Name of the image, without tag [default: the package's name]
    #[arg(long, env = "KDEV_IMAGE", hide_env_values = true, value_name = "NAME")]
    image: Option<String>,
    /// Pull policy of the containers that run the image [default: Never]
    #[arg(long, env = "KDEV_PULL_POLICY", hide_env_values = true, value_name = "POLICY")]
    pull_policy: Option<Policy>,
    /// Print what differs from the sources instead
    #[arg(long)]
    pub(crate) diff: bool,
    /// Say of each container what becomes of it, and why
    #[arg(long)]
    pub(crate) explain: bool,
}

/// Which package.
#[derive(Debug, Args)]
struct Project {
    /// Package to work on
    #[arg(short, long, value_name = "NAME")]
    package: Option<String>,
    /// Path to Cargo.toml
    #[arg(long, value_name = "PATH")]
    manifest_path: Option<PathBuf>,
}

/// Which cluster.
#[derive(Debug, Args)]
struct Cluster {
    /// Kube context whose cluster is to be changed; to name it is to allow it
    /// [default: the current one]
    #[arg(long, env = "KDEV_CONTEXT", hide_env_values = true, value_name = "NAME")]
    context: Option<String>,
    /// Kubeconfig to use
    #[arg(long, value_name = "PATH")]
    kubeconfig: Option<PathBuf>,
}

/// Which project, cluster and nodes.
#[derive(Debug, Args)]
pub(crate) struct Place {
    #[command(flatten)]
    project: Project,
    #[command(flatten)]
    cluster: Cluster,
    /// Node to load onto, instead of all that may run the pods (repeatable)
    #[arg(long = "node", value_name = "NAME")]
    nodes: Vec<String>,
    /// ssh configuration to use instead of your own
    #[arg(long, env = "KDEV_SSH_CONFIG", hide_env_values = true, value_name = "PATH")]
    ssh_config: Option<PathBuf>,
    /// Show each command that would change something, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// How to talk to the user.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct Output {
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
enum Policy {
    #[value(name = "Never")]
    Never,
    #[value(name = "IfNotPresent")]
    IfNotPresent,
}

impl From<Policy> for PullPolicy {
    fn from(policy: Policy) -> Self {
        match policy {
            Policy::Never => Self::Never,
            Policy::IfNotPresent => Self::IfNotPresent,
        }
    }
}

impl From<Render> for RenderRequest {
    fn from(render: Render) -> Self {
        Self {
            selection: render.project.into(),
            flags: Layer {
                image: render.image,
                pull_policy: render.pull_policy.map(Policy::into),
                ..Layer::default()
            },
        }
    }
}

impl From<Up> for Request {
    fn from(up: Up) -> Self {
        let place = up.place;
        Self {
            selection: place.project.into(),
            target: place.cluster.into(),
            nodes: place.nodes,
            consent: up.allowed.into(),
            rollback: up.rollback,
            flags: Layer {
                image: up.image,
                pull_policy: up.pull_policy.map(Policy::into),
                namespace: up.namespace,
                ssh_config: place.ssh_config,
                timeout: up.timeout,
                ..Layer::default()
            },
        }
    }
}

impl From<Allowed> for Consent {
    fn from(Allowed { force_conflicts, recreate, prune }: Allowed) -> Self {
        Self { force_conflicts, recreate, prune }
    }
}

impl From<Down> for DownRequest {
    fn from(down: Down) -> Self {
        Self {
            selection: down.project.into(),
            target: down.cluster.into(),
            flags: Layer { namespace: down.namespace, ..Layer::default() },
        }
    }
}

impl From<Load> for LoadRequest {
    fn from(Load { reference, place }: Load) -> Self {
        Self {
            image: reference,
            selection: place.project.into(),
            target: place.cluster.into(),
            nodes: place.nodes,
            flags: Layer { ssh_config: place.ssh_config, ..Layer::default() },
        }
    }
}

impl From<Doctor> for DoctorRequest {
    fn from(doctor: Doctor) -> Self {
        Self {
            selection: doctor.project.into(),
            target: doctor.cluster.into(),
            nodes: doctor.nodes,
            fix: doctor.fix,
            platform: std::env::var("DOCKER_DEFAULT_PLATFORM").ok().filter(|one| !one.is_empty()),
            flags: Layer {
                namespace: doctor.namespace,
                ssh_config: doctor.ssh_config,
                ..Layer::default()
            },
        }
    }
}

impl From<Why> for WhyRequest {
    fn from(why: Why) -> Self {
        Self {
            asked: match (why.asked, why.name) {
                (Some(kind), Some(name)) => Some(format!("{kind}/{name}")),
                (asked, _) => asked,
            },
            selection: why.project.into(),
            target: why.cluster.into(),
            record: why.record,
            replay: why.replay,
            flags: Layer {
                namespace: why.namespace,
                ssh_config: why.ssh_config,
                ..Layer::default()
            },
        }
    }
}

impl From<Status> for StatusRequest {
    fn from(status: Status) -> Self {
        Self {
            selection: status.project.into(),
            target: status.cluster.into(),
            watch: status.watch,
            flags: Layer { image: status.image, namespace: status.namespace, ..Layer::default() },
        }
    }
}

impl From<Project> for Selection {
    fn from(Project { package, manifest_path }: Project) -> Self {
        Self { manifest_path, package }
    }
}

impl From<Cluster> for Target {
    /// With where kubectl would look by itself.
    fn from(Cluster { context, kubeconfig }: Cluster) -> Self {
        let named = std::env::var_os("KUBECONFIG").filter(|files| !files.is_empty());
        let home = || etcetera::home_dir().ok().map(|home| home.join(".kube/config"));
        let usual = match named {
            Some(files) => {
                std::env::split_paths(&files).filter(|f| !f.as_os_str().is_empty()).collect()
            }
            None => home().into_iter().collect(),
        };
        Self { context, kubeconfig, usual }
    }
}

/// The arguments as cargo would pass them: `cargo-kdev up`, called directly,
/// means the same as `cargo kdev up`.
pub(crate) fn of_cargo() -> Vec<OsString> {
    let mut args: Vec<OsString> = std::env::args_os().collect();
    if args.get(1).is_none_or(|first| first != "kdev") {
        args.insert(1.min(args.len()), "kdev".into());
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cargo::command().debug_assert();
    }
}
