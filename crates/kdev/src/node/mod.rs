//! Connects to the cluster's nodes and runs a script on them.
//!
//! - `connection.rs`: a connection to a node, and the output of the script
//! - `error.rs`: errors of a node
//! - `host_key.rs`: fetches an unknown SSH host key
//! - `probes.rs`: what the packages of one run know of the nodes
//! - `report.rs`: the state of a node
//! - `runtime.rs`: which containerd the kubelet uses
//! - `script.rs`: the scripts that run on each node, as they are sent
//! - `script/`: the parts of these scripts: one file per verb, and the common ones
//! - `ssh.rs`: shared connections over SSH
//! - `transport.rs`: how a node is reached: locally, through Docker, or by SSH

pub(crate) mod connection;
pub(crate) mod error;
pub(crate) mod host_key;
pub(crate) mod probes;
pub(crate) mod report;
pub(crate) mod runtime;
pub(crate) mod script;
pub(crate) mod ssh;
pub(crate) mod transport;
