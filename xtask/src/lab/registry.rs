//! The registry that replaces all others in the lab. It is empty at first.

use super::daemon::{self, Daemon};
use super::paths::{REGISTRY, fill, state};
use super::wait;
use anyhow::Result;
use std::fs;
use xshell::{Shell, cmd};

pub(crate) fn start(sh: &Shell) -> Result<()> {
    let config = state("registry.yml");
    fs::write(&config, fill(include_str!("files/registry.yml"), &[]))?;
    // Standard output is the access log, without other messages.
    Daemon::new("registry", cmd!(sh, "docker-registry serve {config}"))
        .output(state("registry.log"))
        .ensure()?;
    daemon::wait_until_ready("registry", 10, || wait::is_http_ok(REGISTRY, "/v2/"))
}
