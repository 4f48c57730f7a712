//! The data of a load on the connection to a node, with everything that SSH adds.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use serde_json::Value;

use crate::lab::{docker, run, state};
use crate::partial_load::service_with_large_base;
use crate::test_service::{NODES, Service};

/// The largest size of a load without changes: the handshake of SSH and two scripts.
const MAX_UNCHANGED_BYTES: u64 = 19_000;
/// The largest size of a load in addition to the layers that it sends.
const MAX_BYTES_ABOVE_LAYERS: u64 = 21_000;
/// The addresses of the nodes.
const ADDRESSES: [&str; 2] = ["10.213.77.11", "10.213.77.12"];

/// A relay to the SSH server of a node, which counts the bytes in both directions.
struct Relay {
    port: u16,
    bytes: Arc<AtomicU64>,
}

impl Relay {
    fn start(address: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let bytes = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&bytes);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let server = TcpStream::connect((address, 22)).unwrap();
                let to_server = (client.try_clone().unwrap(), server.try_clone().unwrap());
                for (from, to) in [to_server, (server, client)] {
                    let counter = Arc::clone(&counter);
                    thread::spawn(move || copy(from, to, &counter));
                }
            }
        });
        Self { port, bytes }
    }

    /// Returns the number of bytes since the last call.
    fn take(&self) -> u64 {
        self.bytes.swap(0, Ordering::SeqCst)
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, counter: &AtomicU64) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = from.read(&mut buffer)?;
        if count == 0 {
            return to.shutdown(Shutdown::Write);
        }
        counter.fetch_add(count as u64, Ordering::SeqCst);
        to.write_all(&buffer[..count])?;
    }
}

/// Starts a relay for each node, and writes an SSH configuration that uses them.
fn start_relays(service: &Service) -> [Relay; 2] {
    let relays = ADDRESSES.map(Relay::start);
    let mut config = String::new();
    for ((node, address), relay) in NODES.iter().zip(ADDRESSES).zip(&relays) {
        let port = relay.port;
        let host = format!("Host {node} {address}\n  HostName 127.0.0.1\n  Port {port}\n");
        config.push_str(&host);
        config.extend(["  HostKeyAlias ", address, "\n"]);
    }
    config.push_str("Host *\nInclude ");
    config.extend([state("ssh/config").to_str().unwrap(), "\n"]);
    service.write("ssh-config", &config);
    relays
}

/// Loads the latest build onto both nodes. Returns the bytes of layers that were sent to each.
fn load(service: &Service) -> [u64; 2] {
    let mut load = service.kdev(&["load", service.name, "--message-format", "json"]);
    let events = run(load.env("KDEV_SSH_CONFIG", service.path("ssh-config")));
    let events: Vec<Value> = events.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    NODES.map(|node| {
        let is_end = |event: &&Value| event["reason"] == "loaded" && event["node"] == node;
        events.iter().find(is_end).map_or(0, |event| event["bytes"].as_u64().unwrap())
    })
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn load_sends_little_besides_layers() {
    let service = service_with_large_base("frugal");
    let relays = start_relays(&service);
    // Docker sends single layers from the second load on.
    for page in ["one", "two"] {
        service.set_page(page);
        run(docker(&["build", "--tag", service.name, "."]).current_dir(service.dir()));
        for relay in &relays {
            relay.take();
        }
        let layers = load(&service);
        let sent = relays.each_ref().map(Relay::take);
        let is_small = |(sent, layers)| sent - layers <= MAX_BYTES_ABOVE_LAYERS;
        assert!(
            page == "one" || sent.into_iter().zip(layers).all(is_small),
            "{sent:?}, {layers:?}"
        );
    }
    assert_eq!(load(&service), [0, 0]);
    let sent = relays.each_ref().map(Relay::take);
    assert!(sent.iter().all(|sent| *sent <= MAX_UNCHANGED_BYTES), "{sent:?}");
}
