//! Containers whose image is available.
//!
//! - `config.rs`: containers that cannot be created as specified
//! - `crash.rs`: containers whose program starts and then exits
//! - `entrypoint.rs`: explanations for a missing entrypoint or library
//! - `memory.rs`: containers that exceed their memory limit
//! - `probe.rs`: failing probes and readiness gates
//! - `probe_response.rs`: explanations of the responses to a failed probe
//! - `start.rs`: containers whose program cannot be started

pub(crate) mod config;
pub(crate) mod crash;
pub(crate) mod entrypoint;
pub(crate) mod memory;
pub(crate) mod probe;
pub(crate) mod probe_response;
pub(crate) mod start;
