//! The lab: a real Kubernetes cluster with two nodes on this machine.
//!
//! Every component is the real program. A node is a set of namespaces that looks like a
//! separate machine. All files are in one folder, and `down` reverts every change to the
//! host.

mod cache;
mod certs;
mod cgroup;
mod check;
mod containerd;
mod control_plane;
mod counters;
mod daemon;
mod docker;
mod docker_client;
mod down;
mod env;
mod go;
mod image;
mod images;
mod kubeconfig;
mod kubelet;
mod link;
mod machine;
mod moby;
mod network;
mod node;
mod packages;
mod paths;
mod pid_file;
mod prepare;
mod registry;
mod shell;
mod ssh;
mod state;
mod status;
mod tools;
mod up;
mod wait;

pub(crate) use check::{HostState, check};
pub(crate) use containerd::ensure_sandbox_image;
pub(crate) use counters::{Counters, docker_cpu, read_counters};
pub(crate) use down::down;
pub(crate) use env::Lab;
pub(crate) use image::{ImageLayout, create_layer};
pub(crate) use images::{ids_in_docker, images_on_node, remove_from_docker, remove_from_node};
pub(crate) use kubelet::ChangedKubelet;
pub(crate) use link::SlowLink;
pub(crate) use moby::{Moby, moby_pid};
pub(crate) use node::{NODES, Node};
pub(crate) use packages::{ensure as ensure_lab_packages, ensure_all as ensure_packages};
pub(crate) use paths::state as state_path;
pub(crate) use prepare::ensure_test_tools;
pub(crate) use state::{check_host, lock};
pub(crate) use up::{start_spare, up, up_with_jobs};
pub(crate) use wait::{wait_for_port, wait_until};

use anyhow::Result;
use clap::Subcommand;
use std::io::{self, Write};
use std::process::ExitCode;
use xshell::Shell;

/// The commands of `cargo xtask lab`.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Start the lab; if it is running, start only the programs that are missing
    Up,
    /// Install, build and download everything that the demo and the tests need
    Prepare,
    /// Show the programs and the nodes; fails if the lab is not healthy
    Status,
    /// Stop the lab and remove everything that it created
    Down,
    /// Open a shell in a node, or run a command in it
    Shell {
        /// `node-1`, `node-2` or `spare`
        node: String,
        /// Command and arguments, after `--`
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// Print the variables with which tools use the lab: `eval "$(cargo xtask lab env)"`
    Env,
}

/// Returns whether the lab is running.
pub(crate) fn is_up() -> bool {
    state::current().is_ok()
}

/// Returns the running lab without checking its health, or starts the lab.
pub(crate) fn current_or_up(sh: &Shell) -> Result<Lab> {
    state::current().or_else(|_| up(sh))
}

pub(crate) fn run(command: Command) -> Result<ExitCode> {
    let sh = Shell::new()?;
    state::check_host()?;
    match command {
        Command::Up => up(&sh).map(|_| ExitCode::SUCCESS),
        Command::Prepare => prepare::prepare(&sh).map(|()| ExitCode::SUCCESS),
        Command::Status => status::show(&sh),
        Command::Down => down::down(&sh).map(|()| ExitCode::SUCCESS),
        Command::Shell { node, command } => shell::run(&sh, &node, &command),
        Command::Env => print_env(&sh).map(|()| ExitCode::SUCCESS),
    }
}

fn print_env(sh: &Shell) -> Result<()> {
    let lab = state::current()?;
    let mut out = io::stdout().lock();
    for (name, value) in lab.env(sh) {
        writeln!(out, "export {name}='{}'", value.replace('\'', r"'\''"))?;
    }
    Ok(())
}
