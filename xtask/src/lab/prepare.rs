//! What must be there before the lab starts or the tests run: packages and programs.

use super::cache;
use super::tools::Part;
use super::{go, packages, state};
use crate::jobs::{Jobs, Step};
use anyhow::Result;
use xshell::{Shell, cmd};

/// The cargo projects whose dependencies the demo, the tests and the benchmarks use.
const PROJECTS: [&str; 3] = [".", "templates/service", "xtask/bench-service"];

/// Installs the Debian packages and builds the tools of some parts, at the same time.
/// The caller holds the lab's lock.
pub(crate) fn ensure(sh: &Shell, jobs: &Jobs, parts: &[Part]) -> Result<()> {
    // The most likely problem is reported before any work begins.
    go::version(sh)?;
    let install: Step<'_> = Box::new(|_| packages::ensure(&Shell::new()?));
    let build: Step<'_> =
        Box::new(|jobs| parts.iter().try_for_each(|part| cache::ensure(jobs, *part).map(drop)));
    jobs.together(vec![install, build])
}

/// Builds the programs that only tests and benchmarks need, and puts them into the
/// lab that runs.
pub(crate) fn ensure_test_tools(sh: &Shell) -> Result<()> {
    let _lock = state::lock()?;
    cache::ensure(&Jobs::default(), Part::Tests)?;
    state::link_programs(&cache::find(sh, Part::Tests)?)
}

/// Installs, builds and downloads everything that the demo and the tests need. The
/// lab itself is not changed.
pub(crate) fn prepare(sh: &Shell) -> Result<()> {
    let _lock = state::lock()?;
    ensure(sh, &Jobs::default(), &[Part::Cluster, Part::Tests])?;
    crate::test::cargo_deny(sh)?;
    for project in PROJECTS {
        let manifest = crate::root().join(project).join("Cargo.toml");
        cmd!(sh, "cargo fetch --quiet --locked --manifest-path {manifest}").quiet().run()?;
    }
    Ok(())
}
