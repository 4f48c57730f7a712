//! Objects and errors of the Kubernetes API.

pub mod api_error;
pub mod apply_order;
pub mod applyset;
pub mod container;
pub mod distribution;
pub mod kinds;
pub mod kubelet_policy;
pub mod node;
pub mod object;
pub mod placement;
pub mod pod;
pub mod quantity;
pub mod resources;
pub mod time;
pub mod volume;
pub mod workload;
