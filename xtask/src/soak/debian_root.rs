//! A new Debian 12 in a folder, in which programs run as if it were another machine.

use crate::lab;
use crate::paths;
use crate::term::{ErrorWithHelp, SlowTask};
use anyhow::{Context, Result, ensure};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use xshell::{Cmd, Shell, cmd};

/// The packages that README takes for granted: cargo needs a linker, and downloads need
/// certificates.
pub(super) const PREINSTALLED: [&str; 3] = ["ca-certificates", "gcc", "libc6-dev"];
const ENTER: &str = include_str!("enter.sh");
/// The variables with the proxy of this machine.
const PROXY_VARIABLES: [&str; 6] =
    ["http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"];
/// The files of this machine without which the new one has no network.
const NETWORK_FILES: [&str; 3] =
    ["etc/resolv.conf", "etc/hosts", "etc/ssl/certs/ca-certificates.crt"];

/// A copy of the new Debian.
pub(super) struct DebianRoot {
    path: PathBuf,
}

impl DebianRoot {
    /// Installs a Debian once, and copies it. Removes the copy of an interrupted run.
    pub(super) fn create(sh: &Shell, name: &str) -> Result<Self> {
        let base = ensure_base(sh)?;
        let root = Self { path: paths::tool_cache()?.join(format!("debian-12.{name}")) };
        root.remove()?;
        let path = &root.path;
        cmd!(sh, "cp --archive {base} {path}").quiet().run()?;
        for file in NETWORK_FILES {
            let from = Path::new("/").join(file);
            fs::copy(&from, root.path(file)).with_context(|| format!("{}", from.display()))?;
        }
        Ok(root)
    }

    /// Returns the path of one of its files on this machine.
    pub(super) fn path(&self, file: &str) -> PathBuf {
        self.path.join(file)
    }

    /// Copies the committed files of this checkout into a folder.
    pub(super) fn add_sources(&self, sh: &Shell, folder: &str) -> Result<()> {
        let (archive, folder) = (self.path("root/sources.tar"), self.path(folder));
        fs::create_dir_all(&folder)?;
        cmd!(sh, "git archive --output {archive} HEAD").quiet().run()?;
        cmd!(sh, "tar --extract --file {archive} --directory {folder}").quiet().run()?;
        Ok(fs::remove_file(archive)?)
    }

    /// Runs a shell script in it, with folders of this machine that cannot be changed there. It
    /// has the variables of a login, and the proxy of this machine.
    pub(super) fn command<'a>(
        &self,
        sh: &'a Shell,
        mounts: &[(PathBuf, String)],
        script: &str,
    ) -> Result<Cmd<'a>> {
        let mounts = mounts.iter().flat_map(|(from, to)| [from.display().to_string(), to.clone()]);
        let enter = self.path("tmp/enter.sh");
        fs::write(&enter, ENTER)?;
        let path = &self.path;
        let proxies = PROXY_VARIABLES.iter().filter_map(|name| Some((*name, env::var(name).ok()?)));
        Ok(cmd!(sh, "unshare --mount --propagation private sh {enter} {path}")
            .args(mounts)
            .args(["--", "sh", "-c", script])
            .env_clear()
            .envs(proxies)
            .env("HOME", "/root"))
    }

    /// Removes it. Fails if a file system is mounted in it, whose files would be removed, too.
    pub(super) fn remove(&self) -> Result<()> {
        remove(&self.path)
    }
}

/// Returns the folder with a new Debian, which is installed once.
fn ensure_base(sh: &Shell) -> Result<PathBuf> {
    let base = paths::tool_cache()?.join(format!("debian-12-{}", PREINSTALLED.join("-")));
    if base.exists() {
        return Ok(base);
    }
    lab::ensure_packages(sh, &["debootstrap"])?;
    let unfinished = paths::tool_cache()?.join("debian-12.unfinished");
    remove(&unfinished)?;
    install_debian(sh, &unfinished)?;
    fs::rename(&unfinished, &base)?;
    Ok(base)
}

fn install_debian(sh: &Shell, root: &Path) -> Result<()> {
    let _slow = SlowTask::start("Installing", "Debian 12 into a folder (2 to 5 minutes, once)");
    let packages = format!("--include={}", PREINSTALLED.join(","));
    // The mounts of debootstrap end with its namespace.
    let install = cmd!(
        sh,
        "unshare --mount --propagation private debootstrap --variant=minbase {packages} bookworm {root}"
    );
    let output = install.quiet().ignore_status().output()?;
    if !output.status.success() {
        let help = format!("read `{}`", root.join("debootstrap/debootstrap.log").display());
        return Err(ErrorWithHelp::error("`debootstrap` failed", help));
    }
    // A new machine has no package lists.
    let lists = root.join("var/lib/apt/lists");
    fs::remove_dir_all(&lists)?;
    fs::create_dir_all(lists.join("partial"))?;
    Ok(())
}

/// Removes a folder. Fails if a file system is mounted in it, whose files would be removed, too.
fn remove(root: &Path) -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let mut points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    let mounted = points.find(|point| Path::new(point).starts_with(root));
    ensure!(mounted.is_none(), "`{}` is still mounted", mounted.unwrap_or_default());
    match fs::remove_dir_all(root) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("failed to remove `{}`", root.display()))
        }
        _ => Ok(()),
    }
}
