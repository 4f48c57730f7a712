//! Errors of assembling an image.

use std::path::PathBuf;

use kdev_core::image::local::Engine;
use kdev_core::program::{GlibcVersion, InvalidProgram};
use kdev_core::shell::quote;
use kdev_core::text::list;

use crate::details::Details;

/// How to build a program that runs on each base.
const STATIC: &str = "build a static program for a musl target";

/// An image could not be assembled from the files of `cargo build`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The user has requested other messages of cargo.
    #[error("`--message-format` in `cargo-build` hides which program cargo has built")]
    NoMessages,
    /// The package is only a library.
    #[error("cargo has not built a program of package `{package}`, so no image can be assembled")]
    NoProgram {
        /// The package.
        package: String,
    },
    /// The package has several programs, and no `default-run`.
    #[error("package `{package}` has several programs: {}", list(names))]
    SeveralPrograms {
        /// The package.
        package: String,
        /// The programs.
        names: Vec<String>,
    },
    /// cargo has written a file that is not a program for Linux.
    #[error("`{}` is not a program for Linux", path.display())]
    InvalidProgram {
        /// The file.
        path: PathBuf,
        /// Why it is not a program.
        #[source]
        source: InvalidProgram,
    },
    /// The program is for another architecture than the nodes.
    #[error("`{}` is a program for {built}, but the image is for {platform}", path.display())]
    OtherPlatform {
        /// The program.
        path: PathBuf,
        /// The platform of the program.
        built: String,
        /// The platform of the image.
        platform: String,
    },
    /// The program needs files that the image does not have.
    #[error("`{}` needs files that the image does not have: {}", path.display(), list(libraries))]
    Dynamic {
        /// The program.
        path: PathBuf,
        /// The libraries.
        libraries: Vec<String>,
    },
    /// The program needs files that the base does not have.
    #[error("`{}` needs files that base `{base}` does not have: {}", path.display(), list(libraries))]
    NotInBase {
        /// The program.
        path: PathBuf,
        /// The base.
        base: String,
        /// The libraries.
        libraries: Vec<String>,
    },
    /// The program needs a newer GNU C library than that of the base.
    #[error(
        "`{}` needs version {} of the GNU C library, but base `{base}` has version {}",
        path.display(), version(*needed), version(*found)
    )]
    OlderGlibc {
        /// The program.
        path: PathBuf,
        /// The lowest version that has all symbols.
        needed: GlibcVersion,
        /// The base.
        base: String,
        /// The version of the base.
        found: GlibcVersion,
    },
    /// The base is not on this machine.
    #[error("base `{base}` not found in {engine}")]
    BaseNotFound {
        /// The base.
        base: String,
        /// Where it was looked for.
        engine: Engine,
    },
    /// The base is on the nodes, and the command connects to none.
    #[error("base `{base}` is on the nodes, so only `up` can build this image")]
    BaseOnNodes {
        /// The base.
        base: String,
    },
    /// The archive or directory of the base does not exist.
    #[error("`{}` of `base` not found", path.display())]
    BaseFileNotFound {
        /// The path.
        path: PathBuf,
    },
    /// The base is for other platforms.
    #[error("base `{base}` is for {}, but the image is for {platform}", found.join(" and "))]
    BasePlatform {
        /// The base.
        base: String,
        /// Its platforms.
        found: Vec<String>,
        /// The platform of the image.
        platform: String,
        /// Where it was found, unless it is a file.
        engine: Option<Engine>,
    },
    /// The base cannot be read.
    #[error("cannot read base `{base}`")]
    InvalidBase {
        /// The base.
        base: String,
        /// Why not.
        #[source]
        reason: Details,
        /// How to fix it, if that is known.
        help: Option<String>,
    },
    /// A file or folder of `assets` does not exist.
    #[error("`{}` in `assets` not found", path.display())]
    AssetNotFound {
        /// The file or folder.
        path: PathBuf,
    },
    /// A file or folder of `assets` is outside of the workspace.
    #[error("`{}` in `assets` is outside of the workspace", path.display())]
    AssetOutside {
        /// The file or folder.
        path: PathBuf,
    },
    /// An image has one platform.
    #[error("`cargo-build` has several targets, but an image contains the program of one")]
    SeveralTargets,
    /// The folder in which the image must be written does not exist.
    #[error("folder `{}` of `--output` not found", path.display())]
    NoFolder {
        /// The folder.
        path: PathBuf,
    },
    /// `--output` is the path of a file that kdev cannot write.
    #[error("cannot write an image to `{}`", path.display())]
    OtherFormat {
        /// The path.
        path: PathBuf,
    },
    /// `--output` is the path of something else.
    #[error("`{}` exists, and is not an image that can be replaced", path.display())]
    OtherContent {
        /// The path.
        path: PathBuf,
    },
    /// One archive for several images.
    #[error("cannot write several images to one archive")]
    SeveralImages,
    /// Another run has removed a layer from the cache, or it was damaged.
    #[error("the layer cache no longer has all layers of the image, or one of them was damaged")]
    LayersRemoved,
    /// No target of cargo that gives a static program is installed.
    #[error(
        "the Rust target `{target}`, which gives static programs for {platform}, is not installed"
    )]
    TargetMissing {
        /// The target.
        target: &'static str,
        /// The platform of the image.
        platform: String,
    },
    /// Rust has no target for the platform that gives static programs.
    #[error("kdev cannot assemble images for {platform}")]
    InvalidPlatform {
        /// The platform.
        platform: String,
    },
}

fn version((major, minor): GlibcVersion) -> String {
    format!("{major}.{minor}")
}

impl Error {
    /// Returns one action that fixes the error.
    pub(crate) fn help(&self) -> String {
        match self {
            Self::NoMessages => {
                "remove `--message-format` from `cargo-build` in `[package.metadata.kdev]`".to_owned()
            }
            Self::NoProgram { .. } => {
                "add `src/main.rs`, remove flags such as `--lib` from `cargo-build`, or pass `--package NAME`".to_owned()
            }
            Self::SeveralPrograms { names, .. } => format!(
                "pass `--bin {0}`, or set `default-run = \"{0}\"` in `[package]` of its Cargo.toml",
                names.first().map_or("NAME", String::as_str)
            ),
            Self::InvalidProgram { .. } => {
                "remove `--target` from `cargo-build` to build for the nodes".to_owned()
            }
            Self::OtherPlatform { .. } => {
                "remove `--target` from `cargo-build` in `[package.metadata.kdev]` to build for the nodes"
                    .to_owned()
            }
            Self::Dynamic { .. } => {
                "remove `--target` from `cargo-build`, and add `-Ctarget-feature=+crt-static` to the flags of rustc, to build a static program; or set `base` in `[package.metadata.kdev.container]` to an image with these files"
                    .to_owned()
            }
            Self::NotInBase { .. } => format!("set `base` to an image that has them, or {STATIC}"),
            Self::OlderGlibc { .. } => format!("set `base` to a newer image, or {STATIC}"),
            Self::BaseNotFound { base, engine } => {
                format!("run `{} pull {}`", engine.program(), quote(base))
            }
            Self::BaseOnNodes { .. } => {
                "run `cargo kdev up`, or set `base` to an image on this machine".to_owned()
            }
            Self::BaseFileNotFound { .. } => {
                "correct `base` in `[package.metadata.kdev.container]`, which is relative to the package's folder".to_owned()
            }
            Self::BasePlatform { base, platform, engine: Some(engine), .. } => {
                format!("run `{} pull --platform {platform} {}`", engine.program(), quote(base))
            }
            Self::BasePlatform { engine: None, platform, .. } => {
                format!("set `base` to an image for {platform}")
            }
            Self::InvalidBase { help: Some(help), .. } => help.clone(),
            Self::InvalidBase { help: None, .. } => {
                "set `base` to an archive of `docker save`, or to an OCI image layout".to_owned()
            }
            Self::AssetNotFound { .. } => {
                "correct the path, which is relative to the package's folder".to_owned()
            }
            Self::AssetOutside { .. } => {
                "copy it into the package, so that everyone builds the same image".to_owned()
            }
            Self::SeveralTargets => {
                "keep one `--target` in `cargo-build` in `[package.metadata.kdev]`".to_owned()
            }
            Self::NoFolder { path } => format!("run `mkdir -p {}`", quote(&path.display().to_string())),
            Self::OtherFormat { .. } => {
                "pass a file that ends with `.tar`, or a directory".to_owned()
            }
            Self::OtherContent { .. } => {
                "pass a file that ends with `.tar`, or a new directory".to_owned()
            }
            Self::SeveralImages => "pass a directory instead of a `.tar` file".to_owned(),
            Self::LayersRemoved => "run the command again".to_owned(),
            Self::TargetMissing { target, .. } => format!("run `rustup target add {target}`"),
            Self::InvalidPlatform { .. } => {
                "build the image with a Dockerfile and `builder = \"docker\"`".to_owned()
            }
        }
    }
}
