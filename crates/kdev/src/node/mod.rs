//! Takes a node as the cluster lists it and gives a connection to it, through which the
//! script runs there.
//!
//! - `connection.rs`: a node that can be talked to
//! - `host_key.rs`: the key of an SSH server that is not known yet
//! - `report.rs`: what a node says of itself
//! - `runtime.rs`: which containerd the kubelet uses
//! - `script.sh`: what runs on a node, the same text for every node
//! - `ssh.rs`: the user's own SSH: targets, options, shared connections
//! - `transport.rs`: how a node is reached: locally, through docker, by SSH

pub(crate) mod connection;
pub(crate) mod error;
pub(crate) mod host_key;
pub(crate) mod report;
pub(crate) mod runtime;
pub(crate) mod ssh;
pub(crate) mod transport;
