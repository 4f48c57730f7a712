//! Chooses where the program is built, and writes the Dockerfile and the ignore file.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use crate::config::BuilderChoice;
use crate::init::lock::crates_below;
use crate::init::package::Program;
use crate::init::template::fill;
use crate::init::toolchain::{StaticBuild, Toolchain};

const HOST: &str = include_str!("files/host.Dockerfile");
const DOCKER: &str = include_str!("files/docker.Dockerfile");
/// The image that builds the program if Docker has none.
const RUST_IMAGE: &str = "rust:1-slim";

/// The program that builds images on this machine.
#[derive(Clone, Debug, Default)]
pub(crate) struct ImageBuilder {
    /// Its name, such as `Docker`; otherwise `Docker or Podman`.
    pub(crate) name: &'static str,
    /// Its name and version, such as `Docker 28.2.2`, or why it cannot be used.
    pub(crate) description: String,
    /// Whether it can be used.
    pub(crate) is_available: bool,
    /// Whether a `RUN` can mount a cache.
    pub(crate) has_cache_mounts: bool,
    /// An image with Rust that it already has.
    pub(crate) rust_image: Option<String>,
}

/// Where the program is built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BuildPlace {
    /// On this machine, and kdev puts the program into an image, without a Dockerfile.
    Cargo,
    /// On this machine. The path of the target directory is relative to the workspace.
    Host { build: StaticBuild, target_dir: PathBuf },
    /// In Docker or Podman, in this image.
    Docker { image: String, has_cache_mounts: bool },
}

impl BuildPlace {
    /// Chooses a place without a download if there is one, and returns the reason. The choice is
    /// that of the flag, or that of the settings.
    pub(crate) fn choose(
        program: &Program,
        builder: &ImageBuilder,
        toolchain: Option<&Toolchain>,
        lock: &str,
        choice: Option<&BuilderChoice>,
    ) -> (Self, String) {
        let crates = crates_below(lock, &program.package);
        match choice {
            Some(BuilderChoice::Cargo) => return (Self::Cargo, "--builder".to_owned()),
            // A table that exists is not extended.
            None if program.table.is_null()
                && toolchain.is_some_and(Toolchain::can_build_without_docker)
                && !needs_c_library(&crates) =>
            {
                let reason = "it can build a static program on this machine".to_owned();
                return (Self::Cargo, reason);
            }
            _ => {}
        }
        let needs_c_compiler = needs_c_compiler(&crates);
        let name = builder.name;
        let has_cache_mounts = builder.has_cache_mounts;
        if let Some(image) = builder.rust_image.clone().filter(|_| has_cache_mounts) {
            let reason = format!("{name} has image `{image}` and supports cache mounts");
            return (Self::Docker { image, has_cache_mounts }, reason);
        }
        let build = toolchain.and_then(|toolchain| toolchain.static_build(needs_c_compiler));
        let target_dir = program.target_dir.strip_prefix(&program.workspace_root);
        match (build, target_dir) {
            (Some(build), Ok(target_dir)) => {
                let target_dir = target_dir.to_owned();
                let reason = "cargo can build a static program on this machine".to_owned();
                (Self::Host { build, target_dir }, reason)
            }
            (build, _) => {
                let cause = match build {
                    Some(_) => "the target directory is outside the workspace",
                    None => "cargo cannot build a static program for Linux on this machine",
                };
                let reason = format!("{cause}; {name} pulls image `{RUST_IMAGE}`");
                (Self::Docker { image: RUST_IMAGE.to_owned(), has_cache_mounts }, reason)
            }
        }
    }

    /// Describes the place.
    pub(crate) fn describe(&self, builder: &ImageBuilder) -> String {
        match self {
            Self::Cargo => "by cargo on this machine, without a Dockerfile".to_owned(),
            Self::Host { .. } => "by cargo on this machine".to_owned(),
            Self::Docker { image, .. } => format!("by {}, in image `{image}`", builder.name),
        }
    }

    /// Returns the Dockerfile and the ignore file, which lists only the files that the build needs.
    /// Returns `None` if the build needs none.
    pub(crate) fn files(
        &self,
        program: &Program,
        port: Option<u16>,
        locked: bool,
    ) -> Option<(String, String)> {
        let ignore_file = match self {
            Self::Cargo => return None,
            Self::Host { build, target_dir } => host_ignore_file(program, build, target_dir),
            Self::Docker { .. } => docker_ignore_file(program),
        };
        Some((self.dockerfile(program, port, locked), ignore_file))
    }

    fn dockerfile(&self, program: &Program, port: Option<u16>, locked: bool) -> String {
        let expose = port.map_or(String::new(), |port| format!("EXPOSE {port}"));
        let bin = program.binary.as_str();
        match self {
            Self::Cargo => String::new(),
            Self::Host { build, target_dir } => {
                let copied = target_dir.join(build.folder()).join("release").join(bin);
                let copied = copied.display().to_string();
                fill(HOST, &[("bin", bin), ("program", &copied), ("expose", &expose)])
            }
            Self::Docker { image, has_cache_mounts } => {
                let mount = |path: &str| {
                    format!("--mount=type=cache,sharing=locked,target={path} \\\n    ")
                };
                let mounts =
                    ["/usr/local/cargo/registry", "/usr/local/cargo/git", "/src/target"].map(mount);
                let reason = "# The caches keep downloads and compiled crates between builds.";
                let (mounts, reason) =
                    if *has_cache_mounts { (mounts.concat(), reason) } else { Default::default() };
                let values = [
                    ("rust-image", image.as_str()),
                    ("package", &program.package),
                    ("bin", bin),
                    ("expose", &expose),
                    ("mounts", &mounts),
                    ("cache-reason", reason),
                    ("locked", if locked { " --locked" } else { "" }),
                ];
                fill(DOCKER, &values)
            }
        }
    }
}

fn host_ignore_file(program: &Program, build: &StaticBuild, target_dir: &Path) -> String {
    let mut text =
        "# The image needs only the programs. Each folder has its own exception, because \
                    Docker does not\n# enter an ignored folder.\n*\n"
            .to_owned();
    let mut path = PathBuf::new();
    for folder in target_dir.iter().map(Path::new).chain([Path::new(build.folder())]) {
        if !path.as_os_str().is_empty() {
            let _ = writeln!(text, "{}/*", path.display());
        }
        path.push(folder);
        let _ = writeln!(text, "!{}", path.display());
    }
    let _ = writeln!(text, "{0}/*\n!{0}/release\n{0}/release/*", path.display());
    for binary in &program.binaries {
        let _ = writeln!(text, "!{}/release/{binary}", path.display());
    }
    text
}

fn docker_ignore_file(program: &Program) -> String {
    let mut text = "# Only these files are part of the image. Add each other file that the build \
                    reads, such as one\n# of `include_str!`.\n*\n!Cargo.toml\n!Cargo.lock\n\
                    !rust-toolchain*\n!.cargo\n"
        .to_owned();
    for member in &program.members {
        for file in ["Cargo.toml", "build.rs", "src"] {
            let path = member.join(file);
            if path != Path::new("Cargo.toml") {
                let _ = writeln!(text, "!{}", path.display());
            }
        }
    }
    text
}

/// Returns whether one of these crates compiles code in C, or links a library of the system.
fn needs_c_library(crates: &BTreeSet<String>) -> bool {
    let is_finder = |name| crates.contains(name);
    needs_c_compiler(crates) || ["bindgen", "pkg-config", "vcpkg"].into_iter().any(is_finder)
}

/// Returns whether one of these crates compiles code in C.
fn needs_c_compiler(crates: &BTreeSet<String>) -> bool {
    ["cc", "cmake"].into_iter().any(|name| crates.contains(name))
}

/// Returns an image with Rust among the names of images.
pub(crate) fn rust_image<'a>(names: impl Iterator<Item = &'a str>) -> Option<String> {
    let names = names.map(|name| name.strip_prefix("docker.io/library/").unwrap_or(name));
    // The images of kdev itself have tags like these.
    let is_rust = |name: &&str| name.starts_with("rust:") && !name.contains(":kdev-");
    names.filter(is_rust).map(str::to_owned).next()
}

/// Returns the port of an `EXPOSE` in a Dockerfile, and its line.
pub(crate) fn exposed_port(dockerfile: &str) -> Option<(u16, usize)> {
    dockerfile.lines().enumerate().find_map(|(at, line)| {
        let mut words = line.split_whitespace();
        let is_expose = words.next().is_some_and(|word| word.eq_ignore_ascii_case("expose"));
        let port = words.next().filter(|_| is_expose)?;
        let port = port.split_once('/').map_or(port, |(port, _)| port).parse().ok()?;
        Some((port, at + 1))
    })
}

#[cfg(test)]
#[path = "image_tests.rs"]
mod tests;
