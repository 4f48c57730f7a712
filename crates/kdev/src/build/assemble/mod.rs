//! Assembles an image from the program that `cargo build` has written, without Docker.
//!
//! The image has one layer that never changes and one with the program. Both are in the layer
//! cache, and a record names them: no other program has the image.
//!
//! - `assets.rs`: the files of the project
//! - `error.rs`: errors
//! - `layer.rs`: stores a layer
//! - `output.rs`: writes an image to a file, a directory, or Docker
//! - `program.rs`: selects, reads and checks the program
//! - `rootfs.rs`: the files that a program expects in an image without a base
//! - `rustflags.rs`: adds a flag of rustc to those of the user
//! - `target.rs`: chooses cargo's target for the platform of the nodes
//! - `unchanged.rs`: recognizes a program whose layer is already stored

mod assets;
pub(super) mod error;
mod layer;
mod output;
mod program;
mod rootfs;
mod rustflags;
mod target;
mod unchanged;

use std::time::Instant;

use kdev_core::image::assembly::{self, Platform};
use kdev_core::image::built::BuiltImage;
use kdev_core::image::digest::sha256;
use kdev_core::rust_target;

use crate::build::assemble::layer::store;
use crate::build::assemble::program::ProgramLayer;
use crate::build::assemble::target::Target;
use crate::build::cargo;
use crate::build::error::Result;
use crate::config::Config;
use crate::cx::Cx;
use crate::docker::{AssembledImages, KeptBuild};
use crate::event::Event;
use crate::layers::cache::LayerCache;
use crate::process;

pub use error::Error;
pub(crate) use output::{ImageOutput, is_archive, is_docker};

/// Builds the program, and assembles and records its image.
pub(crate) fn assemble(cx: &Cx, images: &AssembledImages, config: &Config) -> Result<BuiltImage> {
    let started = Instant::now();
    let platform = config.platform.clone().or_else(|| target::platform_of_user(config));
    let platform = platform.unwrap_or_else(rust_target::host_platform);
    let target = Target::choose(cx, config, &platform)?;
    let artifacts = cargo::build(cx, config, &target.args(config))?;
    let artifacts = match artifacts {
        Some(artifacts) => artifacts,
        None if cx.is_dry_run() => return Ok(dry_run_image(config, platform)),
        None => return Err(Error::NoMessages.into()),
    };
    let built = program::select(artifacts, config)?;
    let cache = LayerCache::open_in(images.cache_dir())
        .map_err(process::Error::write(images.cache_dir()))?;
    let found =
        ProgramLayer::find_or_store(cx, images.cache_dir(), &cache, config, &built, &platform)?;
    let assets = assets::entries(config)?;
    let mut layers =
        vec![store(&cache, rootfs::entries(config.container.ca_certificates.unwrap_or(true)))?];
    if !assets.is_empty() {
        layers.push(store(&cache, assets)?);
    }
    // The last layer changes most often.
    layers.push((found.stored.diff_id.clone(), found.stored.size));
    let diff_ids: Vec<String> = layers.iter().map(|(diff_id, _)| diff_id.clone()).collect();
    let settings = config.container.settings(&format!("/{}", program::path_in_image(&built.name)));
    let parsed = Platform::parse(&platform);
    let parsed = parsed.ok_or_else(|| Error::InvalidPlatform { platform: platform.clone() })?;
    let bytes = assembly::config(None, &parsed, &settings, &diff_ids);
    cache.store(&*bytes).map_err(process::Error::write("the layer cache"))?;
    let record = KeptBuild {
        name: String::new(),
        config_digest: sha256(&bytes),
        platform,
        passed_platform: config.platform.clone(),
        size: layers.iter().map(|(_, size)| size).sum(),
        layers: diff_ids,
        built_at: jiff::Timestamp::now().as_second(),
    };
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
