//! Image references, digests and archives, and the images and layers on a node.
//!
//! - `archive.rs`: the images in an archive, and their files
//! - `assembly.rs`: assembles an image from files
//! - `builds.rs`: the builds of an image on a node, and which of them can be removed
//! - `built.rs`: an image that was built, or read from an archive
//! - `digest.rs`: SHA-256 digests, and chain IDs of layers
//! - `image_layout.rs`: a whole image for other programs
//! - `local.rs`: an image in Docker on this machine
//! - `node_images.rs`: images on a node that resemble the requested ones
//! - `node_layers.rs`: the layers that a node has, and the plan of the layers to send
//! - `partial_archive.rs`: the archive that is sent to a node
//! - `pushed.rs`: the manifests that were pushed to an endpoint
//! - `reference.rs`: names, tags and digests of images

pub mod archive;
pub mod assembly;
pub mod builds;
pub mod built;
pub mod digest;
pub mod image_layout;
pub mod local;
pub mod node_images;
pub mod node_layers;
pub mod partial_archive;
pub mod pushed;
pub mod reference;
