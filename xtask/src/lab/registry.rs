//! The registry that stands in for every other one; it begins empty.

use super::daemon::{self, Daemon};
use super::paths::{REGISTRY, fill, state};
use super::wait;
use anyhow::Result;
use std::fs;
use xshell::{Shell, cmd};

pub(crate) fn start(sh: &Shell) -> Result<()> {
    let config = state("registry.yml");
    fs::write(&config, fill(include_str!("files/registry.yml"), &[]))?;
    // Its standard output is its access log, and nothing else.
    Daemon::new("registry", cmd!(sh, "docker-registry serve {config}"))
        .output(state("registry.log"))
        .ensure()?;
    daemon::answers("registry", 10, || wait::http_ok(REGISTRY, "/v2/"))
}
