//! The data of a load on the connection to a node, with everything that SSH adds.

use serde_json::Value;

use crate::lab::{docker, run, state};
use crate::partial_load::service_with_large_base;
use crate::relay::Relay;
use crate::test_service::{NODES, Service};

/// The largest size of a load without changes: the handshake of SSH and two scripts.
const MAX_UNCHANGED_BYTES: u64 = 19_000;
/// The largest size of a load in addition to the layers that it sends.
const MAX_BYTES_ABOVE_LAYERS: u64 = 21_000;
/// The addresses of the nodes.
const ADDRESSES: [&str; 2] = ["10.213.77.11", "10.213.77.12"];

/// Starts a relay to the SSH server of each node, and writes an SSH configuration that uses them.
fn start_relays(service: &Service) -> [Relay; 2] {
    let relays = ADDRESSES.map(|address| Relay::start(address, 22));
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
            relay.take_bytes();
        }
        let layers = load(&service);
        let sent = relays.each_ref().map(Relay::take_bytes);
        let is_small = |(sent, layers)| sent - layers <= MAX_BYTES_ABOVE_LAYERS;
        assert!(
            page == "one" || sent.into_iter().zip(layers).all(is_small),
            "{sent:?}, {layers:?}"
        );
    }
    assert_eq!(load(&service), [0, 0]);
    let sent = relays.each_ref().map(Relay::take_bytes);
    assert!(sent.iter().all(|sent| *sent <= MAX_UNCHANGED_BYTES), "{sent:?}");
}
