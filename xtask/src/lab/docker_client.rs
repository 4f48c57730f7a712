//! The Docker client: makes it build with `BuildKit` in the daemon of the lab.
//!
//! A client since 23.0 needs the plugin Buildx, which takes a minute to build. So the lab builds
//! it only for the tests, and before uses a client that this machine has.

use super::paths::{program, state};
use anyhow::Result;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use xshell::{Shell, cmd};

/// The program of Docker Buildx.
const BUILDX: &str = "buildx";
/// The client of the package `docker.io`, which the lab installs.
const DEBIAN: &str = "/usr/bin/docker";
/// The first version that does not contain a client of `BuildKit`.
const NEEDS_BUILDX: u32 = 23;
/// `docker build` of a client before 23.0 uses Buildx only with this alias.
const CONFIG: &str = r#"{"aliases": {"builder": "buildx"}}"#;

/// The client that builds with `BuildKit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    /// With Buildx of the lab.
    WithPlugin,
    /// As the user has configured it.
    Unchanged,
    /// The client of Debian 12, which contains `BuildKit`.
    Debian,
}

/// Returns the variables with which `docker build` uses `BuildKit`.
pub(crate) fn variables(sh: &Shell) -> Vec<(&'static str, String)> {
    match find_client(sh) {
        Client::Unchanged => Vec::new(),
        Client::WithPlugin => vec![("DOCKER_CONFIG", config().display().to_string())],
        Client::Debian => vec![("DOCKER_BUILDKIT", "1".to_owned())],
    }
}

/// Returns `path` with Debian's client at the beginning if programs must use it.
pub(crate) fn search_path(sh: &Shell, path: String) -> String {
    let is_first = || which::which("docker").is_ok_and(|docker| docker == Path::new(DEBIAN));
    if find_client(sh) != Client::Debian || is_first() {
        return path;
    }
    let first = bin().display().to_string();
    if path.split(':').next() == Some(&first) { path } else { format!("{first}:{path}") }
}

fn find_client(sh: &Shell) -> Client {
    let has_plugin = program(BUILDX).exists();
    select_client(has_plugin, || has_buildx(sh), || debian_version(sh))
}

fn select_client(
    has_plugin: bool,
    has_buildx: impl FnOnce() -> bool,
    debian: impl FnOnce() -> Option<u32>,
) -> Client {
    if has_plugin {
        Client::WithPlugin
    } else if !has_buildx() && debian().is_some_and(|major| major < NEEDS_BUILDX) {
        Client::Debian
    } else {
        Client::Unchanged
    }
}

/// Returns whether the client on PATH builds with Buildx.
fn has_buildx(sh: &Shell) -> bool {
    let version = cmd!(sh, "docker --version").quiet().ignore_stderr().read();
    let needs_buildx = version.is_ok_and(|text| major(&text) >= Some(NEEDS_BUILDX));
    let buildx = cmd!(sh, "docker buildx version").quiet().ignore_stdout().ignore_stderr();
    needs_buildx && buildx.run().is_ok()
}

fn debian_version(sh: &Shell) -> Option<u32> {
    major(&cmd!(sh, "{DEBIAN} --version").quiet().ignore_stderr().read().ok()?)
}

/// Returns the major version in the output of `docker --version`.
fn major(text: &str) -> Option<u32> {
    let version = text.strip_prefix("Docker version ")?;
    version.split('.').next()?.parse().ok()
}

/// Links Debian's client, and the plugin if the lab has built it.
pub(crate) fn link() -> Result<()> {
    fs::create_dir_all(bin())?;
    replace_link(DEBIAN.into(), bin().join("docker"))?;
    if program(BUILDX).exists() {
        let plugins = config().join("cli-plugins");
        fs::create_dir_all(&plugins)?;
        replace_link(program(BUILDX), plugins.join("docker-buildx"))?;
        fs::write(config().join("config.json"), CONFIG)?;
    }
    Ok(())
}

fn replace_link(target: PathBuf, link: PathBuf) -> Result<()> {
    let new = link.with_extension("new");
    let _ = fs::remove_file(&new);
    symlink(target, &new)?;
    Ok(fs::rename(new, link)?)
}

/// Returns the configuration folder of the client with the plugin.
fn config() -> PathBuf {
    state("docker-config")
}

/// Returns the folder that contains only Debian's client.
fn bin() -> PathBuf {
    state("docker-client")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_is_one_that_has_buildkit() {
        let table = [
            ((true, true, Some(20)), Client::WithPlugin),
            ((true, false, None), Client::WithPlugin),
            ((false, true, Some(20)), Client::Unchanged),
            ((false, false, Some(20)), Client::Debian),
            ((false, false, Some(26)), Client::Unchanged),
            ((false, false, None), Client::Unchanged),
        ];
        for ((has_plugin, has_buildx, debian), expected) in table {
            let found = select_client(has_plugin, || has_buildx, || debian);
            assert_eq!(found, expected, "{has_plugin} {has_buildx} {debian:?}");
        }
    }

    #[test]
    fn major_reads_output_of_version() {
        assert_eq!(major("Docker version 20.10.24+dfsg1, build 297e128"), Some(20));
        assert_eq!(major("Docker version 28.2.2, build e6534b4"), Some(28));
        assert_eq!(major("podman version 4.3.1"), None);
    }
}
