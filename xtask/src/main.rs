//! The repository's own tasks: `cargo xtask --help` lists them.

mod lab;
mod term;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// The repository's own tasks.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// A real Kubernetes cluster of two nodes on this machine
    #[command(subcommand)]
    Lab(lab::Command),
}

fn main() -> ExitCode {
    let outcome = match Args::parse().task {
        Task::Lab(command) => lab::run(command),
    };
    outcome.unwrap_or_else(|error| {
        term::report(&error);
        ExitCode::FAILURE
    })
}
