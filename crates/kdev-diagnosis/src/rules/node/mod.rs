//! The node of a pod.

pub(crate) mod health;
pub(crate) mod sandbox;
