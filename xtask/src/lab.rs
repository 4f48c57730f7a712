//! The lab: a real Kubernetes cluster of two nodes on this one machine.
//!
//! Every part is the real program. A node is a set of namespaces that looks
//! like a machine of its own; everything the lab keeps lies in one folder, and
//! everything it changed on the host is undone by `down`.

mod cache;
mod certs;
mod cgroup;
mod check;
mod containerd;
mod control_plane;
mod counters;
mod daemon;
mod docker;
mod down;
mod go;
mod image;
mod images;
mod kubeconfig;
mod kubelet;
mod link;
mod moby;
mod network;
mod node;
mod packages;
mod paths;
mod prepare;
mod registry;
mod shell;
mod ssh;
mod state;
mod status;
mod tools;
mod up;
mod wait;

pub(crate) use cache::tool_cache;
pub(crate) use check::{Host, check};
pub(crate) use counters::{Counters, counters, docker_cpu};
pub(crate) use down::down;
pub(crate) use images::{ids_in_docker, images_on_node, remove_from_docker, remove_from_node};
pub(crate) use kubelet::ChangedKubelet;
pub(crate) use link::Link;
pub(crate) use moby::Moby;
pub(crate) use node::{NODES, Node};
pub(crate) use packages::ensure_all as ensure_packages;
pub(crate) use paths::state as state_path;
pub(crate) use prepare::ensure_test_tools;
pub(crate) use state::{check_host, lock};
pub(crate) use up::{spare, up, up_beside};
pub(crate) use wait::{for_port as wait_for_port, until as wait_until};

use anyhow::Result;
use clap::Subcommand;
use std::io::{self, Write};
use std::process::ExitCode;
use xshell::Shell;

/// What `cargo xtask lab` can do.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Start the lab, or heal it
    Up,
    /// Install, build and download everything that the demo and the tests need
    Prepare,
    /// Show what runs; fails where the lab is not healthy
    Status,
    /// Stop the lab and remove all that it made
    Down,
    /// Open a shell in a node, or run one command there
    Shell {
        /// `node-1`, `node-2` or `spare`
        node: String,
        /// The command and its arguments, after `--`
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// Print the variables that point tools at the lab: `eval "$(cargo xtask lab env)"`
    Env,
}

/// A lab that runs.
pub(crate) struct Lab {
    own_docker: bool,
    own_kubectl: bool,
}

impl Lab {
    /// What a tool needs in its environment to use the lab.
    pub(crate) fn env(&self) -> Vec<(String, String)> {
        let mut variables = vec![
            ("KUBECONFIG", paths::kubeconfig().display().to_string()),
            ("KDEV_SSH_CONFIG", paths::ssh_config().display().to_string()),
            ("KDEV_CONTEXT", kubeconfig::CONTEXT.to_owned()),
            ("KDEV_LAB", paths::STATE.to_owned()),
        ];
        if self.own_docker {
            variables.push(("DOCKER_HOST", docker::host()));
        }
        if self.own_kubectl {
            variables.push(("PATH", paths::with_own_programs()));
        }
        variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// Whether there is a lab already.
pub(crate) fn is_up() -> bool {
    state::current().is_ok()
}

/// The lab that runs, as it is; else a new one.
pub(crate) fn running(sh: &Shell) -> Result<Lab> {
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
        Command::Shell { node, command } => shell::enter(&sh, &node, &command),
        Command::Env => print_env().map(|()| ExitCode::SUCCESS),
    }
}

fn print_env() -> Result<()> {
    let lab = state::current()?;
    let mut out = io::stdout().lock();
    for (name, value) in lab.env() {
        writeln!(out, "export {name}='{}'", value.replace('\'', r"'\''"))?;
    }
    Ok(())
}
