//! Takes the settings and gives the manifests: files that the patterns match, and what
//! kubectl or helm makes of folders, with the text as it was written.
//!
//! - `check.rs`: makes sure that they can be edited, and run the image
//! - `generator.rs`: kustomizations and charts
//! - `read.rs`: finds and reads them
//! - `source.rs`: a file or folder with its text

mod check;
mod error;
mod generator;
mod read;
mod source;

pub(crate) use check::{check, collect_objects, image_update};
pub use error::Error;
pub(crate) use source::Manifest;
