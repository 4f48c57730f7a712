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
    pub at: String,
    /// What went wrong.
    pub fault: Fault,
    /// How a person would try the same connection by hand.
    pub(crate) by_hand: String,
    /// As `known_hosts` has it.
    pub(crate) known_as: String,
}

/// What may go wrong with a node.
#[derive(Debug)]
#[non_exhaustive]
pub enum Fault {
    /// Neither the configuration nor the cluster tells where it is.
    NoAddress,
    /// The configured ssh target is none.
    BadTarget(String),
    /// The configured container's name is none.
    BadContainer(String),
    /// The container that has the node's name is not that node.
    OtherMachine,
    /// It does not answer.
    Unreachable(String),
    /// Its host key is not known.
    HostKeyUnknown(String),
    /// Its host key is not the known one.
    HostKeyChanged(String),
    /// It does not let the user in.
    Denied(String),
    /// The login shell runs no commands.
    NoShell(String),
    /// The program that talks to containerd is not there.
    NoCtr(String),
    /// sudo wants a password.
    SudoPassword(SudoRule),
    /// sudo wants a terminal.
    SudoTerminal,
    /// There is no sudo.
    SudoMissing,
    /// sudo's rules do not allow it.
    SudoRefused(SudoRule, String),
    /// containerd cannot be talked to.
    NoAccess {
        /// How it was tried.
        ctr: String,
        /// What came back.
        words: String,
    },
    /// Its runtime is another one.
    Runtime(String),
    /// The image could not be read from docker.
    Source(Failure),
    /// Its disk is full.
    DiskFull(String),
    /// The connection broke in the middle of the image.
    ConnectionLost(String),
    /// containerd ended in the middle of the image.
    RuntimeGone(String),
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
        let (node, by_hand) = (&self.node, &self.by_hand);
        Some(match &self.fault {
            Fault::NoAddress | Fault::BadTarget(_) => {
                format!("set `nodes.{node}.ssh = \"user@host\"` in `[package.metadata.kdev]`")
            }
            Fault::Unreachable(_) => format!(
                "check it with `{by_hand}`; if it is reached elsewhere, set `nodes.{node}.ssh` in `[package.metadata.kdev]`"
            ),
            Fault::HostKeyUnknown(words) => {
                let is_strict = words.contains("requested strict checking");
                let by_hand = if is_strict { &asking(by_hand) } else { by_hand };
                let file = format!("/etc/ssh/ssh_host_{}_key.pub", kind_of_key(words));
                format!(
                    "run `{by_hand}` once, and accept the key if it is what `ssh-keygen -lf {file}` prints on the node itself"
                )
            }
            Fault::HostKeyChanged(words) => {
                let remove =
                    removal(words).unwrap_or_else(|| format!("ssh-keygen -R '{}'", self.known_as));
                // What ssh says here is the same whether it would ask or not.
                let accept = asking(by_hand);
                format!(
                    "if the node was reinstalled, run `{remove}`, then `{accept}`; if not, somebody else answers"
                )
            }
            Fault::Denied(_) => format!(
                "make `{by_hand}` work without a password; another user is set with `nodes.{node}.ssh` in `[package.metadata.kdev]`"
            ),
            Fault::NoShell(_) => format!(
                "use a user with a login shell: set `nodes.{node}.ssh` in `[package.metadata.kdev]`"
            ),
            Fault::BadContainer(_) => format!(
                "set `nodes.{node}.docker` in `[package.metadata.kdev]` to a name that `docker container ls` lists"
            ),
            Fault::OtherMachine => format!(
                "set `nodes.{node}.ssh`, or the right container with `nodes.{node}.docker`, in `[package.metadata.kdev]`"
            ),
            Fault::NoCtr(_) => format!(
                "install it on node `{node}`, or set `nodes.{node}.ctr` in `[package.metadata.kdev]` to what talks to its containerd"
            ),
            Fault::SudoPassword(rule) | Fault::SudoRefused(rule, _) => format!(
                "allow it on node `{node}` with `visudo`: `{} ALL=(root) NOPASSWD: {} -n k8s.io *`",
                rule.user, rule.ctr
            ),
            Fault::SudoTerminal => {
                format!("allow it on node `{node}` with `visudo`: `Defaults:USER !requiretty`")
            }
            Fault::SudoMissing => format!(
                "install sudo on node `{node}`, or log in as root with `nodes.{node}.ssh = \"root@host\"`"
            ),
            Fault::NoAccess { ctr, .. } => {
                format!("run `{ctr} -n k8s.io version` on node `{node}` as root")
            }
            Fault::Runtime(runtime) if runtime.starts_with("docker://") && node == "docker-desktop" => {
                "let Docker Desktop make its cluster with `kind` instead of `kubeadm`: Settings, Kubernetes".to_owned()
            }
            Fault::Runtime(_) => {
                "use nodes with containerd, or leave it out with `--node`".to_owned()
            }
            Fault::DiskFull(_) => {
                format!("free space on node `{node}`: `{DISK_USAGE_COMMAND}` shows there what fills it")
            }
            Fault::ConnectionLost(_) => {
                "run it again; a load that was cut leaves nothing behind".to_owned()
            }
            Fault::Source(_) => "build the image anew with `docker build --no-cache`".to_owned(),
            Fault::RuntimeGone(_) => format!(
                "see on node `{node}` why it ended, start it, and run this again: a name that the load may have left is then put right"
            ),
            Fault::Import(_) => format!(
                "run it again; if that fails, see `journalctl --unit containerd` on node `{node}`"
            ),
            Fault::Interrupted => return None,
        })
    }
}

impl Fault {
    /// Whether the node may have lost something between the question what it
    /// has and the import, or the connection broke.
    pub(crate) fn is_worth_a_repeat(&self) -> bool {
        match self {
            Self::ConnectionLost(_) | Self::RuntimeGone(_) => true,
            Self::Import(words) => words.contains("not found"),
            _ => false,
        }
    }
}

/// Of `No ED25519 host key is known for …`; without it, the kind that is usual.
fn kind_of_key(words: &str) -> String {
    let kind = words.split("No ").nth(1).and_then(|rest| rest.split(" host key is known").next());
    let kind = kind.filter(|kind| !kind.contains(' ')).unwrap_or("ed25519");
    kind.to_lowercase()
}

/// An ssh that asks about an unknown key, even if its configuration is strict.
fn asking(by_hand: &str) -> String {
    by_hand.replacen("ssh ", "ssh -o StrictHostKeyChecking=ask ", 1)
}

/// The command that ssh itself recommends to remove a changed key.
fn removal(words: &str) -> Option<String> {
    let line = words.lines().find(|line| line.contains("ssh-keygen -f"))?;
    Some(line.trim().to_owned())
}

impl std::error::Error for NodeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.fault {
            Fault::Source(failure) => Some(failure),
            Fault::Interrupted => Some(&Interrupted),
            _ => None,
        }
    }
}

impl fmt::Display for NodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, at, fault, .. } = self;
        match fault {
            Fault::NoAddress => write!(f, "node `{node}` has no address"),
            Fault::BadTarget(text) => write!(f, "node `{node}`: `{text}` is no ssh target"),
            Fault::Unreachable(words) => {
                write!(f, "node `{node}` at {at} is not reachable: {words}")
            }
            Fault::HostKeyUnknown(words) => {
                write!(f, "the host key of node `{node}` at {at} is not known: {words}")
            }
            Fault::HostKeyChanged(_) => {
                write!(f, "the host key of node `{node}` at {at} has changed")
            }
            Fault::Denied(words) => write!(f, "node `{node}` at {at} denies the login: {words}"),
            Fault::NoShell(words) => write!(f, "node `{node}` at {at} runs no command: {words}"),
            Fault::BadContainer(name) => {
                write!(f, "node `{node}`: `{name}` is no name of a container")
            }
            Fault::OtherMachine => write!(f, "{at} is not the node `{node}` of this cluster"),
            Fault::NoCtr(ctr) => write!(f, "node `{node}` at {at} has no `{ctr}`"),
            Fault::SudoPassword(_) => {
                write!(f, "sudo on node `{node}` at {at} asks for a password")
            }
            Fault::SudoTerminal => write!(f, "sudo on node `{node}` at {at} asks for a terminal"),
            Fault::SudoMissing => {
                write!(f, "node `{node}` at {at} has no sudo, and its containerd is root's")
            }
            Fault::SudoRefused(_, words) => {
                write!(f, "sudo on node `{node}` at {at} does not allow it: {words}")
            }
            Fault::NoAccess { words, .. } => {
                write!(f, "containerd on node `{node}` at {at} does not answer: {words}")
            }
            Fault::Runtime(runtime) => {
                write!(f, "node `{node}` runs `{runtime}`, and kdev knows containerd only")
            }
            Fault::Source(_) => write!(f, "docker could not hand out the image for node `{node}`"),
            Fault::DiskFull(words) => {
                write!(f, "the disk of node `{node}` at {at} is full: {words}")
            }
            Fault::ConnectionLost(words) => write!(
                f,
                "the connection to node `{node}` at {at} was lost during the load: {words}"
            ),
            Fault::RuntimeGone(words) => {
                write!(f, "containerd on node `{node}` at {at} ended during the load: {words}")
            }
            Fault::Import(words) => {
                write!(f, "node `{node}` at {at} did not take the image: {words}")
            }
            Fault::Interrupted => write!(f, "the work on node `{node}` was interrupted"),
        }
    }
}

/// What `ctr version`, or the sudo before it, said.
pub(crate) fn access_fault(words: &str, user: &str, ctr: &str) -> Fault {
    let rule = SudoRule { user: user.to_owned(), ctr: ctr.to_owned() };
    let says = |sign: &str| words.contains(sign);
    if says("a password is required") {
        Fault::SudoPassword(rule)
    } else if says("must have a tty") || says("a terminal is required") {
        Fault::SudoTerminal
    } else if says("sudo: not found") || says("sudo: command not found") {
        Fault::SudoMissing
    } else if says("is not allowed to") || says("not in the sudoers") || says("may not run sudo") {
        Fault::SudoRefused(rule, words.to_owned())
    } else {
        Fault::NoAccess { ctr: ctr.to_owned(), words: words.to_owned() }
    }
}

/// `CODE WORDS` of a failed import.
pub(crate) fn import_fault(words: &str) -> Fault {
    let (code, words) = words.split_once(' ').unwrap_or((words, ""));
    if words.contains("no space left on device") {
        Fault::DiskFull(words.to_owned())
    } else if is_gone(words) {
        Fault::RuntimeGone(words.to_owned())
    } else if words.contains("unexpected EOF") {
        Fault::ConnectionLost(words.to_owned())
    } else if code == "0" {
        Fault::Import(
            "`ctr` reported success, yet the node's runtime does not have the image".to_owned(),
        )
    } else {
        Fault::Import(words.to_owned())
    }
}

/// Whether nobody answers `ctr` any more, by what gRPC prints then.
fn is_gone(words: &str) -> bool {
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
        let fault = |words| access_fault(words, "dev", "/usr/bin/ctr");
        assert!(matches!(fault("sudo: a password is required"), Fault::SudoPassword(_)));
        assert!(matches!(
            fault("sudo: sorry, you must have a tty to run sudo"),
            Fault::SudoTerminal
        ));
        assert!(matches!(fault("sh: 12: sudo: not found"), Fault::SudoMissing));
        assert!(matches!(
            fault("Sorry, user u is not allowed to execute '/x' as root"),
            Fault::SudoRefused(..)
        ));
        assert!(matches!(fault("failed to dial"), Fault::NoAccess { .. }));
        assert!(matches!(
            import_fault("1 ctr: write: no space left on device"),
            Fault::DiskFull(_)
        ));
        assert!(matches!(import_fault("1 ctr: unexpected EOF"), Fault::ConnectionLost(_)));
        for words in [
            "failed to send write: error reading from server: EOF: unavailable",
            "failed to ingest \"a/layer.tar\": failed to copy: failed to send write: EOF: unknown zstd: error 70 : Write error : cannot write block : Broken pipe",
            "write unix @->/run/containerd/containerd.sock: write: broken pipe: unavailable",
        ] {
            let fault = import_fault(&format!("1 ctr: {words}"));
            assert!(matches!(fault, Fault::RuntimeGone(_)), "{fault:?}");
        }
        let other =
            "1 ctr: no such layer zstd: error 70 : Write error : cannot write block : Broken pipe";
        assert!(matches!(import_fault(other), Fault::Import(_)));
        assert!(matches!(import_fault("0 "), Fault::Import(_)));
    }
}
