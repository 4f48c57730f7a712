//! A connection with latency and a limited rate, between a TCP port and the standard input and
//! output of a program. The kernel of the lab may have no queueing discipline for latency.

use anyhow::{Context, Result};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

/// Half of a round trip of 20 ms.
const DELAY: Duration = Duration::from_millis(10);
/// Bytes per second: 100 Mbit/s.
const RATE: f64 = 12.5e6;
/// The largest piece of data that is forwarded at once.
const PIECE: usize = 16 << 10;
/// Pieces on the way, more than rate and latency need.
const PIECES: usize = 64;

/// Listens on a port of this machine, and starts the program for each connection. Returns the
/// port. The threads end with the process.
pub(super) fn listen(words: Vec<String>) -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let words = words.clone();
            thread::spawn(move || serve(&client, &words));
        }
    });
    Ok(port)
}

fn serve(client: &TcpStream, words: &[String]) -> Result<()> {
    client.set_nodelay(true)?;
    let mut program = start(words)?;
    let stdin = program.stdin.take().context("no stdin")?;
    let stdout = program.stdout.take().context("no stdout")?;
    let from_client = client.try_clone()?;
    thread::spawn(move || forward(from_client, stdin));
    forward(stdout, client.try_clone()?);
    let _ = client.shutdown(Shutdown::Both);
    program.wait()?;
    Ok(())
}

fn start(words: &[String]) -> Result<Child> {
    let (program, args) = words.split_first().context("no program")?;
    let sh = xshell::Shell::new()?;
    let mut command = Command::from(xshell::cmd!(sh, "{program} {args...}"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    Ok(command.spawn()?)
}

/// Forwards the data late, and not faster than the rate.
fn forward(mut from: impl Read, to: impl Write + Send + 'static) {
    let (sender, receiver) = mpsc::sync_channel(PIECES);
    let writer = thread::spawn(move || write_late(&receiver, to));
    let _ = read_pieces(&mut from, &sender);
    drop(sender);
    let _ = writer.join();
}

fn read_pieces(from: &mut impl Read, sender: &SyncSender<(Instant, Vec<u8>)>) -> Result<()> {
    let mut buffer = vec![0; PIECE];
    loop {
        let count = from.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        sender.send((Instant::now(), buffer[..count].to_vec()))?;
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rough time")]
fn write_late(receiver: &Receiver<(Instant, Vec<u8>)>, mut to: impl Write) {
    let mut is_free = Instant::now();
    for (arrived, piece) in receiver {
        is_free = is_free.max(arrived) + Duration::from_secs_f64(piece.len() as f64 / RATE);
        thread::sleep((is_free + DELAY).saturating_duration_since(Instant::now()));
        if to.write_all(&piece).and_then(|()| to.flush()).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_arrives_after_round_trip() {
        let port = listen(vec!["cat".into()]).unwrap();
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let start = Instant::now();
        stream.write_all(b"hello").unwrap();
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"hello");
        assert!(start.elapsed() >= 2 * DELAY);
    }

    #[test]
    fn rate_is_limited() {
        let port = listen(vec!["cat".into()]).unwrap();
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let mut writer = stream.try_clone().unwrap();
        let start = Instant::now();
        thread::spawn(move || writer.write_all(&vec![0; 2_500_000]));
        stream.read_exact(&mut vec![0; 2_500_000]).unwrap();
        assert!(start.elapsed() >= Duration::from_millis(200));
    }
}
