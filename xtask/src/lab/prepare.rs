//! Installs the packages and builds the programs that the lab and the tests need.

use super::cache;
use super::tools::Part;
use super::{go, packages, state};
use crate::cargo_program::CARGO_DENY;
use crate::jobs::{Jobs, Step};
use anyhow::Result;
use xshell::{Shell, cmd};

/// The cargo projects whose dependencies the demo, the tests and the benchmarks use.
const PROJECTS: [&str; 3] = [".", "templates/service", "xtask/bench-service"];

/// Installs the Debian packages and builds the tools of some parts at the same time. The
/// caller must hold the lock of the lab.
pub(crate) fn ensure(sh: &Shell, jobs: &Jobs, parts: &[Part]) -> Result<()> {
    // Go is the tool that is most likely to be missing, so check it before the slow steps.
    go::version(sh)?;
    let install: Step<'_> = Box::new(|_| packages::ensure(&Shell::new()?));
    let build: Step<'_> =
        Box::new(|jobs| parts.iter().try_for_each(|part| cache::ensure(jobs, *part).map(drop)));
    jobs.run_all(vec![install, build])
}

/// Builds the programs that only tests and benchmarks need, and adds them to the running lab.
pub(crate) fn ensure_test_tools(sh: &Shell) -> Result<()> {
    let _lock = state::lock()?;
    cache::ensure(&Jobs::default(), Part::Tests)?;
    state::link_programs(&cache::find(sh, Part::Tests)?)
}

/// Installs, builds and downloads everything that the demo and the tests need. Does not
/// change the lab.
pub(crate) fn prepare(sh: &Shell) -> Result<()> {
    let _lock = state::lock()?;
    ensure(sh, &Jobs::default(), &[Part::Cluster, Part::Tests])?;
    CARGO_DENY.ensure(sh)?;
    for project in PROJECTS {
        let manifest = crate::paths::repository().join(project).join("Cargo.toml");
        cmd!(sh, "cargo fetch --quiet --locked --manifest-path {manifest}").quiet().run()?;
    }
    Ok(())
}
