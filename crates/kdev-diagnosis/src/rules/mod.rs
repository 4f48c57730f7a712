//! The rules: each checks the facts for one group of causes.
//!
//! - `container/`: containers whose image is available
//! - `creation.rs`: the API server rejects the pods, or the workload is inactive
//! - `image/`: images of containers
//! - `in_progress.rs`: the pod is starting, and nothing is wrong yet
//! - `node/`: problems of the pod's node
//! - `quota.rs`: a quota or limit range of the namespace rejects the pod
//! - `scheduling/`: the pod is not scheduled, or not accepted by its node
//! - `terminating.rs`: the pod is being deleted
//! - `volume/`: volumes that cannot be attached or mounted

pub(crate) mod container;
pub(crate) mod creation;
pub(crate) mod image;
pub(crate) mod in_progress;
pub(crate) mod node;
pub(crate) mod quota;
pub(crate) mod scheduling;
pub(crate) mod terminating;
pub(crate) mod volume;
