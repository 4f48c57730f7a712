//! SSH to the nodes: one client key, a server on each node, the client configuration.

use super::daemon::{self, Daemon};
use super::node::{self, Node};
use super::paths::{self, fill, state};
use super::wait;
use anyhow::Result;
use std::fmt::Write;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use xshell::{Shell, cmd};

/// Creates all keys and the client configuration.
pub(crate) fn create(sh: &Shell) -> Result<()> {
    let folder = state("ssh");
    let (key, known_hosts) = (folder.join("id_ed25519"), folder.join("known_hosts"));
    let authorized = folder.join("authorized_keys");
    create_key(sh, &key)?;
    fs::copy(key.with_extension("pub"), &authorized)?;
    fs::set_permissions(&authorized, fs::Permissions::from_mode(0o644))?;

    let (mut known, mut config) = (String::new(), String::new());
    for node in node::machines() {
        let host_key = node.folder().join("ssh_host_key");
        create_key(sh, &host_key)?;
        let public = fs::read_to_string(host_key.with_extension("pub"))?;
        let (name, address, user) = (node.name, node.address(), node.user);
        write!(known, "{name},{address} {public}")?;
        write!(config, "Host {name} {address}\n  HostName {address}\n  User {user}\n\n")?;
    }
    write!(
        config,
        "Host *\n  IdentityFile {}\n  IdentitiesOnly yes\n  UserKnownHostsFile {}\n  \
         StrictHostKeyChecking yes\n",
        key.display(),
        known_hosts.display(),
    )?;
    fs::write(known_hosts, known)?;
    fs::write(paths::ssh_config(), config)?;
    Ok(())
}

fn create_key(sh: &Shell, path: &std::path::Path) -> Result<()> {
    cmd!(sh, "ssh-keygen -q -t ed25519 -N '' -C kdev-lab -f {path}").quiet().run()?;
    Ok(())
}

/// Starts the SSH server of a node.
pub(crate) fn start_server(sh: &Shell, node: &Node) -> Result<()> {
    let (dir, address) = (node.folder(), node.address());
    let values = [("DIR", &*dir.to_string_lossy()), ("ADDRESS", &address), ("USER", node.user)];
    let config = dir.join("sshd_config");
    fs::write(&config, fill(include_str!("files/sshd_config"), &values))?;
    let log = daemon::log(&format!("sshd-{}", node.name));
    // Without an absolute path, sshd resets every connection.
    Daemon::in_node(node, "sshd", cmd!(sh, "/usr/sbin/sshd -D -f {config} -E {log}"))?.ensure()?;
    daemon::wait_until_ready(&format!("sshd-{}", node.name), 10, || {
        wait::can_connect(&format!("{address}:22"))
    })
}
