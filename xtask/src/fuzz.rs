//! `cargo xtask fuzz`: each fuzz target for a bounded time, from the kept corpus.

use crate::term::{self, Advised};
use anyhow::{Context, Result};
use std::fs;
use xshell::{Shell, cmd};

/// What is fuzzed: the editor of manifests, the references, the archives.
const TARGETS: [&str; 3] = ["editor", "reference", "archive"];
/// How much memory a target may take, in MiB; an archive's parts have limits.
const MEMORY: &str = "-rss_limit_mb=2048";

/// What `cargo xtask fuzz` can be told.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long each target runs
    #[arg(long, default_value_t = 60, value_name = "N")]
    seconds: u32,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let sh = Shell::new()?;
    sh.change_dir(crate::root());
    check_tools(&sh)?;
    for target in TARGETS {
        one(&sh, target, args.seconds)?;
    }
    Ok(())
}

fn one(sh: &Shell, target: &str, seconds: u32) -> Result<()> {
    term::status("Fuzzing", format!("{target} for {seconds} s"));
    // What is found goes to the first folder; what is kept is in the second.
    let found = crate::root().join("target/fuzz-corpus").join(target);
    fs::create_dir_all(&found)?;
    let time = format!("-max_total_time={seconds}");
    cmd!(sh, "rustup run nightly cargo fuzz run --target-dir target/fuzz {target} {found} fuzz/corpus/{target} -- {time} {MEMORY}")
        .run()
        .with_context(|| format!("the target `{target}` failed; its input lies in `fuzz/artifacts/{target}`"))
}

fn check_tools(sh: &Shell) -> Result<()> {
    let answers = |program: &str, args: &[&str]| {
        cmd!(sh, "{program} {args...}").quiet().ignore_stdout().ignore_stderr().run().is_ok()
    };
    if !answers("rustup", &["run", "nightly", "cargo", "--version"]) {
        let help = "install it with `rustup toolchain install nightly --profile minimal`";
        return Err(Advised::error("fuzzing needs a nightly toolchain", help));
    }
    if !answers("rustup", &["run", "nightly", "cargo", "fuzz", "--version"]) {
        let help = "install it with `cargo install --locked cargo-fuzz`";
        return Err(Advised::error("`cargo fuzz` is not installed", help));
    }
    Ok(())
}
