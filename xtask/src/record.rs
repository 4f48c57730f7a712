//! `cargo xtask record`: makes what `cargo kdev why` explains in the lab, keeps
//! the facts of each scene, and writes `docs/diagnoses.md` anew from them.

use crate::lab;
use crate::term;
use anyhow::Result;
use xshell::{Shell, cmd};

/// Which scenes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only tests whose names hold one of these words [default: all of `why`]
    #[arg(value_name = "WORD")]
    words: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let sh = Shell::new()?;
    sh.change_dir(crate::root());
    let lab = lab::up(&sh)?;
    let words = if args.words.is_empty() { vec!["why".to_owned()] } else { args.words.clone() };
    let records = crate::root().join("crates/kdev-diagnosis/tests/scenarios");
    term::status("Recording", "what goes wrong in the lab");
    cmd!(sh, "cargo test --package cargo-kdev --test e2e --locked -- --ignored {words...}")
        .envs(lab.env())
        .env("KDEV_RECORD", records)
        .run()?;
    term::status("Writing", "docs/diagnoses.md");
    cmd!(sh, "cargo test --quiet --package cargo-kdev --test cli --locked -- why_docs")
        .env("SNAPSHOTS", "overwrite")
        .run()?;
    Ok(())
}
