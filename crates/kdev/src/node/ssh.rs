//! Runs the user's ssh with its configuration, agent, jump hosts, and hardware keys. Host keys
//! are always checked.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use kdev_core::shell::quote;
use xshell::{Cmd, Shell, cmd};

use crate::cx::Cx;
use crate::node::error::NodeErrorKind;
use crate::process::scratch_dir::ScratchDir;
use crate::process::{Command, Failure};

/// The exit code of ssh if the connection failed. Other codes are from the remote command.
pub(crate) const SSH_FAILED: i32 = 255;
/// The longest path of a folder for control sockets: `%C` is 40 hex digits, ssh adds 17
/// characters for a temporary name, and some systems limit socket paths to 104 bytes.
const CONTROL_DIR_LIMIT: usize = 104 - 17 - 40 - 2;

/// The SSH target of a node. Only [`SshTarget::parse`] creates one, so no part of it can be
/// mistaken for an option or a shell's metacharacter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SshTarget {
    user: Option<String>,
    host: String,
    port: Option<u16>,
}

/// The shared connections of one run.
pub(crate) struct Ssh {
    path: PathBuf,
    version: (u32, u32),
    config: Option<PathBuf>,
    /// The private folder of the control sockets; `None` if its path would be too long.
    control: Option<ScratchDir>,
    connected: Mutex<Vec<SshTarget>>,
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

impl SshTarget {
    /// Parses `host`, `user@host`, `user@host:port`, `[v6]:port`, or a bare IPv6 address, all
    /// with an optional `ssh://` prefix.
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

    /// Returns the name of the target in `known_hosts`.
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
    pub(crate) fn new(path: PathBuf, version: (u32, u32), config: Option<PathBuf>) -> Self {
        Self { path, version, config, control: control_dir(), connected: Mutex::default() }
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

    /// Returns the command that runs a command on the target, with each argument quoted.
    pub(crate) fn command<'a>(&self, sh: &'a Shell, target: &SshTarget, args: &[&str]) -> Cmd<'a> {
        if let Ok(mut connected) = self.connected.lock()
            && !connected.contains(target)
        {
            connected.push(target.clone());
        }
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
                .args(["-o", "ControlMaster=auto", "-o", "ControlPersist=60"])
                .arg("-o")
                .arg(format!("ControlPath={}/%C", dir.path().display())),
        }
    }

    /// Closes the shared connections.
    pub(crate) fn close(&self, cx: &Cx) {
        let (Ok(sh), Ok(connected)) = (cx.shell(), self.connected.lock()) else {
            return;
        };
        for target in connected.iter().filter(|_| self.control.is_some()) {
            let cmd = self.base(&sh).args(["-O", "exit"]).args(target_args(target));
            let command = Command::new(cmd.args(["--", &target.host])).ignore_interrupt();
            // This fails if the connection is already closed.
            let _ = command.timeout(Duration::from_secs(5)).output(cx);
        }
    }
}

/// Returns the command for ssh with a configuration file.
fn ssh_command<'a>(sh: &'a Shell, path: &Path, config: Option<&Path>) -> Cmd<'a> {
    let config = config.into_iter().flat_map(|file| [Path::new("-F"), file]);
    cmd!(sh, "{path}").args(config)
}

/// Returns the options of every connection. Besides timeouts, they override those options of
/// the user's configuration that would make the connection something else than a command with
/// stdin and stdout, or change ssh's messages (`ssh_config(5)`).
fn common_options(version: (u32, u32)) -> impl Iterator<Item = &'static str> {
    const OPTIONS: [((u32, u32), &str); 18] = [
        ((0, 0), "BatchMode=yes"),
        ((0, 0), "ConnectTimeout=10"),
        ((0, 0), "ServerAliveInterval=10"),
        ((0, 0), "ServerAliveCountMax=3"),
        ((0, 0), "ForwardAgent=no"),
        ((0, 0), "RequestTTY=no"),
        ((0, 0), "ClearAllForwardings=yes"),
        ((0, 0), "ExitOnForwardFailure=no"),
        ((0, 0), "ForwardX11=no"),
        ((0, 0), "Tunnel=no"),
        ((0, 0), "PermitLocalCommand=no"),
        ((0, 0), "EscapeChar=none"),
        ((0, 0), "VisualHostKey=no"),
        ((0, 0), "LogLevel=INFO"),
        ((7, 6), "RemoteCommand=none"),
        ((8, 7), "ForkAfterAuthentication=no"),
        ((8, 7), "SessionType=default"),
        ((8, 7), "StdinNull=no"),
    ];
    let supported = OPTIONS.into_iter().filter(move |(since, _)| version >= *since);
    supported.flat_map(|(_, option)| ["-o", option])
}

fn target_args(target: &SshTarget) -> Vec<String> {
    let user = target.user.iter().flat_map(|user| ["-l".to_owned(), user.clone()]);
    let port = target.port.iter().flat_map(|port| ["-p".to_owned(), port.to_string()]);
    user.chain(port).collect()
}

/// Creates a private folder with a path that is short enough for a socket.
fn control_dir() -> Option<ScratchDir> {
    let create = |parent: &Path| ScratchDir::create_in(parent, "kdev-");
    let dir = create(Path::new("/tmp")).or_else(|_| create(&std::env::temp_dir())).ok()?;
    (dir.path().as_os_str().len() <= CONTROL_DIR_LIMIT).then_some(dir)
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
    fn targets_are_parsed_in_every_form() {
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
    fn command_arguments_are_quoted() {
        let sh = Shell::new().unwrap();
        let ssh = Ssh {
            path: "/usr/bin/ssh".into(),
            version: (9, 2),
            config: None,
            control: None,
            connected: Mutex::default(),
        };
        let target = SshTarget::parse("u@h:2").unwrap();
        let shown =
            Command::new(ssh.command(&sh, &target, &["sh", "-c", "echo 'x'", "a;b"])).to_string();
        assert!(shown.contains("-l u -p 2 -- h "), "{shown}");
        assert!(shown.ends_with(r#"h "sh -c \"echo 'x'\" 'a;b'""#), "{shown}");
    }

    #[test]
    fn options_depend_on_openssh_version() {
        let options = |version| common_options(version).collect::<Vec<_>>().join(" ");
        let table = [
            ((6, 7), "-o ClearAllForwardings=yes", true),
            ((7, 5), "RemoteCommand", false),
            ((7, 6), "-o RemoteCommand=none", true),
            ((8, 6), "SessionType", false),
            ((8, 7), "-o ForkAfterAuthentication=no -o SessionType=default -o StdinNull=no", true),
            ((10, 0), "-o StdinNull=no", true),
        ];
        for (version, option, expected) in table {
            assert_eq!(options(version).contains(option), expected, "{version:?} {option}");
        }
    }

    #[test]
    fn display_command_is_quoted_for_a_shell() {
        let ssh = |config: Option<&str>| Ssh {
            path: "/usr/bin/ssh".into(),
            version: (9, 2),
            config: config.map(PathBuf::from),
            control: None,
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
