//! What may go wrong with a node, and the words for it.

use std::fmt;

use kdev_core::shell::DISK_USAGE_COMMAND;

use crate::process::{Failure, Interrupted};

/// A node that failed, and why.
#[derive(Debug)]
pub struct NodeError {
    /// The node's name in the cluster.
    pub node: String,
    /// Where it was looked for: an ssh target, or `this machine`.
    pub location: String,
    /// What went wrong.
    pub kind: NodeErrorKind,
    /// How a person would try the same connection by hand.
    pub(crate) connect_command: String,
    /// As `known_hosts` has it.
    pub(crate) known_hosts_name: String,
}

/// What may go wrong with a node.
#[derive(Debug)]
#[non_exhaustive]
pub enum NodeErrorKind {
    /// Neither the configuration nor the cluster tells where it is.
    NoAddress,
    /// The configured ssh target is none.
    InvalidSshTarget(String),
    /// The configured container's name is none.
    InvalidContainerName(String),
    /// The container that has the node's name is not that node.
    WrongMachine,
    /// It does not answer.
    Unreachable(String),
    /// Its host key is not known.
    HostKeyUnknown(String),
    /// Its host key is not the known one.
    HostKeyChanged(String),
    /// It does not let the user in.
    LoginDenied(String),
    /// The login shell runs no commands.
    NoShell(String),
    /// The program that talks to containerd is not there.
    CtrNotFound(String),
    /// sudo wants a password.
    SudoPassword(SudoRule),
    /// sudo wants a terminal.
    SudoTerminal,
    /// There is no sudo.
    SudoNotFound,
    /// sudo's rules do not allow it.
    SudoNotAllowed(SudoRule, String),
    /// containerd cannot be talked to.
    ContainerdUnreachable {
        /// How it was tried.
        ctr: String,
        /// What came back.
        message: String,
    },
    /// Its runtime is another one.
    UnsupportedRuntime(String),
    /// The image could not be read from docker.
    Export(Failure),
    /// Its disk is full.
    DiskFull(String),
    /// The connection broke in the middle of the image.
    ConnectionLost(String),
    /// containerd ended in the middle of the image.
    ContainerdStopped(String),
    /// containerd refused the image, or never showed it.
    Import(String),
    /// Interrupted by the user.
    Interrupted,
}

/// What a sudoers rule must allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SudoRule {
    /// The user who logs in.
    pub user: String,
    /// How containerd is called there.
    pub ctr: String,
}

impl NodeError {
    /// One action that helps.
    pub fn help(&self) -> Option<String> {
        let (node, by_hand) = (&self.node, &self.connect_command);
        Some(match &self.kind {
            NodeErrorKind::NoAddress | NodeErrorKind::InvalidSshTarget(_) => {
                format!("set `nodes.{node}.ssh = \"user@host\"` in `[package.metadata.kdev]`")
            }
            NodeErrorKind::Unreachable(_) => format!(
                "check it with `{by_hand}`; if it is reached elsewhere, set `nodes.{node}.ssh` in `[package.metadata.kdev]`"
            ),
            NodeErrorKind::HostKeyUnknown(words) => {
                let is_strict = words.contains("requested strict checking");
                let by_hand = if is_strict { &with_key_prompt(by_hand) } else { by_hand };
                let file = format!("/etc/ssh/ssh_host_{}_key.pub", key_type(words));
                format!(
                    "run `{by_hand}` once, and accept the key if it is what `ssh-keygen -lf {file}` prints on the node itself"
                )
            }
            NodeErrorKind::HostKeyChanged(words) => {
                let remove =
                    key_removal_command(words).unwrap_or_else(|| format!("ssh-keygen -R '{}'", self.known_hosts_name));
                // What ssh says here is the same whether it would ask or not.
                let accept = with_key_prompt(by_hand);
                format!(
                    "if the node was reinstalled, run `{remove}`, then `{accept}`; if not, somebody else answers"
                )
            }
            NodeErrorKind::LoginDenied(_) => format!(
                "make `{by_hand}` work without a password; another user is set with `nodes.{node}.ssh` in `[package.metadata.kdev]`"
            ),
            NodeErrorKind::NoShell(_) => format!(
                "use a user with a login shell: set `nodes.{node}.ssh` in `[package.metadata.kdev]`"
            ),
            NodeErrorKind::InvalidContainerName(_) => format!(
                "set `nodes.{node}.docker` in `[package.metadata.kdev]` to a name that `docker container ls` lists"
            ),
            NodeErrorKind::WrongMachine => format!(
                "set `nodes.{node}.ssh`, or the right container with `nodes.{node}.docker`, in `[package.metadata.kdev]`"
            ),
            NodeErrorKind::CtrNotFound(_) => format!(
                "install it on node `{node}`, or set `nodes.{node}.ctr` in `[package.metadata.kdev]` to what talks to its containerd"
            ),
            NodeErrorKind::SudoPassword(rule) | NodeErrorKind::SudoNotAllowed(rule, _) => format!(
                "allow it on node `{node}` with `visudo`: `{} ALL=(root) NOPASSWD: {} -n k8s.io *`",
                rule.user, rule.ctr
            ),
            NodeErrorKind::SudoTerminal => {
                format!("allow it on node `{node}` with `visudo`: `Defaults:USER !requiretty`")
            }
            NodeErrorKind::SudoNotFound => format!(
                "install sudo on node `{node}`, or log in as root with `nodes.{node}.ssh = \"root@host\"`"
            ),
            NodeErrorKind::ContainerdUnreachable { ctr, .. } => {
                format!("run `{ctr} -n k8s.io version` on node `{node}` as root")
            }
            NodeErrorKind::UnsupportedRuntime(runtime) if runtime.starts_with("docker://") && node == "docker-desktop" => {
                "let Docker Desktop make its cluster with `kind` instead of `kubeadm`: Settings, Kubernetes".to_owned()
            }
            NodeErrorKind::UnsupportedRuntime(_) => {
                "use nodes with containerd, or leave it out with `--node`".to_owned()
            }
            NodeErrorKind::DiskFull(_) => {
                format!("free space on node `{node}`: `{DISK_USAGE_COMMAND}` shows there what fills it")
            }
            NodeErrorKind::ConnectionLost(_) => {
                "run it again; a load that was cut leaves nothing behind".to_owned()
            }
            NodeErrorKind::Export(_) => "build the image anew with `docker build --no-cache`".to_owned(),
            NodeErrorKind::ContainerdStopped(_) => format!(
                "see on node `{node}` why it ended, start it, and run this again: a name that the load may have left is then put right"
            ),
            NodeErrorKind::Import(_) => format!(
                "run it again; if that fails, see `journalctl --unit containerd` on node `{node}`"
            ),
            NodeErrorKind::Interrupted => return None,
        })
    }
}

impl NodeErrorKind {
    /// Whether the node may have lost something between the question what it
    /// has and the import, or the connection broke.
    pub(crate) fn is_retryable(&self) -> bool {
        match self {
            Self::ConnectionLost(_) | Self::ContainerdStopped(_) => true,
            Self::Import(words) => words.contains("not found"),
            _ => false,
        }
    }
}

/// Of `No ED25519 host key is known for …`; without it, the kind that is usual.
fn key_type(words: &str) -> String {
    let kind = words.split("No ").nth(1).and_then(|rest| rest.split(" host key is known").next());
    let kind = kind.filter(|kind| !kind.contains(' ')).unwrap_or("ed25519");
    kind.to_lowercase()
}

/// An ssh that asks about an unknown key, even if its configuration is strict.
fn with_key_prompt(by_hand: &str) -> String {
    by_hand.replacen("ssh ", "ssh -o StrictHostKeyChecking=ask ", 1)
}

/// The command that ssh itself recommends to remove a changed key.
fn key_removal_command(words: &str) -> Option<String> {
    let line = words.lines().find(|line| line.contains("ssh-keygen -f"))?;
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
        let Self { node, location: at, kind: fault, .. } = self;
        match fault {
            NodeErrorKind::NoAddress => write!(f, "node `{node}` has no address"),
            NodeErrorKind::InvalidSshTarget(text) => write!(f, "node `{node}`: `{text}` is no ssh target"),
            NodeErrorKind::Unreachable(words) => {
                write!(f, "node `{node}` at {at} is not reachable: {words}")
            }
            NodeErrorKind::HostKeyUnknown(words) => {
                write!(f, "the host key of node `{node}` at {at} is not known: {words}")
            }
            NodeErrorKind::HostKeyChanged(_) => {
                write!(f, "the host key of node `{node}` at {at} has changed")
            }
            NodeErrorKind::LoginDenied(words) => write!(f, "node `{node}` at {at} denies the login: {words}"),
            NodeErrorKind::NoShell(words) => write!(f, "node `{node}` at {at} runs no command: {words}"),
            NodeErrorKind::InvalidContainerName(name) => {
                write!(f, "node `{node}`: `{name}` is no name of a container")
            }
            NodeErrorKind::WrongMachine => write!(f, "{at} is not the node `{node}` of this cluster"),
            NodeErrorKind::CtrNotFound(ctr) => write!(f, "node `{node}` at {at} has no `{ctr}`"),
            NodeErrorKind::SudoPassword(_) => {
                write!(f, "sudo on node `{node}` at {at} asks for a password")
            }
            NodeErrorKind::SudoTerminal => write!(f, "sudo on node `{node}` at {at} asks for a terminal"),
            NodeErrorKind::SudoNotFound => {
                write!(f, "node `{node}` at {at} has no sudo, and its containerd is root's")
            }
            NodeErrorKind::SudoNotAllowed(_, words) => {
                write!(f, "sudo on node `{node}` at {at} does not allow it: {words}")
            }
            NodeErrorKind::ContainerdUnreachable { message: words, .. } => {
                write!(f, "containerd on node `{node}` at {at} does not answer: {words}")
            }
            NodeErrorKind::UnsupportedRuntime(runtime) => {
                write!(f, "node `{node}` runs `{runtime}`, and kdev knows containerd only")
            }
            NodeErrorKind::Export(_) => write!(f, "docker could not hand out the image for node `{node}`"),
            NodeErrorKind::DiskFull(words) => {
                write!(f, "the disk of node `{node}` at {at} is full: {words}")
            }
            NodeErrorKind::ConnectionLost(words) => write!(
                f,
                "the connection to node `{node}` at {at} was lost during the load: {words}"
            ),
            NodeErrorKind::ContainerdStopped(words) => {
                write!(f, "containerd on node `{node}` at {at} ended during the load: {words}")
            }
            NodeErrorKind::Import(words) => {
                write!(f, "node `{node}` at {at} did not take the image: {words}")
            }
            NodeErrorKind::Interrupted => write!(f, "the work on node `{node}` was interrupted"),
        }
    }
}

/// What `ctr version`, or the sudo before it, said.
pub(crate) fn containerd_access_error(words: &str, user: &str, ctr: &str) -> NodeErrorKind {
    let rule = SudoRule { user: user.to_owned(), ctr: ctr.to_owned() };
    let says = |sign: &str| words.contains(sign);
    if says("a password is required") {
        NodeErrorKind::SudoPassword(rule)
    } else if says("must have a tty") || says("a terminal is required") {
        NodeErrorKind::SudoTerminal
    } else if says("sudo: not found") || says("sudo: command not found") {
        NodeErrorKind::SudoNotFound
    } else if says("is not allowed to") || says("not in the sudoers") || says("may not run sudo") {
        NodeErrorKind::SudoNotAllowed(rule, words.to_owned())
    } else {
        NodeErrorKind::ContainerdUnreachable { ctr: ctr.to_owned(), message: words.to_owned() }
    }
}

/// `CODE WORDS` of a failed import.
pub(crate) fn import_error(words: &str) -> NodeErrorKind {
    let (code, words) = words.split_once(' ').unwrap_or((words, ""));
    if words.contains("no space left on device") {
        NodeErrorKind::DiskFull(words.to_owned())
    } else if is_containerd_stopped(words) {
        NodeErrorKind::ContainerdStopped(words.to_owned())
    } else if words.contains("unexpected EOF") {
        NodeErrorKind::ConnectionLost(words.to_owned())
    } else if code == "0" {
        NodeErrorKind::Import(
            "`ctr` reported success, yet the node's runtime does not have the image".to_owned(),
        )
    } else {
        NodeErrorKind::Import(words.to_owned())
    }
}

/// Whether nobody answers `ctr` any more, by what gRPC prints then.
fn is_containerd_stopped(words: &str) -> bool {
    const SIGNS: [&str; 8] = [
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
    SIGNS.iter().any(|sign| words.contains(sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_apart() {
        let fault = |words| containerd_access_error(words, "dev", "/usr/bin/ctr");
        assert!(matches!(fault("sudo: a password is required"), NodeErrorKind::SudoPassword(_)));
        assert!(matches!(
            fault("sudo: sorry, you must have a tty to run sudo"),
            NodeErrorKind::SudoTerminal
        ));
        assert!(matches!(fault("sh: 12: sudo: not found"), NodeErrorKind::SudoNotFound));
        assert!(matches!(
            fault("Sorry, user u is not allowed to execute '/x' as root"),
            NodeErrorKind::SudoNotAllowed(..)
        ));
        assert!(matches!(fault("failed to dial"), NodeErrorKind::ContainerdUnreachable { .. }));
        assert!(matches!(
            import_error("1 ctr: write: no space left on device"),
            NodeErrorKind::DiskFull(_)
        ));
        assert!(matches!(import_error("1 ctr: unexpected EOF"), NodeErrorKind::ConnectionLost(_)));
        for words in [
            "failed to send write: error reading from server: EOF: unavailable",
            "failed to ingest \"a/layer.tar\": failed to copy: failed to send write: EOF: unknown zstd: error 70 : Write error : cannot write block : Broken pipe",
            "write unix @->/run/containerd/containerd.sock: write: broken pipe: unavailable",
        ] {
            let fault = import_error(&format!("1 ctr: {words}"));
            assert!(matches!(fault, NodeErrorKind::ContainerdStopped(_)), "{fault:?}");
        }
        let other =
            "1 ctr: no such layer zstd: error 70 : Write error : cannot write block : Broken pipe";
        assert!(matches!(import_error(other), NodeErrorKind::Import(_)));
        assert!(matches!(import_error("0 "), NodeErrorKind::Import(_)));
    }
}
