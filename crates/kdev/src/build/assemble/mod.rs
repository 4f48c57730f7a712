//! Assembles an image from the program that `cargo build` has written, without Docker.
//!
//! The image has the layers of a base, or one that never changes, and above them one with the
//! program. Its own layers are in the layer cache, and a record names them: no other program has
//! the image.
//!
//! - `assets.rs`: the files of the project
//! - `base.rs`: the image on which the program is put
//! - `error.rs`: errors
//! - `layer.rs`: stores a layer
//! - `layout.rs`: writes an OCI image layout
//! - `linker.rs`: chooses who links a program for another platform
//! - `output.rs`: writes an image to a file, a directory, or Docker
//! - `program.rs`: selects and reads the program
//! - `requirements.rs`: checks that the program runs in the image
//! - `rootfs.rs`: the files that a program expects in an image without a base
//! - `rustflags.rs`: adds a flag of rustc to those of the user
//! - `target.rs`: chooses cargo's target for the platform of the nodes
//! - `unchanged.rs`: recognizes a program whose layer is already stored

mod assets;
mod base;
pub(super) mod error;
mod layer;
mod layout;
mod linker;
mod output;
mod program;
mod requirements;
mod rootfs;
mod rustflags;
mod target;
mod unchanged;

use std::time::Instant;

use kdev_core::image::assembly::{self, Platform};
use kdev_core::image::built::BuiltImage;
use kdev_core::image::digest::sha256;
use kdev_core::image::reference::Reference;
use kdev_core::rust_target;

use crate::build::artifacts::BuiltProgram;
use crate::build::assemble::base::Base;
use crate::build::assemble::layer::store;
use crate::build::assemble::linker::Linker;
use crate::build::assemble::program::ProgramLayer;
use crate::build::assemble::requirements::Requirements;
use crate::build::assemble::target::Target;
use crate::build::error::Result;
use crate::build::together::BuildSeat;
use crate::config::{BaseImage, Config};
use crate::cx::Cx;
use crate::docker::{AssembledImages, KeptBuild};
use crate::event::Event;
use crate::layers::base::BaseLayers;
use crate::layers::cache::LayerCache;
use crate::process;

pub use error::Error;
pub(crate) use output::{ImageOutput, is_archive, is_docker};

/// Builds the program, and assembles and records its image.
pub(crate) fn assemble(
    cx: &Cx,
    images: &AssembledImages,
    config: &Config,
    seat: &BuildSeat,
) -> Result<BuiltImage> {
    let started = Instant::now();
    let platform = config.platform.clone().or_else(|| target::platform_of_user(config));
    let platform = platform.unwrap_or_else(rust_target::host_platform);
    let cache = LayerCache::open_in(images.cache_dir())
        .map_err(process::Error::write(images.cache_dir()))?;
    let base = Base::find(cx, images.cache_dir(), &cache, config, &platform)?;
    let choose = || Ok(Target::choose(cx, config, &platform)?.args(config));
    let args = seat.shared_args(config, &platform, choose)?;
    let linker = Linker::choose(cx, config, &args)?;
    let artifacts = seat
        .build(cx, config, linker.subcommand(), args)
        .inspect_err(|error| linker.note_failure(cx, error))?;
    let artifacts = match artifacts {
        Some(artifacts) => artifacts,
        None if cx.is_dry_run() => return Ok(dry_run_image(config, platform)),
        None => return Err(Error::NoMessages.into()),
    };
    let built = program::select(artifacts, config)?;
    let requirements = Requirements {
        cx,
        config,
        cache_dir: images.cache_dir(),
        cache: &cache,
        base: base.as_ref(),
    };
    let found = ProgramLayer::find_or_store(&requirements, &built, &platform)?;
    let mut layers = lower_layers(&cache, config, base.is_some())?;
    // The last layer changes most often.
    layers.push((found.stored.diff_id.clone(), found.stored.size));
    let record = put_together(&cache, config, &built, platform, base.as_ref(), layers)?;
    let image = built_image(config, &record);
    images.record(&config.image, &record)?;
    images.record(&image.reference, &record)?;
    if let Err(error) = found.keep_debug_info(&image) {
        let text = format!("cannot keep the debug information of this build: {error}");
        cx.emit(Event::Note { text });
    }
    cx.emit(Event::Built {
        image: image.reference.familiar(),
        config_digest: image.config_digest.clone(),
        duration: started.elapsed(),
    });
    Ok(image)
}

/// Stores the layers below the program, without those of a base.
fn lower_layers(cache: &LayerCache, config: &Config, has_base: bool) -> Result<Vec<(String, u64)>> {
    let has_certificates = config.container.ca_certificates.unwrap_or(!has_base);
    let rootfs = rootfs::entries(has_base, has_certificates);
    let layers = [rootfs, assets::entries(config)?].into_iter();
    let layers = layers.filter(|entries| !entries.is_empty());
    layers.map(|entries| store(cache, entries, has_base)).collect()
}

/// Stores the configuration of the image with these layers above the base.
fn put_together(
    cache: &LayerCache,
    config: &Config,
    built: &BuiltProgram,
    platform: String,
    base: Option<&Base>,
    layers: Vec<(String, u64)>,
) -> Result<KeptBuild> {
    let base_config = base.map(|base| &base.config);
    let path = format!("/{}", program::path_in_image(&built.name));
    let settings = config.container.settings(&path, base_config.and_then(assembly::user));
    let parsed = Platform::parse(&platform);
    let parsed = parsed.ok_or_else(|| Error::InvalidPlatform { platform: platform.clone() })?;
    let size = base.map_or(0, |base| base.size) + layers.iter().map(|(_, size)| size).sum::<u64>();
    let own: Vec<String> = layers.into_iter().map(|(diff_id, _)| diff_id).collect();
    let bytes = assembly::config(base_config, &parsed, &settings, &own);
    cache.store(&*bytes).map_err(process::Error::write("the layer cache"))?;
    Ok(KeptBuild {
        name: String::new(),
        config_digest: sha256(&bytes),
        platform,
        passed_platform: config.platform.clone(),
        size,
        layers: base.iter().flat_map(|base| base.layers.clone()).chain(own).collect(),
        built_at: jiff::Timestamp::now().as_second(),
    })
}

/// Removes layers of earlier builds of an image from the cache that are too large to keep, unless
/// other images have them. The next build of an unchanged program stores its layer again.
pub(crate) fn evict_large_layers(images: &AssembledImages, config: &Config) {
    let Ok(cache) = LayerCache::open_in(images.cache_dir()) else { return };
    let is_own = |build: &KeptBuild| {
        Reference::parse(&build.name).is_ok_and(|name| name.name() == config.image.name())
    };
    let (own, others): (Vec<_>, Vec<_>) = images.builds().all().into_iter().partition(is_own);
    for diff_id in own.iter().flat_map(|build| &build.layers) {
        if !others.iter().any(|build| build.layers.contains(diff_id)) {
            cache.evict_large(diff_id);
        }
    }
}

/// Finds the layers of the base of an image again.
pub(super) fn base_layers(
    cx: &Cx,
    images: &AssembledImages,
    config: &Config,
    platform: &str,
) -> Result<Option<BaseLayers>> {
    let cache = LayerCache::open_in(images.cache_dir())
        .map_err(process::Error::write(images.cache_dir()))?;
    if let BaseImage::Node(reference, _) = &config.container.base {
        return Ok(Some(BaseLayers::Node(reference.familiar())));
    }
    let base = Base::find(cx, images.cache_dir(), &cache, config, platform)?;
    Ok(base.map(Base::into_layers))
}

/// Describes the target for which cargo builds for a platform.
pub(crate) fn describe_target(cx: &Cx, config: &Config, platform: &str) -> Result<&'static str> {
    Ok(Target::choose(cx, config, platform)?.describe())
}

/// Returns the platform that is preferred: that of the target that the user has set, or of this
/// machine.
pub(crate) fn preferred_platform(config: &Config) -> String {
    target::platform_of_user(config).unwrap_or_else(rust_target::host_platform)
}

fn built_image(config: &Config, build: &KeptBuild) -> BuiltImage {
    BuiltImage {
        reference: config.image.with_content_tag(&build.config_digest),
        config_digest: build.config_digest.clone(),
        platform: build.platform.clone(),
        size: build.size,
        id: build.config_digest.clone(),
        layers: build.layers.clone(),
    }
}

/// Returns a stand-in for the image in a dry run, where its content is unknown.
fn dry_run_image(config: &Config, platform: String) -> BuiltImage {
    BuiltImage {
        reference: config.image.with_content_tag("<digest>"),
        config_digest: String::new(),
        platform,
        size: 0,
        id: String::new(),
        layers: Vec::new(),
    }
}
