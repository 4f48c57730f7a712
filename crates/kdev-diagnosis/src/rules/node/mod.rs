//! Problems of the pod's node.
//!
//! - `health.rs`: the kubelet is not ready, or the node is under pressure
//! - `sandbox.rs`: the sandbox of the pod cannot be created

pub(crate) mod health;
pub(crate) mod sandbox;
