//! The state folder: creates it, checks it, removes it, and locks it while it changes.

use super::cache::BuiltTools;
use super::env::Lab;
use super::node::{self, NODES, Node};
use super::paths::{self, program, state};
use super::{certs, docker_client, kubeconfig, machine, network, ssh};
use crate::paths::tool_cache;
use crate::term::ErrorWithHelp;
use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use xshell::Shell;

/// Fails if this machine cannot run the lab.
pub(crate) fn check_host() -> Result<()> {
    if !cfg!(target_os = "linux") {
        return Err(ErrorWithHelp::error("the lab needs Linux", "run it on Debian 12"));
    }
    if !nix::unistd::geteuid().is_root() {
        return Err(ErrorWithHelp::error(
            "the lab needs root to create namespaces and mounts",
            "run `sudo --preserve-env=PATH,HOME cargo xtask lab up`, or use a virtual machine as root",
        ));
    }
    Ok(())
}

/// Waits for the lock that is held while the lab starts or stops. The file is not in the
/// state folder, because `down` removes that.
pub(crate) fn lock() -> Result<Flock<File>> {
    let file = File::create(tool_cache()?.join("lock"))?;
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| error.into())
}

/// Returns whether the existing lab can be completed instead of being recreated.
pub(crate) fn is_reusable(tools: &BuiltTools) -> bool {
    fs::read_to_string(state("stamp")).is_ok_and(|stamp| stamp == tools.stamp())
        && network::has_bridge()
        && NODES.iter().all(Node::is_connected)
}

/// Creates all files of a new lab. The stamp is written last: with it the files are complete.
pub(crate) fn create(sh: &Shell, tools: &BuiltTools) -> Result<()> {
    for folder in ["bin", "lib", "log", "pki", "run", "ssh", "etcd"] {
        fs::create_dir_all(state(folder))
            .with_context(|| format!("failed to create `{}`", paths::STATE))?;
    }
    link_programs(tools)?;
    write_kubectl()?;
    for node in node::machines() {
        machine::create(node)?;
    }
    certs::create()?;
    kubeconfig::create()?;
    ssh::create(sh)?;
    fs::write(state("stamp"), tools.stamp())?;
    Ok(())
}

/// Links programs into the state folder, because the home folders of the host are not visible
/// in the nodes. A running program keeps the file that it was started from.
pub(crate) fn link_programs(tools: &BuiltTools) -> Result<()> {
    for file in tools.files()? {
        let to = program(&file.file_name().unwrap_or_default().to_string_lossy());
        if !is_same_file(&file, &to) {
            link_or_copy(&file, &to)?;
        }
    }
    docker_client::link()
}

fn is_same_file(first: &Path, second: &Path) -> bool {
    let inode = |path| fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
    inode(first).is_some_and(|found| inode(second) == Some(found))
}

/// Replaces the file by a rename: a write to it would change the cache, too.
fn link_or_copy(from: &Path, to: &Path) -> Result<()> {
    let new = to.with_extension("new");
    let _ = fs::remove_file(&new);
    if fs::hard_link(from, &new).is_err() {
        fs::copy(from, &new).with_context(|| format!("failed to copy `{}`", from.display()))?;
    }
    Ok(fs::rename(new, to)?)
}

/// Writes a `kubectl` for machines without one. The program with all components of Kubernetes
/// runs the one that its first argument names.
fn write_kubectl() -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let wrapper = state("bin/kubectl");
    let text = format!("#!/bin/sh\nexec {} kubectl \"$@\"\n", program("kubernetes").display());
    fs::write(&wrapper, text)?;
    Ok(fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755))?)
}

/// Returns the running lab.
pub(crate) fn current() -> Result<Lab> {
    if !state("stamp").exists() || !NODES.iter().all(Node::is_connected) {
        return Err(ErrorWithHelp::error("the lab is not running", "run `cargo xtask lab up`"));
    }
    Ok(Lab::detect())
}

/// Unmounts everything in the state folder and removes it.
pub(crate) fn remove(sh: &Shell) -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let below = format!("{}/", paths::STATE);
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    for point in points.filter(|point| point.starts_with(&below)).rev() {
        xshell::cmd!(sh, "umount --lazy {point}").quiet().ignore_stderr().ignore_status().run()?;
    }
    let left = fs::read_to_string("/proc/self/mounts")?;
    if left.contains(&below) {
        bail!("failed to unmount all file systems below `{}`", paths::STATE);
    }
    match fs::remove_dir_all(paths::STATE) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("failed to remove `{}`", paths::STATE))
        }
        _ => Ok(()),
    }
}
