//! Programs that `cargo install` builds once, in the cache folder.

use crate::paths;
use crate::term::SlowTask;
use anyhow::Result;
use std::fs;
use std::path::PathBuf;
use xshell::{Shell, cmd};

/// Checks licenses, sources and forbidden crates.
pub(crate) const CARGO_DENY: CargoProgram = CargoProgram { name: "cargo-deny", version: "0.20.2" };
/// Renders docs/.
pub(crate) const MDBOOK: CargoProgram = CargoProgram { name: "mdbook", version: "0.5.4" };

/// A program, and the package of the same name.
pub(crate) struct CargoProgram {
    name: &'static str,
    version: &'static str,
}

impl CargoProgram {
    /// Returns the path of the program.
    pub(crate) fn ensure(&self, sh: &Shell) -> Result<PathBuf> {
        let Self { name, version } = self;
        let root = paths::tool_cache()?.join(format!("{name}-{version}"));
        let program = root.join("bin").join(name);
        if program.exists() {
            return Ok(program);
        }
        let _slow = SlowTask::start("Building", &format!("{name} (2 to 5 minutes, once)"));
        fs::create_dir_all(&root)?;
        cmd!(sh, "cargo install --quiet --locked {name} --version {version} --root {root}")
            .quiet()
            .run()?;
        Ok(program)
    }
}
