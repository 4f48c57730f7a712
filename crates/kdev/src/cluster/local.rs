//! Detects clusters of local distributions, such as kind or minikube, on this machine.
//!
//! A context name alone is not trusted: the API server must listen on this machine, and the
//! nodes must have the distribution's label, name or provider ID.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use kdev_core::kube::node::Node;

/// Host names of this machine; the last two are set by Docker Desktop.
const LOCAL_HOST_NAMES: [&str; 3] =
    ["localhost", "kubernetes.docker.internal", "host.docker.internal"];

/// Returns whether the API server at this URL listens on this machine, or in a container
/// or virtual machine on it.
pub(crate) fn is_local_server(server: &str) -> bool {
    let host = url_host(server);
    match host.parse() {
        Ok(IpAddr::V4(address)) => {
            address.is_loopback() || address.is_unspecified() || is_behind_bridge(address)
        }
        Ok(IpAddr::V6(address)) => address.is_loopback() || address.is_unspecified(),
        Err(_) => LOCAL_HOST_NAMES.contains(&host),
    }
}

/// Returns whether kind, k3d, minikube, or Docker Desktop created one of the nodes.
pub(crate) fn is_local_distribution(nodes: &[Node]) -> bool {
    nodes.iter().any(|node| node.container().is_some() || node.is_docker_desktop())
}

/// Returns the host of a URL.
fn url_host(server: &str) -> &str {
    let rest = server.split_once("://").map_or(server, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // The part before an `@` is user information.
    let authority = authority.rsplit('@').next().unwrap_or_default();
    match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => authority.split(':').next().unwrap_or_default(),
    }
}

/// Returns whether an address is on a network that exists only on this machine, such as
/// Docker's: behind a bridge that is not connected to a network card.
fn is_behind_bridge(address: Ipv4Addr) -> bool {
    let routes = fs::read_to_string("/proc/net/route").unwrap_or_default();
    direct_interface(&routes, address).is_some_and(is_internal_bridge)
}

fn is_internal_bridge(interface: &str) -> bool {
    let net = Path::new("/sys/class/net");
    let ports = fs::read_dir(net.join(interface).join("brif"));
    ports.is_ok_and(|mut ports| {
        // A port with a device is a physical or virtual network card.
        ports.all(|port| port.is_ok_and(|port| !net.join(port.file_name()).join("device").exists()))
    })
}

/// Returns the interface to which the address is directly attached, from the kernel's
/// routing table, whose numbers are in little-endian byte order.
fn direct_interface(routes: &str, address: Ipv4Addr) -> Option<&str> {
    let address = u32::from_le_bytes(address.octets());
    let route = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let mut number = || u32::from_str_radix(fields.next()?, 16).ok();
        let (destination, gateway) = (number()?, number()?);
        let mask = u32::from_str_radix(line.split_whitespace().nth(7)?, 16).ok()?;
        (address & mask == destination).then_some((mask.count_ones(), gateway == 0))
    };
    let matching = routes.lines().filter_map(|line| Some((route(line)?, line)));
    let ((_, is_direct), line) = matching.max_by_key(|((bits, _), _)| *bits)?;
    is_direct.then(|| line.split_whitespace().next())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_server_urls_are_recognized() {
        let local = [
            "https://127.0.0.1:6443",
            "https://127.0.0.53",
            "https://0.0.0.0:40311",
            "https://[::1]:6443",
            "https://localhost:16443/path",
            "https://kubernetes.docker.internal:6443",
            "https://prod.example.com@127.0.0.1",
        ];
        for server in local {
            assert!(is_local_server(server), "{server}");
        }
        let remote = [
            "https://10.9.8.7:6443",
            "https://prod.example.com",
            "https://127.0.0.1@prod.example.com:6443",
            "https://localhost.example.com",
            "https://127.0.0.1.example.com",
            "https://[2001:db8::1]:6443",
            "unknown",
            "",
        ];
        for server in remote {
            assert!(!is_local_server(server), "{server}");
        }
    }

    #[test]
    fn direct_interface_uses_most_specific_route() {
        let routes = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\n\
            eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\n\
            br-1\t0031A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\n\
            br-2\t0032A8C0\t0131A8C0\t0003\t0\t0\t0\t00FFFFFF\t0\n\
            eth0\t0331A8C0\t00000000\t0005\t0\t0\t0\tFFFFFFFF\t0\n";
        let table = [
            ("192.168.49.2", Some("br-1")),
            // Reached through a gateway, so on another machine.
            ("192.168.50.2", None),
            ("8.8.8.8", None),
            ("192.168.49.3", Some("eth0")),
        ];
        for (address, expected) in table {
            assert_eq!(direct_interface(routes, address.parse().unwrap()), expected, "{address}");
        }
        assert_eq!(direct_interface("", "10.0.0.1".parse().unwrap()), None);
    }

    #[test]
    fn local_distribution_is_detected_by_provider_id_or_label() {
        let node = |name: &str, provider: &str, label: Option<&str>| {
            let mut node = Node::named(name);
            node.provider = provider.to_owned();
            node.labels.extend(label.map(|label| (label.to_owned(), String::new())));
            node
        };
        let local = [
            node("a-worker", "kind://docker/a/a-worker", None),
            node("k3d-a-server-0", "k3s://k3d-a-server-0", None),
            node("minikube", "", Some("minikube.k8s.io/name")),
            node("docker-desktop", "", None),
        ];
        for node in local {
            assert!(is_local_distribution(std::slice::from_ref(&node)), "{node:?}");
        }
        let remote = [
            node("kind-worker", "aws:///eu-west-1a/i-0", None),
            node("k3d-a", "k3s://server-1", None),
            node("node-1", "", None),
        ];
        assert!(!is_local_distribution(&remote));
        assert!(!is_local_distribution(&[]));
    }
}
