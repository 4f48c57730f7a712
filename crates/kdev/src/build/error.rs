//! Errors of building an image.

use std::path::PathBuf;

use kdev_core::image::local::Engine;
use kdev_core::rust_target;

use crate::build::assemble::error::Error as AssembleError;
use crate::details::Details;
use crate::process::{self, Failure, Outcome};
use crate::{docker, tools};

/// The result of a build.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// An image could not be built or is not built yet.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// `cargo build` or `docker build` failed. Its output was already shown.
    #[error("failed to build `{name}`")]
    Failed {
        /// The name of the image or the package.
        name: String,
        /// How it failed.
        #[source]
        source: Failure,
        /// A path that the Dockerfile copies, and that is outside of the build context.
        hint: Option<ContextHint>,
    },
    /// The image would contain another program than the one that cargo has built.
    #[error(transparent)]
    StaleCopy(#[from] StaleCopy),
    /// The nodes have another platform than the builder, and the builder cannot run programs of
    /// their platform.
    #[error(
        "cannot build for {platform}, the platform of the nodes: line {line} of the Dockerfile runs a program, and the builder runs only those of {default}"
    )]
    NoEmulation {
        /// The platform of the nodes.
        platform: String,
        /// The platform of the builder.
        default: String,
        /// The line of the instruction, from 1.
        line: usize,
    },
    /// The nodes have another platform than the daemon, and the legacy builder loses the
    /// platform in steps that create a container.
    #[error(
        "cannot build for {platform}, the platform of the nodes: Docker's legacy builder builds for {default}"
    )]
    LegacyBuilderPlatform {
        /// The platform of the nodes.
        platform: String,
        /// The platform of the daemon.
        default: String,
        /// How to build with BuildKit.
        help: &'static str,
    },
    /// The Dockerfile copies a program of another platform than the image's.
    #[error(
        "the Dockerfile copies `{}` (line {line}), a program for {built}, but the image is for {platform}",
        path.display()
    )]
    ProgramPlatform {
        /// The program, relative to the build context.
        path: PathBuf,
        /// The line of the instruction, from 1.
        line: usize,
        /// The platform of the program.
        built: String,
        /// The platform of the image.
        platform: String,
        /// Whether `cargo build` runs before the build.
        cargo_build: bool,
    },
    /// Docker does not have an image of this project.
    #[error("image `{image}` has not been built yet")]
    NotBuilt {
        /// The image's name.
        image: String,
        /// The command that builds it.
        build_command: String,
    },
    /// Only images of the builder cargo can be written to a file.
    #[error("`--output` is only for the builder cargo, but {engine} builds this image")]
    OutputUnsupported {
        /// What builds the image.
        engine: Engine,
        /// The command that writes the image.
        save: String,
        /// Whether the image must be stored in Docker first.
        is_in_builder: bool,
    },
    /// Docker built an image, but did not write its ID.
    #[error("`docker build` did not write the image ID to `{}`", file.display())]
    NoImageId {
        /// The temporary file for the ID.
        file: PathBuf,
    },
    /// The image that a builder has exported cannot be read.
    #[error("failed to read the image that builder `{builder}` has exported")]
    Export {
        /// The name of the builder.
        builder: String,
        /// Why it cannot be read.
        #[source]
        reason: Details,
        /// One action that fixes it, if it is known.
        help: Option<String>,
    },
    /// The build would give several images, of which a node needs one.
    #[error("cannot build for several platforms at once: `{platforms}`")]
    SeveralPlatforms {
        /// The platforms, separated by commas.
        platforms: String,
    },
    /// The image could not be assembled.
    #[error(transparent)]
    Assemble(#[from] AssembleError),
    /// Docker failed.
    #[error(transparent)]
    Docker(#[from] docker::Error),
    /// cargo is missing, or a builder could not be started.
    #[error(transparent)]
    Tool(#[from] tools::Error),
    /// No program could be started.
    #[error(transparent)]
    Process(#[from] process::Error),
}

impl Error {
    /// Returns one action that fixes the error.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Failed { hint: Some(hint), .. } => Some(hint.help()),
            Self::Failed { source, .. } => matches!(source.outcome, Outcome::Code(_))
                .then(|| "check the build output above".to_owned()),
            Self::StaleCopy(stale) => Some(stale.help()),
            Self::NoEmulation { platform, .. } => Some(emulation_help(platform)),
            Self::LegacyBuilderPlatform { help, .. } => Some((*help).to_owned()),
            Self::ProgramPlatform { platform, cargo_build, .. } => {
                Some(cross_compile_help(platform, *cargo_build))
            }
            Self::NotBuilt { build_command: by, .. } => Some(format!("run `{by}` to build it")),
            Self::OutputUnsupported { save, is_in_builder: false, .. } => {
                Some(format!("run `cargo kdev build`, and then `{save}`"))
            }
            Self::OutputUnsupported { save, .. } => Some(format!(
                "add `\"--load\"` to `docker-build` in `[package.metadata.kdev]`, and run `cargo kdev build`, and then `{save}`"
            )),
            Self::NoImageId { .. } => Some(
                "if Docker is installed as a snap, it cannot write there: run `mkdir -p ~/kdev-tmp`, and set `TMPDIR` to this folder"
                    .to_owned(),
            ),
            Self::Export { help, .. } => {
                help.clone().or_else(|| Some("run the command again".to_owned()))
            }
            Self::SeveralPlatforms { .. } => Some(
                "remove `--platform` from `docker-build` in `[package.metadata.kdev]` to build for the nodes"
                    .to_owned(),
            ),
            Self::Assemble(error) => Some(error.help()),
            Self::Docker(error) => error.help(),
            Self::Tool(error) => error.help(),
            Self::Process(_) => None,
        }
    }

    /// Returns the exit code of the build, or 1 if it has none.
    pub(crate) fn builder_exit_code(source: &Failure) -> u8 {
        match source.outcome {
            Outcome::Code(code) => u8::try_from(code).unwrap_or(1),
            Outcome::Signal(_)
            | Outcome::TimedOut(_)
            | Outcome::DiskFull(_)
            | Outcome::Interrupted
            | Outcome::NotStarted(_) => 1,
        }
    }
}

/// Returns how to make programs of a platform run in a build, or unnecessary.
fn emulation_help(platform: &str) -> String {
    let arch = platform.trim_start_matches("linux/");
    format!(
        "run `docker run --privileged --rm tonistiigi/binfmt --install {arch}` to emulate it, or compile in a stage that begins with `FROM --platform=$BUILDPLATFORM`"
    )
}

/// Returns how to compile a program for a platform.
fn cross_compile_help(platform: &str, cargo_build: bool) -> String {
    let target = rust_target::static_target(platform).or(rust_target::gnu_target(platform));
    let target = target.unwrap_or("TARGET");
    if cargo_build {
        format!(
            "add `\"--target={target}\"` to `cargo-build` in `[package.metadata.kdev]`, and copy the program from `target/{target}/`"
        )
    } else {
        format!(
            "build it with `cargo build --target {target}`, and copy it from `target/{target}/`"
        )
    }
}

/// A path that the Dockerfile copies, and that is outside of the build context.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ContextHint {
    /// The Dockerfile copies from `target/`, but this is cargo's target directory.
    Target(PathBuf),
    /// The workspace contains the path.
    Workspace {
        /// The path, relative to the workspace.
        path: String,
        /// The line of the instruction, from 1.
        line: usize,
        /// The workspace, relative to the package.
        context: PathBuf,
    },
    /// The package contains the path.
    Package {
        /// The line of the instruction, from 1.
        line: usize,
        /// The path, relative to the build context.
        path: PathBuf,
    },
}

impl ContextHint {
    fn help(&self) -> String {
        match self {
            Self::Target(target) => format!(
                "unset CARGO_TARGET_DIR or set `context` in `[package.metadata.kdev]`: the Dockerfile copies from `target/`, but cargo builds into `{}`, which is outside the build context",
                target.display()
            ),
            Self::Workspace { path, line, context } => format!(
                "set `context = \"{}\"` in `[package.metadata.kdev]`: `{path}` (line {line} of the Dockerfile) is in the workspace's folder, not in the build context",
                context.display()
            ),
            Self::Package { line, path } => format!(
                "copy `{}` in line {line} of the Dockerfile: paths are relative to the build context",
                path.display()
            ),
        }
    }
}

/// The Dockerfile copies a program of cargo that is not the one that cargo has just built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the Dockerfile copies `{}` (line {line}), but cargo built `{}`",
    copied.display(),
    built.display()
)]
pub struct StaleCopy {
    /// The Dockerfile.
    pub dockerfile: PathBuf,
    /// The line of the instruction, from 1.
    pub line: usize,
    /// The copied program, relative to the build context.
    pub copied: PathBuf,
    /// The program that cargo built; relative to the build context if it is in it.
    pub built: PathBuf,
    /// How to copy the program that cargo built.
    pub fix: StaleCopyFix,
}

/// How to copy the program that cargo built.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StaleCopyFix {
    /// Copy this path.
    Copy(PathBuf),
    /// Use this path in the image, in this line.
    Use(PathBuf, usize),
    /// Run this path of the image in the manifest.
    UseInManifest(PathBuf),
    /// Build with `--release`.
    Release,
    /// Use this build context.
    Context(PathBuf),
    /// Build into this target directory.
    TargetDir(PathBuf),
}

impl StaleCopy {
    fn help(&self) -> String {
        let arguments = "`cargo-build` in `[package.metadata.kdev]`";
        match &self.fix {
            StaleCopyFix::Copy(path) => format!(
                "copy `{}` in line {} of `{}`",
                path.display(),
                self.line,
                self.dockerfile.display()
            ),
            StaleCopyFix::Use(path, line) => format!(
                "use `{}` in line {line} of `{}`",
                path.display(),
                self.dockerfile.display()
            ),
            StaleCopyFix::UseInManifest(path) => {
                format!("use `{}` in `command` of the container in the manifest", path.display())
            }
            StaleCopyFix::Release => {
                format!("pass `--release`, or add `\"--release\"` to {arguments}")
            }
            StaleCopyFix::Context(path) => {
                format!("set `context = \"{}\"` in `[package.metadata.kdev]`", path.display())
            }
            StaleCopyFix::TargetDir(path) => {
                format!("add `\"--target-dir={}\"` to {arguments}", path.display())
            }
        }
    }
}
