//! An image that docker has, or an archive.

use super::reference::Reference;

/// An image that docker has, known by its content.
#[derive(Clone, Debug)]
pub struct BuiltImage {
    /// Its name with the tag that stands for its content.
    pub reference: Reference,
    /// Digest of its configuration.
    pub config_digest: String,
    /// Operating system and architecture, as `linux/amd64`.
    pub platform: String,
    /// Bytes, uncompressed.
    pub size: u64,
    /// What docker calls it.
    pub id: String,
    /// Its layers by diffID, from the lowest up.
    pub layers: Vec<String>,
}
