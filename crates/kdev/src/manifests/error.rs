//! Errors of the manifests.

use std::fmt;
use std::path::{Path, PathBuf};

use kdev_core::shell::quote;
use kdev_core::text::list;
use kdev_manifest::parse_error::CONTAINS_TEMPLATES;

use crate::details::Details;
use crate::process::{self, Failure};
use crate::{cluster, config, tools};

/// The result of reading manifests.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the manifests.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No file or folder matches the configured patterns.
    #[error("no manifest matches {}", list(patterns))]
    NotFound {
        /// The patterns.
        patterns: Vec<String>,
        /// The command that creates a first manifest, if the patterns are the default ones.
        create_command: Option<String>,
    },
    /// A file with values of charts does not exist.
    #[error("file with Helm values not found at `{}`", .0.display())]
    ValuesNotFound(PathBuf),
    /// The manifests only use other images.
    #[error("no container in {} uses image `{image}`", list(files))]
    ImageNotUsed {
        /// The image of this project.
        image: String,
        /// The manifests that were read.
        files: Vec<String>,
        /// The images that they use.
        found: Vec<String>,
        /// The most similar image: file, line, and image.
        nearest: Option<(PathBuf, usize, String)>,
    },
    /// A manifest cannot be edited safely.
    #[error("cannot update {} at line {line}, column {column}", describe_source(path, generated_by.as_deref()))]
    Edit {
        /// The file or folder.
        path: PathBuf,
        /// The command that rendered a folder.
        generated_by: Option<String>,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// Why it cannot be edited.
        #[source]
        reason: Details,
    },
    /// A file contains something else than objects.
    #[error("cannot apply {location}: {}", not_an_object(*is_kustomization))]
    NotAnObject {
        /// The first value that is not an object.
        location: Location,
        /// Whether it is the input of `kubectl kustomize`.
        is_kustomization: bool,
        /// How to keep the file out of the manifests; `None` for a rendered folder.
        fix: Option<String>,
    },
    /// The API server would generate the name of an object, so each apply would create another
    /// one. Server-side apply rejects that.
    #[error("cannot apply {location}: server-side apply does not support `generateName`")]
    GeneratedName {
        /// The field.
        location: Location,
    },
    /// An object has no name.
    #[error("cannot apply {location}: the object has no `metadata.name`")]
    NoName {
        /// The object.
        location: Location,
    },
    /// An object is defined twice, with different contents.
    #[error("{object} is defined twice: at {first} and at {second}")]
    DefinedTwice {
        /// Kind and name.
        object: String,
        /// The first definition.
        first: Location,
        /// The second definition.
        second: Location,
    },
    /// A workload runs the image of another package, which was never deployed.
    #[error("{workload} runs image `{image}` of package `{package}`, which is not deployed yet")]
    SiblingNotDeployed {
        /// Kind and name.
        workload: String,
        /// The other package.
        package: String,
        /// Its image.
        image: String,
        /// Whether the workload also runs the image of this project.
        is_mixed: bool,
    },
    /// `kubectl` or `helm` failed to render a folder.
    #[error("failed to render `{}`", .0.display())]
    Render(PathBuf, #[source] Failure),
    /// `lookup` failed in a chart: the cluster is unreachable, or a permission is missing.
    #[error("failed to render `{}`", folder.display())]
    Lookup {
        /// The folder.
        folder: PathBuf,
        /// `kubectl` with the context and namespace that were used.
        kubectl: String,
        /// The failed `helm`.
        #[source]
        source: Failure,
    },
    /// `kubectl` is part of a distribution and reads another kubeconfig than `helm`.
    #[error("`helm` would use another cluster than `kubectl` for context `{context}`")]
    OtherKubeconfig {
        /// The context.
        context: String,
    },
    /// A configured pattern is invalid.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// The cluster for which a chart is rendered cannot be used.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    /// `kubectl` or `helm` is missing or printed unexpected output.
    #[error(transparent)]
    Tool(#[from] tools::Error),
    /// A file could not be read, a process could not be started, or the run was interrupted.
    #[error(transparent)]
    Process(#[from] process::Error),
}

/// A line in a manifest, or in the output for a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The file or folder.
    pub path: PathBuf,
    /// The command that rendered a folder.
    pub generated_by: Option<String>,
    /// Line, from 1.
    pub line: usize,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.generated_by {
            Some(command) => write!(f, "line {} of the output of `{command}`", self.line),
            None => write!(f, "`{}:{}`", self.path.display(), self.line),
        }
    }
}

impl Location {
    /// Returns the place as the end of a sentence.
    fn fix_place(&self) -> String {
        match &self.generated_by {
            Some(_) => format!("in the templates of `{}`", self.path.display()),
            None => format!("at line {} of `{}`", self.line, self.path.display()),
        }
    }
}

fn not_an_object(is_kustomization: bool) -> &'static str {
    if is_kustomization {
        "a kustomization is not an object of the cluster"
    } else {
        "it is not a Kubernetes object, because it has no `kind`"
    }
}

fn describe_source(path: &Path, generated_by: Option<&str>) -> String {
    match generated_by {
        Some(command) => format!("the output of `{command}`"),
        None => format!("`{}`", path.display()),
    }
}

impl Error {
    /// Returns the text of the `help:` line, if there is one.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::NotFound { create_command: Some(command), .. } => {
                format!("run `{command}` to create one")
            }
            Self::NotFound { .. } => {
                "create one, or correct `manifests = [\"path/*.yaml\"]` in `[package.metadata.kdev]`"
                    .to_owned()
            }
            Self::ValuesNotFound(_) => {
                "create it, or correct `values` in `[package.metadata.kdev.helm]`".to_owned()
            }
            Self::ImageNotUsed { image, nearest: Some((path, line, found)), .. } => format!(
                "write `image: {image}` at line {line} of `{}`, or set `image = \"{}\"` in `[package.metadata.kdev]`",
                path.display(),
                without_tag(found)
            ),
            Self::ImageNotUsed { image, found, .. } => image_not_used_help(image, found),
            Self::Edit { generated_by: Some(command), line, .. } => {
                format!("run `{command}` and check line {line}")
            }
            Self::Edit { reason, .. } if reason.0 == CONTAINS_TEMPLATES => {
                "set `manifests` to the folder of the chart, or to a file with the output of `helm template`".to_owned()
            }
            Self::Edit { path, line, .. } => format!("change line {line} of `{}`", path.display()),
            Self::NotAnObject { fix: Some(fix), .. } => fix.clone(),
            Self::NotAnObject { location, .. } => {
                format!("change it {}", location.fix_place())
            }
            Self::GeneratedName { location } => {
                format!("replace `generateName` with `name` {}", location.fix_place())
            }
            Self::NoName { location } => {
                format!("set `metadata.name` of the object {}", location.fix_place())
            }
            Self::DefinedTwice { second, .. } => {
                format!("remove or rename the object {}", second.fix_place())
            }
            Self::SiblingNotDeployed { image, is_mixed: true, .. } => format!(
                "run `cargo kdev load {image}:TAG` with a build that Docker has, and set `image: {image}:TAG`"
            ),
            Self::SiblingNotDeployed { package, .. } => {
                format!("run `cargo kdev up --package {package}` first, or `cargo kdev up --workspace`")
            }
            Self::Render(folder, failure) => render_help(&folder.to_string_lossy(), failure),
            Self::Lookup { kubectl, source, .. } if source.stderr.contains(" is forbidden: ") => {
                format!("run `{kubectl} auth can-i --list` to see your permissions")
            }
            Self::Lookup { source, .. } => {
                format!("run `{} --debug` to see the full error", source.command)
            }
            Self::OtherKubeconfig { .. } => {
                "pass `--kubeconfig FILE` with the kubeconfig that `kubectl` uses".to_owned()
            }
            Self::Config(error) => return error.help(),
            Self::Cluster(error) => return error.help(),
            Self::Tool(error) => return error.help(),
            Self::Process(_) => return None,
        })
    }
}

fn image_not_used_help(image: &str, found: &[String]) -> String {
    match found {
        [] => format!("set `image: {image}` in a container of a workload, such as a Deployment"),
        [one] => format!(
            "use it in the manifest, or set `image = \"{}\"` in `[package.metadata.kdev]`",
            without_tag(one)
        ),
        _ => format!(
            "use it in the manifest, or set `image` in `[package.metadata.kdev]` to one of {}",
            list(found)
        ),
    }
}

fn render_help(folder: &str, Failure { command, stderr, .. }: &Failure) -> String {
    if stderr.contains("helm dependency build") {
        return format!("run `helm dependency build {}` to fetch the dependencies", quote(folder));
    }
    if command.starts_with("helm ") {
        // With `--debug`, helm also prints output that is not valid YAML.
        format!("fix the chart; run `{command} --debug` to see the full error")
    } else {
        format!("fix the kustomization; run `{command}` to check it")
    }
}

fn without_tag(image: &str) -> &str {
    kdev_core::image::reference::split_tag(image).0
}
