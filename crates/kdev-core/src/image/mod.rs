//! Image references, digests and archives, and the images and layers on a node.

pub mod archive;
pub mod built;
pub mod digest;
pub mod local;
pub mod node_images;
pub mod node_layers;
pub mod partial_archive;
pub mod reference;
