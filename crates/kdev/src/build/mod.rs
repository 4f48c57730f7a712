//! Builds the image and tags it with a hash of its content: runs `cargo build` if it is
//! configured, then `docker build` or `podman build`.
//!
//! - `assemble/`: assembles an image without Docker
//! - `artifacts.rs`: the files that `cargo build` has written
//! - `buildkit.rs`: finds Dockerfile features that require `BuildKit`
//! - `cargo.rs`: runs `cargo build`
//! - `context.rs`: finds the build context that a Dockerfile was written for
//! - `context_use.rs`: finds what a build may read from its context
//! - `dockerfile.rs`: parses the instructions of a Dockerfile
//! - `dockerignore.rs`: the files that are not in the build context
//! - `hard_links.rs`: breaks hard links, which the legacy builder caches wrongly
//! - `outputs.rs`: the outputs of a build with `BuildKit`
//! - `platform.rs`: chooses the platform of the image for the nodes
//! - `rebuild.rs`: runs a build again to export layers from a builder
//! - `sources.rs`: the paths that a build copies from its context
//! - `stale.rs`: finds copied programs that are not the ones that cargo has built
//! - `together.rs`: the builds of several packages
//! - `used_files.rs`: finds the files of a copied folder that the Dockerfile uses

pub(crate) mod artifacts;
pub(crate) mod assemble;
pub(crate) mod buildkit;
mod cargo;
mod context;
pub(crate) mod context_use;
mod dockerfile;
pub(crate) mod dockerignore;
mod error;
mod hard_links;
mod outputs;
pub(crate) mod platform;
mod rebuild;
mod sources;
mod stale;
mod together;
mod used_files;

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use kdev_core::image::built::BuiltImage;
use kdev_core::image::reference::Reference;
use xshell::{Cmd, Shell};

use crate::build::cargo::run_build;
use crate::build::outputs::Outputs;
use crate::config::Config;
use crate::cx::Cx;
use crate::docker::{self, Docker, ImageStore, InspectedImage, LayerSource, full_disk_hint};
use crate::event::Event;
use crate::layers::cache::LayerCache;
use crate::layers::push::{self, LayerRequest};
use crate::layers::{export, extract};
use crate::parallel::run_both;
use crate::process::{self, Command, DiskWatch};
use crate::project::PackageSelection;

pub use assemble::Error as AssembleError;
pub(crate) use cargo::CargoRequest;
pub(crate) use error::Result;
pub use error::{ContextHint, Error, StaleCopy, StaleCopyFix};
pub(crate) use rebuild::{build_source, image_source};
pub(crate) use together::{BuildSeat, BuildsTogether};

/// Builds and tags the image. A dry run only shows the commands.
pub(crate) fn build(
    cx: &Cx,
    store: &ImageStore,
    config: &Config,
    seat: &BuildSeat,
) -> Result<BuiltImage> {
    if let ImageStore::Assembled(images) = store {
        return assemble::assemble(cx, images, config, seat);
    }
    let started = Instant::now();
    let artifacts = seat.build_if_configured(cx, config)?;
    let iid = tempfile::NamedTempFile::new().map_err(process::Error::write("a temporary file"))?;
    let sh = cx.shell()?;
    let image = config.image.familiar();
    // Messages do not show the flags that are only for kdev.
    let display = Command::new(image_build(&sh, store, config).arg(&config.context)).to_string();
    if cx.is_dry_run() {
        return Ok(dry_run_image(cx, store, config, display));
    }
    let dockerfile = fs::read(&config.dockerfile).unwrap_or_default();
    let dockerfile = String::from_utf8_lossy(&dockerfile);
    for text in stale::check(config, &dockerfile, artifacts.as_deref())? {
        cx.emit(Event::Note { text });
    }
    platform::check_programs(config, &dockerfile)?;
    // Best effort: the build usually succeeds without it.
    let built = artifacts.as_deref().unwrap_or_default();
    let _ = hard_links::break_hard_links(&config.target_dir, &config.context, &dockerfile, built);
    let target_dir = target_outside_context(config, &dockerfile);
    let mut outputs = Outputs::select(cx, store, config)?;
    let disk = store.watch_disk(cx, config);
    let (target, text) = (image.clone(), display.clone());
    cx.emit(Event::Building { target, command: text, tool: store.engine().program() });
    let run = |outputs: &Outputs| {
        let cmd = image_build(&sh, store, config).args(outputs.args()).arg("--iidfile");
        let command = Command::new(cmd.arg(iid.path()).arg(&config.context));
        let command = outputs.keep_disk_free(command).watch_disk(disk.clone());
        run_build(cx, command, store.engine().program(), image.clone(), display.clone())
    };
    let mut result = run(&outputs);
    if result.is_err()
        && outputs.has_failed_export()
        && !cx.interrupt().is_raised()
        && store.is_responding(cx)
    {
        let text = "failed to export the new layers; building the image without an export";
        cx.emit(Event::Note { text: text.to_owned() });
        outputs = outputs.without_layout();
        result = run(&outputs);
    }
    result.map_err(|error| match error {
        Error::Failed { name, source, .. } => {
            store.forget_facts(cx, config.builder_name());
            note_failed_build(cx, store, config, &outputs);
            note_full_disk(cx, &outputs, disk.as_ref());
            let hint = context::find_hint(config, &dockerfile);
            let hint = hint.or_else(|| target_dir.clone().map(ContextHint::Target));
            Error::Failed { name, source, hint }
        }
        error => error,
    })?;
    // What cargo has built was compared with the copied files.
    if let (Some(target_dir), None) = (target_dir, artifacts) {
        let target = target_dir.display();
        let text = format!(
            "the Dockerfile copies from `target/`, but cargo builds into `{target}`, which is outside the build context"
        );
        cx.emit(Event::Note { text });
    }
    let id = outputs
        .read_id(store, config)
        .inspect_err(|_| note_failed_build(cx, store, config, &outputs));
    let id = match id? {
        Some(id) => id,
        None => fs::read_to_string(iid.path()).map_err(process::Error::read(iid.path()))?,
    };
    let built = match id.trim() {
        // A daemon from a snap has a separate `/tmp`.
        "" => return Err(Error::NoImageId { file: iid.path().to_owned() }),
        id => inspect_and_tag(cx, store, id, &config.image)?,
    };
    cx.emit(Event::Built {
        image: built.reference.familiar(),
        config_digest: built.config_digest.clone(),
        duration: started.elapsed(),
    });
    Ok(built)
}

/// Notes possible reasons why a build has failed.
fn note_failed_build(cx: &Cx, store: &ImageStore, config: &Config, outputs: &Outputs) {
    let hints =
        [store.build_hint(cx), platform::failure_hint(store, config), outputs.failure_hint()];
    for text in hints.into_iter().flatten() {
        cx.emit(Event::Note { text });
    }
}

/// Inspects a build, and tags it with a hash of its content. Both happen at the same time if the ID
/// is that hash.
fn inspect_and_tag(cx: &Cx, store: &ImageStore, id: &str, image: &Reference) -> Result<BuiltImage> {
    let is_hash = matches!(store, ImageStore::Docker(docker) if docker.uses_config_digest_as_id());
    if !is_hash || !id.starts_with("sha256:") {
        return tag_build(cx, store, store.inspect(cx, id)?, image);
    }
    let reference = image.with_content_tag(id);
    let (inspected, tagged) = run_both(|| store.inspect(cx, id), || store.tag(cx, id, &reference));
    let inspected = inspected?;
    if inspected.id != id {
        return tag_build(cx, store, inspected, image);
    }
    tagged?;
    Ok(BuiltImage { reference, ..describe(cx, store, inspected, image)? })
}

/// Notes that Docker had almost no space left, unless this is known to be the disk of the export.
fn note_full_disk(cx: &Cx, outputs: &Outputs, disk: Option<&DiskWatch>) {
    let hint = disk.filter(|_| outputs.failure_hint().is_none()).and_then(full_disk_hint);
    if let Some(text) = hint {
        cx.emit(Event::Note { text });
    }
}

/// Tags an image with a hash of its content.
fn tag_build(
    cx: &Cx,
    store: &ImageStore,
    inspected: InspectedImage,
    image: &Reference,
) -> Result<BuiltImage> {
    let mut built = describe(cx, store, inspected, image)?;
    built.reference = image.with_content_tag(&built.config_digest);
    if cx.is_dry_run() {
        show_tag(cx, store, &built.id, &built.reference);
    } else {
        store.tag(cx, &built.id, &built.reference)?;
    }
    Ok(built)
}

/// Shows the command that tags an image, if a command does it.
fn show_tag(cx: &Cx, store: &ImageStore, id: &str, reference: &Reference) {
    if let Some(command) = store.display_tag(id, reference) {
        cx.emit(Event::WouldRun { command });
    }
}

/// Looks up the last build of an image and tags it with a hash of its content.
pub(crate) fn identify(cx: &Cx, store: &ImageStore, image: &Reference) -> Result<BuiltImage> {
    tag_build(cx, store, store.find(cx, image)?, image)
}

/// Returns the reference of the last build, which must exist. Does not tag it.
pub(crate) fn last_build(
    cx: &Cx,
    store: &ImageStore,
    config: &Config,
    selection: &PackageSelection,
) -> Result<Reference> {
    let found = find_image(cx, store, &config.image);
    let found = found.map_err(|error| into_not_built(error, selection))?;
    Ok(config.image.with_content_tag(&found.config_digest))
}

/// Turns a missing image into [`Error::NotBuilt`].
pub(crate) fn into_not_built(error: Error, selection: &PackageSelection) -> Error {
    match error {
        Error::Docker(docker::Error::ImageNotFound { image, .. }) => {
            let build_command = format!("cargo kdev up{}", selection.to_flags());
            Error::NotBuilt { image, build_command }
        }
        error => error,
    }
}

/// Looks up an image by its name. Does not tag it.
pub(crate) fn find_image(cx: &Cx, store: &ImageStore, image: &Reference) -> Result<BuiltImage> {
    describe(cx, store, store.find(cx, image)?, image)
}

fn describe(
    cx: &Cx,
    store: &ImageStore,
    inspected: InspectedImage,
    image: &Reference,
) -> Result<BuiltImage> {
    let mut found = BuiltImage {
        reference: image.clone(),
        config_digest: inspected.id.clone(),
        platform: format!("{}/{}", inspected.os, inspected.architecture),
        size: inspected.size,
        layers: inspected.layers(),
        id: inspected.id,
    };
    if let ImageStore::Docker(docker) = store
        && !docker.uses_config_digest_as_id()
    {
        found.config_digest = config_digest(cx, docker, &found)?;
    }
    Ok(found)
}

/// Returns the digest of the image's configuration. A push or an export reports it, and stores
/// new layers in the cache as well; otherwise both are read from the image's archive, which
/// takes longer for larger images.
fn config_digest(cx: &Cx, docker: &Docker, image: &BuiltImage) -> Result<String> {
    let cache = cx.cache_dir().and_then(|dir| LayerCache::open_in(dir).ok());
    let known = cache.as_ref().and_then(|cache| export::known_config(cache, &image.id));
    match (known, cache.filter(|_| !cx.is_dry_run())) {
        (Some(known), _) => Ok(known),
        (None, Some(cache)) => read_config_digest(cx, docker, image, &cache)
            .inspect(|digest| export::record_config(&cache, &image.id, digest)),
        (None, None) => Ok(docker.read_saved(cx, image, |_, _| Ok(()))?.config_digest),
    }
}

fn read_config_digest(
    cx: &Cx,
    docker: &Docker,
    image: &BuiltImage,
    cache: &LayerCache,
) -> Result<String> {
    let pushed = || push::push(cx, docker, cache, &LayerRequest::Unpushed, image).config_digest;
    let found = match docker.layer_source(cx) {
        LayerSource::Layout => export::identify(cx, docker, image, cache),
        LayerSource::Push | LayerSource::Archive => {
            // A push that fails shows whether an export is necessary.
            pushed().or_else(|| match docker.layer_source(cx) {
                LayerSource::Layout => export::identify(cx, docker, image, cache),
                _ => None,
            })
        }
    };
    match found {
        Some(digest) => Ok(digest),
        None => Ok(extract::extract_new_layers(cx, docker, image, cache)?),
    }
}

/// Returns a stand-in for the image in a dry run, where its content is unknown.
fn dry_run_image(cx: &Cx, store: &ImageStore, config: &Config, command: String) -> BuiltImage {
    let reference = config.image.with_content_tag("<digest>");
    cx.emit(Event::WouldRun { command });
    show_tag(cx, store, &config.image.familiar(), &reference);
    BuiltImage {
        reference,
        config_digest: String::new(),
        platform: String::new(),
        size: 0,
        id: String::new(),
        layers: Vec::new(),
    }
}

fn image_build<'a>(sh: &'a Shell, store: &ImageStore, config: &Config) -> Cmd<'a> {
    let mut cmd = store.build_cmd(sh);
    if let ImageStore::Docker(_) | ImageStore::Buildx(_) = store {
        let (name, value) = docker::NO_ATTESTATIONS;
        cmd = cmd.env(name, value);
    }
    let tag = store.local_name(&config.image);
    cmd = cmd.args(["--tag", &tag, "--file"]).arg(&config.dockerfile);
    if let Some(target) = &config.target {
        cmd = cmd.args(["--target", target]);
    }
    for (name, value) in &config.build_args {
        cmd = cmd.arg("--build-arg").arg(format!("{name}={value}"));
    }
    if let Some(builder) = config.builder.buildx_name() {
        cmd = cmd.args(["--builder", builder]);
    }
    if let Some(platform) = &config.platform {
        cmd = cmd.args(["--platform", platform]);
    }
    if !config.docker_build.is_empty() {
        // Relative paths in these arguments are relative to the package.
        sh.change_dir(&config.dir);
    }
    cmd.args(&config.docker_build)
}

/// Returns cargo's target directory if the Dockerfile copies from `target/` and the build
/// context does not contain it: it was moved by `CARGO_TARGET_DIR` or by a cargo setting, or
/// it belongs to the workspace.
fn target_outside_context(config: &Config, dockerfile: &str) -> Option<PathBuf> {
    let context = config.context.canonicalize().ok()?;
    let target = &config.target_dir;
    let is_in_context = target.starts_with(&config.context) || target.starts_with(context);
    let mut args = config.cargo_build.iter().flatten();
    let is_moved_back = args.any(|arg| arg.starts_with("--target-dir"));
    (!is_in_context && !is_moved_back && copies_from_target(dockerfile)).then(|| target.clone())
}

/// Returns whether a Dockerfile copies files of `target/` from the build context.
fn copies_from_target(dockerfile: &str) -> bool {
    let sources = dockerfile::context_sources(dockerfile);
    sources.iter().any(|source| source.trim_start_matches("./").starts_with("target/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_from_target_detects_copy_from_context() {
        let table = [
            ("FROM scratch\nCOPY target/*/release/hello /hello\n", true),
            ("FROM a\nadd ./target/release/x /x\n", true),
            ("FROM a\nCOPY [\"target/x\", \"/x\"]\n", true),
            ("FROM a\nCOPY --chmod=755 target/x /x\n", true),
            ("FROM a\nCOPY app \\\n  target/x /x\n", true),
            ("FROM a\nCOPY --from=build target/x /x\n", false),
            ("FROM a\nCOPY app target/app\n", false),
            ("FROM a\nCOPY . /src\nRUN cp target/x /x\n# COPY target/x\n", false),
        ];
        for (text, expected) in table {
            assert_eq!(copies_from_target(text), expected, "{text}");
        }
    }
}
