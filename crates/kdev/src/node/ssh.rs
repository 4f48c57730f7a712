//! Runs the user's ssh with its configuration, agent, jump hosts, and hardware keys. Host keys
//! are always checked.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kdev_core::shell::quote;
use xshell::{Cmd, Shell};

use crate::cx::Cx;
use crate::node::error::NodeErrorKind;
use crate::process::scratch_dir::ScratchDir;
use crate::process::{Command, Failure};
use crate::tools::ssh::{SshTarget, common_options, control_dir, ssh_command, target_args};
use crate::tools::{self, Result};

/// The exit code of ssh if the connection failed. Other codes are from the remote command.
pub(crate) const SSH_FAILED: i32 = 255;
/// How long a connection stays open without a command, also if kdev was killed.
const PERSIST: Duration = Duration::from_secs(60);
/// The same between the cycles of a watch.
const PERSIST_OF_WATCH: Duration = Duration::from_secs(900);

/// The shared connections of one run.
pub(crate) struct Ssh {
    path: PathBuf,
    version: (u32, u32),
    config: Option<PathBuf>,
    /// The private folder of the control sockets; `None` if its path would be too long.
    control: Option<ScratchDir>,
    persist: Duration,
    connected: Mutex<Vec<SshTarget>>,
}

/// Shared connections that several packages use, also in several runs one after another.
#[derive(Default)]
pub(crate) struct KeptSsh {
    is_for_watch: bool,
    /// One for each configuration file.
    ssh: Mutex<Vec<Arc<Ssh>>>,
}

impl KeptSsh {
    /// Keeps the connections between the cycles of a watch, also if they are rare.
    pub(crate) fn for_watch() -> Self {
        Self { is_for_watch: true, ..Self::default() }
    }

    /// Returns the connections with a configuration file.
    pub(super) fn find(&self, cx: &Cx, config: Option<&PathBuf>) -> Result<Arc<Ssh>> {
        let path = tools::SSH.find()?;
        let mut kept = self.ssh.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = |ssh: &&Arc<Ssh>| ssh.path == path && ssh.config.as_ref() == config;
        if let Some(ssh) = kept.iter().find(is_same) {
            return Ok(ssh.clone());
        }
        let (path, version) = tools::find_ssh(cx)?;
        let persist = if self.is_for_watch { PERSIST_OF_WATCH } else { PERSIST };
        let ssh = Arc::new(Ssh { persist, ..Ssh::new(path, version, config.cloned()) });
        kept.push(ssh.clone());
        Ok(ssh)
    }

    /// Closes the connections.
    pub(crate) fn close(&self, cx: &Cx) {
        let mut kept = self.ssh.lock().unwrap_or_else(PoisonError::into_inner);
        kept.drain(..).for_each(|ssh| ssh.close(cx));
    }
}

/// An SSH target for commands that do not use a shared connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SshEndpoint {
    path: PathBuf,
    version: (u32, u32),
    config: Option<PathBuf>,
    target: SshTarget,
}

impl SshEndpoint {
    /// Returns the command that prints ssh's configuration for the target.
    pub(crate) fn show_config<'a>(&self, sh: &'a Shell) -> Cmd<'a> {
        self.to(self.base(sh).arg("-G"))
    }

    /// Returns the command that writes the host's key to a file. Its login then fails, because
    /// it offers no authentication method.
    pub(crate) fn fetch_host_key<'a>(&self, sh: &'a Shell, file: &Path) -> Cmd<'a> {
        let list = format!("UserKnownHostsFile={}", file.display());
        let more = [
            "ControlPath=none",
            "GlobalKnownHostsFile=/dev/null",
            "StrictHostKeyChecking=accept-new",
            "HashKnownHosts=no",
            "UpdateHostKeys=no",
            "PreferredAuthentications=none",
            &list,
        ];
        let more = more.into_iter().flat_map(|option| ["-o", option]);
        self.to(self.base(sh).args(common_options(self.version)).args(more)).arg("true")
    }

    fn base<'a>(&self, sh: &'a Shell) -> Cmd<'a> {
        ssh_command(sh, &self.path, self.config.as_deref())
    }

    fn to<'a>(&self, cmd: Cmd<'a>) -> Cmd<'a> {
        cmd.args(target_args(&self.target)).args(["--", &self.target.host])
    }
}

impl Ssh {
    pub(crate) fn new(path: PathBuf, version: (u32, u32), config: Option<PathBuf>) -> Self {
        let control = control_dir();
        Self { path, version, config, control, persist: PERSIST, connected: Mutex::default() }
    }

    /// Returns the configuration file. Another one can lead to other machines.
    pub(super) fn config(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    pub(crate) fn endpoint(&self, target: &SshTarget) -> SshEndpoint {
        let (path, config) = (self.path.clone(), self.config.clone());
        SshEndpoint { path, version: self.version, config, target: target.clone() }
    }

    /// Returns the command with which the user can open the same connection.
    pub(crate) fn display_command(&self, target: &SshTarget) -> String {
        let config = self.config.iter();
        let config = config.flat_map(|file| ["-F".to_owned(), file.display().to_string()]);
        let user = target.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
        let port = target.port.iter().flat_map(|port| ["-p".to_owned(), port.to_string()]);
        let host = [format!("{user}{}", target.host)];
        let args: Vec<String> = config.chain(port).chain(host).map(|word| quote(&word)).collect();
        format!("ssh {}", args.join(" "))
    }

    /// Returns whether a shared connection to the target was opened. It may have been lost.
    pub(super) fn has_connected(&self, target: &SshTarget) -> bool {
        self.control.is_some() && self.connected().contains(target)
    }

    fn connected(&self) -> MutexGuard<'_, Vec<SshTarget>> {
        self.connected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the command that runs a command on the target, with each argument quoted.
    pub(crate) fn command<'a>(&self, sh: &'a Shell, target: &SshTarget, args: &[&str]) -> Cmd<'a> {
        let mut connected = self.connected();
        if !connected.contains(target) {
            connected.push(target.clone());
        }
        drop(connected);
        let remote: Vec<String> = args.iter().map(|arg| quote(arg)).collect();
        self.base(sh)
            .args(common_options(self.version))
            .args(target_args(target))
            .args(["--", &target.host])
            .arg(remote.join(" "))
    }

    fn base<'a>(&self, sh: &'a Shell) -> Cmd<'a> {
        let cmd = ssh_command(sh, &self.path, self.config.as_deref());
        match &self.control {
            None => cmd.args(["-o", "ControlMaster=no"]),
            Some(dir) => cmd
                .args(["-o", "ControlMaster=auto", "-o"])
                .arg(format!("ControlPersist={}", self.persist.as_secs()))
                .arg("-o")
                .arg(format!("ControlPath={}/%C", dir.path().display())),
        }
    }

    /// Closes the shared connections.
    pub(crate) fn close(&self, cx: &Cx) {
        let targets = std::mem::take(&mut *self.connected());
        for target in &targets {
            self.disconnect(cx, target);
        }
    }

    /// Closes the shared connection to a target.
    pub(super) fn disconnect(&self, cx: &Cx, target: &SshTarget) {
        let (Ok(sh), true) = (cx.shell(), self.control.is_some()) else { return };
        let cmd = self.base(&sh).args(["-O", "exit"]).args(target_args(target));
        let command = Command::new(cmd.args(["--", &target.host])).ignore_interrupt();
        // This fails if the connection is already closed.
        let _ = command.timeout(Duration::from_secs(5)).output(cx);
    }
}

/// Classifies a failed connection by the messages of OpenSSH.
pub(crate) fn connection_error(failure: &Failure) -> NodeErrorKind {
    let message = failure.stderr.trim();
    let has = |text: &str| message.contains(text);
    if has("REMOTE HOST IDENTIFICATION HAS CHANGED") {
        NodeErrorKind::HostKeyChanged(message.to_owned())
    } else if has("Host key verification failed") || has("No matching host key") {
        NodeErrorKind::HostKeyUnknown(message.to_owned())
    } else if has("Permission denied (") || has("Too many authentication failures") {
        NodeErrorKind::LoginDenied(message.to_owned())
    } else {
        NodeErrorKind::Unreachable(failure.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Outcome;

    #[test]
    fn command_arguments_are_quoted() {
        let sh = Shell::new().unwrap();
        let ssh = Ssh {
            path: "/usr/bin/ssh".into(),
            version: (9, 2),
            config: None,
            control: None,
            persist: PERSIST,
            connected: Mutex::default(),
        };
        let target = SshTarget::parse("u@h:2").unwrap();
        let shown =
            Command::new(ssh.command(&sh, &target, &["sh", "-c", "echo 'x'", "a;b"])).to_string();
        assert!(shown.contains("-l u -p 2 -- h "), "{shown}");
        assert!(shown.ends_with(r#"h "sh -c \"echo 'x'\" 'a;b'""#), "{shown}");
    }

    #[test]
    fn display_command_is_quoted_for_a_shell() {
        let ssh = |config: Option<&str>| Ssh {
            path: "/usr/bin/ssh".into(),
            version: (9, 2),
            config: config.map(PathBuf::from),
            control: None,
            persist: PERSIST,
            connected: Mutex::default(),
        };
        let target = SshTarget::parse("dev@h:2222").unwrap();
        assert_eq!(ssh(None).display_command(&target), "ssh -p 2222 dev@h");
        assert_eq!(ssh(Some("/a b/c")).display_command(&target), "ssh -F '/a b/c' -p 2222 dev@h");
    }

    #[test]
    fn connection_errors_are_classified() {
        let error = |stderr: &str| {
            let stderr = stderr.to_owned();
            super::connection_error(&Failure {
                command: "ssh h".into(),
                outcome: Outcome::Code(255),
                stderr,
            })
        };
        assert!(matches!(
            error("Host key verification failed.\n"),
            NodeErrorKind::HostKeyUnknown(_)
        ));
        assert!(matches!(
            error(
                "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed."
            ),
            NodeErrorKind::HostKeyChanged(_)
        ));
        assert!(matches!(
            error("u@h: Permission denied (publickey)."),
            NodeErrorKind::LoginDenied(_)
        ));
        assert!(matches!(
            error("ssh: connect to host h port 22: Connection refused"),
            NodeErrorKind::Unreachable(_)
        ));
    }
}
