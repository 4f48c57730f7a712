//! An image in Docker on this machine.

use serde::{Deserialize, Serialize};

/// An image in Docker, under one of its names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LocalImage {
    /// The full reference.
    pub name: String,
    /// Docker's image ID: the config digest in the classic image store.
    pub id: String,
    /// Age as Docker prints it, such as `3 minutes ago`.
    pub age: String,
    /// Time of its creation in the API's format; empty if Docker does not report it.
    pub created_at: String,
    /// Platform, such as `linux/amd64`; empty if Docker was not asked for it.
    pub platform: String,
}
