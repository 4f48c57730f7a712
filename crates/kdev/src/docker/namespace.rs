//! Listens in the network namespace of a daemon on this machine, such as a rootless one.
//!
//! A process with threads cannot enter the user namespace of a rootless daemon. So kdev starts
//! itself once more; that process creates the socket and hands it over. A socket stays in the
//! namespace in which it was created, so nothing has to be relayed.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use xshell::cmd;

use crate::cx::Cx;
use crate::docker::ports;
use crate::process::Command;
use crate::process::scratch_dir::ScratchDir;
use crate::tools::TOOL_TIMEOUT;

/// The first argument of kdev with which it hands over a socket.
const LISTEN: &str = "listen-in-namespace";

/// Returns the process that listens on a Unix socket, if its network namespace is another one.
/// Returns `None` if this is unknown: the processes of other users are not visible.
pub(crate) fn process_in_other_namespace(socket: &str) -> Option<i32> {
    let pid = listener_of(&UnixStream::connect(socket).ok()?)?;
    let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/net")).ok();
    (namespace(&pid.to_string())? != namespace("self")?).then_some(pid)
}

/// Opens the endpoint for an image in the network namespace of a process.
pub(crate) fn listen(cx: &Cx, pid: i32, image: &str) -> io::Result<TcpListener> {
    let program = cx.program().ok_or(io::ErrorKind::Unsupported)?;
    let dir = ScratchDir::create_in(&std::env::temp_dir(), "kdev-")?;
    let socket = dir.path().join("socket");
    let receiver = UnixListener::bind(&socket)?;
    receiver.set_nonblocking(true)?;
    let sh = cx.shell().map_err(io::Error::other)?;
    let pid = pid.to_string();
    let command = Command::new(cmd!(sh, "{program} {LISTEN} {pid} {socket} {image}"));
    command.timeout(TOOL_TIMEOUT).read(cx).map_err(io::Error::other)?;
    // The process has exited, and what it has sent is still in the socket.
    let (stream, _) = receiver.accept()?;
    Ok(TcpListener::from(receive_fd(&stream)?))
}

/// Runs kdev as the helper that hands over a socket, if its arguments, without the program's
/// name, are those of the helper. Returns the result then. The process must not have threads.
pub fn run_namespace_helper(args: &[OsString]) -> Option<io::Result<()>> {
    let [first, args @ ..] = args else { return None };
    (first == LISTEN).then(|| match args {
        [pid, socket, image] => {
            let enter = |kind| enter(&Path::new("/proc").join(pid).join("ns").join(kind));
            enter("user")?;
            enter("net")?;
            let image = image.to_string_lossy();
            send_fd(Path::new(socket), ports::listen(&image, ports::FIRST)?.as_fd())
        }
        _ => Err(io::ErrorKind::InvalidInput.into()),
    })
}

/// Enters a namespace, unless the process is already in it.
#[cfg(target_os = "linux")]
fn enter(namespace: &Path) -> io::Result<()> {
    let kind = namespace.file_name().unwrap_or_default();
    if fs::read_link(namespace)? == fs::read_link(Path::new("/proc/self/ns").join(kind))? {
        return Ok(());
    }
    let file = File::open(namespace)?;
    Ok(rustix::thread::move_into_link_name_space(file.as_fd(), None)?)
}

#[cfg(not(target_os = "linux"))]
fn enter(_: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Returns the process that has opened the socket at the other end.
#[cfg(target_os = "linux")]
fn listener_of(stream: &UnixStream) -> Option<i32> {
    let peer = rustix::net::sockopt::socket_peercred(stream).ok()?;
    Some(peer.pid.as_raw_nonzero().get())
}

#[cfg(not(target_os = "linux"))]
fn listener_of(_: &UnixStream) -> Option<i32> {
    None
}

fn send_fd(socket: &Path, fd: BorrowedFd<'_>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [fd];
    if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    let stream = UnixStream::connect(socket)?;
    sendmsg(&stream, &[IoSlice::new(b"!")], &mut control, SendFlags::empty())?;
    Ok(())
}

fn receive_fd(stream: &UnixStream) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(stream, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let fds = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    fds.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handed_over_socket_is_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let receiver = UnixListener::bind(&path).unwrap();
        let sent = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = sent.local_addr().unwrap();
        send_fd(&path, sent.as_fd()).unwrap();
        drop(sent);
        let copy = TcpListener::from(receive_fd(&receiver.accept().unwrap().0).unwrap());
        assert_eq!(copy.local_addr().unwrap(), address);
    }

    #[test]
    fn listener_in_same_namespace_is_not_reported() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let _receiver = UnixListener::bind(&path).unwrap();
        assert_eq!(process_in_other_namespace(path.to_str().unwrap()), None);
        assert_eq!(process_in_other_namespace("/nonexistent"), None);
    }

    #[test]
    fn other_arguments_are_not_those_of_helper() {
        assert!(run_namespace_helper(&[]).is_none());
        assert!(run_namespace_helper(&["kdev".into(), LISTEN.into()]).is_none());
        assert!(run_namespace_helper(&[LISTEN.into()]).unwrap().is_err());
    }
}
