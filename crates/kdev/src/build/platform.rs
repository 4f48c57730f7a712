//! Chooses the platform of an image before the build, for the nodes that will run it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use kdev_core::kube::node::Node;
use kdev_core::program::{self, HEADER};
use kdev_core::rust_target::is_same_platform;

use crate::build::assemble;
use crate::build::error::{Error, Result};
use crate::build::sources::{self, PlatformUse};
use crate::config::Config;
use crate::cx::Cx;
use crate::docker::{self, Builder, Docker, ImageStore};

/// The operating system of the images that kdev loads.
const SYSTEM: &str = "linux/";
/// A platform that no node has.
const UNKNOWN: &str = "unknown";

/// Returns the platform that must be passed to the build. Returns `None` if the default
/// platform of the builder fits a node, which costs nothing, or if the user has set one.
pub(crate) fn choose(
    cx: &Cx,
    store: &ImageStore,
    config: &Config,
    nodes: &[&Node],
) -> Result<Option<String>> {
    if matches!(store, ImageStore::Assembled(_)) {
        let nodes = nodes.iter().map(|node| node.info.platform());
        let preferred = assemble::preferred_platform(config);
        return Ok(Some(wanted_platform(&preferred, nodes).unwrap_or(preferred)));
    }
    let dockerfile = fs::read(&config.dockerfile).unwrap_or_default();
    let dockerfile = sources::platform_use(config, &String::from_utf8_lossy(&dockerfile));
    if dockerfile.is_set || is_set(cx, store, config) {
        return Ok(None);
    }
    let Some(default) = default_platform(cx, store, config)? else { return Ok(None) };
    let nodes = nodes.iter().map(|node| node.info.platform());
    let Some(platform) = wanted_platform(&default, nodes) else { return Ok(None) };
    match store {
        ImageStore::Docker(docker) => {
            check_builder(cx, docker, config, &default, &platform, dockerfile.first_run)?;
        }
        ImageStore::Buildx(buildx) => {
            check_emulation(&buildx.builder, &platform, dockerfile.first_run)?;
        }
        ImageStore::Podman(_) | ImageStore::Assembled(_) => {}
    }
    Ok(Some(platform))
}

/// Returns whether the user has set the platform outside of the Dockerfile.
fn is_set(cx: &Cx, store: &ImageStore, config: &Config) -> bool {
    // Podman does not read the variable.
    let reads_variable = !matches!(store, ImageStore::Podman(_));
    let variable = cx.docker_settings().variable("DOCKER_DEFAULT_PLATFORM");
    (reads_variable && variable.is_some()) || config.docker_build_flag("--platform").is_some()
}

/// Returns the platform that the builder builds for by default, if it is known.
fn default_platform(cx: &Cx, store: &ImageStore, config: &Config) -> Result<Option<String>> {
    let named = config.builder_name();
    let docker = match store {
        ImageStore::Docker(docker) => docker,
        ImageStore::Buildx(buildx) => return Ok(builder_platform(&buildx.builder)),
        ImageStore::Podman(_) | ImageStore::Assembled(_) => {
            return Ok(store.platform().map(str::to_owned));
        }
    };
    if !docker::selects_builder(cx.docker_settings(), named) {
        return Ok(Some(docker.platform.clone()));
    }
    let builder = docker.facts(cx, named)?.builder.filter(Builder::keeps_results);
    Ok(match builder {
        Some(builder) => builder_platform(&builder),
        None => Some(docker.platform.clone()),
    })
}

/// Returns the platform that a builder builds for by default, or [`UNKNOWN`], so that one is
/// passed. Returns `None` if the platforms that could be passed are not known.
fn builder_platform(builder: &Builder) -> Option<String> {
    let unknown = (!builder.platforms.is_empty()).then(|| UNKNOWN.to_owned());
    builder.default_platform.clone().or(unknown)
}

/// Returns the platform of most nodes, unless one of them has the default platform.
fn wanted_platform(default: &str, nodes: impl Iterator<Item = String>) -> Option<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for platform in nodes.filter(|platform| platform.starts_with(SYSTEM)) {
        *counts.entry(platform).or_default() += 1;
    }
    if counts.keys().any(|platform| is_same_platform(default, platform)) {
        return None;
    }
    let most = counts.values().max().copied()?;
    counts.into_iter().find(|(_, count)| *count == most).map(|(platform, _)| platform)
}

/// Checks that the builder can build for a platform, and run the programs of a Dockerfile whose
/// first `RUN` is in line `first_run`.
fn check_builder(
    cx: &Cx,
    docker: &Docker,
    config: &Config,
    default: &str,
    platform: &str,
    first_run: Option<usize>,
) -> Result<()> {
    let named = config.builder_name();
    let (default, platform) = (default.to_owned(), platform.to_owned());
    let is_able = |builder: &Builder| first_run.is_none() || can_run(builder, &platform);
    let mut builder = docker.facts(cx, named)?.builder;
    if !builder.as_ref().is_some_and(is_able) {
        // Buildx or emulation may have been installed since the facts were read.
        docker.forget_facts(cx, named);
        builder = docker.facts(cx, named)?.builder;
    }
    match builder {
        None if docker.has_own_buildkit(cx) => Ok(()),
        None => {
            let help = docker.enable_buildkit_help(cx);
            Err(Error::LegacyBuilderPlatform { default, platform, help })
        }
        Some(builder) => check_emulation(&builder, &platform, first_run),
    }
}

/// Checks that a builder can run the programs of a Dockerfile whose first `RUN` is in line
/// `first_run`.
fn check_emulation(builder: &Builder, platform: &str, first_run: Option<usize>) -> Result<()> {
    match first_run.filter(|_| !can_run(builder, platform)) {
        Some(line) => {
            let default = builder.platforms.first().cloned().unwrap_or_default();
            Err(Error::NoEmulation { default, platform: platform.to_owned(), line })
        }
        None => Ok(()),
    }
}

/// Returns whether a builder can run programs of a platform; one that does not report its
/// platforms may.
fn can_run(builder: &Builder, platform: &str) -> bool {
    let platforms = &builder.platforms;
    platforms.is_empty() || platforms.iter().any(|one| is_same_platform(one, platform))
}

/// Checks the programs that the built stage copies from the context, if kdev has chosen the
/// platform: `cargo build` builds for this machine by default.
pub(crate) fn check_programs(config: &Config, dockerfile: &str) -> Result<()> {
    let Some(platform) = &config.platform else { return Ok(()) };
    let PlatformUse { copied, .. } = sources::platform_use(config, dockerfile);
    for source in copied {
        let built = program_platform(&config.context.join(&source.path));
        if let Some(built) = built.filter(|built| !is_same_platform(platform, built)) {
            return Err(Error::ProgramPlatform {
                path: source.path.into(),
                line: source.line,
                built: built.to_owned(),
                platform: platform.clone(),
                cargo_build: config.cargo_build.is_some(),
            });
        }
    }
    Ok(())
}

/// Returns a possible reason why Podman has failed to build for the platform that kdev has chosen.
/// Podman does not report the platforms whose programs it can run.
pub(crate) fn failure_hint(store: &ImageStore, config: &Config) -> Option<String> {
    let platform = config.platform.as_ref().filter(|_| store.is_podman())?;
    let dockerfile = fs::read(&config.dockerfile).unwrap_or_default();
    let line = sources::platform_use(config, &String::from_utf8_lossy(&dockerfile)).first_run?;
    let name = config.dockerfile.file_name().unwrap_or_default().display();
    Some(format!(
        "Podman builds for {platform}, the platform of the nodes, and line {line} of `{name}` runs a program, which requires emulation; run `sudo apt-get install qemu-user-static` if it is not installed"
    ))
}

/// Returns the platform of a program, from the first bytes of its file.
fn program_platform(path: &Path) -> Option<&'static str> {
    let mut head = [0; HEADER];
    File::open(path).and_then(|mut file| file.read_exact(&mut head)).ok()?;
    parse_header(&head)
}

/// Reads the header of an ELF file, or of a program of macOS.
fn parse_header(head: &[u8; HEADER]) -> Option<&'static str> {
    if [0xcf, 0xfa, 0xed, 0xfe] == head[..4] {
        return Some("darwin");
    }
    program::header_platform(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platform_of_most_nodes_is_built_unless_default_fits_one() {
        let table: [(&str, &[&str], Option<&str>); 9] = [
            ("linux/amd64", &["linux/amd64"], None),
            ("linux/arm64", &["linux/amd64"], Some("linux/amd64")),
            ("linux/arm64", &["linux/amd64", "linux/arm64", "linux/amd64"], None),
            ("linux/s390x", &["linux/amd64", "linux/arm64", "linux/arm64"], Some("linux/arm64")),
            ("linux/s390x", &["linux/arm64", "linux/amd64"], Some("linux/amd64")),
            ("linux/amd64", &["windows/amd64", "linux/arm64"], Some("linux/arm64")),
            ("linux/amd64", &["windows/amd64"], None),
            ("linux/arm/v7", &["linux/arm"], None),
            ("linux/arm64", &["linux/arm"], Some("linux/arm")),
        ];
        for (default, nodes, expected) in table {
            let nodes = nodes.iter().map(ToString::to_string);
            assert_eq!(wanted_platform(default, nodes).as_deref(), expected, "{default}");
        }
    }

    #[test]
    fn header_of_program_has_platform() {
        let header = |machine: [u8; 2], order: u8| {
            let mut head = [0; 20];
            head[..4].copy_from_slice(b"\x7fELF");
            (head[5], head[18], head[19]) = (order, machine[0], machine[1]);
            head
        };
        assert_eq!(parse_header(&header([62, 0], 1)), Some("linux/amd64"));
        assert_eq!(parse_header(&header([183, 0], 1)), Some("linux/arm64"));
        assert_eq!(parse_header(&header([0, 22], 2)), Some("linux/s390x"));
        assert_eq!(parse_header(&header([1, 1], 1)), None);
        assert_eq!(parse_header(b"#!/bin/sh\necho hello"), None);
        let mut mac = [0; 20];
        mac[..4].copy_from_slice(&[0xcf, 0xfa, 0xed, 0xfe]);
        assert_eq!(parse_header(&mac), Some("darwin"));
        let own = program_platform(&std::env::current_exe().unwrap());
        assert!(own.is_some(), "{own:?}");
    }
}
