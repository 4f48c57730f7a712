//! Errors of a node and of a load onto it.

use std::fmt;

use kdev_core::kube::distribution::NodeServices;
use kdev_core::kube::identity::IdMismatch;
use kdev_core::shell::DISK_USAGE_COMMAND;
use kdev_core::text::toml_key;

use crate::exit_code::ExitCode;
use crate::process::{Failure, Interrupted};
use crate::tools;

/// An error on one node.
#[derive(Debug)]
pub struct NodeError {
    /// The node's name in the cluster.
    pub node: String,
    /// How the node was reached: an SSH target, a container, or `this machine`.
    pub location: String,
    /// What failed.
    pub kind: NodeErrorKind,
    /// The command with which the user can open the same connection.
    pub(crate) connect_command: String,
    /// The node's name in `known_hosts`.
    pub(crate) known_hosts_name: String,
    /// The services on the node.
    pub(crate) services: &'static NodeServices,
}

/// What failed on a node.
#[derive(Debug)]
#[non_exhaustive]
pub enum NodeErrorKind {
    /// Neither the configuration nor the cluster has an address of the node.
    NoAddress,
    /// The configured SSH target is invalid.
    InvalidSshTarget(String),
    /// The configured container name is invalid.
    InvalidContainerName(String),
    /// The machine is not the node of this cluster; its name if it is another node.
    WrongMachine(IdMismatch, Option<String>),
    /// The machine has another boot ID than the node.
    OtherBoot(IdMismatch),
    /// The node cannot be reached.
    Unreachable(String),
    /// The SSH host key is unknown.
    HostKeyUnknown(String),
    /// The SSH host key differs from the known one.
    HostKeyChanged(String),
    /// The SSH server denied the login.
    LoginDenied(String),
    /// The login shell does not run commands.
    NoShell(String),
    /// The `ctr` program was not found.
    CtrNotFound(String),
    /// sudo requires a password.
    SudoPassword(SudoRule),
    /// sudo requires a terminal.
    SudoTerminal,
    /// The node has no sudo.
    SudoNotFound,
    /// The sudoers rules do not allow `ctr`.
    SudoNotAllowed(SudoRule, String),
    /// `ctr` cannot connect to containerd.
    ContainerdUnreachable {
        /// The `ctr` command.
        ctr: String,
        /// The error message of `ctr`.
        message: String,
    },
    /// The container runtime is not containerd.
    UnsupportedRuntime(String),
    /// Docker or Podman could not export the image.
    Export(Failure),
    /// The node is missing layers that are not in the cache, and the builder did not export
    /// them again.
    LayersUnavailable {
        /// Why.
        reason: String,
        /// One action that fixes it, if it is known.
        help: Option<String>,
    },
    /// The disk is full.
    DiskFull(String),
    /// The connection was lost during the load.
    ConnectionLost(String),
    /// containerd stopped during the load.
    ContainerdStopped(String),
    /// containerd rejected the image, or the image was missing after the import.
    Import(String),
    /// A load is running, during which no image may be removed.
    Busy,
    /// The node cannot lock files, so a removal could affect a load: the missing program or file.
    NoLock(String),
    /// Images could not be listed or removed.
    Removal(String),
    /// The user interrupted the run.
    Interrupted,
}

/// What a sudoers rule must allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SudoRule {
    /// The user who logs in.
    pub user: String,
    /// The `ctr` command on the node.
    pub ctr: String,
}

impl NodeError {
    /// Returns the text of the `help:` line, if there is one.
    pub fn help(&self) -> Option<String> {
        let (node, connect) = (&self.node, &self.connect_command);
        let key = toml_key(node);
        Some(match &self.kind {
            NodeErrorKind::NoAddress | NodeErrorKind::InvalidSshTarget(_) => {
                format!("set `nodes.{key}.ssh = \"user@host\"` in `[package.metadata.kdev]`")
            }
            NodeErrorKind::Unreachable(_) => format!(
                "run `{connect}` to check the connection; if the node has another address, set `nodes.{key}.ssh` in `[package.metadata.kdev]`"
            ),
            NodeErrorKind::HostKeyUnknown(message) => unknown_key_help(connect, message),
            NodeErrorKind::HostKeyChanged(message) => {
                let remove = key_removal_command(message)
                    .unwrap_or_else(|| format!("ssh-keygen -R '{}'", self.known_hosts_name));
                // ssh prints the same message whether or not it would prompt.
                let accept = with_key_prompt(connect);
                format!(
                    "if the node was reinstalled, run `{remove}`, then `{accept}`; if not, another machine may be impersonating it"
                )
            }
            NodeErrorKind::LoginDenied(_) => format!(
                "make `{connect}` work without a password, or set another user with `nodes.{key}.ssh` in `[package.metadata.kdev]`"
            ),
            NodeErrorKind::NoShell(_) => format!(
                "set `nodes.{key}.ssh` in `[package.metadata.kdev]` to a user with a login shell"
            ),
            NodeErrorKind::InvalidContainerName(_) => format!(
                "set `nodes.{key}.docker` in `[package.metadata.kdev]` to a name from `docker container ls`"
            ),
            NodeErrorKind::WrongMachine(..) => format!(
                "set `nodes.{key}.ssh = \"user@host\"`, or `nodes.{key}.docker` for a container, in `[package.metadata.kdev]`"
            ),
            NodeErrorKind::OtherBoot(_) => format!(
                "run `systemctl status {}` on the node (`{connect}`) to check its kubelet",
                self.services.kubelet_unit
            ),
            NodeErrorKind::CtrNotFound(_) => format!(
                "install it on node `{node}`, or set `nodes.{key}.ctr` in `[package.metadata.kdev]` to the `ctr` command of its containerd"
            ),
            NodeErrorKind::SudoPassword(rule) | NodeErrorKind::SudoNotAllowed(rule, _) => format!(
                "add this rule on node `{node}` with `visudo`: `{} ALL=(root) NOPASSWD: {} -n k8s.io *`",
                rule.user, rule.ctr
            ),
            NodeErrorKind::SudoTerminal => {
                format!("add this rule on node `{node}` with `visudo`: `Defaults:USER !requiretty`")
            }
            NodeErrorKind::SudoNotFound => format!(
                "install sudo on node `{node}`, or log in as root with `nodes.{key}.ssh = \"root@host\"`"
            ),
            NodeErrorKind::ContainerdUnreachable { ctr, .. } => {
                format!("run `{ctr} -n k8s.io version` as root on node `{node}`")
            }
            NodeErrorKind::UnsupportedRuntime(runtime)
                if runtime.starts_with("docker://") && node == "docker-desktop" =>
            {
                "in Docker Desktop, select `kind` instead of `kubeadm` under Settings, Kubernetes"
                    .to_owned()
            }
            NodeErrorKind::UnsupportedRuntime(_) => {
                "pass `--node` to select nodes that run containerd".to_owned()
            }
            NodeErrorKind::DiskFull(_) => format!(
                "free space on node `{node}`; run `{DISK_USAGE_COMMAND}` there to see what uses it"
            ),
            NodeErrorKind::LayersUnavailable { help: Some(help), .. } => help.clone(),
            NodeErrorKind::LayersUnavailable { help: None, .. } => {
                "run `cargo kdev up` to build the image again".to_owned()
            }
            NodeErrorKind::ConnectionLost(_) => {
                "run the command again; an interrupted load leaves nothing behind".to_owned()
            }
            NodeErrorKind::Export(failure) => match tools::full_disk(failure) {
                Some(disk) => disk.help(),
                None => {
                    format!("run `{} build --no-cache` to rebuild the image", failure.program())
                }
            },
            NodeErrorKind::ContainerdStopped(_) => format!(
                "start containerd on node `{node}` and run the command again, which also repairs an image name that this load may have left"
            ),
            NodeErrorKind::Import(_) => format!(
                "run the command again; if it fails again, check `{}` on node `{node}`",
                self.services.containerd_log_command()
            ),
            NodeErrorKind::Busy => "run the command again after that load".to_owned(),
            NodeErrorKind::NoLock(missing) => lock_help(missing, node),
            NodeErrorKind::Removal(_) => format!(
                "run `cargo kdev doctor` to check the access to containerd on node `{node}`"
            ),
            NodeErrorKind::Interrupted => return None,
        })
    }
}

/// Returns how a node gets the program or the file that is missing for the lock.
pub(crate) fn lock_help(missing: &str, node: &str) -> String {
    match missing {
        "flock" => format!("install `flock` (util-linux) on node `{node}`"),
        _ => format!("run `systemd-machine-id-setup` as root on node `{node}`"),
    }
}

impl NodeErrorKind {
    /// Returns the exit code: the load onto the node failed, or the node cannot be used.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Export(_)
            | Self::LayersUnavailable { .. }
            | Self::DiskFull(_)
            | Self::ConnectionLost(_)
            | Self::ContainerdStopped(_)
            | Self::Import(_) => ExitCode::Load,
            Self::Interrupted => ExitCode::Interrupted,
            Self::NoAddress
            | Self::InvalidSshTarget(_)
            | Self::InvalidContainerName(_)
            | Self::WrongMachine(..)
            | Self::OtherBoot(_)
            | Self::Unreachable(_)
            | Self::HostKeyUnknown(_)
            | Self::HostKeyChanged(_)
            | Self::LoginDenied(_)
            | Self::NoShell(_)
            | Self::CtrNotFound(_)
            | Self::SudoPassword(_)
            | Self::SudoTerminal
            | Self::SudoNotFound
            | Self::SudoNotAllowed(..)
            | Self::ContainerdUnreachable { .. }
            | Self::UnsupportedRuntime(_)
            | Self::Busy
            | Self::NoLock(_)
            | Self::Removal(_) => ExitCode::Node,
        }
    }

    /// Returns whether a second attempt can succeed: the connection was lost, or the node
    /// lost a layer between the query and the import.
    pub(crate) fn is_retryable(&self) -> bool {
        match self {
            Self::ConnectionLost(_) | Self::ContainerdStopped(_) => true,
            Self::Import(message) => message.contains("not found"),
            _ => false,
        }
    }
}

fn unknown_key_help(connect: &str, message: &str) -> String {
    let is_strict = message.contains("requested strict checking");
    let connect = if is_strict { with_key_prompt(connect) } else { connect.to_owned() };
    let file = format!("/etc/ssh/ssh_host_{}_key.pub", key_type(message));
    format!(
        "run `{connect}` and accept the key if `ssh-keygen -lf {file}` on the node prints the same fingerprint"
    )
}

/// Returns the key type in `No ED25519 host key is known for …`, or the most common one.
fn key_type(message: &str) -> String {
    let key_type =
        message.split("No ").nth(1).and_then(|rest| rest.split(" host key is known").next());
    let key_type = key_type.filter(|word| !word.contains(' ')).unwrap_or("ed25519");
    key_type.to_lowercase()
}

/// Makes ssh prompt for an unknown key, even if it is configured to be strict.
fn with_key_prompt(command: &str) -> String {
    command.replacen("ssh ", "ssh -o StrictHostKeyChecking=ask ", 1)
}

/// Returns the command that ssh suggests to remove a changed key.
fn key_removal_command(message: &str) -> Option<String> {
    let line = message.lines().find(|line| line.contains("ssh-keygen -f"))?;
    Some(line.trim().to_owned())
}

impl std::error::Error for NodeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.kind {
            NodeErrorKind::Export(failure) => Some(failure),
            NodeErrorKind::Interrupted => Some(&Interrupted),
            _ => None,
        }
    }
}

impl fmt::Display for NodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, location: at, .. } = self;
        match &self.kind {
            NodeErrorKind::NoAddress => write!(f, "node `{node}` has no address"),
            NodeErrorKind::InvalidSshTarget(target) => {
                write!(f, "node `{node}`: invalid SSH target `{target}`")
            }
            NodeErrorKind::InvalidContainerName(name) => {
                write!(f, "node `{node}`: invalid container name `{name}`")
            }
            NodeErrorKind::WrongMachine(found, None) => {
                write!(f, "{at} is not node `{node}` of this cluster: {found}")
            }
            NodeErrorKind::WrongMachine(found, Some(other)) => {
                write!(f, "{at} is node `{other}`, not node `{node}`: {found}")
            }
            NodeErrorKind::OtherBoot(found) => write!(
                f,
                "cannot verify that {at} is node `{node}`: {found}; it is a clone, or its kubelet has not started since the last boot"
            ),
            NodeErrorKind::Unreachable(message) => {
                write!(f, "cannot reach node `{node}` ({at}): {message}")
            }
            NodeErrorKind::HostKeyUnknown(message) => {
                write!(f, "the SSH host key of node `{node}` ({at}) is unknown: {message}")
            }
            NodeErrorKind::HostKeyChanged(_) => {
                write!(f, "the SSH host key of node `{node}` ({at}) has changed")
            }
            NodeErrorKind::LoginDenied(message) => {
                write!(f, "node `{node}` ({at}) denied the SSH login: {message}")
            }
            NodeErrorKind::NoShell(message) => write!(
                f,
                "the login shell on node `{node}` ({at}) does not run commands: {message}"
            ),
            NodeErrorKind::CtrNotFound(ctr) => {
                write!(f, "`{ctr}` not found on node `{node}` ({at})")
            }
            NodeErrorKind::SudoPassword(_) => {
                write!(f, "sudo on node `{node}` ({at}) requires a password")
            }
            NodeErrorKind::SudoTerminal => {
                write!(f, "sudo on node `{node}` ({at}) requires a terminal")
            }
            NodeErrorKind::SudoNotFound => {
                write!(f, "node `{node}` ({at}) has no sudo, and its containerd requires root")
            }
            NodeErrorKind::SudoNotAllowed(_, message) => {
                write!(f, "sudo on node `{node}` ({at}) does not allow `ctr`: {message}")
            }
            NodeErrorKind::ContainerdUnreachable { message, .. } => {
                write!(f, "cannot connect to containerd on node `{node}` ({at}): {message}")
            }
            NodeErrorKind::UnsupportedRuntime(runtime) => {
                write!(f, "node `{node}` runs `{runtime}`; only containerd is supported")
            }
            NodeErrorKind::Export(_) => {
                write!(f, "failed to export the image for node `{node}`")
            }
            NodeErrorKind::LayersUnavailable { reason, .. } => {
                write!(f, "failed to get the layers that node `{node}` is missing: {reason}")
            }
            NodeErrorKind::DiskFull(message) => {
                write!(f, "no space left on node `{node}` ({at}): {message}")
            }
            NodeErrorKind::ConnectionLost(message) => {
                write!(f, "lost the connection to node `{node}` ({at}): {message}")
            }
            NodeErrorKind::ContainerdStopped(message) => {
                write!(f, "containerd on node `{node}` ({at}) stopped during the load: {message}")
            }
            NodeErrorKind::Import(message) => {
                write!(f, "failed to import the image on node `{node}` ({at}): {message}")
            }
            NodeErrorKind::Busy => write!(f, "a load onto node `{node}` ({at}) is running"),
            NodeErrorKind::NoLock(missing) => {
                write!(f, "cannot remove images from node `{node}` ({at}): `{missing}` not found")
            }
            NodeErrorKind::Removal(message) => {
                write!(f, "failed to remove images from node `{node}` ({at}): {message}")
            }
            NodeErrorKind::Interrupted => write!(f, "interrupted on node `{node}`"),
        }
    }
}

/// Classifies the error message of `ctr version`, or of the sudo that runs it.
pub(crate) fn containerd_access_error(message: &str, user: &str, ctr: &str) -> NodeErrorKind {
    let rule = SudoRule { user: user.to_owned(), ctr: ctr.to_owned() };
    let has = |text: &str| message.contains(text);
    if has("a password is required") {
        NodeErrorKind::SudoPassword(rule)
    } else if has("must have a tty") || has("a terminal is required") {
        NodeErrorKind::SudoTerminal
    } else if has("sudo: not found") || has("sudo: command not found") {
        NodeErrorKind::SudoNotFound
    } else if has("is not allowed to") || has("not in the sudoers") || has("may not run sudo") {
        NodeErrorKind::SudoNotAllowed(rule, message.to_owned())
    } else {
        NodeErrorKind::ContainerdUnreachable { ctr: ctr.to_owned(), message: message.to_owned() }
    }
}

/// Classifies a failed import, from `CODE MESSAGE`.
pub(crate) fn import_error(result: &str) -> NodeErrorKind {
    let (code, message) = result.split_once(' ').unwrap_or((result, ""));
    if message.contains("no space left on device") {
        NodeErrorKind::DiskFull(message.to_owned())
    } else if is_containerd_stopped(message) {
        NodeErrorKind::ContainerdStopped(message.to_owned())
    } else if message.contains("unexpected EOF") {
        NodeErrorKind::ConnectionLost(message.to_owned())
    } else if code == "0" {
        NodeErrorKind::Import(
            "`ctr` reported success, but the image is missing from the node".to_owned(),
        )
    } else {
        NodeErrorKind::Import(message.to_owned())
    }
}

/// Returns whether `ctr` lost its connection to containerd, from the messages of gRPC.
fn is_containerd_stopped(message: &str) -> bool {
    const MESSAGES: [&str; 8] = [
        "transport is closing",
        "error reading from server",
        "error reading server preface",
        // The stream had ended when the next part of a layer was sent.
        "failed to send write: EOF",
        "sock: write: broken pipe",
        "connect: connection refused",
        "failed to dial",
        "cannot access socket",
    ];
    MESSAGES.iter().any(|text| message.contains(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_and_import_errors_are_classified() {
        let kind = |message| containerd_access_error(message, "dev", "/usr/bin/ctr");
        assert!(matches!(kind("sudo: a password is required"), NodeErrorKind::SudoPassword(_)));
        assert!(matches!(
            kind("sudo: sorry, you must have a tty to run sudo"),
            NodeErrorKind::SudoTerminal
        ));
        assert!(matches!(kind("sh: 12: sudo: not found"), NodeErrorKind::SudoNotFound));
        assert!(matches!(
            kind("Sorry, user u is not allowed to execute '/x' as root"),
            NodeErrorKind::SudoNotAllowed(..)
        ));
        assert!(matches!(kind("failed to dial"), NodeErrorKind::ContainerdUnreachable { .. }));
        assert!(matches!(
            import_error("1 ctr: write: no space left on device"),
            NodeErrorKind::DiskFull(_)
        ));
        assert!(matches!(import_error("1 ctr: unexpected EOF"), NodeErrorKind::ConnectionLost(_)));
        for message in [
            "failed to send write: error reading from server: EOF: unavailable",
            "failed to ingest \"a/layer.tar\": failed to copy: failed to send write: EOF: unknown zstd: error 70 : Write error : cannot write block : Broken pipe",
            "write unix @->/run/containerd/containerd.sock: write: broken pipe: unavailable",
        ] {
            let kind = import_error(&format!("1 ctr: {message}"));
            assert!(matches!(kind, NodeErrorKind::ContainerdStopped(_)), "{kind:?}");
        }
        let other =
            "1 ctr: no such layer zstd: error 70 : Write error : cannot write block : Broken pipe";
        assert!(matches!(import_error(other), NodeErrorKind::Import(_)));
        assert!(matches!(import_error("0 "), NodeErrorKind::Import(_)));
    }
}
