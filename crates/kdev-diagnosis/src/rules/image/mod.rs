//! The image of a container.

pub(crate) mod missing;
pub(crate) mod outdated;
pub(crate) mod pull;
pub(crate) mod registry_auth;
pub(crate) mod registry_tls;
pub(crate) mod unusable;
