//! The command line: the list of commands.

use std::ffi::OsString;

use clap::{Args, Parser, Subcommand};

use crate::commands::doctor::DoctorArgs;
use crate::commands::down::DownArgs;
use crate::commands::load::LoadArgs;
use crate::commands::render::RenderArgs;
use crate::commands::status::StatusArgs;
use crate::commands::up::UpArgs;
use crate::commands::why::WhyArgs;
use crate::flags::OutputArgs;

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
    pub(crate) output: OutputArgs,
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
const READ_ONLY_CONTEXT_HELP: &str = "Kube context to ask [default: the current one]";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build, load onto every node that may run it, apply, and wait until the
    /// new pods are ready
    Up(UpArgs),
    /// Delete all that `up` has applied, data included; the images stay on the
    /// nodes
    Down(DownArgs),
    /// Print the manifests as `up` would apply them; needs no cluster
    Render(RenderArgs),
    /// Load an image that docker or an archive has, and nothing else
    Load(LoadArgs),
    /// Tell why a pod does not run: the root cause, what it was seen by, and
    /// what helps; changes nothing
    #[command(mut_arg("context", |arg| arg.help(READ_ONLY_CONTEXT_HELP)))]
    Why(WhyArgs),
    /// Show what runs of the project, and whether it is the newest build; ends
    /// with 0 whatever it has seen
    #[command(mut_arg("context", |arg| arg.help(READ_ONLY_CONTEXT_HELP)))]
    Status(StatusArgs),
    /// Check all that `up` needs, here, in the cluster and on each node, and tell
    /// what helps; ends with the code of the first error
    #[command(mut_arg("context", |arg| arg.help(READ_ONLY_CONTEXT_HELP)))]
    Doctor(DoctorArgs),
}

impl Command {
    /// Whether changes are only shown.
    pub(crate) fn is_dry_run(&self) -> bool {
        match self {
            Self::Up(UpArgs { target: place, .. }) | Self::Load(LoadArgs { target: place, .. }) => place.dry_run,
            Self::Down(down) => down.dry_run,
            Self::Render(_) | Self::Why(_) | Self::Status(_) | Self::Doctor(_) => false,
        }
    }
}

/// The arguments as cargo would pass them: `cargo-kdev up`, called directly,
/// means the same as `cargo kdev up`.
pub(crate) fn cargo_args() -> Vec<OsString> {
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
