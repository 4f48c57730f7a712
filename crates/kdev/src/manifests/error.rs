//! What is wrong with the manifests.

use std::path::{Path, PathBuf};

use kdev_core::shell::quote;
use kdev_core::text::list;
use kdev_manifest::parse_error::CONTAINS_TEMPLATES;

use crate::details::Details;
use crate::process::{self, Failure};
use crate::{config, tools};

/// The result of reading manifests.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// What is wrong with the manifests.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No file matches the configured manifests.
    #[error("no Kubernetes manifest matches {}", list(patterns))]
    NotFound {
        /// What was looked for.
        patterns: Vec<String>,
        /// The command that writes a first one, where there is none to be corrected.
        create_command: Option<String>,
    },
    /// The manifests name other images only.
    #[error("no container in {} runs the image `{image}`", list(files))]
    ImageNotUsed {
        /// The image of this project.
        image: String,
        /// The manifests that were read.
        files: Vec<String>,
        /// The images that they name.
        found: Vec<String>,
        /// The one that looks most like it: file, line and image.
        nearest: Option<(PathBuf, usize, String)>,
    },
    /// A manifest that cannot be edited with certainty.
    #[error("cannot edit {}, line {line}, column {column}", describe_source(path, generated_by.as_deref()))]
    Edit {
        /// Which file or folder.
        path: PathBuf,
        /// The command that has made the text of a folder.
        generated_by: Option<String>,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What is wrong there.
        #[source]
        reason: Details,
    },
    /// kubectl or helm could make no manifests of this folder.
    #[error("cannot make manifests of `{}`", .0.display())]
    Render(PathBuf, #[source] Failure),
    /// A pattern of the settings is none.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// kubectl or helm is missing, or cannot be understood.
    #[error(transparent)]
    Tool(#[from] tools::Error),
    /// A file could not be read, or nothing could be run.
    #[error(transparent)]
    Process(#[from] process::Error),
}

fn describe_source(path: &Path, made_by: Option<&str>) -> String {
    match made_by {
        Some(command) => format!("what `{command}` makes"),
        None => format!("`{}`", path.display()),
    }
}

impl Error {
    /// One action that helps.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::NotFound { create_command: Some(command), .. } => {
                format!("write a first one with `{command}`")
            }
            Self::NotFound { .. } => {
                "write one, or correct `manifests = [\"path/*.yaml\"]` in `[package.metadata.kdev]`"
                    .to_owned()
            }
            Self::ImageNotUsed { image, nearest: Some((path, line, found)), .. } => format!(
                "write `image: {image}` in line {line} of `{}`, or set `image = \"{}\"` in `[package.metadata.kdev]`",
                path.display(),
                without_tag(found)
            ),
            Self::ImageNotUsed { image, found, .. } => image_not_used_help(image, found),
            Self::Edit { generated_by: Some(command), line, .. } => {
                format!("see line {line} of it with `{command}`")
            }
            Self::Edit { reason, .. } if reason.0 == CONTAINS_TEMPLATES => {
                "name the folder of its chart in `manifests`, or a file that `helm template` has written".to_owned()
            }
            Self::Edit { path, line, .. } => format!("change line {line} of `{}`", path.display()),
            Self::Render(folder, failure) => render_help(&folder.to_string_lossy(), failure),
            Self::Config(error) => return error.help(),
            Self::Tool(error) => return error.help(),
            Self::Process(_) => return None,
        })
    }
}

fn image_not_used_help(image: &str, found: &[String]) -> String {
    match found {
        [] => format!(
            "write `image: {image}` into a container of what makes the pods: a Deployment, a StatefulSet, …"
        ),
        [one] => format!(
            "name it in the manifest, or set `image = \"{}\"` in `[package.metadata.kdev]`",
            without_tag(one)
        ),
        _ => format!(
            "name it in the manifest, or set `image` in `[package.metadata.kdev]` to one of {}",
            list(found)
        ),
    }
}

fn render_help(folder: &str, Failure { command, stderr, .. }: &Failure) -> String {
    if stderr.contains("helm dependency build") {
        return format!("fetch what it depends on with `helm dependency build {}`", quote(folder));
    }
    // With it helm shows what it has made, even where that is no YAML.
    let debug = if command.starts_with("helm ") { " --debug" } else { "" };
    format!("mend the folder, and try it with `{command}{debug}`")
}

fn without_tag(image: &str) -> &str {
    kdev_core::image::reference::split_tag(image).0
}
