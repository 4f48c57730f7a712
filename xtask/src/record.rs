//! `cargo xtask record`: runs the tests of `cargo kdev why` in the lab, records the facts of
//! each scenario, and regenerates `docs/diagnoses.md` from them.

use crate::lab;
use crate::paths;
use crate::term;
use anyhow::Result;
use xshell::{Shell, cmd};

/// The arguments of `cargo xtask record`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run only tests whose names contain one of these words [default: why]
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let sh = Shell::new()?;
    sh.change_dir(paths::repository());
    let lab = lab::up(&sh)?;
    let names = if args.names.is_empty() { vec!["why".to_owned()] } else { args.names.clone() };
    let records = paths::repository().join("crates/kdev-diagnosis/tests/scenarios");
    term::status("Recording", "scenarios in the lab");
    cmd!(sh, "cargo test --package cargo-kdev --test e2e --locked -- --ignored {names...}")
        .envs(lab.env(&sh))
        .env("KDEV_RECORD", records)
        .run()?;
    term::status("Writing", "docs/diagnoses.md");
    cmd!(sh, "cargo test --quiet --package cargo-kdev --test cli --locked -- why_docs")
        .env("SNAPSHOTS", "overwrite")
        .run()?;
    Ok(())
}
