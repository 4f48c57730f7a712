//! The repository's own tasks: `cargo xtask --help` lists them.

mod bench;
mod demo;
mod fuzz;
mod jobs;
mod lab;
mod record;
mod soak;
mod term;
mod test;
mod watched;

use clap::{Parser, Subcommand};
use std::path::{Path, PathBuf};
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
    /// Set everything up, and show `cargo kdev up` on the sample service
    Demo,
    /// Run every check and every test
    Test(test::Args),
    /// Run each fuzz target for a bounded time
    Fuzz(fuzz::Args),
    /// Keep the facts of what `why` explains, and write its docs anew
    Record(record::Args),
    /// Measure kdev against the other ways, in the lab
    #[command(subcommand)]
    Bench(bench::Command),
    /// Run checks that take long, and write the results to docs/soak.md
    Soak(soak::Args),
    /// A real Kubernetes cluster of two nodes on this machine
    #[command(subcommand)]
    Lab(lab::Command),
}

fn main() -> ExitCode {
    let outcome = match Args::parse().task {
        Task::Demo => demo::run().map(|()| ExitCode::SUCCESS),
        Task::Fuzz(args) => fuzz::run(&args).map(|()| ExitCode::SUCCESS),
        Task::Record(args) => record::run(&args).map(|()| ExitCode::SUCCESS),
        Task::Bench(command) => bench::run(command),
        Task::Soak(args) => soak::run(&args),
        Task::Test(args) => test::run(&args),
        Task::Lab(command) => lab::run(command),
    };
    outcome.unwrap_or_else(|error| {
        term::report(&error);
        ExitCode::FAILURE
    })
}

/// The checkout.
fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_owned()
}
