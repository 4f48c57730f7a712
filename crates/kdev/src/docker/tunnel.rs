//! Forwards a port of a remote daemon's machine to this one, through the user's ssh.
//!
//! The forwarding is requested from a connection that already exists: that of the user, if
//! `ControlPath` is configured and a master is running, or a new one. So the forwardings of
//! the user's configuration, whose ports may be in use, are never requested again.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use xshell::{Cmd, Shell};

use crate::cx::Cx;
use crate::process::scratch_dir::ScratchDir;
use crate::process::{BackgroundChild, Command, Failure};
use crate::tools::ssh::{SshTarget, common_options, control_dir, ssh_command, target_args};
use crate::tools::{self, TOOL_TIMEOUT};

/// What the remote command prints when the connection is ready.
const READY: &str = "kdev-is-connected";
/// Ends when its stdin is closed, in each login shell.
const REMOTE_COMMAND: &str = "echo kdev-is-connected; cat";
/// Makes the server choose a port.
const ANY_PORT: u16 = 0;

/// A forwarded port. The forwarding ends when this value is dropped.
pub(crate) struct Tunnel {
    ssh: PathBuf,
    target: SshTarget,
    master: Master,
    forwarding: String,
}

/// The connection with the forwarding.
enum Master {
    /// The user's connection with this socket.
    User(PathBuf),
    /// A connection for this tunnel, and the directory of its socket.
    Private(Box<Mutex<BackgroundChild>>, ScratchDir),
}

/// Why a port cannot be forwarded.
pub(crate) enum TunnelError {
    /// There is no connection.
    NotConnected(String),
    /// The server does not permit it.
    Forbidden,
}

impl Tunnel {
    /// Forwards a port of the loopback interface of the target. Uses this port of the target,
    /// or another one if it is in use, and returns it.
    pub(crate) fn open(
        cx: &Cx,
        target: &SshTarget,
        port: u16,
        local_port: u16,
    ) -> Result<(Self, u16), TunnelError> {
        let (ssh, version) = tools::find_ssh(cx).map_err(TunnelError::not_connected)?;
        let master = Master::connect(cx, &ssh, version, target)?;
        let forwarding = format!("127.0.0.1:{port}:127.0.0.1:{local_port}");
        let mut tunnel = Self { ssh, target: target.clone(), master, forwarding };
        if tunnel.forward(cx).is_ok() {
            return Ok((tunnel, port));
        }
        tunnel.forwarding = format!("127.0.0.1:{ANY_PORT}:127.0.0.1:{local_port}");
        let printed = tunnel.forward(cx);
        match printed.map(|output| output.trim().parse()) {
            Ok(Ok(port)) => Ok((tunnel, port)),
            Err(failure) if failure.is_interrupt() || !tunnel.is_connected() => {
                Err(TunnelError::from_failure(&failure))
            }
            _ => Err(TunnelError::Forbidden),
        }
    }

    /// Returns whether the connection exists.
    pub(crate) fn is_connected(&self) -> bool {
        match &self.master {
            Master::User(socket) => socket.exists(),
            Master::Private(child, _) => {
                child.lock().unwrap_or_else(PoisonError::into_inner).is_running()
            }
        }
    }

    fn forward(&self, cx: &Cx) -> Result<String, Failure> {
        let sh = cx.shell().map_err(|error| Failure::not_started("ssh", &to_io(&error)))?;
        let output = Command::new(self.control(&sh, "forward")).timeout(TOOL_TIMEOUT).read(cx)?;
        Ok(output.text())
    }

    /// Returns a command for the master about the forwarding. The user's configuration is not
    /// read: it could request more forwardings.
    fn control<'a>(&self, sh: &'a Shell, action: &str) -> Cmd<'a> {
        control_command(sh, &self.ssh, &self.master.socket(), action)
            .args(["-R", &self.forwarding])
            .args(["--", &self.target.host])
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        // A private connection ends with the forwarding.
        let Master::User(_) = &self.master else { return };
        let Ok(sh) = Shell::new() else { return };
        let command = Command::new(self.control(&sh, "cancel")).ignore_interrupt();
        // This fails if the user has ended the connection.
        let _ = command.timeout(TOOL_TIMEOUT).output(&Cx::new(&|_| ()));
    }
}

impl Master {
    fn connect(
        cx: &Cx,
        ssh: &Path,
        version: (u32, u32),
        target: &SshTarget,
    ) -> Result<Self, TunnelError> {
        let sh = cx.shell().map_err(TunnelError::not_connected)?;
        if let Some(socket) = user_socket(cx, &sh, ssh, target) {
            return Ok(Self::User(socket));
        }
        let dir = control_dir().ok_or_else(|| {
            TunnelError::not_connected("no directory for a control socket can be created")
        })?;
        let socket = format!("ControlPath={}", private_socket(&dir).display());
        let cmd = ssh_command(&sh, ssh, None)
            .args(common_options(version))
            .args(["-o", "ControlMaster=yes", "-o", "ControlPersist=no", "-o", &socket])
            .args(target_args(target))
            .args(["--", &target.host, REMOTE_COMMAND]);
        let child = Command::new(cmd).start().and_then(|mut child| {
            child.wait_for_line(cx, READY, TOOL_TIMEOUT)?;
            Ok(child)
        });
        let child = child.map_err(|failure| TunnelError::from_failure(&failure))?;
        Ok(Self::Private(Box::new(Mutex::new(child)), dir))
    }

    fn socket(&self) -> PathBuf {
        match self {
            Self::User(socket) => socket.clone(),
            Self::Private(_, dir) => private_socket(dir),
        }
    }
}

impl TunnelError {
    fn not_connected(reason: impl std::fmt::Display) -> Self {
        Self::NotConnected(reason.to_string())
    }

    /// Returns the error without the command, whose many options would hide the cause.
    fn from_failure(failure: &Failure) -> Self {
        let message = failure.message();
        let last = message.lines().last().map(str::to_owned);
        Self::not_connected(last.unwrap_or_else(|| format!("it {}", failure.outcome)))
    }
}

fn private_socket(dir: &ScratchDir) -> PathBuf {
    dir.path().join("master")
}

/// Returns the socket of the user's connection to the target, if there is one.
fn user_socket(cx: &Cx, sh: &Shell, ssh: &Path, target: &SshTarget) -> Option<PathBuf> {
    let show = ssh_command(sh, ssh, None).arg("-G").args(target_args(target));
    let show = Command::new(show.args(["--", &target.host])).timeout(TOOL_TIMEOUT);
    let socket = control_path(&show.read(cx).ok()?.text())?;
    let check = control_command(sh, ssh, &socket, "check").args(["--", &target.host]);
    Command::new(check).timeout(TOOL_TIMEOUT).read(cx).ok()?;
    Some(socket)
}

/// Reads the path from the output of `ssh -G`.
fn control_path(config: &str) -> Option<PathBuf> {
    let path = config.lines().find_map(|line| line.strip_prefix("controlpath "))?;
    (path != "none").then(|| PathBuf::from(path))
}

/// Returns the start of a command for the master with this socket, without a configuration.
fn control_command<'a>(sh: &'a Shell, ssh: &Path, socket: &Path, action: &str) -> Cmd<'a> {
    let socket = socket.display().to_string().replace('%', "%%");
    ssh_command(sh, ssh, Some(Path::new("/dev/null"))).args(["-S", &socket, "-O", action])
}

fn to_io(error: &crate::process::Error) -> std::io::Error {
    std::io::Error::other(error.to_string())
}

impl std::fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tunnel({} to {})", self.forwarding, self.target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_path_is_read_from_configuration() {
        let table = [
            ("user a\ncontrolpath /run/u-06f3\ncontrolpersist no\n", Some("/run/u-06f3")),
            ("user a\ncontrolpath none\n", None),
            ("user a\ncontrolmaster false\n", None),
        ];
        for (config, expected) in table {
            assert_eq!(control_path(config).as_deref(), expected.map(Path::new), "{config}");
        }
    }

    #[test]
    fn control_commands_read_no_configuration() {
        let sh = Shell::new().unwrap();
        let cmd = control_command(&sh, Path::new("ssh"), Path::new("/tmp/a%b"), "forward");
        assert_eq!(Command::new(cmd).to_string(), "ssh -F /dev/null -S '/tmp/a%%b' -O forward");
    }
}
