//! A container that has its image.

pub(crate) mod config;
pub(crate) mod crash;
pub(crate) mod entrypoint;
pub(crate) mod memory;
pub(crate) mod probe;
pub(crate) mod probe_response;
pub(crate) mod start;
