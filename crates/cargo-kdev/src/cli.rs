//! The list of commands, and the exit codes.

use std::ffi::OsString;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::commands::build::BuildArgs;
use crate::commands::completions::{CompleteArgs, CompletionsArgs};
use crate::commands::config::ConfigArgs;
use crate::commands::doctor::DoctorArgs;
use crate::commands::down::DownArgs;
use crate::commands::forward::ForwardArgs;
use crate::commands::images::ImagesArgs;
use crate::commands::init::InitArgs;
use crate::commands::load::LoadArgs;
use crate::commands::logs::LogsArgs;
use crate::commands::man::ManArgs;
use crate::commands::prune::PruneArgs;
use crate::commands::render::RenderArgs;
use crate::commands::status::StatusArgs;
use crate::commands::up::UpArgs;
use crate::commands::why::WhyArgs;
use crate::flags::OutputArgs;

/// The arguments that cargo passes to a plugin: the first is the name of the plugin.
#[derive(Debug, Parser)]
#[command(name = "cargo", bin_name = "cargo", styles = clap_cargo::style::CLAP_STYLING)]
pub(crate) enum Cargo {
    Kdev(Kdev),
}

/// Deploy local Docker images to Kubernetes without a registry
#[derive(Debug, Args)]
#[command(version, about, long_about = None, after_help = EXIT_CODES)]
pub(crate) struct Kdev {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// A test compares these with the library's `ExitCode` and `docs/exit-codes.md`.
const EXIT_CODES: &str = "\
Exit codes:
    0  success
    2  invalid command line
   90  invalid project, configuration or manifest
   91  a required tool is missing or too old, or Docker or Podman is unreachable
   92  the cluster is unreachable, the context is unknown or not allowed, the
       API server rejected a request, or a deletion was not confirmed or did not
       end
   93  a node cannot be reached or used
   94  the image could not be loaded onto a node, or its presence could not be
       verified
   95  the rollout failed
   96  the rollout timed out
   97  the result could not be written to standard output
  130  interrupted
If the build fails, `cargo kdev` exits with the exit code of the build tool.";

/// The help of `--context` for read-only commands.
const READ_ONLY_CONTEXT_HELP: &str = "Kube context to use [default: current context]";

/// The help of `--node` for a command that loads nothing.
const PRUNE_NODE_HELP: &str =
    "Remove builds from this node only (repeatable) [default: all nodes that accept pods]";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build, load and apply, then wait for the rollout
    Up(UpArgs),
    /// Build the image; works without a cluster
    Build(BuildArgs),
    /// Delete what `up` applied; data stays without --delete-data, and images without --images
    Down(DownArgs),
    /// Print the manifests as `up` would apply them; works without a cluster
    Render(RenderArgs),
    /// Load an image onto the nodes without applying anything
    Load(LoadArgs),
    /// Remove older builds of the image from the nodes and from this machine
    #[command(mut_arg("nodes", |arg| arg.help(PRUNE_NODE_HELP)))]
    Prune(PruneArgs),
    /// List the builds of the image on the nodes and on this machine
    #[command(mut_arg("context", |arg| arg.help(READ_ONLY_CONTEXT_HELP)))]
    Images(ImagesArgs),
    /// Explain why a pod is not running
    #[command(mut_arg("context", |arg| arg.help(READ_ONLY_CONTEXT_HELP)))]
    Why(WhyArgs),
    /// Show running pods and whether they use the latest build
    #[command(mut_arg("context", |arg| arg.help(READ_ONLY_CONTEXT_HELP)))]
    Status(StatusArgs),
    /// Show the logs of the containers that run the project's image
    #[command(mut_arg("context", |arg| arg.help(READ_ONLY_CONTEXT_HELP)))]
    Logs(LogsArgs),
    /// Forward local ports to the newest ready pod, also during rollouts
    #[command(mut_arg("context", |arg| arg.help(READ_ONLY_CONTEXT_HELP)))]
    Forward(ForwardArgs),
    /// Check this machine, the cluster and the nodes
    #[command(mut_arg("context", |arg| arg.help(READ_ONLY_CONTEXT_HELP)))]
    Doctor(DoctorArgs),
    /// Write the missing files of a project: manifest, Dockerfile, settings, onboarding script
    Init(InitArgs),
    /// Print each setting with its value and its origin
    #[command(mut_arg("context", |arg| arg.help(READ_ONLY_CONTEXT_HELP)))]
    Config(ConfigArgs),
    /// Print the completion script of a shell
    Completions(CompletionsArgs),
    /// Print the candidates for a word, for the completion scripts
    #[command(hide = true)]
    Complete(CompleteArgs),
    /// Write the manual pages
    Man(ManArgs),
}

impl Command {
    /// Returns whether the end of each cycle of a watch notifies the terminal.
    pub(crate) fn must_notify(&self) -> bool {
        matches!(self, Self::Up(up) if up.watch.notify)
    }

    /// Returns whether commands that make changes are only printed.
    pub(crate) fn is_dry_run(&self) -> bool {
        match self {
            Self::Up(UpArgs { target, .. })
            | Self::Load(LoadArgs { target, .. })
            | Self::Prune(PruneArgs { target, .. }) => target.dry_run,
            Self::Build(build) => build.dry_run,
            Self::Down(down) => down.dry_run,
            Self::Init(init) => init.dry_run,
            Self::Render(_)
            | Self::Images(_)
            | Self::Why(_)
            | Self::Status(_)
            | Self::Logs(_)
            | Self::Forward(_)
            | Self::Doctor(_)
            | Self::Config(_)
            | Self::Completions(_)
            | Self::Complete(_)
            | Self::Man(_) => false,
        }
    }
}

/// Returns the command `cargo kdev`, without cargo.
pub(crate) fn kdev_command() -> clap::Command {
    let cargo = Cargo::command();
    let kdev = cargo.get_subcommands().find(|command| command.get_name() == "kdev").cloned();
    kdev.unwrap_or(cargo).name("cargo-kdev").bin_name("cargo kdev")
}

/// Returns the arguments as cargo passes them, also if `cargo-kdev up` is run directly.
pub(crate) fn cargo_args(mut args: Vec<OsString>) -> Vec<OsString> {
    if args.get(1).is_none_or(|first| first != "kdev") {
        args.insert(1.min(args.len()), "kdev".into());
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_definition_is_valid() {
        Cargo::command().debug_assert();
    }
}
