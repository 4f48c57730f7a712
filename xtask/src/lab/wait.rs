//! Waits for conditions.

use anyhow::{Result, bail};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Polls a condition until it is true. Fails after `seconds`.
pub(crate) fn wait_until(
    what: &str,
    seconds: u64,
    mut is_done: impl FnMut() -> bool,
) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(seconds);
    while !is_done() {
        if Instant::now() > end {
            bail!("timed out after {seconds} s while waiting for {what}");
        }
        thread::sleep(POLL_INTERVAL);
    }
    Ok(())
}

/// Waits until a server accepts connections at an address.
pub(crate) fn wait_for_port(what: &str, address: &str) -> Result<()> {
    wait_until(what, 10, || can_connect(address))
}

pub(crate) fn can_connect(address: &str) -> bool {
    connect(address).is_some()
}

/// Returns whether an HTTP server responds with status 200.
pub(crate) fn is_http_ok(address: &str, path: &str) -> bool {
    let Some(mut stream) = connect(address) else {
        return false;
    };
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    let mut response = String::new();
    stream.set_read_timeout(Some(Duration::from_secs(2))).is_ok()
        && stream.write_all(request.as_bytes()).is_ok()
        && stream.read_to_string(&mut response).is_ok()
        && response.split(' ').nth(1) == Some("200")
}

fn connect(address: &str) -> Option<TcpStream> {
    let address: SocketAddr = address.parse().ok()?;
    TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()
}
