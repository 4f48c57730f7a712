//! The state folder: made whole, recognised when it is fit for use, and locked
//! while it changes.

use super::cache::{self, Built};
use super::node::{self, NODES, Node};
use super::paths::{self, program, state};
use super::{Lab, certs, docker, kubeconfig, network, ssh};
use crate::term::Advised;
use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use xshell::Shell;

/// Refuses a machine on which the lab cannot work.
pub(crate) fn check_host() -> Result<()> {
    if !cfg!(target_os = "linux") {
        return Err(Advised::error("the lab needs Linux", "run it on Debian 12"));
    }
    if !nix::unistd::geteuid().is_root() {
        return Err(Advised::error(
            "the lab needs root: it makes namespaces and mounts",
            "run `sudo --preserve-env=PATH,HOME cargo xtask lab up`, or be root in a virtual machine",
        ));
    }
    Ok(())
}

/// Held while the lab starts or stops. It lies outside the state folder, which
/// comes and goes.
pub(crate) fn lock() -> Result<Flock<File>> {
    let file = File::create(cache::tool_cache()?.join("lock"))?;
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| error.into())
}

/// Whether what is there can be completed, rather than begun anew.
pub(crate) fn is_usable(tools: &Built) -> bool {
    fs::read_to_string(state("stamp")).is_ok_and(|stamp| stamp == tools.stamp())
        && network::exists()
        && NODES.iter().all(Node::is_open)
}

/// Makes all files of a new lab; the stamp comes last and vouches for them.
pub(crate) fn create(sh: &Shell, tools: &Built) -> Result<()> {
    for folder in ["bin", "lib", "log", "pki", "run", "ssh", "etcd"] {
        fs::create_dir_all(state(folder))
            .with_context(|| format!("cannot make `{}`", paths::STATE))?;
    }
    link_programs(tools)?;
    own_kubectl()?;
    for node in node::machines() {
        node.create()?;
    }
    certs::create()?;
    kubeconfig::create()?;
    ssh::create(sh)?;
    fs::write(state("stamp"), tools.stamp())?;
    Ok(())
}

/// Puts programs into the state folder, because the nodes hide the host's home
/// folders. A running program keeps the file that it was started from.
pub(crate) fn link_programs(tools: &Built) -> Result<()> {
    for file in tools.files()? {
        let to = program(&file.file_name().unwrap_or_default().to_string_lossy());
        if !is_same_file(&file, &to) {
            link_or_copy(&file, &to)?;
        }
    }
    Ok(())
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    let number = |path| fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
    number(one).is_some_and(|one| number(other) == Some(one))
}

/// Replaces the file in one step: to write into it would change the cache, too.
fn link_or_copy(from: &Path, to: &Path) -> Result<()> {
    let new = to.with_extension("new");
    let _ = fs::remove_file(&new);
    if fs::hard_link(from, &new).is_err() {
        fs::copy(from, &new).with_context(|| format!("cannot copy `{}`", from.display()))?;
    }
    Ok(fs::rename(new, to)?)
}

/// A kubectl for machines that have none: the first word picks it.
fn own_kubectl() -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let wrapper = state("bin/kubectl");
    let text = format!("#!/bin/sh\nexec {} kubectl \"$@\"\n", program("kubernetes").display());
    fs::write(&wrapper, text)?;
    Ok(fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755))?)
}

/// The lab that runs now.
pub(crate) fn current() -> Result<Lab> {
    if !state("stamp").exists() || !NODES.iter().all(Node::is_open) {
        return Err(Advised::error("the lab does not run", "start it with `cargo xtask lab up`"));
    }
    Ok(lab())
}

pub(crate) fn lab() -> Lab {
    let own = state("bin/kubectl");
    let elsewhere =
        which::which_all("kubectl").is_ok_and(|mut found| found.any(|path| path != own));
    Lab { own_docker: docker::is_own(), own_kubectl: !elsewhere }
}

/// Removes the folder, once nothing is mounted in it any more.
pub(crate) fn remove(sh: &Shell) -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let below = format!("{}/", paths::STATE);
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    for point in points.filter(|point| point.starts_with(&below)).rev() {
        xshell::cmd!(sh, "umount --lazy {point}").quiet().ignore_stderr().ignore_status().run()?;
    }
    let left = fs::read_to_string("/proc/self/mounts")?;
    if left.contains(&below) {
        bail!("something is still mounted below `{}`", paths::STATE);
    }
    match fs::remove_dir_all(paths::STATE) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove `{}`", paths::STATE))
        }
        _ => Ok(()),
    }
}
