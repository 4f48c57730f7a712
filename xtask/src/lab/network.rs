//! The bridge between the host and the nodes, and its firewall rules.

use super::node::{self, NODES, Node};
use super::paths::{HOST, SERVICES, state};
use super::wait;
use anyhow::Result;
use std::fs;
use std::path::Path;
use xshell::{Shell, cmd};

const BRIDGE: &str = "kdevlab0";
/// The bridge of the Docker daemon that the lab starts.
pub(crate) const DOCKER_BRIDGE: &str = "kdevlab-docker";
const DOCKER_ADDRESS: &str = "10.213.78.1/24";
const CHAIN: &str = "KDEV-LAB";
const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

pub(crate) fn has_bridge() -> bool {
    has_link(BRIDGE)
}

/// Creates the bridge, and allows no other traffic than that between the host and the nodes.
pub(crate) fn create(sh: &Shell) -> Result<()> {
    if has_bridge() {
        return Ok(());
    }
    let before = state("before");
    fs::create_dir_all(&before)?;
    fs::copy(FORWARDING, before.join("ip_forward"))?;
    fs::write(before.join("filter"), filter_table(sh))?;
    fs::write(FORWARDING, "1")?;
    create_bridge(sh, BRIDGE, &format!("{HOST}/24"))?;
    add_rules(sh)
}

/// Docker sets the policy of FORWARD to DROP, so that the traffic between nodes needs a rule.
/// All other forwarding is rejected: no traffic may leave the machine.
fn add_rules(sh: &Shell) -> Result<()> {
    cmd!(sh, "iptables -w -N {CHAIN}").quiet().run()?;
    for bridge in [BRIDGE, DOCKER_BRIDGE] {
        cmd!(sh, "iptables -w -A {CHAIN} -i {bridge} -o {bridge} -j ACCEPT").quiet().run()?;
        cmd!(sh, "iptables -w -A {CHAIN} -i {bridge} -j REJECT").quiet().run()?;
        cmd!(sh, "iptables -w -A {CHAIN} -o {bridge} -j REJECT").quiet().run()?;
    }
    cmd!(sh, "iptables -w -I FORWARD -j {CHAIN}").quiet().run()?;
    Ok(())
}

pub(crate) fn create_docker_bridge(sh: &Shell) -> Result<()> {
    if has_link(DOCKER_BRIDGE) { Ok(()) } else { create_bridge(sh, DOCKER_BRIDGE, DOCKER_ADDRESS) }
}

fn create_bridge(sh: &Shell, name: &str, address: &str) -> Result<()> {
    cmd!(sh, "ip link add {name} type bridge").quiet().run()?;
    cmd!(sh, "ip address add {address} dev {name}").quiet().run()?;
    cmd!(sh, "ip link set {name} up").quiet().run()?;
    Ok(())
}

/// Connects the network namespace of a node to the bridge.
pub(crate) fn connect(sh: &Shell, node: &Node) -> Result<()> {
    let (veth, address, pods) = (veth(node), node.address(), node.pod_cidr());
    let Some(holder) = node.holder().map(|pid| pid.to_string()) else {
        return Ok(());
    };
    cmd!(sh, "ip link add {veth} type veth peer name eth0 netns {holder}").quiet().run()?;
    cmd!(sh, "ip link set {veth} master {BRIDGE} up").quiet().run()?;
    cmd!(sh, "ip route replace {pods} via {address}").quiet().run()?;
    if node.number == NODES[0].number {
        // The kube-proxy of this node serves the host, too.
        cmd!(sh, "ip route replace {SERVICES} via {address}").quiet().run()?;
    }
    let enter = &node.nsenter_args()?;
    cmd!(sh, "nsenter {enter...} ip address add {address}/24 dev eth0").quiet().run()?;
    cmd!(sh, "nsenter {enter...} ip link set eth0 up").quiet().run()?;
    cmd!(sh, "nsenter {enter...} ip route add default via {HOST}").quiet().run()?;
    for other in NODES.iter().filter(|other| other.number != node.number) {
        let (pods, address) = (other.pod_cidr(), other.address());
        cmd!(sh, "nsenter {enter...} ip route add {pods} via {address}").quiet().run()?;
    }
    Ok(())
}

/// Reverts every change to the host.
pub(crate) fn remove(sh: &Shell) -> Result<()> {
    for link in node::machines().map(veth).chain([BRIDGE.into(), DOCKER_BRIDGE.into()]) {
        // The kernel deletes a veth some time after its namespace.
        if has_link(&link) {
            let delete = cmd!(sh, "ip link delete {link}").quiet();
            delete.ignore_stderr().ignore_status().run()?;
        }
        wait::wait_until(&format!("the end of `{link}`"), 5, || !has_link(&link))?;
    }
    remove_rules(sh)?;
    if let Ok(forwarding) = fs::read_to_string(state("before/ip_forward")) {
        fs::write(FORWARDING, forwarding)?;
    }
    Ok(())
}

fn remove_rules(sh: &Shell) -> Result<()> {
    if filter_table(sh).contains(CHAIN) {
        for action in [&["-D", "FORWARD", "-j"][..], &["-F"], &["-X"]] {
            let removed = cmd!(sh, "iptables -w {action...} {CHAIN}").quiet().ignore_stderr();
            removed.ignore_status().run()?;
        }
    }
    // An empty table is deleted if it did not exist before.
    let before =
        fs::read_to_string(state("before/filter")).unwrap_or_else(|_| "unknown".to_owned());
    if before.is_empty() && is_empty(&filter_table(sh)) {
        // iptables cannot delete a table.
        let delete = cmd!(sh, "nft delete table ip filter").quiet();
        delete.ignore_stderr().ignore_status().run()?;
    }
    Ok(())
}

/// Returns the rules of the filter table. `iptables-save -t filter` would create the table.
fn filter_table(sh: &Shell) -> String {
    let tables = cmd!(sh, "iptables-save").quiet().ignore_stderr().read();
    let tables = tables.unwrap_or_default();
    let rest = tables.split_once("*filter").map_or("", |(_, rest)| rest);
    rest.split("COMMIT").next().unwrap_or_default().to_owned()
}

fn is_empty(table: &str) -> bool {
    table.lines().all(|line| {
        !line.starts_with("-A") && (!line.starts_with(':') || line.contains(" ACCEPT "))
    })
}

/// Returns the name of the host's end of the link to a node.
pub(crate) fn veth(node: &Node) -> String {
    format!("kdevlab-n{}", node.number)
}

fn has_link(name: &str) -> bool {
    Path::new("/sys/class/net").join(name).exists()
}
