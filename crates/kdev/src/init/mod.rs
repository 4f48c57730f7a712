//! Writes the first files of a project: manifest, Dockerfile, ignore file, settings, and the
//! onboarding script. Existing files are never changed, except for lines that are appended to
//! `Cargo.toml` and `.gitignore`.
//!
//! - `package.rs`: the program of the package
//! - `sources.rs`: finds the source files, and the facts in them
//! - `code.rs`: the lines of a source file without comments
//! - `ports.rs`: the ports that a source file listens on
//! - `toolchain.rs`: the targets of the Rust toolchain
//! - `rustflags.rs`: the flag for static programs, beside those of the project
//! - `lock.rs`: the crates that the package depends on
//! - `image.rs`: chooses where the program is built; Dockerfile and ignore file
//! - `manifest.rs`: the manifests
//! - `settings.rs`: `Cargo.toml`, `kdev.local.toml`, and `.gitignore`
//! - `onboarding.rs`: the onboarding script
//! - `signal.rs`: the handler for SIGTERM
//! - `template.rs`: inserts values into the files of `files/`
//! - `plan.rs`: all files that are missing
//! - `write.rs`: writes them, or none

mod code;
mod error;
pub(crate) mod image;
mod lock;
mod manifest;
mod onboarding;
pub(crate) mod package;
pub(crate) mod plan;
mod ports;
mod rustflags;
mod settings;
mod signal;
pub(crate) mod sources;
mod template;
pub(crate) mod toolchain;
pub(crate) mod write;

pub use error::Error;
pub(crate) use error::Result;
pub use manifest::{ManifestFormat, WorkloadType};
pub(crate) use onboarding::installed_source;
pub use plan::{FileAction, InitFile, InitFinding, InitReport};
