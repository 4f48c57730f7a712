//! Reads the manifests that the settings select: files, and the output of `kubectl kustomize`
//! or `helm template` for folders. The text stays as it was written.
//!
//! - `check.rs`: checks that the manifests can be edited and use the image
//! - `generator.rs`: kustomizations and charts
//! - `read.rs`: finds and reads the files and folders
//! - `source.rs`: a file or folder with its text

mod check;
mod error;
mod generator;
mod read;
mod source;

pub(crate) use check::{check, collect_objects, image_update};
pub use error::Error;
pub(crate) use source::Manifest;
