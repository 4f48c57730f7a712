//! The Debian packages that the lab needs.

use crate::term::{self, ErrorWithHelp, SlowTask};
use anyhow::{Context, Result, bail};
use std::collections::HashSet;
use xshell::{Shell, cmd};

const PACKAGES: [&str; 26] = [
    "busybox-static",
    "conntrack",
    "containerd",
    "containernetworking-plugins",
    "curl",
    "docker-registry",
    "docker.io",
    "etcd-server",
    "ethtool",
    "git",
    "iproute2",
    "iptables",
    "mount",
    "nftables",
    "openssh-client",
    "openssh-server",
    "podman",
    "procps",
    "runc",
    "shellcheck",
    "skopeo",
    "socat",
    "sudo",
    "umoci",
    "util-linux",
    "zstd",
];

/// Installs the packages that the lab needs.
pub(crate) fn ensure(sh: &Shell) -> Result<()> {
    ensure_all(sh, &PACKAGES)
}

/// Installs the packages that are missing. Does not use the network if none is.
pub(crate) fn ensure_all(sh: &Shell, packages: &[&'static str]) -> Result<()> {
    let missing = find_missing(sh, packages)?;
    if missing.is_empty() {
        return Ok(());
    }
    if which::which("apt-get").is_err() {
        let message = format!("the Debian packages {} are missing", missing.join(" "));
        return Err(ErrorWithHelp::error(
            message,
            "run the lab on Debian 12; this machine has no `apt-get`",
        ));
    }
    install_with_lists(sh, &missing).map_err(|error| {
        let help = "run `apt-get update` and fix the error that it reports";
        ErrorWithHelp::with_source(error, "failed to install Debian packages", help)
    })?;
    term::status("Installed", missing.join(" "));
    Ok(())
}

fn install_with_lists(sh: &Shell, packages: &[&str]) -> Result<()> {
    let _slow = SlowTask::start("Installing", &format!("{} Debian packages", packages.len()));
    if install(sh, packages).is_ok() {
        return Ok(());
    }
    // The package lists of a new machine are empty or outdated.
    cmd!(sh, "apt-get update")
        .quiet()
        .ignore_stdout()
        .ignore_stderr()
        .run()
        .context("failed to download the package lists")?;
    install(sh, packages)
}

fn find_missing(sh: &Shell, packages: &[&'static str]) -> Result<Vec<&'static str>> {
    let format = "${Package} ${db:Status-Status}\n";
    let listed = cmd!(sh, "dpkg-query --show --showformat {format}")
        .args(packages)
        .quiet()
        .ignore_stderr()
        .ignore_status()
        .read()
        .map_err(|_| {
            ErrorWithHelp::error("`dpkg-query` not found on PATH", "run the lab on Debian 12")
        })?;
    let installed: HashSet<_> =
        listed.lines().filter_map(|line| line.strip_suffix(" installed")).collect();
    Ok(packages.iter().copied().filter(|package| !installed.contains(package)).collect())
}

/// Runlevel 1 keeps Debian packages from starting services: the lab starts its own.
fn install(sh: &Shell, packages: &[&str]) -> Result<()> {
    let install = cmd!(sh, "apt-get install --yes --no-install-recommends {packages...}")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("RUNLEVEL", "1");
    let output = install.quiet().ignore_status().output()?;
    if !output.status.success() {
        bail!("apt-get: {}", String::from_utf8_lossy(&output.stderr).trim_end());
    }
    Ok(())
}
