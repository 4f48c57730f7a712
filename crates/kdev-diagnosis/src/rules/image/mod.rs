//! The image of a container.
//!
//! - `missing.rs`: the image is not where the kubelet looks for it
//! - `outdated.rs`: the pod runs an older build
//! - `pull.rs`: the registry does not serve it
//! - `registry_auth.rs`: the registry requires credentials, or others
//! - `registry_tls.rs`: the registry has no TLS, or an untrusted certificate
//! - `unusable.rs`: the image is on the node, and cannot be used

pub(crate) mod missing;
pub(crate) mod outdated;
pub(crate) mod pull;
pub(crate) mod registry_auth;
pub(crate) mod registry_tls;
pub(crate) mod unusable;
