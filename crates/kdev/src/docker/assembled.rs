//! Images that kdev assembles. They are in the layer cache, and a record names their layers.

use std::path::{Path, PathBuf};

use kdev_core::image::builds::Keep;
use kdev_core::image::reference::Reference;

use crate::cx::Cx;
use crate::docker::kept::{KeptBuild, KeptBuilds};
use crate::docker::{Engine, Error, InspectedImage, Result};
use crate::process;

/// The directory of the records. No builder of Buildx has a name with this character.
const RECORDS: &str = "@cargo";

/// The images that kdev has assembled on this machine.
#[derive(Clone, Debug)]
pub(crate) struct AssembledImages {
    cache_dir: PathBuf,
    builds: KeptBuilds,
}

impl AssembledImages {
    pub(super) fn connect(cx: &Cx) -> Result<Self> {
        let cache_dir = cx.cache_dir().ok_or(Error::AssemblyCacheRequired)?;
        Ok(Self { cache_dir: cache_dir.to_owned(), builds: KeptBuilds::new(cache_dir, RECORDS) })
    }

    /// Sets how many builds are kept.
    pub(super) fn keep(&mut self, keep: Keep) {
        self.builds.keep(keep);
    }

    /// Returns the cache directory, which has the layers.
    pub(crate) fn cache_dir(&self) -> &Path {
        &self.cache_dir
    }

    /// Records a build under a tag.
    pub(crate) fn record(&self, reference: &Reference, build: &KeptBuild) -> Result<()> {
        let recorded = self.builds.put(reference, build);
        Ok(recorded.map_err(process::Error::write("the record of the build"))?)
    }

    pub(crate) fn builds(&self) -> &KeptBuilds {
        &self.builds
    }

    pub(super) fn find(&self, reference: &Reference) -> Result<InspectedImage> {
        inspected(self.builds.get(reference), &reference.familiar())
    }

    pub(super) fn inspect(&self, config_digest: &str) -> Result<InspectedImage> {
        inspected(self.builds.with_digest(config_digest), config_digest)
    }

    pub(super) fn tag(&self, config_digest: &str, reference: &Reference) -> Result<()> {
        let build = self.builds.with_digest(config_digest);
        self.record(reference, &build.ok_or_else(|| not_found(config_digest))?)
    }
}

fn inspected(build: Option<KeptBuild>, image: &str) -> Result<InspectedImage> {
    build.map(InspectedImage::from).ok_or_else(|| not_found(image))
}

fn not_found(image: &str) -> Error {
    Error::ImageNotFound { image: image.to_owned(), engine: Engine::Cargo }
}
