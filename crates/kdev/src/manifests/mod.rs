//! Reads the manifests that the settings select: files, and the output of `kubectl kustomize`
//! or `helm template` for folders. The text stays as it was written.
//!
//! - `check.rs`: checks that the manifests can be edited and use the image
//! - `definitions.rs`: checks that each object can be applied and is defined once
//! - `generator.rs`: kustomizations and charts
//! - `helm.rs`: renders charts
//! - `read.rs`: finds and reads the files and folders
//! - `shared.rs`: workloads with the image of another package of the workspace
//! - `source.rs`: a file or folder with its text

mod check;
mod definitions;
mod error;
mod generator;
mod helm;
mod read;
pub(crate) mod shared;
mod source;

pub(crate) use check::{check, collect_objects, image_update};
pub(crate) use definitions::{check_objects, note_places};
pub use error::Error;
pub(crate) use generator::{Generator, KUSTOMIZATION_FILES};
pub(crate) use helm::RenderTarget;
pub(crate) use read::{matching_paths, patterns};
pub(crate) use source::Manifest;
