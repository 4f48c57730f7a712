//! Writes an image that kdev has assembled to a file, a directory, or Docker.

use std::collections::BTreeMap;
use std::fs;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use kdev_core::image::built::BuiltImage;
use kdev_core::image::image_layout::{INDEX_FILE, ImageLayout};

use crate::build::assemble::base::Base;
use crate::build::assemble::error::Error;
use crate::build::assemble::layout::{self, is_layout, parent, replace};
use crate::build::error::Result;
use crate::config::Config;
use crate::cx::Cx;
use crate::docker::{AssembledImages, Docker};
use crate::layers::cache::LayerCache;
use crate::process;
use crate::project::repository;

/// The ending of an archive's name.
const ARCHIVE: &str = "tar";
/// Endings of archives that are compressed, and of files that users confuse with archives.
const OTHER_ENDINGS: [&str; 7] = ["gz", "tgz", "zst", "zstd", "xz", "bz2", "zip"];
/// The value of `--output` for Docker on this machine.
const DOCKER: &str = "docker";

/// Where an image is written: to Docker, an archive (`.tar`), or an OCI image layout.
pub(crate) enum ImageOutput {
    Docker(Box<Docker>),
    Archive(PathBuf),
    Layout(PathBuf),
}

impl ImageOutput {
    /// Connects to Docker, or checks that an image can be written to a path without replacing
    /// anything else.
    pub(crate) fn new(cx: &Cx, output: &Path) -> Result<Self> {
        if is_docker(output) {
            return Ok(Self::Docker(Box::new(Docker::connect(cx)?)));
        }
        let path = output.to_owned();
        if has_other_format(output) {
            return Err(Error::OtherFormat { path }.into());
        }
        let parent = parent(output);
        if !parent.is_dir() {
            return Err(Error::NoFolder { path: parent.to_owned() }.into());
        }
        let is_archive = is_archive(output);
        let is_fit = match fs::symlink_metadata(output) {
            Err(_) => true,
            Ok(_) if is_archive => output.is_file(),
            Ok(_) => {
                is_empty(output)
                    || is_layout(output).map_err(process::Error::read(output.join(INDEX_FILE)))?
            }
        };
        match is_fit {
            true if is_archive => Ok(Self::Archive(path)),
            true => Ok(Self::Layout(path)),
            false => Err(Error::OtherContent { path }.into()),
        }
    }

    /// Writes an image. Another file or directory of this name is only changed when the image is
    /// complete.
    pub(crate) fn write(
        &self,
        cx: &Cx,
        images: &AssembledImages,
        config: &Config,
        image: &BuiltImage,
    ) -> Result<()> {
        let cache = LayerCache::open_in(images.cache_dir())
            .map_err(process::Error::read(images.cache_dir()))?;
        // A layer of the cache is otherwise known by its name.
        image.layers.iter().for_each(|diff_id| cache.evict_damaged(diff_id));
        if let Some(base) = Base::find(cx, images.cache_dir(), &cache, config, &image.platform)? {
            base.fetch(cx, &cache)?;
        }
        let layers = image.layers.iter().map(|diff_id| cache.get(diff_id)).collect();
        let (Some(layers), Some(bytes)) = (layers, cache.config(&image.config_digest)) else {
            return Err(Error::LayersRemoved.into());
        };
        let annotations = annotations(cx, config)?;
        let image_layout = ImageLayout::new(&image.reference, bytes, layers, &annotations);
        match self {
            Self::Docker(docker) => {
                let name = image.reference.familiar();
                Ok(docker.load(cx, &name, |stdin| image_layout.write_archive(stdin))?)
            }
            Self::Archive(path) => {
                let written =
                    replace(path, |file| image_layout.write_archive(BufWriter::new(file)));
                Ok(written.map_err(process::Error::write(path))?)
            }
            Self::Layout(path) => {
                Ok(layout::write(path, &image_layout).map_err(process::Error::write(path))?)
            }
        }
    }
}

/// Returns the annotations that depend on more than the content. In the configuration, they would
/// give each build another digest.
fn annotations(cx: &Cx, config: &Config) -> Result<BTreeMap<String, String>> {
    const PREFIX: &str = "org.opencontainers.image.";
    let created = jiff::Timestamp::now().to_string();
    let mut annotations = BTreeMap::from([(format!("{PREFIX}created"), created)]);
    let revision = repository::revision(cx, &config.dir);
    cx.check_interrupt()?;
    annotations.extend(revision.map(|revision| (format!("{PREFIX}revision"), revision)));
    Ok(annotations)
}

/// Returns whether the image is written to Docker.
pub(crate) fn is_docker(output: &Path) -> bool {
    output == Path::new(DOCKER)
}

/// Returns whether a path is that of an archive.
pub(crate) fn is_archive(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == ARCHIVE)
}

/// Returns whether a path has the name of a file that kdev cannot write. `-` is often stdout.
fn has_other_format(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str());
    path == Path::new("-") || ending.is_some_and(|ending| OTHER_ENDINGS.contains(&ending))
}

fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_none())
}
