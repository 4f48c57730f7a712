//! `cargo xtask test`: everything that a change must pass, each with its count.

use crate::demo;
use crate::lab;
use crate::term::{self, Slow};
use anyhow::{Context, Result, bail};
use std::env;
use std::fmt;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::ops::Add;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use xshell::{Cmd, Shell, cmd};

/// Checks licences, sources and forbidden crates.
const DENY: &str = "0.20.2";

/// How many lines of a failed test are told once more.
const WORDS: usize = 25;

/// What `cargo xtask test` can be told.
#[derive(clap::Args)]
pub(crate) struct Args {
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

type Work = fn(&Shell) -> Result<Outcome>;

/// What the tests of a stage came to.
#[derive(Default)]
struct Outcome {
    passed: usize,
    failed: usize,
    ignored: usize,
    /// What the failed ones said.
    words: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let sh = Shell::new()?;
    sh.change_dir(crate::root());
    let mut stages: Vec<(&str, Work)> = vec![
        ("fmt", fmt),
        ("clippy", clippy),
        ("deny", deny),
        ("doc", doc),
        ("unit", unit),
        ("corpus", corpus),
        ("black-box", black_box),
    ];
    let was_up = lab::is_up();
    let cluster = wants_cluster(args);
    if cluster {
        stages.extend(CLUSTER);
    }
    let ended: Vec<Stage> = stages.into_iter().map(|(name, work)| stage(&sh, name, work)).collect();
    if cluster && (args.down || !was_up) {
        lab::down(&sh)?;
    }
    Ok(summary(&ended, if cluster { 0 } else { CLUSTER.len() }))
}

/// The stages that need the lab.
const CLUSTER: [(&str, Work); 3] = [("cluster", cluster), ("lab", the_lab), ("demo", the_demo)];

/// Where the lab cannot run they are skipped aloud; but not in CI, where they
/// fail.
fn wants_cluster(args: &Args) -> bool {
    let reason = match lab::check_host() {
        _ if args.no_cluster => "asked for by `--no-cluster`".to_owned(),
        Err(error) if env::var_os("CI").is_none() => error.to_string(),
        _ => return true,
    };
    let names = CLUSTER.map(|(name, _)| name).join(", ");
    term::status("Skipping", format!("{names}: {reason}"));
    false
}

fn stage(sh: &Shell, name: &'static str, work: Work) -> Stage {
    term::status("Testing", name);
    let begun = Instant::now();
    let outcome = work(sh).unwrap_or_else(|error| Outcome::failed(&error));
    Stage { name, outcome, took: begun.elapsed() }
}

/// What failed is told once more, for a later stage has long since pushed it out
/// of sight. The last line is for machines, too: so many passed, so many failed.
fn summary(stages: &[Stage], skipped: usize) -> ExitCode {
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

fn unit(sh: &Shell) -> Result<Outcome> {
    let code = counted(cmd!(sh, "cargo test --workspace --lib --bins --examples --locked"))?;
    let docs = counted(cmd!(sh, "cargo test --workspace --doc --locked"))?;
    Ok(code + docs)
}

fn corpus(sh: &Shell) -> Result<Outcome> {
    let ignored = needing_kubectl(sh);
    counted(cmd!(sh, "cargo test --package kdev --test corpus --locked -- {ignored...}"))
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

fn black_box(sh: &Shell) -> Result<Outcome> {
    let ignored = needing_kubectl(sh);
    counted(cmd!(sh, "cargo test --package cargo-kdev --test black_box --locked -- {ignored...}"))
}

fn cluster(sh: &Shell) -> Result<Outcome> {
    let lab = lab::up(sh)?;
    lab::ensure_test_tools(sh)?;
    cmd!(sh, "cargo build --quiet --package kdev --example team_xtask --locked").quiet().run()?;
    counted(
        cmd!(sh, "cargo test --package cargo-kdev --test cluster --locked -- --ignored")
            .envs(lab.env()),
    )
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

/// Each command counts as one test.
fn checks<const N: usize>(commands: [Cmd; N]) -> Outcome {
    let outcome = |command: Cmd| match command.quiet().run() {
        Ok(()) => Outcome::passed(),
        Err(error) => Outcome::failed(&error.into()),
    };
    commands.into_iter().map(outcome).fold(Outcome::default(), Outcome::add)
}

/// Runs a `cargo test`, shows what it prints, and adds up its results.
fn counted(command: Cmd) -> Result<Outcome> {
    let mut command = Command::from(command);
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let stdout = child.stdout.take().context("no stdout")?;
    let lines = BufReader::new(stdout).lines().inspect(|line| {
        if let Ok(line) = line {
            term::print(line);
        }
    });
    let outcome = Outcome::of(&lines.collect::<io::Result<Vec<_>>>()?);
    let status = child.wait()?;
    if !status.success() && outcome.failed == 0 {
        bail!("cargo test ended with {status}, before any test");
    }
    Ok(outcome)
}

impl Outcome {
    fn passed() -> Self {
        Self { passed: 1, ..Self::default() }
    }

    fn failed(error: &anyhow::Error) -> Self {
        term::report(error);
        Self { failed: 1, words: vec![format!("{error:#}")], ..Self::default() }
    }

    /// Of what a `cargo test` prints.
    fn of(lines: &[String]) -> Self {
        let results = lines.iter().filter_map(|line| line.strip_prefix("test result: "));
        let sum = results.map(Self::of_result).fold(Self::default(), Self::add);
        Self { words: words_of_the_failed(lines), ..sum }
    }

    /// `ok. 3 passed; 0 failed; 1 ignored; …`
    fn of_result(result: &str) -> Self {
        let number = |word: &str| {
            let before = result.split(word).next()?.trim_end();
            before.rsplit(' ').next()?.parse().ok()
        };
        Self {
            passed: number(" passed").unwrap_or(0),
            failed: number(" failed").unwrap_or(0),
            ignored: number(" ignored").unwrap_or(0),
            words: Vec::new(),
        }
    }
}

/// The first lines that each failed test has printed, without backtraces.
fn words_of_the_failed(lines: &[String]) -> Vec<String> {
    let is_head = |line: &str| line.starts_with("---- ") && line.ends_with(" stdout ----");
    let mut left = 0;
    let wanted = |line: &&String| {
        left = match line.as_str() {
            head if is_head(head) => WORDS,
            "failures:" | "stack backtrace:" => 0,
            _ => usize::saturating_sub(left, 1),
        };
        left > 0
    };
    lines.iter().filter(wanted).cloned().collect()
}

impl Add for Outcome {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            ignored: self.ignored + other.ignored,
            words: [self.words, other.words].concat(),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_read_as_cargo_prints_them() {
        let printed = "\
running 12 tests
test well ... ok
test ill ... FAILED

failures:

---- ill stdout ----
thread 'ill' panicked at lib.rs:1:1:
no luck
stack backtrace:
   0: ill::ill

---- worse stdout ----
error: worse

failures:
    ill
    worse

test result: FAILED. 10 passed; 2 failed; 15 ignored; 0 measured; 0 filtered out; finished in 1.5s
test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s";
        let lines: Vec<String> = printed.lines().map(str::to_owned).collect();
        let Outcome { passed, failed, ignored, words } = Outcome::of(&lines);
        assert_eq!((passed, failed, ignored), (11, 2, 15));
        let ill = ["---- ill stdout ----", "thread 'ill' panicked at lib.rs:1:1:", "no luck"];
        let worse = ["---- worse stdout ----", "error: worse", ""];
        assert_eq!(words, [ill, worse].concat());
    }
}
