//! Takes the settings and gives an image that docker has, tagged with its content: runs
//! `cargo build` if that is configured, then `docker build`, both with their output shown.
//!
//! - `buildkit.rs`: what of a Dockerfile the old builder refuses
//! - `dockerfile.rs`: the instructions of a Dockerfile
//! - `hard_links.rs`: files with two names, which the old builder takes for unchanged

pub(crate) mod buildkit;
mod dockerfile;
mod error;
mod hard_links;

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use kdev_core::image::built::BuiltImage;
use kdev_core::image::reference::Reference;
use xshell::{Cmd, Shell, cmd};

use crate::config::Config;
use crate::cx::Cx;
use crate::docker::{self, Docker};
use crate::event::Event;
use crate::layers::cache::LayerCache;
use crate::layers::push::{self, LayerRequest};
use crate::process::{self, Failure, Outcome, Command};
use crate::project::PackageSelection;
use crate::tools::{self, CARGO};

pub use error::Error;
pub(crate) use error::Result;

/// Builds, identifies and tags the image. A dry run only shows how.
pub(crate) fn build(cx: &Cx, docker: &Docker, config: &Config) -> Result<BuiltImage> {
    let begun = Instant::now();
    cargo_build(cx, config)?;
    let iid = tempfile::NamedTempFile::new().map_err(process::Error::write("a temporary file"))?;
    let sh = cx.shell()?;
    let image = config.image.familiar();
    let task = Command::new(
        docker_build(&sh, docker, config).arg("--iidfile").arg(iid.path()).arg(&config.context),
    );
    // By hand nobody would ask for the file, so it is not shown.
    let command = Command::new(docker_build(&sh, docker, config).arg(&config.context)).to_string();
    if cx.is_dry_run() {
        return Ok(dry_run_image(cx, config, command));
    }
    let dockerfile = fs::read(&config.dockerfile).unwrap_or_default();
    let dockerfile = String::from_utf8_lossy(&dockerfile);
    // Whatever hinders it, the build itself may well do without.
    let _ = hard_links::break_hard_links(&config.target_dir, &config.context, &dockerfile);
    let elsewhere = target_outside_context(config, &dockerfile);
    cx.emit(Event::Building { target: image.clone(), command: command.clone() });
    run_build(cx, task, "docker", image, command).map_err(|error| match error {
        Error::Failed { name: what, source, .. } => {
            Error::Failed { name: what, source, target_outside_context: elsewhere.clone() }
        }
        error => error,
    })?;
    if let Some(target) = elsewhere {
        let target = target.display();
        let text = format!(
            "the Dockerfile copies from `target/`, and cargo builds into `{target}`, which docker does not see"
        );
        cx.emit(Event::Note { text });
    }
    let id = fs::read_to_string(iid.path()).map_err(process::Error::read(iid.path()))?;
    let built = identify(cx, docker, id.trim(), &config.image)?;
    cx.emit(Event::Built {
        image: built.reference.familiar(),
        config_digest: built.config_digest.clone(),
        duration: begun.elapsed(),
    });
    Ok(built)
}

/// What docker has under a name or ID, named by its content.
pub(crate) fn identify(
    cx: &Cx,
    docker: &Docker,
    id: &str,
    image: &Reference,
) -> Result<BuiltImage> {
    let mut built = find_image(cx, docker, id, image)?;
    built.reference = image.with_content_tag(&built.config_digest);
    if cx.is_dry_run() {
        let command = format!("docker tag {} {}", built.id, built.reference.familiar());
        cx.emit(Event::WouldRun { command });
    } else {
        docker.tag(cx, &built.id, &built.reference)?;
    }
    Ok(built)
}

/// The reference of the last build, which docker must have; nothing is tagged.
pub(crate) fn last_build(
    cx: &Cx,
    docker: &Docker,
    config: &Config,
    selection: &PackageSelection,
) -> Result<Reference> {
    let found = find_image(cx, docker, &config.image.familiar(), &config.image);
    let found = found.map_err(|error| into_not_built(error, selection))?;
    Ok(config.image.with_content_tag(&found.config_digest))
}

/// The error where docker has no build of the project.
pub(crate) fn into_not_built(error: Error, selection: &PackageSelection) -> Error {
    match error {
        Error::Docker(docker::Error::ImageNotFound { image }) => {
            let by = format!("cargo kdev up{}", selection.to_flags());
            Error::NotBuilt { image, build_command: by }
        }
        error => error,
    }
}

/// What docker has under a name or ID, under the name that it has.
pub(crate) fn find_image(cx: &Cx, docker: &Docker, id: &str, image: &Reference) -> Result<BuiltImage> {
    let inspected = docker.inspect(cx, id)?;
    let mut found = BuiltImage {
        reference: image.clone(),
        config_digest: inspected.id.clone(),
        platform: format!("{}/{}", inspected.os, inspected.architecture),
        size: inspected.size,
        layers: inspected.layers(),
        id: inspected.id,
    };
    if !docker.uses_config_digest_as_id() {
        found.config_digest = config_digest(cx, docker, &found)?;
    }
    Ok(found)
}

/// docker tells it when it pushes, and with it what is new in the build; else
/// its archive does, which takes as long as the image is large.
fn config_digest(cx: &Cx, docker: &Docker, image: &BuiltImage) -> Result<String> {
    let cache = cx.cache_dir().filter(|_| !cx.is_dry_run());
    let pushed = cache.and_then(|dir| {
        let push = |endpoint: &str| docker.push(cx, image, endpoint);
        push::serve(&LayerCache::open_in(dir).ok()?, &LayerRequest::Unpushed, image, push).ok()?
    });
    Ok(pushed.map_or_else(|| docker.config_digest(cx, image), Ok)?)
}

/// The image as a dry run speaks of it: its content is not known.
fn dry_run_image(cx: &Cx, config: &Config, command: String) -> BuiltImage {
    let reference = config.image.with_content_tag("<digest>");
    cx.emit(Event::WouldRun { command });
    let tag = format!("docker tag {} '{}'", config.image.familiar(), reference.familiar());
    cx.emit(Event::WouldRun { command: tag });
    BuiltImage {
        reference,
        config_digest: String::new(),
        platform: String::new(),
        size: 0,
        id: String::new(),
        layers: Vec::new(),
    }
}

fn cargo_build(cx: &Cx, config: &Config) -> Result<()> {
    let Some(args) = &config.cargo_build else {
        return Ok(());
    };
    let (cargo, package) = (CARGO.find()?, &config.package);
    let sh = cx.shell()?;
    // In the package's folder, so that its `.cargo/config.toml` counts.
    sh.change_dir(&config.dir);
    let task = Command::new(cmd!(sh, "{cargo} build --package {package} {args...}")).show_dir();
    let command = task.to_string();
    if cx.is_dry_run() {
        cx.emit(Event::WouldRun { command });
        return Ok(());
    }
    cx.emit(Event::Building { target: package.clone(), command: command.clone() });
    run_build(cx, task, "cargo", package.clone(), command)
}

fn docker_build<'a>(sh: &'a Shell, docker: &Docker, config: &Config) -> Cmd<'a> {
    // With attestations an image becomes an index, and each build a new one.
    let mut cmd = docker.cmd(sh).env("BUILDX_NO_DEFAULT_ATTESTATIONS", "1");
    cmd = cmd.args(["build", "--tag", &config.image.familiar(), "--file"]).arg(&config.dockerfile);
    if let Some(target) = &config.target {
        cmd = cmd.args(["--target", target]);
    }
    for (name, value) in &config.build_args {
        cmd = cmd.arg("--build-arg").arg(format!("{name}={value}"));
    }
    cmd
}

/// Runs a build; its error shows the command as a person would give it.
fn run_build(cx: &Cx, task: Command, tool: &'static str, what: String, command: String) -> Result<()> {
    task.run(cx, tool).map_err(|failure| {
        let source = Failure { command, ..failure };
        if matches!(source.outcome, Outcome::NotStarted(_)) {
            return tools::Error::Command { action: format!("run `{tool}`"), source }.into();
        }
        Error::Failed { name: what, source, target_outside_context: None }
    })
}

/// Where cargo puts what the Dockerfile looks for in `target/`, if docker does not see
/// that: the variable or a setting of cargo's has moved it, or it is the workspace's.
fn target_outside_context(config: &Config, dockerfile: &str) -> Option<PathBuf> {
    let context = config.context.canonicalize().ok()?;
    let target = &config.target_dir;
    let is_seen = target.starts_with(&config.context) || target.starts_with(context);
    let mut args = config.cargo_build.iter().flatten();
    let is_moved_back = args.any(|arg| arg.starts_with("--target-dir"));
    (!is_seen && !is_moved_back && copies_from_target(dockerfile)).then(|| target.clone())
}

/// Whether a Dockerfile takes a file of `target/` out of the build context.
fn copies_from_target(dockerfile: &str) -> bool {
    let sources = dockerfile::context_sources(dockerfile);
    sources.iter().any(|source| source.trim_start_matches("./").starts_with("target/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_out_of_the_target_folder_is_seen() {
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
