//! Finds cargo, docker, ssh, kubectl and helm on PATH and checks their versions.
//!
//! - `cargo_config.rs`: cargo's configuration
//! - `full_disk.rs`: the disk on which Docker or Podman had no space left
//! - `ssh.rs`: SSH targets, and the options of each connection

pub(crate) mod cargo_config;
mod error;
mod full_disk;
pub(crate) mod ssh;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use xshell::cmd;

use crate::cx::Cx;
use crate::process::{Command, Failure};

pub use error::Error;
pub(crate) use error::Result;
pub(crate) use full_disk::{FullDisk, full_disk};

/// How long a tool may take for a command that only reads or changes metadata.
pub(crate) const TOOL_TIMEOUT: Duration = Duration::from_secs(20);

/// A program that kdev runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    /// The oldest supported version.
    min_version: &'static str,
    install_help: &'static str,
}

/// 20.10 is the oldest Docker whose archives have been tested.
pub(crate) const DOCKER: Tool = Tool {
    name: "docker",
    min_version: "20.10",
    install_help: "install it with `sudo apt-get install docker.io`, or follow https://docs.docker.com/engine/install",
};
/// 4.3 introduced `podman image rm --no-prune`.
pub(crate) const PODMAN: Tool = Tool {
    name: "podman",
    min_version: "4.3",
    install_help: "install Podman 4.3 or newer, as described at https://podman.io/docs/installation",
};
/// How to replace another program with Docker.
pub(crate) const INSTALL_DOCKER: &str = "install Docker with `sudo apt-get install docker.io`, or follow https://docs.docker.com/engine/install";
/// How to install the plugin with which Docker uses `BuildKit`.
pub(crate) const INSTALL_BUILDX: &str = "run `sudo apt-get install docker-buildx-plugin` if Docker is from docker.com, else `sudo apt-get install docker-buildx`";
/// The sockets of the daemon that systemd starts.
pub(crate) const DOCKER_SOCKETS: [&str; 2] =
    ["unix:///var/run/docker.sock", "unix:///run/docker.sock"];
/// Run by name, so that rustup selects the toolchain of the directory.
pub(crate) const CARGO: Tool = Tool {
    name: "cargo",
    min_version: "1.0",
    install_help: "follow https://rustup.rs to install it",
};
/// Run by name, like cargo.
pub(crate) const RUSTC: Tool = Tool { name: "rustc", ..CARGO };
/// Links programs for other platforms. cargo runs it as `cargo zigbuild`.
pub(crate) const ZIGBUILD: Tool = Tool {
    name: "cargo-zigbuild",
    min_version: "0.1",
    install_help: "run `cargo install --locked cargo-zigbuild`",
};
/// 6.7 introduced `%C`, without which the path of a control socket gets too long.
pub(crate) const SSH: Tool = Tool {
    name: "ssh",
    min_version: "6.7",
    install_help: "install it with `sudo apt-get install openssh-client`",
};
/// 1.22 made server-side apply stable.
pub(crate) const KUBECTL: Tool = Tool {
    name: "kubectl",
    min_version: "1.22",
    install_help: "follow https://kubernetes.io/docs/tasks/tools to install it",
};

/// 3.5 introduced `--skip-tests`.
pub(crate) const HELM: Tool = Tool {
    name: "helm",
    min_version: "3.5",
    install_help: "follow https://helm.sh/docs/intro/install to install it",
};

/// 3.13 introduced `--dry-run=server`, with which `lookup` returns live objects.
pub(crate) const HELM_WITH_LOOKUP: Tool = Tool { min_version: "3.13", ..HELM };

/// Checks that kubectl is new enough. The result is cached until the file changes,
/// because starting kubectl is slow.
pub(crate) fn check_kubectl(cx: &Cx, path: &Path) -> Result<()> {
    let cached = cx.cache_dir().map(|dir| dir.join("kubectl"));
    let fingerprint = fingerprint(path);
    let known = cached.as_ref().and_then(|path| fs::read_to_string(path).ok());
    if fingerprint.is_some() && known == fingerprint {
        return Ok(());
    }
    KUBECTL.check_min_version(&kubectl_version(cx, path)?)?;
    // If this fails, the next run checks the version again.
    if let (Some(cached), Some(fingerprint)) = (cached, fingerprint) {
        let _ = cached.parent().map(fs::create_dir_all);
        let _ = fs::write(cached, fingerprint);
    }
    Ok(())
}

/// Returns the path, size and modification time of a program as one line.
fn fingerprint(path: &Path) -> Option<String> {
    let file = fs::metadata(path).ok()?;
    let time = file.modified().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(format!("{} {} {}", path.display(), file.len(), time.as_nanos()))
}

fn kubectl_version(cx: &Cx, path: &Path) -> Result<String> {
    let sh = cx.shell()?;
    let cmd = cmd!(sh, "{path} version --client --output=json");
    let command = Command::new(cmd).timeout(TOOL_TIMEOUT);
    let output = command.read(cx).map_err(|f| KUBECTL.version_error(f))?;
    let version: KubectlVersion = serde_json::from_slice(&output.stdout)
        .map_err(|error| Error::unexpected(KUBECTL.name, error))?;
    Ok(version.client_version.git_version)
}

/// Finds ssh, checks its version, and returns its path and its major and minor version,
/// which are 0 if it is not OpenSSH.
pub(crate) fn find_ssh(cx: &Cx) -> Result<(PathBuf, (u32, u32))> {
    let path = SSH.find()?;
    let Some(version) = ssh_version(cx, &path)? else { return Ok((path, (0, 0))) };
    SSH.check_min_version(&version)?;
    Ok((path, major_minor(&version)))
}

/// Returns `None` for implementations other than OpenSSH, whose version is not checked.
fn ssh_version(cx: &Cx, path: &Path) -> Result<Option<String>> {
    let sh = cx.shell()?;
    let command = Command::new(cmd!(sh, "{path} -V")).timeout(TOOL_TIMEOUT);
    let output = command.read(cx).map_err(|f| SSH.version_error(f))?;
    // `OpenSSH_9.2p1 Debian-2, …`
    let version = output.stderr.split("OpenSSH_").nth(1);
    Ok(version.map(|text| text.split([',', ' ']).next().unwrap_or_default().to_owned()))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct KubectlVersion {
    client_version: KubectlClient,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct KubectlClient {
    git_version: String,
}

impl Tool {
    pub(crate) fn find(self) -> Result<PathBuf> {
        which::which(self.name)
            .map_err(|_| Error::NotFound { tool: self.name, install_help: self.install_help })
    }

    /// Checks the version and describes it, as in `28.2.2 at /usr/bin/docker`.
    pub(crate) fn check_version(self, cx: &Cx) -> Result<String> {
        let path = self.find()?;
        let version = match self.name {
            "kubectl" => kubectl_version(cx, &path)?,
            "ssh" => ssh_version(cx, &path)?.unwrap_or_default(),
            _ => self.read_version(cx, &path)?,
        };
        if !version.is_empty() {
            self.check_min_version(&version)?;
        }
        Ok(format!("{} at {}", version.trim_start_matches('v'), path.display()))
    }

    /// Returns the first version in its output, such as `Docker version 28.2.2, build …`
    /// or `v3.15.4+gfa9efb0`.
    fn read_version(self, cx: &Cx, path: &Path) -> Result<String> {
        let sh = cx.shell()?;
        let arg = match self.name {
            "docker" | "podman" => "--version",
            _ => "version",
        };
        let format = (self.name == "helm").then_some("--short");
        let command = Command::new(cmd!(sh, "{path} {arg} {format...}")).timeout(TOOL_TIMEOUT);
        let output = command.read(cx).map_err(|f| self.version_error(f))?.text();
        // Podman's wrapper prints `podman version 4.3.1`.
        if self.name == DOCKER.name && output.starts_with("podman") {
            return Err(Error::Podman);
        }
        let is_version =
            |word: &&str| word.trim_start_matches('v').starts_with(|c: char| c.is_ascii_digit());
        Ok(output.split([' ', ',', '\n']).find(is_version).unwrap_or_default().to_owned())
    }

    pub(crate) fn check_min_version(self, found: &str) -> Result<()> {
        let found = found.trim_start_matches('v');
        if major_minor(found) >= major_minor(self.min_version) {
            return Ok(());
        }
        Err(Error::TooOld {
            tool: self.name,
            found: found.to_owned(),
            required: self.min_version,
            install_help: self.install_help,
        })
    }

    fn version_error(self, source: Failure) -> Error {
        Error::Command { action: format!("get the version of `{}`", self.name), source }
    }
}

/// Returns the major and minor number of a version; 0 for a missing one.
pub(crate) fn major_minor(version: &str) -> (u32, u32) {
    let mut numbers = version
        .trim_start_matches('v')
        .split(|c: char| !c.is_ascii_digit())
        .map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_numbers_compare_numerically() {
        let table = [
            ("v1.32.4", (1, 32)),
            ("20.10.24+dfsg1", (20, 10)),
            ("9.2p1", (9, 2)),
            ("29", (29, 0)),
            ("dev", (0, 0)),
        ];
        for (text, numbers) in table {
            assert_eq!(major_minor(text), numbers, "{text}");
        }
        assert!(DOCKER.check_min_version("19.03.1").is_err());
        assert!(DOCKER.check_min_version("28.2.2").is_ok());
        assert!(KUBECTL.check_min_version("v1.9.0").is_err());
    }
}
