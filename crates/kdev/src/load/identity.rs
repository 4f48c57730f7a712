//! Proves that a connection leads to its node, and waits for the kubelet of a node that has just
//! been booted.

use std::thread::sleep;
use std::time::{Duration, Instant};

use kdev_core::kube::identity::{IdMismatch, Identity};
use kdev_core::kube::node::Node;
use kdev_core::kube::placement::is_not_responding;

use crate::cluster::Cluster;
use crate::cx::Cx;
use crate::event::Event;
use crate::node::connection::NodeConnection;
use crate::node::error::{NodeError, NodeErrorKind};

/// How long a kubelet may need after the boot until it reports the new boot ID.
const BOOT_TIMEOUT: Duration = Duration::from_secs(30);
/// The time between two requests for the nodes.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// The time between two checks for an interrupt.
const INTERRUPT_INTERVAL: Duration = Duration::from_millis(50);

/// Returns the connection if it leads to the node; emits a note if that cannot be proven.
pub(crate) fn confirm<'a>(
    cx: &Cx,
    cluster: &Cluster,
    all: &[Node],
    opened: Result<NodeConnection<'a>, NodeError>,
) -> Result<NodeConnection<'a>, NodeError> {
    let connection = opened.map_err(|error| match error.kind {
        NodeErrorKind::WrongMachine(found, _) => {
            let owner = found.find_owner(all).map(str::to_owned);
            NodeError { kind: NodeErrorKind::WrongMachine(found, owner), ..error }
        }
        _ => error,
    })?;
    match connection.identity() {
        Identity::OtherBoot(found) => {
            if let Err(kind) = wait_for_boot_id(cx, cluster, &connection, found) {
                return Err(connection.error(kind));
            }
        }
        Identity::Doubtful(found) => {
            let (at, node) = (connection.location(), &connection.node.name);
            let text = format!(
                "cannot verify that {at} is node `{node}`: {found}, and a machine ID is missing"
            );
            cx.emit(Event::Note { text });
        }
        // `Different` is an error of the connection.
        Identity::Same | Identity::Unknown(_) | Identity::Different(_) => {}
    }
    Ok(connection)
}

/// Waits until the node object has the boot ID that the machine reports. That is immediately so
/// if the node was listed before its kubelet started.
fn wait_for_boot_id(
    cx: &Cx,
    cluster: &Cluster,
    connection: &NodeConnection,
    found: IdMismatch,
) -> Result<(), NodeErrorKind> {
    let (node, start) = (&connection.node.name, Instant::now());
    let mut is_waiting = false;
    loop {
        // The API server may not be running yet, if it is on the same node.
        let nodes = cluster.refresh_nodes(cx).unwrap_or_default();
        let listed = nodes.iter().find(|listed| listed.name == *node);
        if listed.is_some_and(|listed| listed.info.boot_id == found.reported) {
            return Ok(());
        }
        if let Some(owner) = found.find_owner(&nodes).map(str::to_owned) {
            return Err(NodeErrorKind::WrongMachine(found, Some(owner)));
        }
        let is_stopped = listed.is_some_and(is_not_responding);
        if is_stopped || start.elapsed() >= BOOT_TIMEOUT {
            return Err(NodeErrorKind::OtherBoot(found));
        }
        if !is_waiting {
            is_waiting = true;
            let text = format!(
                "{} has another boot ID than node `{node}`; waiting for the kubelet, which may be starting",
                connection.location()
            );
            cx.emit(Event::Note { text });
        }
        pause(cx)?;
    }
}

fn pause(cx: &Cx) -> Result<(), NodeErrorKind> {
    let start = Instant::now();
    while start.elapsed() < POLL_INTERVAL {
        if cx.interrupt().is_raised() {
            return Err(NodeErrorKind::Interrupted);
        }
        sleep(INTERRUPT_INTERVAL);
    }
    Ok(())
}
