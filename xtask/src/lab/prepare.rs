//! The programs that only tests and benchmarks need, and `lab prepare`.

use super::tools::Part;
use super::{cache, packages, state};
use anyhow::Result;
use xshell::{Shell, cmd};

/// The cargo projects whose dependencies the demo, the tests and the benchmarks use.
const PROJECTS: [&str; 3] = [".", "templates/service", "xtask/bench-service"];

/// Builds the programs that only tests and benchmarks need, and puts them into the
/// lab that runs.
pub(crate) fn ensure_test_tools(sh: &Shell) -> Result<()> {
    let _lock = state::lock()?;
    let built = cache::ensure(sh, Part::Tests)?;
    state::link_programs(&built)
}

/// Installs, builds and downloads everything that the demo and the tests need. The
/// lab itself is not changed.
pub(crate) fn prepare(sh: &Shell) -> Result<()> {
    packages::ensure(sh)?;
    let _lock = state::lock()?;
    cache::ensure(sh, Part::Cluster)?;
    cache::ensure(sh, Part::Tests)?;
    crate::test::cargo_deny(sh)?;
    for project in PROJECTS {
        let manifest = crate::root().join(project).join("Cargo.toml");
        cmd!(sh, "cargo fetch --quiet --locked --manifest-path {manifest}").quiet().run()?;
    }
    Ok(())
}
