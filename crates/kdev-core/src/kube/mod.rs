//! Objects and errors of the Kubernetes API.
//!
//! - `ancestry.rs`: which pods belong to a workload
//! - `api_error.rs`: the errors of the API server, as kubectl prints them
//! - `apply_order.rs`: the order in which objects are applied
//! - `applyset.rs`: the objects that a project has applied
//! - `completed_jobs.rs`: completed Jobs that Kubernetes deletes
//! - `config_readers.rs`: whether pods notice that a ConfigMap or Secret has changed
//! - `container.rs`: a container of a pod
//! - `deletion.rs`: objects that a deletion also deletes, and finalizers that prevent it
//! - `distribution.rs`: the Kubernetes distribution of a node
//! - `expiry.rs`: the validity of credentials
//! - `forward_spec.rs`: which ports are forwarded
//! - `identity.rs`: whether a machine is a node of the cluster
//! - `job.rs`: Jobs that are deleted after they have finished, and their results
//! - `kinds.rs`: the workload kinds and their properties
//! - `kubelet_policy.rs`: whether a kubelet allows images that it has not pulled itself
//! - `managed_fields.rs`: hands over fields that kubectl has set
//! - `membership.rs`: the apply sets that an object belongs to
//! - `node.rs`: a node of the cluster
//! - `object.rs`: accessors for objects of any kind
//! - `owner.rs`: how a project is identified, and where its objects were applied from
//! - `origin.rs`: whether kdev created an object
//! - `outlook.rs`: which problems of a rollout time may fix
//! - `placement.rs`: which nodes can run a pod
//! - `pod.rs`: the state and the problems of a pod
//! - `predecessor.rs`: apply sets that the same project may have recorded
//! - `quantity.rs`: quantities such as `500m` and `1.5Gi`
//! - `resources.rs`: the resource requests of pods
//! - `revision.rs`: which revision a rollback restores, and which pod blocks a rollout
//! - `settle.rs`: whether ready pods must keep running for a while
//! - `time.rs`: times and ages
//! - `volume.rs`: the volumes of a pod
//! - `workload.rs`: the rollout state of a workload, and its current pods

pub mod ancestry;
pub mod api_error;
pub mod apply_order;
pub mod applyset;
pub mod completed_jobs;
pub mod config_readers;
pub mod container;
pub mod deletion;
pub mod distribution;
pub mod expiry;
pub mod forward_spec;
pub mod identity;
pub mod job;
pub mod kinds;
pub mod kubelet_policy;
pub mod managed_fields;
pub mod membership;
pub mod node;
pub mod object;
pub mod origin;
pub mod outlook;
pub mod owner;
pub mod placement;
pub mod pod;
pub mod predecessor;
pub mod quantity;
pub mod resources;
pub mod revision;
pub mod settle;
pub mod time;
pub mod volume;
pub mod workload;
