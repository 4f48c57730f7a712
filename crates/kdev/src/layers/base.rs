//! The layers of a base: an image on this machine on which kdev puts a program. They are brought
//! into the cache when a node is missing them.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use kdev_core::image::archive::Image;
use kdev_core::image::built::BuiltImage;
use kdev_core::rust_target;
use kdev_core::shell::quote;

use crate::cx::Cx;
use crate::docker::{Docker, Podman};
use crate::layers::cache::{Blob, LayerCache};
use crate::layers::podman::PodmanSource;
use crate::layers::unavailable::Unavailable;
use crate::layers::{archive, extract, layout};

/// Why there is no image in an archive or a directory.
pub(crate) enum BaseError {
    Invalid(Unavailable),
    /// There are only images for these platforms.
    Platform(Vec<String>),
}

impl From<Unavailable> for BaseError {
    fn from(reason: Unavailable) -> Self {
        Self::Invalid(reason)
    }
}

/// Where the layers of a base are.
pub(crate) enum BaseLayers {
    Docker(Box<Docker>, BuiltImage),
    Podman(Podman, BuiltImage),
    /// An archive, and the platform of the image in it.
    Archive(PathBuf, String),
    /// A directory with an OCI image layout, and the image in it.
    Layout(PathBuf, Image),
    /// An image with this name on the nodes.
    Node(String),
}

impl BaseLayers {
    /// Stores the layers with these diffIDs in the cache, as far as the base has them.
    pub(crate) fn fetch(
        &self,
        cx: &Cx,
        cache: &LayerCache,
        diff_ids: &BTreeSet<&str>,
    ) -> Result<(), Unavailable> {
        match self {
            Self::Docker(docker, image) => {
                let extracted = extract::extract(cx, docker, image, cache, diff_ids);
                extracted.map(drop).map_err(Unavailable::from)
            }
            Self::Podman(podman, image) => {
                let source = PodmanSource::new(podman, image.clone());
                source.save_layers(cx, cache, diff_ids)
            }
            Self::Archive(path, platform) => {
                read_archive(cx, path, cache, platform).map(drop).map_err(|error| match error {
                    BaseError::Invalid(reason) => reason,
                    BaseError::Platform(_) => "the archive was replaced".into(),
                })
            }
            Self::Node(name) => Err(Unavailable {
                reason: format!("base `{name}` is not on this node"),
                help: Some(format!(
                    "run `cargo kdev load {}`, or set `base` to an image on this machine",
                    quote(name)
                )),
            }),
            Self::Layout(dir, image) => Ok(store_blobs(dir, image, cache, diff_ids)?),
        }
    }
}

/// Stores the image for a platform in the cache, and its configuration. Returns the size of its
/// layers in bytes, too.
pub(crate) fn read_archive(
    cx: &Cx,
    path: &Path,
    cache: &LayerCache,
    platform: &str,
) -> Result<(Image, u64), BaseError> {
    archive::store_file(cx, path, cache, |images| select(images, platform))
}

/// Returns the image for a platform in an OCI image layout.
pub(crate) fn read_layout(dir: &Path, platform: &str) -> Result<Image, BaseError> {
    let images = layout::read_images(dir).map_err(Unavailable::from)?;
    let image = select(images, platform)?;
    if image.layers.len() != image.diff_ids.len() {
        return Err(Unavailable::from("its layers do not match its configuration").into());
    }
    Ok(image)
}

/// Returns the image for a platform.
fn select(images: Vec<Image>, platform: &str) -> Result<Image, BaseError> {
    let found = images.iter().filter_map(|image| image.platform.clone()).collect();
    let is_fit = |image: &Image| {
        image.platform.as_ref().is_none_or(|own| rust_target::is_same_platform(platform, own))
    };
    let is_empty = images.is_empty();
    let mut fitting = images.into_iter().filter(is_fit);
    match (fitting.next(), fitting.count()) {
        (Some(image), 0) => Ok(image),
        (Some(_), others) => {
            let reason = format!("it contains {} images for {platform}", others + 1);
            Err(Unavailable::from(reason).into())
        }
        (None, _) if is_empty => Err(Unavailable::from("it contains no image").into()),
        (None, _) => Err(BaseError::Platform(found)),
    }
}

fn store_blobs(
    dir: &Path,
    image: &Image,
    cache: &LayerCache,
    diff_ids: &BTreeSet<&str>,
) -> io::Result<()> {
    for (path, diff_id) in image.layers.iter().zip(&image.diff_ids) {
        if !diff_ids.contains(diff_id.as_str()) {
            continue;
        }
        let (_, blob) = cache.store_if(File::open(dir.join(path))?, |found| found == diff_id)?;
        if !matches!(blob, Blob::Layer(_)) {
            let text = format!("its layer `{path}` does not match its configuration");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
    }
    Ok(())
}
