//! A container that has its image.
//!
//! - `config.rs`: it cannot be created as specified
//! - `crash.rs`: its program exits
//! - `entrypoint.rs`: what an image lacks to run its program
//! - `memory.rs`: it uses more memory than it may
//! - `probe.rs`: a probe fails
//! - `probe_response.rs`: what the response to a probe means
//! - `start.rs`: its program cannot be started

pub(crate) mod config;
pub(crate) mod crash;
pub(crate) mod entrypoint;
pub(crate) mod memory;
pub(crate) mod probe;
pub(crate) mod probe_response;
pub(crate) mod start;
