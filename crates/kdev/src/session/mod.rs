//! What stays between the cycles of a watch. A single run keeps nothing.
//!
//! - `images.rs`: the image of each package that the nodes have

pub(crate) mod images;
