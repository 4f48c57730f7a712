//! `cargo xtask test`: everything that a change must pass, each with its count.

mod outcome;
mod times;

use crate::demo;
use crate::lab;
use crate::term::{self, Advised, Slow};
use anyhow::Result;
pub(crate) use outcome::Outcome;
use outcome::{checks, counted};
use std::env;
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use xshell::{Shell, cmd};

/// Checks licences, sources and forbidden crates.
const DENY: &str = "0.20.2";

/// What `cargo xtask test` can be told.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run only tests whose names contain one of these words, and no checks
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Leave out the tests that need the lab
    #[arg(long)]
    no_cluster: bool,
    /// Stop the lab at the end, even if it ran before
    #[arg(long)]
    down: bool,
}

/// A stage that has ended.
struct Stage {
    name: &'static str,
    outcome: Outcome,
    took: Duration,
}

type Check = fn(&Shell) -> Result<Outcome>;
/// Takes words of the names of the tests that are wanted; none means all.
type Tests = fn(&Shell, &[String]) -> Result<Outcome>;

const CHECKS: [(&str, Check); 4] = [("fmt", fmt), ("clippy", clippy), ("deny", deny), ("doc", doc)];
const TESTS: [(&str, Tests); 3] = [("unit", unit), ("corpus", corpus), ("cli", cli)];
/// The stages that need the lab, besides the cluster tests.
const LAB: [(&str, Check); 2] = [("lab", the_lab), ("demo", the_demo)];

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let sh = Shell::new()?;
    sh.change_dir(crate::root());
    let (names, is_all) = (&args.names, args.names.is_empty());
    let mut ended = Vec::new();
    if is_all {
        ended.extend(CHECKS.map(|(name, work)| stage(name, || work(&sh))));
    }
    ended.extend(TESTS.map(|(name, work)| stage(name, || work(&sh, names))));
    let was_up = lab::is_up();
    let is_wanted = is_all || has_e2e_test(&sh, names)?;
    let can_run = is_wanted && wants_e2e(args);
    if can_run {
        ended.push(stage("e2e", || e2e(&sh, names)));
        if is_all {
            ended.extend(LAB.map(|(name, work)| stage(name, || work(&sh))));
        }
        if args.down || !was_up {
            lab::down(&sh)?;
        }
    }
    if !is_all && ended.iter().all(|stage| stage.outcome.is_empty()) {
        let help = "list the names with `cargo test --workspace -- --list`";
        return Err(Advised::error(format!("no test matches `{}`", names.join(" ")), help));
    }
    Ok(summary(&ended, if is_wanted && !can_run { 1 + LAB.len() } else { 0 }))
}

fn has_e2e_test(sh: &Shell, names: &[String]) -> Result<bool> {
    let list = cmd!(sh, "cargo test --quiet --package cargo-kdev --test e2e --locked -- --list");
    Ok(list.args(names).quiet().read()?.lines().any(|line| line.ends_with(": test")))
}

/// Where the lab cannot run its tests are skipped, which is printed; in CI they fail.
fn wants_e2e(args: &Args) -> bool {
    let reason = match lab::check_host() {
        _ if args.no_cluster => "asked for by `--no-cluster`".to_owned(),
        Err(error) if env::var_os("CI").is_none() => error.to_string(),
        _ => return true,
    };
    let names = LAB.map(|(name, _)| name).join(", ");
    term::status("Skipping", format!("e2e, {names}: {reason}"));
    false
}

fn stage(name: &'static str, work: impl FnOnce() -> Result<Outcome>) -> Stage {
    term::status("Testing", name);
    let begun = Instant::now();
    let outcome = work().unwrap_or_else(|error| Outcome::failed(&error));
    Stage { name, outcome, took: begun.elapsed() }
}

/// Shows failures again, because the later stages have pushed them out of sight. The
/// last line is for machines: how many passed, and how many failed.
fn summary(stages: &[Stage], skipped: usize) -> ExitCode {
    if stages.iter().any(|stage| stage.name == "e2e") {
        times::show_slowest();
    }
    for line in stages.iter().flat_map(|stage| &stage.outcome.words) {
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
        let Self { name, outcome: Outcome { passed, failed, ignored, .. }, took } = self;
        let verdict = if *failed == 0 { "ok" } else { "FAILED" };
        let seconds = took.as_secs_f64();
        write!(
            f,
            "{name:>12}  {verdict:<6}  {passed:>4} passed  {failed:>2} failed  {ignored:>3} ignored  {seconds:>6.1} s"
        )
    }
}

#[expect(clippy::unnecessary_wraps, reason = "every stage has this form")]
fn fmt(sh: &Shell) -> Result<Outcome> {
    Ok(checks([
        cmd!(sh, "cargo fmt --all --check"),
        cmd!(sh, "cargo fmt --manifest-path templates/service/Cargo.toml --check"),
    ]))
}

#[expect(clippy::unnecessary_wraps, reason = "every stage has this form")]
fn clippy(sh: &Shell) -> Result<Outcome> {
    Ok(checks([
        cmd!(sh, "cargo clippy --quiet --workspace --all-targets --locked -- --deny warnings"),
        cmd!(
            sh,
            "cargo clippy --quiet --manifest-path templates/service/Cargo.toml --locked -- --deny warnings"
        ),
    ]))
}

fn deny(sh: &Shell) -> Result<Outcome> {
    let deny = cargo_deny(sh)?;
    Ok(checks([cmd!(
        sh,
        "{deny} --log-level error check --hide-inclusion-graph bans licenses sources"
    )]))
}

#[expect(clippy::unnecessary_wraps, reason = "every stage has this form")]
fn doc(sh: &Shell) -> Result<Outcome> {
    Ok(checks([cmd!(sh, "cargo doc --quiet --workspace --no-deps --locked")
        .env("RUSTDOCFLAGS", "--deny warnings")]))
}

fn unit(sh: &Shell, names: &[String]) -> Result<Outcome> {
    let test = |what: &[&str]| {
        counted(cmd!(sh, "cargo test --workspace {what...} --locked -- {names...}"))
    };
    Ok(test(&["--lib", "--bins", "--examples"])? + test(&["--doc"])?)
}

fn corpus(sh: &Shell, names: &[String]) -> Result<Outcome> {
    let ignored = needing_kubectl(sh);
    counted(cmd!(
        sh,
        "cargo test --package kdev-manifest --test corpus --locked -- {ignored...} {names...}"
    ))
}

/// Without kubectl what needs it is skipped aloud; but not in CI, where it fails.
fn needing_kubectl(sh: &Shell) -> &'static [&'static str] {
    let kubectl = cmd!(sh, "kubectl version --client").quiet().ignore_stdout().ignore_stderr();
    match kubectl.run() {
        Err(error) if env::var_os("CI").is_none() => {
            term::status("Skipping", format!("what needs kubectl: {error}"));
            &[]
        }
        _ => &["--include-ignored"],
    }
}

fn cli(sh: &Shell, names: &[String]) -> Result<Outcome> {
    let ignored = needing_kubectl(sh);
    let test = cmd!(sh, "cargo test --package cargo-kdev --test cli --locked --");
    counted(test.args(ignored).args(names))
}

/// All tests start at once, and then wait for each other: which of them may use the lab
/// at the same time, they know themselves (`tests/e2e/exclusive.rs`).
pub(crate) fn e2e(sh: &Shell, names: &[String]) -> Result<Outcome> {
    let lab = lab::up(sh)?;
    lab::spare()?;
    lab::ensure_test_tools(sh)?;
    cmd!(sh, "cargo build --quiet --package kdev --example team_xtask --locked").quiet().run()?;
    let test = cmd!(sh, "cargo test --package cargo-kdev --test e2e --locked --");
    let test = test.args(["--include-ignored", "--test-threads=1000"]).args(names);
    counted(test.envs(lab.env()).env(times::VARIABLE, times::create()?))
}

/// What the lab promises of itself; nothing else may use it meanwhile.
fn the_lab(sh: &Shell) -> Result<Outcome> {
    lab::check(sh)?;
    Ok(Outcome::passed())
}

fn the_demo(_: &Shell) -> Result<Outcome> {
    demo::run()?;
    Ok(Outcome::passed())
}

/// The cargo-deny of the wanted version: from the cache, or built into it.
pub(crate) fn cargo_deny(sh: &Shell) -> Result<PathBuf> {
    let root = lab::tool_cache()?.join(format!("cargo-deny-{DENY}"));
    let program = root.join("bin/cargo-deny");
    if program.exists() {
        return Ok(program);
    }
    let _slow = Slow::start("Building", "cargo-deny (2 to 5 minutes, once)");
    fs::create_dir_all(&root)?;
    cmd!(sh, "cargo install --quiet --locked cargo-deny --version {DENY} --root {root}")
        .quiet()
        .run()?;
    Ok(program)
}
