//! `cargo xtask test`: runs every check and every test.

mod outcome;
mod times;

use crate::cargo_program::CARGO_DENY;
use crate::demo;
use crate::lab;
use crate::paths;
use crate::term::{self, ErrorWithHelp};
use anyhow::Result;
pub(crate) use outcome::Outcome;
use outcome::{run_checks, run_tests};
use std::env;
use std::fmt;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use xshell::{Shell, cmd};

/// The arguments of `cargo xtask test`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run only tests whose names contain one of these words, and no checks
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Skip the stages that need the lab (`e2e`, `lab` and `demo`)
    #[arg(long)]
    no_e2e: bool,
    /// Stop the lab at the end, even if it was running before
    #[arg(long)]
    down: bool,
}

/// A finished stage.
struct Stage {
    name: &'static str,
    outcome: Outcome,
    duration: Duration,
}

type Check = fn(&Shell) -> Result<Outcome>;
/// Gets the words of which each selected test name contains one; without words all tests run.
type Tests = fn(&Shell, &[String]) -> Result<Outcome>;

const CHECKS: [(&str, Check); 4] = [("fmt", fmt), ("clippy", clippy), ("deny", deny), ("doc", doc)];
const TESTS: [(&str, Tests); 3] = [("unit", unit), ("corpus", corpus), ("cli", cli)];
/// The stages that need the lab, besides `e2e`.
const LAB_CHECKS: [(&str, Check); 2] = [("lab", check_lab), ("demo", run_demo)];

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let sh = Shell::new()?;
    sh.change_dir(paths::repository());
    let (names, runs_all) = (&args.names, args.names.is_empty());
    let mut finished = Vec::new();
    if runs_all && !args.no_e2e && lab::check_host().is_ok() {
        // The lab needs them later, and tests before it use the linter.
        lab::ensure_lab_packages(&sh)?;
    }
    if runs_all {
        finished.extend(CHECKS.map(|(name, work)| run_stage(name, || work(&sh))));
    }
    finished.extend(TESTS.map(|(name, work)| run_stage(name, || work(&sh, names))));
    let was_up = lab::is_up();
    let is_selected = runs_all || has_e2e_test(&sh, names)?;
    let is_run = is_selected && can_run_e2e(args);
    if is_run {
        finished.push(run_stage("e2e", || e2e(&sh, names)));
        if runs_all {
            finished.extend(LAB_CHECKS.map(|(name, work)| run_stage(name, || work(&sh))));
        }
        if args.down || !was_up {
            lab::down(&sh)?;
        }
    }
    if !runs_all && finished.iter().all(|stage| stage.outcome.is_empty()) {
        let help = "run `cargo test --workspace -- --list` to list the names";
        return Err(ErrorWithHelp::error(
            format!("no test name contains `{}`", names.join(" ")),
            help,
        ));
    }
    Ok(print_summary(&finished, if is_selected && !is_run { 1 + LAB_CHECKS.len() } else { 0 }))
}

fn has_e2e_test(sh: &Shell, names: &[String]) -> Result<bool> {
    let list = cmd!(sh, "cargo test --quiet --package cargo-kdev --test e2e --locked -- --list");
    Ok(list.args(names).quiet().read()?.lines().any(|line| line.ends_with(": test")))
}

/// Returns whether to run the stages that need the lab. If this machine cannot run it, they
/// are skipped with a message, but fail in CI.
fn can_run_e2e(args: &Args) -> bool {
    let reason = match lab::check_host() {
        _ if args.no_e2e => "`--no-e2e` was passed".to_owned(),
        Err(error) if env::var_os("CI").is_none() => error.to_string(),
        _ => return true,
    };
    let names = LAB_CHECKS.map(|(name, _)| name).join(", ");
    term::status("Skipping", format!("e2e, {names}: {reason}"));
    false
}

fn run_stage(name: &'static str, work: impl FnOnce() -> Result<Outcome>) -> Stage {
    term::status("Testing", name);
    let start = Instant::now();
    let outcome = work().unwrap_or_else(|error| Outcome::from_error(&error));
    Stage { name, outcome, duration: start.elapsed() }
}

/// Prints the failures again, because the output of later stages follows them, and then the
/// results. Scripts can parse the last line.
fn print_summary(stages: &[Stage], skipped: usize) -> ExitCode {
    if stages.iter().any(|stage| stage.name == "e2e") {
        times::show_slowest();
    }
    for line in stages.iter().flat_map(|stage| &stage.outcome.messages) {
        term::print(line);
    }
    for stage in stages {
        term::print(&stage.to_string());
    }
    let sum = |number: fn(&Outcome) -> usize| {
        stages.iter().map(|stage| number(&stage.outcome)).sum::<usize>()
    };
    let failed = sum(|outcome| outcome.failed);
    let passed = sum(|outcome| outcome.passed);
    let skipped = if skipped > 0 { format!(", {skipped} skipped") } else { String::new() };
    term::print(&format!("{passed} passed, {failed} failed{skipped}"));
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, outcome: Outcome { passed, failed, ignored, .. }, duration } = self;
        let result = if *failed == 0 { "ok" } else { "FAILED" };
        let seconds = duration.as_secs_f64();
        write!(
            f,
            "{name:>12}  {result:<6}  {passed:>4} passed  {failed:>2} failed  {ignored:>3} ignored  {seconds:>6.1} s"
        )
    }
}

/// The projects in `templates`.
const TEMPLATES: [&str; 6] =
    ["service", "service-chart", "service-kustomize", "worker", "job", "workspace"];

#[expect(clippy::unnecessary_wraps, reason = "every stage has this form")]
fn fmt(sh: &Shell) -> Result<Outcome> {
    let template =
        |name| cmd!(sh, "cargo fmt --all --manifest-path templates/{name}/Cargo.toml --check");
    let own = run_checks([cmd!(sh, "cargo fmt --all --check")]);
    Ok(own + run_checks(TEMPLATES.map(template)))
}

#[expect(clippy::unnecessary_wraps, reason = "every stage has this form")]
fn clippy(sh: &Shell) -> Result<Outcome> {
    let template = |name| {
        let manifest = format!("templates/{name}/Cargo.toml");
        let flags = ["--workspace", "--locked", "--", "--deny", "warnings"];
        cmd!(sh, "cargo clippy --quiet --manifest-path {manifest} {flags...}")
    };
    let own = "--workspace --all-targets --locked -- --deny warnings".split(' ');
    let own = run_checks([cmd!(sh, "cargo clippy --quiet {own...}")]);
    Ok(own + run_checks(TEMPLATES.map(template)))
}

fn deny(sh: &Shell) -> Result<Outcome> {
    let deny = CARGO_DENY.ensure(sh)?;
    Ok(run_checks([cmd!(
        sh,
        "{deny} --log-level error check --hide-inclusion-graph bans licenses sources"
    )]))
}

#[expect(clippy::unnecessary_wraps, reason = "every stage has this form")]
fn doc(sh: &Shell) -> Result<Outcome> {
    Ok(run_checks([cmd!(sh, "cargo doc --quiet --workspace --no-deps --locked")
        .env("RUSTDOCFLAGS", "--deny warnings")]))
}

fn unit(sh: &Shell, names: &[String]) -> Result<Outcome> {
    let test = |targets: &[&str]| {
        run_tests(cmd!(sh, "cargo test --workspace {targets...} --locked -- {names...}"))
    };
    Ok(test(&["--lib", "--bins", "--examples"])? + test(&["--doc"])?)
}

fn corpus(sh: &Shell, names: &[String]) -> Result<Outcome> {
    let ignored = args_for_kubectl(sh);
    run_tests(cmd!(
        sh,
        "cargo test --package kdev-manifest --test corpus --locked -- {ignored...} {names...}"
    ))
}

/// Returns the arguments that also run the tests that need kubectl. Without kubectl these are
/// skipped with a message, but fail in CI.
fn args_for_kubectl(sh: &Shell) -> &'static [&'static str] {
    let kubectl = cmd!(sh, "kubectl version --client").quiet().ignore_stdout().ignore_stderr();
    match kubectl.run() {
        Err(error) if env::var_os("CI").is_none() => {
            term::status("Skipping", format!("tests that need kubectl: {error}"));
            &[]
        }
        _ => &["--include-ignored"],
    }
}

fn cli(sh: &Shell, names: &[String]) -> Result<Outcome> {
    let ignored = args_for_kubectl(sh);
    let test = cmd!(sh, "cargo test --package cargo-kdev --test cli --locked --");
    run_tests(test.args(ignored).args(names))
}

/// Runs the e2e tests. All of them start at the same time and wait until the parts of the lab
/// that they use are free (`tests/e2e/exclusive.rs`).
pub(crate) fn e2e(sh: &Shell, names: &[String]) -> Result<Outcome> {
    let lab = lab::up(sh)?;
    lab::start_spare()?;
    lab::ensure_test_tools(sh)?;
    cmd!(sh, "cargo build --quiet --package kdev --example team_xtask --locked").quiet().run()?;
    let test = cmd!(sh, "cargo test --package cargo-kdev --test e2e --locked --");
    let test = test.args(["--include-ignored", "--test-threads=1000"]).args(names);
    run_tests(test.envs(lab.env(sh)).env(times::VARIABLE, times::create()?))
}

/// Checks the lab itself. Nothing else may use it at the same time.
fn check_lab(sh: &Shell) -> Result<Outcome> {
    lab::check(sh)?;
    Ok(Outcome::from_success())
}

fn run_demo(_: &Shell) -> Result<Outcome> {
    demo::run()?;
    Ok(Outcome::from_success())
}
