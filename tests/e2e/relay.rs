//! A relay to a TCP server, which counts the bytes and can interrupt the connections.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// The time between two checks of the link.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// The state of all connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    Open,
    /// Connections are closed, as by a load balancer without a server.
    Closed,
    /// No data arrives, as after the loss of a VPN.
    Silent,
}

/// A relay on a port of this machine, until the end of the tests.
pub(crate) struct Relay {
    pub(crate) port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    /// The bytes in both directions.
    bytes: AtomicU64,
    link: Mutex<Link>,
}

impl Relay {
    /// Starts a relay to this address and port.
    pub(crate) fn start(address: &'static str, port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own_port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared { bytes: AtomicU64::new(0), link: Mutex::new(Link::Open) });
        let relay = Self { port: own_port, shared: Arc::clone(&shared) };
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let server = TcpStream::connect((address, port)).unwrap();
                let to_server = (client.try_clone().unwrap(), server.try_clone().unwrap());
                for (from, to) in [to_server, (server, client)] {
                    let shared = Arc::clone(&shared);
                    thread::spawn(move || shared.copy(from, to));
                }
            }
        });
        relay
    }

    /// Returns the number of bytes in both directions since the last call.
    pub(crate) fn take_bytes(&self) -> u64 {
        self.shared.bytes.swap(0, Ordering::SeqCst)
    }

    pub(crate) fn set_link(&self, link: Link) {
        *self.shared.link.lock().unwrap() = link;
    }
}

impl Shared {
    /// Copies data until the sender closes the connection, or the link is closed.
    fn copy(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = vec![0; 64 << 10];
        from.set_read_timeout(Some(CHECK_INTERVAL)).unwrap();
        loop {
            let read = from.read(&mut buffer);
            while self.link() == Link::Silent {
                thread::sleep(CHECK_INTERVAL);
            }
            if self.link() == Link::Closed {
                let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
                return;
            }
            match read {
                Ok(count @ 1..) => {
                    self.bytes.fetch_add(count as u64, Ordering::SeqCst);
                    if to.write_all(&buffer[..count]).is_err() {
                        return;
                    }
                }
                Err(error) if is_timeout(&error) => {}
                Ok(_) | Err(_) => {
                    let _ = to.shutdown(Shutdown::Write);
                    return;
                }
            }
        }
    }

    fn link(&self) -> Link {
        *self.link.lock().unwrap()
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
