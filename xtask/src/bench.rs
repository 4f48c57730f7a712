//! `cargo xtask bench`: compares kdev with other tools in the lab.

mod apply;
mod builders;
mod cases;
mod cost;
mod images;
mod inner_loop;
mod methods;
mod report;
mod samples;
mod services;
mod why;

pub(crate) use cost::median;

use crate::lab::{self, Lab};
use crate::paths;
use crate::term;
use anyhow::{Result, ensure};
use builders::Builder;
use cases::Case;
use clap::{Subcommand, ValueEnum as _};
use methods::Bench;
use report::Report;
use std::path::PathBuf;
use std::process::ExitCode;
use xshell::{Shell, cmd};

/// The commands of `cargo xtask bench`.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Compare loading an image (all cases take half an hour and 35 GB)
    Load(Args),
    /// Compare the kinds of builders, with build and load (half an hour and 10 GB)
    Builders(BuilderArgs),
    /// Compare applying manifests and waiting for the pods (a minute)
    Apply(Common),
    /// Compare the time from a saved file to the answer of the new program (5 minutes)
    Loop(Common),
    /// Compare `why`, `status` and `doctor` with kubectl (a minute)
    Why(Common),
    /// Compare `up` of five services with `up` of one of them (five minutes)
    Services(Common),
}

/// The arguments of all benchmarks.
#[derive(clap::Args)]
pub(crate) struct Common {
    /// Number of measurements, of which the median counts
    #[arg(long, default_value_t = 5, value_name = "N")]
    rounds: usize,
    /// Program to measure, such as that of an earlier version
    /// [default: built with the release profile]
    #[arg(long, value_name = "PATH")]
    kdev: Option<PathBuf>,
}

/// The arguments of `bench builders`.
#[derive(clap::Args)]
pub(crate) struct BuilderArgs {
    /// Builders to measure [default: all]
    #[arg(value_name = "BUILDER")]
    builders: Vec<Builder>,
    #[command(flatten)]
    common: Common,
}

/// The arguments of `bench load`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Cases to run [default: all]
    #[arg(value_name = "CASE")]
    cases: Vec<Case>,
    #[command(flatten)]
    common: Common,
}

pub(crate) fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Load(args) => run_load(&args),
        Command::Builders(args) => run_builders(&args),
        Command::Apply(args) => run_quick("apply", &args, apply::run),
        Command::Loop(args) => run_quick("loop", &args, inner_loop::run),
        Command::Why(args) => run_quick("why", &args, why::run),
        Command::Services(args) => run_quick("services", &args, services::run),
    }
}

fn run_quick(
    name: &'static str,
    args: &Common,
    measure: impl Fn(&Bench, &mut Report) -> Result<()>,
) -> Result<ExitCode> {
    let bench = prepare(args, lab::current_or_up)?;
    let mut report = Report::new(name);
    measure(&bench, &mut report)?;
    report.write(&bench)?;
    Ok(finish(&report))
}

fn run_load(args: &Args) -> Result<ExitCode> {
    let bench = prepare(&args.common, lab::up)?;
    bench.clean()?;
    let mut report = Report::new("load");
    for case in Case::value_variants() {
        if args.cases.is_empty() || args.cases.contains(case) {
            case.run(&bench, &mut report)?;
            // After each case, because a later one may fail.
            report.write(&bench)?;
        }
    }
    Ok(finish(&report))
}

fn run_builders(args: &BuilderArgs) -> Result<ExitCode> {
    let bench = prepare(&args.common, lab::up)?;
    let mut report = Report::new("builders");
    builders::run(&bench, &args.builders, &mut report)?;
    Ok(finish(&report))
}

fn prepare(args: &Common, lab: impl Fn(&Shell) -> Result<Lab>) -> Result<Bench> {
    ensure!(args.rounds > 0, "`--rounds` must be at least 1");
    let kdev = args.kdev.as_ref().map(std::path::absolute).transpose()?;
    let sh = Shell::new()?;
    sh.change_dir(paths::repository());
    let sh = lab(&sh)?.shell(&sh);
    if kdev.is_none() {
        cmd!(sh, "cargo build --quiet --release --package cargo-kdev").quiet().run()?;
    }
    Bench::new(sh, args.rounds, kdev)
}

fn finish(report: &Report) -> ExitCode {
    term::print(&report.tables());
    if report.has_met_all_goals() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
