//! The base of the image: its configuration, its layers, and whether a program runs on it.

use std::collections::BTreeSet;
use std::io::BufReader;
use std::path::Path;
use std::time::SystemTime;

use kdev_core::image::archive::{self, Image};
use kdev_core::image::built::BuiltImage;
use kdev_core::image::digest::sha256;
use kdev_core::image::local::Engine;
use kdev_core::image::partial_archive::SentLayer;
use kdev_core::image::reference::Reference;
use kdev_core::program::ImageLibraries;
use kdev_core::rust_target;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::build::assemble::error::Error;
use crate::build::assemble::unchanged::FileVersion;
use crate::build::error::Result;
use crate::config::{BaseImage, Config};
use crate::cx::Cx;
use crate::details::Details;
use crate::docker::{self, Docker, InspectedImage, Podman};
use crate::layers::Unavailable;
use crate::layers::base::{self, BaseError, BaseLayers};
use crate::layers::cache::LayerCache;
use crate::process;
use crate::process::json_file::{self, file_name};

/// An image on which the program is put.
pub(super) struct Base {
    /// The name for messages.
    pub(super) name: String,
    /// The configuration, as far as it is inherited.
    pub(super) config: Value,
    /// The diffIDs of the layers, the lowest first.
    pub(super) layers: Vec<String>,
    /// The sum of the sizes of the layers in bytes.
    pub(super) size: u64,
    source: BaseLayers,
}

/// What was found in an archive.
#[derive(Serialize, Deserialize)]
struct ArchiveRecord {
    version: FileVersion,
    platform: String,
    config_digest: String,
    size: u64,
}

impl Base {
    /// Finds the base for a platform; `None` if it is empty.
    pub(super) fn find(
        cx: &Cx,
        cache_dir: &Path,
        cache: &LayerCache,
        config: &Config,
        platform: &str,
    ) -> Result<Option<Self>> {
        match &config.container.base {
            BaseImage::Scratch => Ok(None),
            BaseImage::Image(reference) => find_image(cx, reference, platform).map(Some),
            BaseImage::Node(reference, config) => {
                read_node_config(cache, &reference.familiar(), config.as_deref()).map(Some)
            }
            BaseImage::Path(path) => {
                let name = config.container.base.to_string();
                let path = config.dir.join(path);
                let found = if path.is_dir() {
                    read_layout(&path, platform)
                } else {
                    read_archive(cx, cache_dir, cache, &path, platform)
                };
                cx.check_interrupt()?;
                let (config, layers, size, source) = found.map_err(|error| match error {
                    _ if !path.exists() => Error::BaseFileNotFound { path },
                    BaseError::Invalid(unavailable) => invalid(&name, unavailable),
                    BaseError::Platform(found) => Error::BasePlatform {
                        base: name.clone(),
                        found,
                        platform: platform.into(),
                        engine: None,
                    },
                })?;
                Ok(Some(Self { name, config, layers, size, source }))
            }
        }
    }

    /// Returns whether its files are only on the nodes.
    pub(super) fn is_on_nodes(&self) -> bool {
        matches!(self.source, BaseLayers::Node(_))
    }

    /// Returns where the layers are.
    pub(super) fn into_layers(self) -> BaseLayers {
        self.source
    }

    /// Stores the layers in the cache that it does not have.
    pub(super) fn fetch(&self, cx: &Cx, cache: &LayerCache) -> Result<()> {
        let is_missing = |id: &&str| cache.get_and_mark(id).is_none();
        let missing: BTreeSet<&str> =
            self.layers.iter().map(String::as_str).filter(is_missing).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let fetched = self.source.fetch(cx, cache, &missing);
        cx.check_interrupt()?;
        fetched.map_err(|reason| self.invalid(reason))?;
        Ok(())
    }

    /// Returns the shared libraries. They are read once for each base.
    pub(super) fn libraries(
        &self,
        cx: &Cx,
        cache_dir: &Path,
        cache: &LayerCache,
    ) -> Result<ImageLibraries> {
        let name = file_name(&sha256(self.layers.join("\n").as_bytes()));
        let record = cache_dir.join("records/libraries").join(format!("{name}.json"));
        if let Some(known) = json_file::read(&record) {
            return Ok(known);
        }
        self.fetch(cx, cache)?;
        let mut libraries = ImageLibraries::default();
        for diff_id in &self.layers {
            let layer = cache.get(diff_id).ok_or(Error::LayersRemoved)?;
            let read = layer.open().and_then(|tar| libraries.add_layer(BufReader::new(tar)));
            read.map_err(|error| {
                cache.evict_damaged(diff_id);
                self.invalid(error.into())
            })?;
        }
        // Otherwise the next run reads them again.
        let _ = json_file::write_limited(&record, &libraries);
        Ok(libraries)
    }

    fn invalid(&self, unavailable: Unavailable) -> Error {
        invalid(&self.name, unavailable)
    }
}

fn invalid(base: &str, Unavailable { reason, help }: Unavailable) -> Error {
    Error::InvalidBase { base: base.to_owned(), reason: Details(reason), help }
}

/// Reads the configuration of an image on the nodes, which is in the cache.
fn read_node_config(cache: &LayerCache, name: &str, digest: Option<&str>) -> Result<Base> {
    let bytes = digest.and_then(|digest| cache.config(digest));
    let config = bytes
        .and_then(|bytes| Some((serde_json::from_slice(&bytes).ok()?, archive::diff_ids(&bytes)?)));
    let base = name.to_owned();
    let (config, layers) = config.ok_or_else(|| Error::BaseOnNodes { base: base.clone() })?;
    let source = BaseLayers::Node(name.to_owned());
    Ok(Base { name: base, config, layers, size: 0, source })
}

/// Finds an image in Docker, or else in Podman.
fn find_image(cx: &Cx, reference: &Reference, platform: &str) -> Result<Base> {
    let in_docker = Docker::connect(cx).and_then(|docker| {
        let found = docker.inspect(cx, &reference.familiar())?;
        Ok((
            Engine::Docker,
            found,
            Box::new(move |image| BaseLayers::Docker(Box::new(docker), image)) as IntoLayers,
        ))
    });
    let found = match in_docker {
        Err(error) if !process::is_interrupt(&error) => find_in_podman(cx, reference, error),
        found => found,
    };
    let (engine, found, into_layers) = found.map_err(|error| match error {
        docker::Error::ImageNotFound { engine, .. } => {
            Error::BaseNotFound { base: reference.familiar(), engine }.into()
        }
        error => crate::build::error::Error::from(error),
    })?;
    let own = format!("{}/{}", found.os, found.architecture);
    if !rust_target::is_same_platform(platform, &own) {
        let (base, platform) = (reference.familiar(), platform.to_owned());
        return Err(
            Error::BasePlatform { base, found: vec![own], platform, engine: Some(engine) }.into()
        );
    }
    let image = BuiltImage {
        reference: reference.clone(),
        config_digest: String::new(),
        platform: own,
        size: found.size,
        layers: found.layers(),
        id: found.id,
    };
    Ok(Base {
        name: reference.familiar(),
        config: json!({"config": found.config, "rootfs": {"diff_ids": image.layers}}),
        layers: image.layers.clone(),
        size: image.size,
        source: into_layers(image),
    })
}

type IntoLayers = Box<dyn FnOnce(BuiltImage) -> BaseLayers>;
type FoundImage = (Engine, InspectedImage, IntoLayers);

/// Finds an image in Podman, if it is installed. Otherwise returns the error of Docker.
fn find_in_podman(
    cx: &Cx,
    reference: &Reference,
    error: docker::Error,
) -> docker::Result<FoundImage> {
    let Ok(podman) = Podman::connect(cx) else { return Err(error) };
    match podman.find(cx, reference) {
        Ok(found) => {
            let into_layers = Box::new(move |image| BaseLayers::Podman(podman, image));
            Ok((Engine::Podman, found, into_layers))
        }
        // Docker is the one to pull it with.
        Err(docker::Error::ImageNotFound { .. })
            if matches!(error, docker::Error::ImageNotFound { .. }) =>
        {
            Err(error)
        }
        Err(error) => Err(error),
    }
}

type FoundFile = (Value, Vec<String>, u64, BaseLayers);

fn read_layout(dir: &Path, platform: &str) -> Result<FoundFile, BaseError> {
    let image = base::read_layout(dir, platform)?;
    let (config, layers) = (parse(&image.config)?, image.diff_ids.clone());
    Ok((config, layers, image.layer_bytes, BaseLayers::Layout(dir.to_owned(), image)))
}

/// Reads an archive, unless it is unchanged.
fn read_archive(
    cx: &Cx,
    cache_dir: &Path,
    cache: &LayerCache,
    path: &Path,
    platform: &str,
) -> Result<FoundFile, BaseError> {
    let name = file_name(&path.to_string_lossy());
    let record = cache_dir.join("records/bases").join(format!("{name}.json"));
    let read_at = SystemTime::now();
    let version = FileVersion::read(path).map_err(Unavailable::from)?;
    let source = BaseLayers::Archive(path.to_owned(), platform.to_owned());
    let known = json_file::read(&record)
        .filter(|known: &ArchiveRecord| known.version == version && known.platform == platform);
    if let Some(known) = known
        && let Some(bytes) = cache.config(&known.config_digest)
    {
        let config = parse(&bytes)?;
        return Ok((config, diff_ids(&bytes)?, known.size, source));
    }
    let (Image { config, config_digest, diff_ids, .. }, size) =
        base::read_archive(cx, path, cache, platform)?;
    if version.is_older_than(read_at) {
        let platform = platform.to_owned();
        // Otherwise the next run reads the archive again.
        let _ = json_file::write_limited(
            &record,
            &ArchiveRecord { version, platform, config_digest, size },
        );
    }
    Ok((parse(&config)?, diff_ids, size, source))
}

fn parse(config: &[u8]) -> Result<Value, BaseError> {
    serde_json::from_slice(config).map_err(|error| Unavailable::from(error.to_string()).into())
}

fn diff_ids(config: &[u8]) -> Result<Vec<String>, BaseError> {
    let damaged = || Unavailable::from("its configuration is damaged");
    Ok(archive::diff_ids(config).ok_or_else(damaged)?)
}
