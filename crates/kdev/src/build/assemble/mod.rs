//! Assembles an image from the program that `cargo build` has written, without Docker.
//!
//! The image has one layer that never changes and one with the program. Both are in the layer
//! cache, and a record names them: no other program has the image.
//!
//! - `assets.rs`: the files of the project
//! - `error.rs`: errors
//! - `rootfs.rs`: the files that a program expects in an image without a base
//! - `rustflags.rs`: adds a flag of rustc to those of the user
//! - `target.rs`: chooses cargo's target for the platform of the nodes

mod assets;
pub(super) mod error;
mod rootfs;
mod rustflags;
mod target;

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Instant;

use kdev_core::image::assembly::{self, Content, Entry, Platform};
use kdev_core::image::built::BuiltImage;
use kdev_core::image::digest::sha256;
use kdev_core::program::{Program, without_debug_info};
use kdev_core::rust_target;

use crate::build::artifacts::{Artifact, BuiltProgram};
use crate::build::assemble::target::Target;
use crate::build::cargo;
use crate::build::error::Result;
use crate::config::Config;
use crate::cx::Cx;
use crate::docker::{AssembledImages, KeptBuild};
use crate::event::Event;
use crate::layers::cache::{Blob, LayerCache};
use crate::process;

pub use error::Error;

/// The directory of the program in the image. It is on `PATH`.
const PROGRAM_DIR: &str = "usr/local/bin";
/// The permissions of the program.
const PROGRAM_MODE: u32 = 0o755;
/// For how many builds debug information is kept.
const KEPT_DEBUG_INFO: usize = 5;

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
    let built = select_program(artifacts, config)?;
    let cache = LayerCache::open_in(images.cache_dir())
        .map_err(process::Error::write(images.cache_dir()))?;
    let found = read_program(config, &built, &platform)?;
    let program = format!("{PROGRAM_DIR}/{}", built.name);
    let assets = assets::entries(config)?;
    let mut layers =
        vec![store(&cache, rootfs::entries(config.container.ca_certificates.unwrap_or(true)))?];
    if !assets.is_empty() {
        layers.push(store(&cache, assets)?);
    }
    // The last layer changes most often.
    layers.push(store(&cache, vec![program_entry(&program, found.shipped())])?);
    let diff_ids: Vec<String> = layers.iter().map(|(diff_id, _)| diff_id.clone()).collect();
    let settings = config.container.settings(&format!("/{program}"));
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
    if let Err(error) = found.keep_debug_info(config, &image, &built.name) {
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

/// Returns the only program of the package that cargo has built, the one that the command line
/// selects, or the one that `cargo run` would run.
fn select_program(artifacts: Vec<Artifact>, config: &Config) -> Result<BuiltProgram, Error> {
    let manifest = config.dir.join("Cargo.toml");
    let is_own = |one: &BuiltProgram| is_same_file(&one.manifest, &manifest) && one.is_binary;
    let programs = artifacts.into_iter().filter_map(|one| one.program).filter(is_own);
    let mut programs: Vec<BuiltProgram> = programs.collect();
    programs.sort_by(|one, other| one.name.cmp(&other.name));
    if !config.bins.is_empty() {
        // The settings can make cargo build others, too.
        programs.retain(|one| config.bins.iter().any(|bin| matches_name(bin, &one.name)));
    } else if programs.len() > 1
        && let Some(default) = &config.default_run
        && programs.iter().any(|one| one.name == *default)
    {
        programs.retain(|one| one.name == *default);
    }
    let package = config.package.clone();
    match programs.pop() {
        None => Err(Error::NoProgram { package }),
        Some(program) if programs.is_empty() => Ok(program),
        Some(last) => {
            programs.push(last);
            let names = programs.into_iter().map(|one| one.name).collect();
            Err(Error::SeveralPrograms { package, names })
        }
    }
}

/// Returns whether a value of `--bin` selects a program, as cargo does.
fn matches_name(pattern: &str, name: &str) -> bool {
    glob::Pattern::new(pattern).is_ok_and(|pattern| pattern.matches(name))
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    one == other
        || fs::canonicalize(one).ok().is_some_and(|one| fs::canonicalize(other).ok() == Some(one))
}

/// The content of a program.
struct ProgramContent {
    original: Vec<u8>,
    /// Without debug information, if it had any and the image must not have it.
    stripped: Option<Vec<u8>>,
}

impl ProgramContent {
    /// Returns what is in the image.
    fn shipped(&self) -> &[u8] {
        self.stripped.as_ref().unwrap_or(&self.original)
    }

    /// Writes the program with debug information to a directory of this build, so that its
    /// backtraces can be read later. Removes those of older builds.
    fn keep_debug_info(&self, config: &Config, image: &BuiltImage, name: &str) -> io::Result<()> {
        let Some(tag) = image.reference.tag().filter(|_| self.stripped.is_some()) else {
            return Ok(());
        };
        let root = config.target_dir.join("kdev/debug").join(&config.package);
        let dir = root.join(tag);
        if dir.join(name).exists() {
            return Ok(());
        }
        fs::create_dir_all(&dir)?;
        // A run that is killed leaves no file that looks complete.
        let mut partial = tempfile::NamedTempFile::new_in(&dir)?;
        partial.write_all(&self.original)?;
        partial.as_file().set_permissions(fs::Permissions::from_mode(PROGRAM_MODE))?;
        partial.persist(dir.join(name))?;
        remove_old(&root);
        Ok(())
    }
}

/// Removes all but the newest directories with debug information. Errors are ignored: the next
/// build tries again.
fn remove_old(root: &Path) {
    let entries = fs::read_dir(root).into_iter().flatten().filter_map(Result::ok);
    let time = |entry: &fs::DirEntry| entry.metadata().and_then(|data| data.modified()).ok();
    let mut dirs: Vec<_> = entries.map(|entry| (time(&entry), entry.path())).collect();
    dirs.sort();
    for (_, dir) in dirs.iter().rev().skip(KEPT_DEBUG_INFO) {
        let _ = fs::remove_dir_all(dir);
    }
}

/// Reads a program, and checks that it runs in an image without other files.
fn read_program(config: &Config, built: &BuiltProgram, platform: &str) -> Result<ProgramContent> {
    let original = fs::read(&built.path).map_err(process::Error::read(&built.path))?;
    let path = built.path.clone();
    let program = Program::read(&original)
        .map_err(|source| Error::InvalidProgram { path: path.clone(), source })?;
    if !rust_target::is_same_platform(platform, program.platform) {
        let built = program.platform.to_owned();
        return Err(Error::OtherPlatform { path, built, platform: platform.to_owned() }.into());
    }
    if !program.is_static() {
        // The loader is a file, too.
        let files = program.interpreter.into_iter().chain(program.libraries);
        return Err(Error::Dynamic { path, libraries: files.collect() }.into());
    }
    let keeps = config.container.keep_debug_info.unwrap_or(false);
    let stripped = if keeps { None } else { without_debug_info(&original) };
    Ok(ProgramContent { original, stripped })
}

fn program_entry<'a>(path: &str, content: &'a [u8]) -> Entry<'a> {
    Entry {
        path: path.to_owned(),
        mode: PROGRAM_MODE,
        owner: (0, 0),
        content: Content::File(Box::new(content), content.len() as u64),
    }
}

/// Writes a layer to the cache. Returns its diffID and its size in bytes.
fn store(cache: &LayerCache, entries: Vec<Entry>) -> Result<(String, u64)> {
    let mut tar = Vec::new();
    let stored = assembly::write_layer(&mut tar, assembly::with_parents(entries))
        .and_then(|()| cache.store(&*tar))
        .map_err(process::Error::write("the layer cache"))?;
    match stored.1 {
        Blob::Layer(layer) => Ok((layer.diff_id, layer.size)),
        // A tar archive begins with a path.
        Blob::Config | Blob::Discarded { .. } => unreachable!("a layer is a tar archive"),
    }
}
