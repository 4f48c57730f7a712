//! The ports of the endpoint that the daemon pushes to.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// Docker records digests per host and port, so an image uses the same port each time unless
/// another run is using it.
pub(crate) const FIRST: u16 = 47_600;
/// The first port on this machine of an endpoint that is forwarded from the usual port. It is
/// another one, because the daemon's machine may be this one.
pub(crate) const FIRST_FORWARDED: u16 = FIRST + COUNT;
const COUNT: u16 = 100;

/// Listens on the usual port of an image, or on the next one that is free.
pub(crate) fn listen(image: &str, first: u16) -> io::Result<TcpListener> {
    let bind = |attempt| TcpListener::bind(address(port_of(image, first, attempt))).ok();
    let listener = (0..COUNT).find_map(bind).ok_or(io::ErrorKind::AddrInUse)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Returns the usual port of an image.
pub(crate) fn usual(image: &str) -> u16 {
    port_of(image, FIRST, 0)
}

/// Returns the address of a port on the loopback interface.
pub(crate) fn address(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn port_of(image: &str, first: u16, attempt: u16) -> u16 {
    let offset = image.bytes().fold(0, |sum: u16, byte| sum.wrapping_mul(31) ^ u16::from(byte));
    first + (offset % COUNT + attempt) % COUNT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_port_is_used_if_usual_one_is_in_use() {
        let listen = || listen("image-with-its-own-port", FIRST).unwrap();
        let (one, other) = (listen(), listen());
        let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
        assert_ne!(port(&one), port(&other));
        for port in [port(&one), port(&other)] {
            assert!((FIRST..FIRST + COUNT).contains(&port), "{port}");
        }
    }
}
