//! An image that was built, or read from an archive.

use super::reference::Reference;

/// An image and its content digest.
#[derive(Clone, Debug)]
pub struct BuiltImage {
    /// Its name with the content tag.
    pub reference: Reference,
    /// Digest of its configuration.
    pub config_digest: String,
    /// Platform, such as `linux/amd64`.
    pub platform: String,
    /// Uncompressed size in bytes.
    pub size: u64,
    /// Docker's ID of the image.
    pub id: String,
    /// The diff IDs of its layers, bottom layer first.
    pub layers: Vec<String>,
}
