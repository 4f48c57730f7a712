//! `cargo xtask bench`: kdev beside the other ways, in one run, in the lab.

mod apply;
mod cases;
mod cost;
mod images;
mod report;
mod tries;
mod ways;
mod why;

pub(crate) use cost::median;

use crate::lab::{self, Lab};
use crate::term;
use anyhow::{Result, ensure};
use clap::{Subcommand, ValueEnum};
use report::Report;
use std::process::ExitCode;
use ways::Bench;
use xshell::{Shell, cmd};

/// What can be measured.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Bringing an image to the nodes: half an hour and 35 GB for all cases
    Load(Args),
    /// From the manifests to ready pods, and with nothing changed: a minute
    Apply(Rounds),
    /// What `why`, `status` and `doctor` take to answer: a minute
    Why(Rounds),
}

/// How often it is measured.
#[derive(clap::Args)]
pub(crate) struct Rounds {
    /// How often each way is tried; the median counts
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// How it is measured.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only these cases
    cases: Vec<Case>,
    /// How often each way is tried; the median counts
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// A thing that happens to users, with the goals for it.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Case {
    /// 5 MB changed in 408 MB; one node and two; nothing changed
    Changed,
    /// The same change in an image ten times larger
    Larger,
    /// A Rust service rebuilt, over a link of 50 Mbit/s
    Rebuilt,
    /// The same with Docker 29
    #[value(name = "rebuilt-29")]
    Rebuilt29,
    /// The first load of 408 MB
    First,
    /// The first load of 400 MB that compress well, over 100 Mbit/s
    Slow,
}

pub(crate) fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Load(args) => load(&args),
        Command::Apply(args) => short("apply", &args, apply::run),
        Command::Why(args) => short("why", &args, why::run),
    }
}

fn short(
    name: &'static str,
    args: &Rounds,
    measure: impl Fn(&Bench, &mut Report) -> Result<()>,
) -> Result<ExitCode> {
    let bench = start(args.rounds, lab::running)?;
    let mut report = Report::of(name);
    measure(&bench, &mut report)?;
    report.write(&bench)?;
    Ok(verdict(&report))
}

fn load(args: &Args) -> Result<ExitCode> {
    let bench = start(args.rounds, lab::up)?;
    bench.clean()?;
    let mut report = Report::of("load");
    for case in Case::value_variants() {
        if args.cases.is_empty() || args.cases.contains(case) {
            case.run(&bench, &mut report)?;
            // A later case may fail.
            report.write(&bench)?;
        }
    }
    Ok(verdict(&report))
}

fn start(rounds: usize, lab: impl Fn(&Shell) -> Result<Lab>) -> Result<Bench> {
    ensure!(rounds > 0, "`--rounds` must be at least 1");
    let sh = Shell::new()?;
    sh.change_dir(crate::root());
    for (name, value) in lab(&sh)?.env() {
        sh.set_var(name, value);
    }
    cmd!(sh, "cargo build --quiet --release --package cargo-kdev").quiet().run()?;
    Bench::new(sh, rounds)
}

fn verdict(report: &Report) -> ExitCode {
    term::print(&report.tables());
    if report.all_met() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
