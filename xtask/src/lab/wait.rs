//! Waiting for something to come true.

use anyhow::{Result, bail};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(50);

/// Asks again until it is so, or the time is over.
pub(crate) fn until(what: &str, seconds: u64, mut done: impl FnMut() -> bool) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(seconds);
    while !done() {
        if Instant::now() > end {
            bail!("{what} is not ready after {seconds} s");
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// Waits until somebody listens there.
pub(crate) fn for_port(what: &str, address: &str) -> Result<()> {
    until(what, 10, || connects(address))
}

pub(crate) fn connects(address: &str) -> bool {
    connect(address).is_some()
}

/// Whether a plain HTTP server answers 200.
pub(crate) fn http_ok(address: &str, path: &str) -> bool {
    let Some(mut stream) = connect(address) else {
        return false;
    };
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    let mut answer = String::new();
    stream.set_read_timeout(Some(Duration::from_secs(2))).is_ok()
        && stream.write_all(request.as_bytes()).is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.split(' ').nth(1) == Some("200")
}

fn connect(address: &str) -> Option<TcpStream> {
    let address: SocketAddr = address.parse().ok()?;
    TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()
}
