//! Images: how they are named, and what their archives and nodes hold of them.

pub mod archive;
pub mod built;
pub mod digest;
pub mod local;
pub mod node_images;
pub mod node_layers;
pub mod partial_archive;
pub mod reference;
