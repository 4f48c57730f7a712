//! Images of containers.
//!
//! - `missing.rs`: images that are not where the kubelet looks for them
//! - `outdated.rs`: pods that run an outdated build
//! - `pull.rs`: image pulls that fail
//! - `registry_auth.rs`: registries that require credentials, or other ones
//! - `registry_tls.rs`: failures of TLS between a node and a registry
//! - `unusable.rs`: images that are on the node, but not used

pub(crate) mod missing;
pub(crate) mod outdated;
pub(crate) mod pull;
pub(crate) mod registry_auth;
pub(crate) mod registry_tls;
pub(crate) mod unusable;
