//! The tasks of this repository: `cargo xtask --help` lists them.

mod bench;
mod book;
mod cargo_program;
mod demo;
mod fuzz;
mod jobs;
mod lab;
mod paths;
mod peak_memory;
mod record;
mod soak;
mod term;
mod test;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// The tasks of this repository
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Start the lab and deploy the sample service with `cargo kdev up`
    Demo,
    /// Run every check and every test
    Test(test::Args),
    /// Run each fuzz target for a limited time
    Fuzz(fuzz::Args),
    /// Record the scenarios of `cargo kdev why` in the lab and update docs/diagnoses.md
    Record(record::Args),
    /// Compare kdev with other tools in the lab
    #[command(subcommand)]
    Bench(bench::Command),
    /// Render docs/ to HTML in target/book
    Book,
    /// Run checks that take long and write the results to docs/soak.md
    Soak(soak::Args),
    /// Manage a real Kubernetes cluster with two nodes on this machine
    #[command(subcommand)]
    Lab(lab::Command),
}

fn main() -> ExitCode {
    let outcome = match Args::parse().task {
        Task::Demo => demo::run().map(|()| ExitCode::SUCCESS),
        Task::Fuzz(args) => fuzz::run(&args).map(|()| ExitCode::SUCCESS),
        Task::Record(args) => record::run(&args).map(|()| ExitCode::SUCCESS),
        Task::Bench(command) => bench::run(command),
        Task::Book => book::run().map(|()| ExitCode::SUCCESS),
        Task::Soak(args) => soak::run(&args),
        Task::Test(args) => test::run(&args),
        Task::Lab(command) => lab::run(command),
    };
    outcome.unwrap_or_else(|error| {
        term::report(&error);
        ExitCode::FAILURE
    })
}
