//! The node of a pod.
//!
//! - `health.rs`: the kubelet is silent, or the node is short of something
//! - `sandbox.rs`: the sandbox of the pod cannot be created

pub(crate) mod health;
pub(crate) mod sandbox;
