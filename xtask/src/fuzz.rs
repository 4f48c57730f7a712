//! `cargo xtask fuzz`: runs each fuzz target for a limited time, from the stored corpus.

use crate::paths;
use crate::term::{self, ErrorWithHelp};
use anyhow::{Context, Result};
use std::fs;
use xshell::{Shell, cmd};

/// The fuzz targets: the manifest editor, image references, and image archives.
const TARGETS: [&str; 3] = ["editor", "reference", "archive"];
/// The memory limit of a target, in MiB. It is low because the parts of an archive have limits.
const MEMORY_LIMIT: &str = "-rss_limit_mb=2048";

/// The arguments of `cargo xtask fuzz`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Seconds to run each target
    #[arg(long, default_value_t = 60, value_name = "N")]
    seconds: u32,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let sh = Shell::new()?;
    sh.change_dir(paths::repository());
    check_tools(&sh)?;
    for target in TARGETS {
        run_target(&sh, target, args.seconds)?;
    }
    Ok(())
}

fn run_target(sh: &Shell, target: &str, seconds: u32) -> Result<()> {
    term::status("Fuzzing", format!("{target} for {seconds} s"));
    // New inputs go into the first folder; the second one is the stored corpus.
    let found = paths::repository().join("target/fuzz-corpus").join(target);
    fs::create_dir_all(&found)?;
    let time = format!("-max_total_time={seconds}");
    cmd!(sh, "rustup run nightly cargo fuzz run --target-dir target/fuzz {target} {found} fuzz/corpus/{target} -- {time} {MEMORY_LIMIT}")
        .run()
        .with_context(|| format!("target `{target}` failed; its input is in `fuzz/artifacts/{target}`"))
}

fn check_tools(sh: &Shell) -> Result<()> {
    let succeeds = |program: &str, args: &[&str]| {
        cmd!(sh, "{program} {args...}").quiet().ignore_stdout().ignore_stderr().run().is_ok()
    };
    if !succeeds("rustup", &["run", "nightly", "cargo", "--version"]) {
        let help = "run `rustup toolchain install nightly --profile minimal`";
        return Err(ErrorWithHelp::error("fuzzing needs a nightly toolchain", help));
    }
    if !succeeds("rustup", &["run", "nightly", "cargo", "fuzz", "--version"]) {
        let help = "run `cargo install --locked cargo-fuzz`";
        return Err(ErrorWithHelp::error("`cargo fuzz` is not installed", help));
    }
    Ok(())
}
