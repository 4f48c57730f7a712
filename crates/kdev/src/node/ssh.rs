//! The user's own ssh, so that their configuration, agent, jump hosts and
//! hardware keys count. Host keys are always checked.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use kdev_core::shell::quote;
use tempfile::TempDir;
use xshell::{Cmd, Shell, cmd};

use crate::cx::Cx;
use crate::node::error::NodeErrorKind;
use crate::process::{Failure, Command};

/// ssh's own code for a failure of its own, as opposed to the remote command's.
pub(crate) const SSH_FAILED: i32 = 255;
/// `%C` is 40 hex digits, ssh adds 17 characters for a temporary name, and a
/// socket's path ends at 104 bytes on the strictest system.
const CONTROL_DIR_LIMIT: usize = 104 - 17 - 40 - 2;

/// Where a node is reached. Only [`Target::parse`] makes one, so that no part
/// of it can be taken for an option or a shell's metacharacter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SshTarget {
    user: Option<String>,
    host: String,
    port: Option<u16>,
}

/// All connections of one run: multiplexed, and closed when dropped.
pub(crate) struct Ssh {
    path: PathBuf,
    config: Option<PathBuf>,
    /// Private folder of the control sockets; none where its path is too long.
    control: Option<TempDir>,
    connected: Mutex<Vec<SshTarget>>,
}

/// A way to one host, for questions that need no connection that is shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SshEndpoint {
    path: PathBuf,
    config: Option<PathBuf>,
    target: SshTarget,
}

impl SshEndpoint {
    /// How ssh would go there, by its configuration.
    pub(crate) fn show_config<'a>(&self, sh: &'a Shell) -> Cmd<'a> {
        self.to(self.base(sh).arg("-G"))
    }

    /// Writes the key that the host shows to `seen`, and is then refused: it offers
    /// nothing to log in with.
    pub(crate) fn fetch_host_key<'a>(&self, sh: &'a Shell, seen: &Path) -> Cmd<'a> {
        let list = format!("UserKnownHostsFile={}", seen.display());
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
        self.to(self.base(sh).args(common_options()).args(more)).arg("true")
    }

    fn base<'a>(&self, sh: &'a Shell) -> Cmd<'a> {
        let path = &self.path;
        let config = self.config.iter().flat_map(|file| [Path::new("-F"), file.as_path()]);
        cmd!(sh, "{path}").args(config)
    }

    fn to<'a>(&self, cmd: Cmd<'a>) -> Cmd<'a> {
        cmd.args(target_args(&self.target)).args(["--", &self.target.host])
    }
}

impl SshTarget {
    /// Reads `host`, `user@host`, `user@host:port`, `[v6]:port`, a bare IPv6
    /// address, or any of these behind `ssh://`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix("ssh://").unwrap_or(text);
        let (user, rest) = match text.rsplit_once('@') {
            Some((user, rest)) => (Some(user), rest),
            None => (None, text),
        };
        let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, Some(port.strip_prefix(':')?)),
            None if rest.matches(':').count() == 1 => {
                let (host, port) = rest.split_once(':')?;
                (host, Some(port))
            }
            None => (rest, None),
        };
        let port = port.map(str::parse).transpose().ok()?;
        let word = |text: &str, more: &str| {
            !text.is_empty()
                && !text.starts_with('-')
                && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        if !word(host, ".-_:%") || user.is_some_and(|user| !word(user, ".-_")) {
            return None;
        }
        Some(Self { user: user.map(str::to_owned), host: host.to_owned(), port })
    }
}

impl SshTarget {
    /// As `known_hosts` has it.
    pub(crate) fn known_hosts_name(&self) -> String {
        match self.port {
            Some(port) if port != 22 => format!("[{}]:{port}", self.host),
            _ => self.host.clone(),
        }
    }
}

impl std::fmt::Display for SshTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        match self.port {
            Some(port) if self.host.contains(':') => write!(f, "[{}]:{port}", self.host),
            Some(port) => write!(f, "{}:{port}", self.host),
            None => write!(f, "{}", self.host),
        }
    }
}

impl Ssh {
    pub(crate) fn new(path: PathBuf, config: Option<PathBuf>) -> Self {
        let (path, control) = (path, control_dir());
        Self { path, config, control, connected: Mutex::default() }
    }

    pub(crate) fn endpoint(&self, target: &SshTarget) -> SshEndpoint {
        SshEndpoint { path: self.path.clone(), config: self.config.clone(), target: target.clone() }
    }

    /// The same connection as a person would type it.
    pub(crate) fn display_command(&self, target: &SshTarget) -> String {
        let config = self.config.iter();
        let config = config.flat_map(|file| ["-F".to_owned(), file.display().to_string()]);
        let user = target.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
        let port = target.port.iter().flat_map(|port| ["-p".to_owned(), port.to_string()]);
        let host = [format!("{user}{}", target.host)];
        let words: Vec<String> = config.chain(port).chain(host).map(|word| quote(&word)).collect();
        format!("ssh {}", words.join(" "))
    }

    /// The command that runs these words on the target, each of them quoted.
    pub(crate) fn command<'a>(&self, sh: &'a Shell, target: &SshTarget, words: &[&str]) -> Cmd<'a> {
        if let Ok(mut opened) = self.connected.lock()
            && !opened.contains(target)
        {
            opened.push(target.clone());
        }
        let remote: Vec<String> = words.iter().map(|word| quote(word)).collect();
        self.base(sh)
            .args(common_options())
            .args(target_args(target))
            .args(["--", &target.host])
            .arg(remote.join(" "))
    }

    fn base<'a>(&self, sh: &'a Shell) -> Cmd<'a> {
        let path = &self.path;
        let mut cmd = cmd!(sh, "{path}");
        if let Some(config) = &self.config {
            cmd = cmd.arg("-F").arg(config);
        }
        match &self.control {
            None => cmd.args(["-o", "ControlMaster=no"]),
            Some(dir) => cmd
                .args(["-o", "ControlMaster=auto", "-o", "ControlPersist=60"])
                .arg("-o")
                .arg(format!("ControlPath={}/%C", dir.path().display())),
        }
    }

    /// Ends the shared connections.
    pub(crate) fn close(&self, cx: &Cx) {
        let (Ok(sh), Ok(opened)) = (cx.shell(), self.connected.lock()) else {
            return;
        };
        for target in opened.iter().filter(|_| self.control.is_some()) {
            let cmd = self.base(&sh).args(["-O", "exit"]).args(target_args(target));
            let task = Command::new(cmd.args(["--", &target.host])).ignore_interrupt();
            // Where there is none any more, there is nothing to end.
            let _ = task.timeout(Duration::from_secs(5)).output(cx);
        }
    }
}

fn common_options() -> Vec<&'static str> {
    [
        "BatchMode=yes",
        "ConnectTimeout=10",
        "ServerAliveInterval=10",
        "ServerAliveCountMax=3",
        "ForwardAgent=no",
        "RequestTTY=no",
    ]
    .into_iter()
    .flat_map(|option| ["-o", option])
    .collect()
}

fn target_args(target: &SshTarget) -> Vec<String> {
    let user = target.user.iter().flat_map(|user| ["-l".to_owned(), user.clone()]);
    let port = target.port.iter().flat_map(|port| ["-p".to_owned(), port.to_string()]);
    user.chain(port).collect()
}

/// A folder that nobody else can write to, with a path short enough for a
/// socket in it.
fn control_dir() -> Option<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("kdev-");
    let dir = builder.tempdir_in("/tmp").or_else(|_| builder.tempdir()).ok()?;
    (dir.path().as_os_str().len() <= CONTROL_DIR_LIMIT).then_some(dir)
}

/// Why the transport failed, by what OpenSSH prints.
pub(crate) fn connection_error(failure: &Failure) -> NodeErrorKind {
    let words = failure.stderr.trim();
    let says = |sign: &str| words.contains(sign);
    if says("REMOTE HOST IDENTIFICATION HAS CHANGED") {
        NodeErrorKind::HostKeyChanged(words.to_owned())
    } else if says("Host key verification failed") || says("No matching host key") {
        NodeErrorKind::HostKeyUnknown(words.to_owned())
    } else if says("Permission denied (") || says("Too many authentication failures") {
        NodeErrorKind::LoginDenied(words.to_owned())
    } else {
        NodeErrorKind::Unreachable(failure.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Outcome;

    #[test]
    fn targets_are_read_in_every_form() {
        let target = |user: Option<&str>, host: &str, port| {
            Some(SshTarget { user: user.map(str::to_owned), host: host.to_owned(), port })
        };
        let table = [
            ("node", target(None, "node", None)),
            ("dev@10.0.0.7", target(Some("dev"), "10.0.0.7", None)),
            ("dev@host:2222", target(Some("dev"), "host", Some(2222))),
            ("::1", target(None, "::1", None)),
            ("u@[fe80::1%eth0]:22", target(Some("u"), "fe80::1%eth0", Some(22))),
            ("ssh://u@h:22", target(Some("u"), "h", Some(22))),
            ("-oProxyCommand=touch x", None),
            ("u@-h", None),
            ("h;id", None),
            ("$(id)@h", None),
            ("h:port", None),
            ("h:99999", None),
            ("", None),
            ("u@", None),
            ("a b", None),
        ];
        for (text, expected) in table {
            assert_eq!(SshTarget::parse(text), expected, "{text:?}");
        }
    }

    #[test]
    fn the_command_line_cannot_be_widened_by_names() {
        let sh = Shell::new().unwrap();
        let ssh = Ssh {
            path: "/usr/bin/ssh".into(),
            config: None,
            control: None,
            connected: Mutex::default(),
        };
        let target = SshTarget::parse("u@h:2").unwrap();
        let shown = Command::new(ssh.command(&sh, &target, &["sh", "-c", "echo 'x'", "a;b"])).to_string();
        assert!(shown.contains("-l u -p 2 -- h "), "{shown}");
        assert!(shown.ends_with(r#"h "sh -c \"echo 'x'\" 'a;b'""#), "{shown}");
    }

    #[test]
    fn what_a_person_would_type_works_in_a_shell() {
        let ssh = |config: Option<&str>| Ssh {
            path: "/usr/bin/ssh".into(),
            config: config.map(PathBuf::from),
            control: None,
            connected: Mutex::default(),
        };
        let target = SshTarget::parse("dev@h:2222").unwrap();
        assert_eq!(ssh(None).display_command(&target), "ssh -p 2222 dev@h");
        assert_eq!(ssh(Some("/a b/c")).display_command(&target), "ssh -F '/a b/c' -p 2222 dev@h");
    }

    #[test]
    fn faults_are_told_by_opensshs_words() {
        let fault = |stderr: &str| {
            let stderr = stderr.to_owned();
            super::connection_error(&Failure { command: "ssh h".into(), outcome: Outcome::Code(255), stderr })
        };
        assert!(matches!(fault("Host key verification failed.\n"), NodeErrorKind::HostKeyUnknown(_)));
        assert!(matches!(
            fault(
                "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed."
            ),
            NodeErrorKind::HostKeyChanged(_)
        ));
        assert!(matches!(fault("u@h: Permission denied (publickey)."), NodeErrorKind::LoginDenied(_)));
        assert!(matches!(
            fault("ssh: connect to host h port 22: Connection refused"),
            NodeErrorKind::Unreachable(_)
        ));
    }
}
