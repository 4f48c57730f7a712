//! Listens on the loopback addresses of this machine.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use kdev_core::kube::forward_spec::unprivileged_port;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::cx::Interrupt;

/// How often the wait for a connection checks for an interrupt.
const INTERRUPT_INTERVAL: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
/// How long to wait after a connection was not accepted, for example because too many files are
/// open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// The number of ports that are tried after the preferred one.
const MAX_TRIES: u16 = 100;

/// A port of this machine that is open on the loopback addresses.
pub(crate) struct Listener {
    sockets: Vec<TcpListener>,
}

impl Listener {
    /// Opens a port; 0 stands for any. The addresses of IPv4 and IPv6 have the same port, because
    /// `localhost` can be both.
    pub(crate) fn open(port: u16) -> io::Result<Self> {
        let mut opened = Self::open_once(port);
        for _ in 0..MAX_TRIES {
            // The port that is free for one address can be in use for the other one.
            let is_in_use =
                opened.as_ref().is_err_and(|error| error.kind() == ErrorKind::AddrInUse);
            if port != 0 || !is_in_use {
                break;
            }
            opened = Self::open_once(port);
        }
        opened
    }

    fn open_once(port: u16) -> io::Result<Self> {
        let first = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let port = first.local_addr()?.port();
        let mut sockets = vec![first];
        match TcpListener::bind((Ipv6Addr::LOCALHOST, port)) {
            Ok(second) => sockets.push(second),
            Err(error) if error.kind() == ErrorKind::AddrInUse => return Err(error),
            // This machine has no IPv6.
            Err(_) => {}
        }
        for socket in &sockets {
            socket.set_nonblocking(true)?;
        }
        Ok(Self { sockets })
    }

    /// Opens this port or, if it is in use, the next free one. A privileged port is replaced if
    /// the user may not open it.
    pub(crate) fn open_near(port: u16) -> io::Result<Self> {
        let error = match Self::open(port) {
            Ok(listener) => return Ok(listener),
            Err(error) => error,
        };
        let first = match error.kind() {
            ErrorKind::PermissionDenied => unprivileged_port(port),
            ErrorKind::AddrInUse => port.saturating_add(1),
            _ => return Err(error),
        };
        let others = first..=first.saturating_add(MAX_TRIES);
        others.into_iter().find_map(|port| Self::open(port).ok()).ok_or(error)
    }

    /// Returns the addresses.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets.iter().filter_map(|socket| socket.local_addr().ok()).collect()
    }

    /// Returns the port.
    pub(crate) fn port(&self) -> Option<u16> {
        self.addresses().first().map(SocketAddr::port)
    }

    /// Passes each connection to `on_connection` until interrupted.
    pub(crate) fn accept(&self, interrupt: &Interrupt, on_connection: impl Fn(TcpStream)) {
        while !interrupt.is_raised() {
            let mut waits: Vec<PollFd> =
                self.sockets.iter().map(|socket| PollFd::new(socket, PollFlags::IN)).collect();
            if !matches!(poll(&mut waits, Some(&INTERRUPT_INTERVAL)), Ok(1..)) {
                continue;
            }
            for socket in &self.sockets {
                self.accept_all(socket, &on_connection);
            }
        }
    }

    #[expect(clippy::unused_self, reason = "a socket belongs to a listener")]
    fn accept_all(&self, socket: &TcpListener, on_connection: &impl Fn(TcpStream)) {
        loop {
            match socket.accept() {
                Ok((connection, _)) => {
                    if connection.set_nonblocking(false).is_ok() {
                        on_connection(connection);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(_) => return thread::sleep(ACCEPT_PAUSE),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn port_in_use_is_replaced_by_next_free_one() {
        let first = Listener::open(0).unwrap();
        let port = first.addresses()[0].port();
        assert_eq!(Listener::open(port).map(|_| ()).unwrap_err().kind(), ErrorKind::AddrInUse);
        let second = Listener::open_near(port).unwrap().addresses()[0].port();
        assert!(second > port, "{second} {port}");
    }

    #[test]
    fn connections_are_accepted_until_interrupt() {
        let listener = Listener::open(0).unwrap();
        let interrupt = Interrupt::never();
        thread::scope(|scope| {
            scope.spawn(|| listener.accept(&interrupt, drop));
            for address in listener.addresses() {
                assert_eq!(address.port(), listener.addresses()[0].port());
                let mut connection = TcpStream::connect(address).unwrap();
                assert_eq!(connection.read(&mut [0]).unwrap(), 0);
            }
            interrupt.raise();
        });
    }
}
