//! A manifest file or folder with its text.

use std::path::PathBuf;

use kdev_manifest::Rendered;
use kdev_manifest::error::Error as ManifestError;
use kdev_manifest::image_fields::ImagePath;
use kdev_manifest::objects::{self, Object};
use kdev_manifest::update::ImageUpdate;

use crate::details::Details;
use crate::manifests::error::{Error, Location, Result};

/// The text of a manifest file, or of a rendered folder.
#[derive(Clone, Debug)]
pub(crate) struct Manifest {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
    /// The command that rendered the folder.
    pub(crate) generated_by: Option<String>,
    /// Whether it is a chart that reads live objects.
    pub(crate) uses_lookup: bool,
}

impl Manifest {
    /// Returns the objects in the manifest.
    pub(crate) fn objects(&self, paths: &[ImagePath]) -> Result<Vec<Object>> {
        objects::objects(&self.text, paths).map_err(|error| self.error(error))
    }

    /// Returns the text as it will be applied, with a report of the changes.
    pub(crate) fn render(&self, update: &ImageUpdate) -> Result<Rendered> {
        kdev_manifest::render(&self.text, update).map_err(|error| self.error(error))
    }

    /// Returns the place of a line of the text.
    pub(super) fn location(&self, line: usize) -> Location {
        Location { path: self.path.clone(), generated_by: self.generated_by.clone(), line }
    }

    pub(super) fn error(&self, error: ManifestError) -> Error {
        let ManifestError { line, column, reason } = error;
        let (path, generated_by) = (self.path.clone(), self.generated_by.clone());
        Error::Edit { path, generated_by, line, column, reason: Details(reason) }
    }
}
