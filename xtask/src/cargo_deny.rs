//! cargo-deny, which checks licenses, sources and forbidden crates.

use crate::paths;
use crate::term::SlowTask;
use anyhow::Result;
use std::fs;
use std::path::PathBuf;
use xshell::{Shell, cmd};

const VERSION: &str = "0.20.2";

/// Returns the path of the program, which is built once.
pub(crate) fn ensure(sh: &Shell) -> Result<PathBuf> {
    let root = paths::tool_cache()?.join(format!("cargo-deny-{VERSION}"));
    let program = root.join("bin/cargo-deny");
    if program.exists() {
        return Ok(program);
    }
    let _slow = SlowTask::start("Building", "cargo-deny (2 to 5 minutes, once)");
    fs::create_dir_all(&root)?;
    cmd!(sh, "cargo install --quiet --locked cargo-deny --version {VERSION} --root {root}")
        .quiet()
        .run()?;
    Ok(program)
}
