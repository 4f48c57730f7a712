//! Finds cargo, docker, ssh, kubectl and helm on PATH, and checks that they are new enough.

mod error;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use xshell::cmd;

use crate::cx::Cx;
use crate::process::{Failure, Task};

pub use error::Error;
pub(crate) use error::Result;

/// How long a tool may take to tell its version.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A program that kdev calls.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    /// The oldest version that will do, and why no older one does.
    needed: &'static str,
    install: &'static str,
}

/// 20.10 is the oldest docker whose archives have been tried.
pub(crate) const DOCKER: Tool = Tool {
    name: "docker",
    needed: "20.10",
    install: "install it with `sudo apt-get install docker.io`, or as https://docs.docker.com/engine/install says",
};
/// Where the daemon listens that systemd starts.
pub(crate) const DOCKER_SOCKETS: [&str; 2] =
    ["unix:///var/run/docker.sock", "unix:///run/docker.sock"];
/// By its name: rustup then picks the toolchain of the folder.
pub(crate) const CARGO: Tool =
    Tool { name: "cargo", needed: "1.0", install: "install it as https://rustup.rs says" };
/// 6.7 brought `%C`, without which a control socket's path grows too long.
pub(crate) const SSH: Tool = Tool {
    name: "ssh",
    needed: "6.7",
    install: "install it with `sudo apt-get install openssh-client`",
};
/// 1.22 made server-side apply stable.
pub(crate) const KUBECTL: Tool = Tool {
    name: "kubectl",
    needed: "1.22",
    install: "install it as https://kubernetes.io/docs/tasks/tools says",
};

/// 3.5 brought `--skip-tests`.
pub(crate) const HELM: Tool = Tool {
    name: "helm",
    needed: "3.5",
    install: "install it as https://helm.sh/docs/intro/install says",
};

/// Makes sure that kubectl is new enough. It is asked once: as long as it is the
/// same file, it is the same version.
pub(crate) fn check_kubectl(cx: &Cx, path: &Path) -> Result<()> {
    let seen = cx.cache_dir().map(|dir| dir.join("kubectl"));
    let identity = identity(path);
    let known = seen.as_ref().and_then(|seen| fs::read_to_string(seen).ok());
    if identity.is_some() && known == identity {
        return Ok(());
    }
    KUBECTL.check(&kubectl_version(cx, path)?)?;
    // At worst it is asked again.
    if let (Some(seen), Some(identity)) = (seen, identity) {
        let _ = seen.parent().map(fs::create_dir_all);
        let _ = fs::write(seen, identity);
    }
    Ok(())
}

/// Path, size and time of a program.
fn identity(path: &Path) -> Option<String> {
    let file = fs::metadata(path).ok()?;
    let time = file.modified().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(format!("{} {} {}", path.display(), file.len(), time.as_nanos()))
}

fn kubectl_version(cx: &Cx, path: &Path) -> Result<String> {
    let sh = cx.shell()?;
    let task = Task::new(cmd!(sh, "{path} version --client --output=json")).limit(PATIENCE);
    let output = task.read(cx).map_err(|f| KUBECTL.broken(f))?;
    let version: KubectlVersion = serde_json::from_slice(&output.stdout)
        .map_err(|error| Error::unexpected(KUBECTL.name, error))?;
    Ok(version.client_version.git_version)
}

/// Finds ssh.
pub(crate) fn ssh(cx: &Cx) -> Result<PathBuf> {
    let path = SSH.find()?;
    ssh_version(cx, &path)?.map_or(Ok(()), |version| SSH.check(&version))?;
    Ok(path)
}

/// `None` for other implementations than OpenSSH, which are left alone.
fn ssh_version(cx: &Cx, path: &Path) -> Result<Option<String>> {
    let sh = cx.shell()?;
    let task = Task::new(cmd!(sh, "{path} -V")).limit(PATIENCE);
    let output = task.read(cx).map_err(|f| SSH.broken(f))?;
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
            .map_err(|_| Error::NotFound { tool: self.name, install: self.install })
    }

    /// Where it is, and its version, which must be new enough.
    pub(crate) fn seen(self, cx: &Cx) -> Result<String> {
        let path = self.find()?;
        let version = match self.name {
            "kubectl" => kubectl_version(cx, &path)?,
            "ssh" => ssh_version(cx, &path)?.unwrap_or_default(),
            _ => self.said_version(cx, &path)?,
        };
        if !version.is_empty() {
            self.check(&version)?;
        }
        Ok(format!("{} at {}", version.trim_start_matches('v'), path.display()))
    }

    /// The first number in what it says, as in `Docker version 28.2.2, build …`
    /// and `v3.15.4+gfa9efb0`.
    fn said_version(self, cx: &Cx, path: &Path) -> Result<String> {
        let sh = cx.shell()?;
        let arg = if self.name == "docker" { "--version" } else { "version" };
        let format = (self.name == "helm").then_some("--short");
        let task = Task::new(cmd!(sh, "{path} {arg} {format...}")).limit(PATIENCE);
        let said = task.read(cx).map_err(|f| self.broken(f))?.text();
        let is_version =
            |word: &&str| word.trim_start_matches('v').starts_with(|c: char| c.is_ascii_digit());
        Ok(said.split([' ', ',', '\n']).find(is_version).unwrap_or_default().to_owned())
    }

    pub(crate) fn check(self, found: &str) -> Result<()> {
        let found = found.trim_start_matches('v');
        if major_minor(found) >= major_minor(self.needed) {
            return Ok(());
        }
        Err(Error::TooOld {
            tool: self.name,
            found: found.to_owned(),
            needed: self.needed,
            install: self.install,
        })
    }

    fn broken(self, source: Failure) -> Error {
        Error::Command { action: format!("tell the version of `{}`", self.name), source }
    }
}

/// The first two numbers of a version; (0, 0) where there are none.
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
    fn versions_are_compared_as_numbers() {
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
        assert!(DOCKER.check("19.03.1").is_err());
        assert!(DOCKER.check("28.2.2").is_ok());
        assert!(KUBECTL.check("v1.9.0").is_err());
    }
}
