//! Copies the data of one connection in both directions.
//!
//! A request that cannot change anything is sent again if its pod ends before the first byte of
//! the response: a pod may exit before the API server reports that it is being deleted.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::forward::route::{Route, Upstream};

/// How long a connection waits for a ready pod.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// A longer request is not sent again.
const MAX_REPEATED: usize = 64 * 1024;
const BUFFER_SIZE: usize = 64 * 1024;
/// HTTP methods that are safe (RFC 9110, 9.2.1).
const SAFE_METHODS: [&[u8]; 3] = [b"GET ", b"HEAD ", b"OPTIONS "];

/// The direction from the client to the pod.
struct Sending {
    upstream: Option<Arc<TcpStream>>,
    /// The bytes that were sent; `None` after the response has begun, or if there are too many.
    sent: Option<Vec<u8>>,
    has_ended: bool,
}

/// Forwards a connection until both directions have ended.
pub(crate) fn relay(route: &Route, client: &TcpStream) {
    // Small messages of interactive protocols must not wait.
    let _ = client.set_nodelay(true);
    let deadline = || Instant::now() + CONNECT_TIMEOUT;
    let sending = Sending { upstream: None, sent: Some(Vec::new()), has_ended: false };
    let sending = Arc::new(Mutex::new(sending));
    let Some(mut upstream) = route.connect(deadline()) else { return route.report_timeout() };
    if attach(&sending, &upstream).is_err() {
        return;
    }
    start_sending(client, &sending);
    loop {
        match receive(client, &upstream, &sending) {
            // The target has closed the connection without a response.
            Ok(false) if is_repeatable(&sending) && route.has_left(&upstream.target) => {}
            Ok(_) => break,
            Err(_) => {
                let _ = client.shutdown(Shutdown::Both);
                break;
            }
        }
        match route.connect(deadline()) {
            Some(next) => upstream = next,
            None => return route.report_timeout(),
        }
        if attach(&sending, &upstream).is_err() {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Write);
    if let Some(upstream) = lock(&sending).upstream.take() {
        let _ = upstream.shutdown(Shutdown::Both);
    }
}

/// Sends to this target from now on, first the bytes that were already sent to another one.
fn attach(sending: &Mutex<Sending>, upstream: &Upstream) -> io::Result<()> {
    let _ = upstream.stream.set_nodelay(true);
    let stream = Arc::new(upstream.stream.try_clone()?);
    let mut sending = lock(sending);
    if let Some(sent) = &sending.sent {
        // If this target also ends, the bytes are sent again.
        let _ = stream.as_ref().write_all(sent);
    }
    if sending.has_ended {
        let _ = stream.shutdown(Shutdown::Write);
    }
    sending.upstream = Some(stream);
    Ok(())
}

/// Copies from the client on another thread, until the client ends its direction.
fn start_sending(client: &TcpStream, sending: &Arc<Mutex<Sending>>) {
    let Ok(mut client) = client.try_clone() else { return };
    let sending = Arc::clone(sending);
    thread::spawn(move || {
        let mut buffer = vec![0; BUFFER_SIZE];
        loop {
            let count = client.read(&mut buffer).unwrap_or(0);
            let Some(upstream) = prepare(&sending, &buffer[..count]) else { return };
            // Without the lock, because the target may first send a response.
            let written = upstream.as_ref().write_all(&buffer[..count]);
            if written.is_err() && lock(&sending).sent.is_none() {
                // The other direction notices that the target has ended.
                return;
            }
        }
    });
}

/// Keeps bytes for a repetition, and returns the target to send them to. `None` at the end of
/// one of the directions.
fn prepare(sending: &Mutex<Sending>, bytes: &[u8]) -> Option<Arc<TcpStream>> {
    let mut sending = lock(sending);
    let upstream = sending.upstream.clone()?;
    if bytes.is_empty() {
        let _ = upstream.shutdown(Shutdown::Write);
        sending.has_ended = true;
        return None;
    }
    sending.sent = sending.sent.take().filter(|sent| sent.len() + bytes.len() <= MAX_REPEATED);
    if let Some(sent) = &mut sending.sent {
        sent.extend_from_slice(bytes);
    }
    Some(upstream)
}

/// Copies from the target to the client. Returns false if it has sent nothing.
fn receive(client: &TcpStream, upstream: &Upstream, sending: &Mutex<Sending>) -> io::Result<bool> {
    let (mut source, mut client) = (&upstream.stream, client);
    let mut buffer = vec![0; BUFFER_SIZE];
    let count = source.read(&mut buffer).unwrap_or(0);
    if count == 0 {
        return Ok(false);
    }
    lock(sending).sent = None;
    client.write_all(&buffer[..count])?;
    io::copy(&mut source, &mut client)?;
    Ok(true)
}

/// Returns whether the request can be sent again without an effect.
fn is_repeatable(sending: &Mutex<Sending>) -> bool {
    lock(sending).sent.as_ref().is_some_and(|sent| is_safe(sent))
}

fn is_safe(sent: &[u8]) -> bool {
    sent.is_empty() || SAFE_METHODS.iter().any(|method| sent.starts_with(method))
}

fn lock(sending: &Mutex<Sending>) -> MutexGuard<'_, Sending> {
    sending.lock().unwrap_or_else(PoisonError::into_inner)
}
