//! SSH targets, and the options with which kdev runs ssh.

use std::path::Path;

use xshell::{Cmd, Shell, cmd};

use crate::process::scratch_dir::ScratchDir;

/// The longest path of a folder for control sockets: `%C` is 40 hex digits, ssh adds 17
/// characters for a temporary name, and some systems limit socket paths to 104 bytes.
const CONTROL_DIR_LIMIT: usize = 104 - 17 - 40 - 2;

/// An SSH target. Only [`SshTarget::parse`] creates one, so no part of it can be
/// mistaken for an option or a shell's metacharacter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SshTarget {
    pub(crate) user: Option<String>,
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
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

    /// Returns a command with which a user can check that SSH needs no password.
    pub(crate) fn display_check(&self) -> String {
        let user = self.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
        let port = self.port.map(|port| format!("-p {port} ")).unwrap_or_default();
        format!("ssh -o BatchMode=yes {port}{user}{} true", self.host)
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

/// Returns the command for ssh with a configuration file.
pub(crate) fn ssh_command<'a>(sh: &'a Shell, path: &Path, config: Option<&Path>) -> Cmd<'a> {
    let config = config.into_iter().flat_map(|file| [Path::new("-F"), file]);
    cmd!(sh, "{path}").args(config)
}

/// Returns the options of every connection. Besides timeouts, they override those options of
/// the user's configuration that would make the connection something else than a command with
/// stdin and stdout, or change ssh's messages (`ssh_config(5)`).
pub(crate) fn common_options(version: (u32, u32)) -> impl Iterator<Item = &'static str> {
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

pub(crate) fn target_args(target: &SshTarget) -> Vec<String> {
    let user = target.user.iter().flat_map(|user| ["-l".to_owned(), user.clone()]);
    let port = target.port.iter().flat_map(|port| ["-p".to_owned(), port.to_string()]);
    user.chain(port).collect()
}

/// Creates a private folder with a path that is short enough for a socket.
pub(crate) fn control_dir() -> Option<ScratchDir> {
    let create = |parent: &Path| ScratchDir::create_in(parent, "kdev-");
    let dir = create(Path::new("/tmp")).or_else(|_| create(&std::env::temp_dir())).ok()?;
    (dir.path().as_os_str().len() <= CONTROL_DIR_LIMIT).then_some(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn check_command_has_user_and_port() {
        let check = |target| SshTarget::parse(target).unwrap().display_check();
        assert_eq!(check("far"), "ssh -o BatchMode=yes far true");
        assert_eq!(check("dev@far:2222"), "ssh -o BatchMode=yes -p 2222 dev@far true");
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
}
