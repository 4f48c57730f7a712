//! Errors of running Docker and Podman.

use kdev_core::image::local::Engine;
use kdev_core::shell::quote;

use crate::docker::builder::WRITES_LAYOUTS;
use crate::process::{self, Failure};
use crate::tools::{self, FullDisk};

/// The result of running Docker or Podman.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// Docker or Podman cannot be used, or an image is missing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Docker or Podman does not have the image.
    #[error("image `{image}` not found in {engine}")]
    ImageNotFound {
        /// Its name or ID.
        image: String,
        /// Which of the two was asked.
        engine: Engine,
    },
    /// The Docker daemon is unreachable.
    #[error("cannot connect to the Docker daemon")]
    DaemonUnreachable {
        /// How the client failed.
        #[source]
        source: Failure,
        /// Which daemon was selected, unless it is the default one.
        host: Option<DockerHost>,
    },
    /// The client does not support an API version of the daemon.
    #[error("`docker` {client} is too old for the Docker daemon")]
    ClientTooOld {
        /// The version of the client.
        client: String,
        /// The daemon's message.
        #[source]
        source: Failure,
    },
    /// The daemon does not support an API version of the client.
    #[error("the Docker daemon is too old for `docker` {client}")]
    DaemonTooOld {
        /// The version of the client.
        client: String,
        /// The daemon's message.
        #[source]
        source: Failure,
    },
    /// `DOCKER_API_VERSION` selects an API version that the daemon does not support.
    #[error("the Docker daemon does not support the API version of DOCKER_API_VERSION")]
    ApiVersionVariable {
        /// The daemon's message.
        #[source]
        source: Failure,
    },
    /// Podman responds instead of a Docker daemon.
    #[error("the Docker daemon is Podman, which is not supported")]
    Podman {
        /// Which daemon was selected, unless it is the default one.
        host: Option<DockerHost>,
    },
    /// buildx cannot use a builder that the user has selected.
    #[error("cannot use builder `{builder}`")]
    Builder {
        /// Its name.
        builder: String,
        /// The message of buildx.
        #[source]
        source: Failure,
    },
    /// A builder that is not running could not be started.
    #[error("failed to start builder `{builder}`")]
    BuilderNotStarted {
        /// Its name.
        builder: String,
        /// The message of buildx.
        #[source]
        source: Failure,
    },
    /// The name of a builder could be a flag or several arguments.
    #[error("`{builder}` is not a valid builder name")]
    InvalidBuilderName {
        /// The text.
        builder: String,
    },
    /// A builder cannot export an image into a directory of this machine.
    #[error(
        "BuildKit {}.{} of builder `{builder}` is too old; kdev requires {}.{} or later",
        version.0, version.1, WRITES_LAYOUTS.0, WRITES_LAYOUTS.1
    )]
    BuildkitTooOld {
        /// Its name.
        builder: String,
        /// The version of BuildKit.
        version: (u32, u32),
    },
    /// A builder keeps its results, and kdev cannot store them either.
    #[error("builder `{builder}` requires a cache folder for the layers of its builds")]
    CacheRequired {
        /// Its name.
        builder: String,
    },
    /// kdev assembles the image, and cannot store its layers.
    #[error("an image without Docker requires a cache folder for its layers")]
    AssemblyCacheRequired,
    /// A builder is selected, but buildx is not installed.
    #[error("builder `{builder}` requires buildx, which is not installed")]
    BuildxNotFound {
        /// Its name.
        builder: String,
    },
    /// `docker` is nerdctl.
    #[error("`docker` is nerdctl, which is not supported")]
    Nerdctl,
    /// Podman runs on another machine, or in a virtual one.
    #[error("`podman` is a client for another machine, which is not supported")]
    RemotePodman {
        /// Whether an environment variable has selected the other machine.
        is_variable: bool,
    },
    /// Podman does not run for this user.
    #[error("`podman` cannot be used")]
    PodmanUnusable {
        /// How it failed.
        #[source]
        source: Failure,
    },
    /// docker or podman ran and failed.
    #[error("failed to {action}")]
    Command {
        /// A verb phrase.
        action: String,
        /// How it failed.
        #[source]
        source: Failure,
    },
    /// docker or podman is missing or too old, or its output is unexpected.
    #[error(transparent)]
    Tool(#[from] tools::Error),
    /// docker or podman could not be started.
    #[error(transparent)]
    Process(#[from] process::Error),
}

/// A Docker daemon that was selected with a context or `DOCKER_HOST`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerHost {
    /// The Docker context.
    pub context: String,
    /// The daemon's address, as a URL.
    pub address: String,
    /// Whether `DOCKER_CONTEXT` selects the context: `docker context use` has no effect then.
    pub is_variable: bool,
}

impl Error {
    /// Returns whether the selected builder cannot be used, and Docker may be.
    pub(crate) fn is_about_builder(&self) -> bool {
        matches!(
            self,
            Self::Builder { .. } | Self::BuildxNotFound { .. } | Self::InvalidBuilderName { .. }
        )
    }

    /// Returns how docker or podman has failed.
    pub(crate) fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Command { source, .. } => Some(source),
            _ => None,
        }
    }

    /// Returns the owner of the disk on which docker or podman had no space left.
    pub(crate) fn full_disk_owner(&self) -> Option<&'static str> {
        tools::full_disk(self.failure()?).map(|disk| disk.owner)
    }

    /// Returns one action that fixes the error.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::ImageNotFound { engine, .. } => {
                let program = engine.program();
                Some(format!("pass an image that `{program} image ls` lists, as `NAME:TAG`"))
            }
            Self::DaemonUnreachable { source, host } => {
                Some(unreachable_help(&source.stderr, host.as_ref()))
            }
            Self::ClientTooOld { .. } => Some(upgrade_help("client")),
            Self::DaemonTooOld { .. } => Some(upgrade_help("daemon")),
            Self::ApiVersionVariable { .. } => Some("unset DOCKER_API_VERSION".to_owned()),
            Self::Podman { host } => Some(podman_help(host.as_ref())),
            Self::Builder { .. } | Self::InvalidBuilderName { .. } => Some(
                "pass `--builder buildx:NAME` with a name that `docker buildx ls` lists".to_owned(),
            ),
            Self::BuildxNotFound { .. } => Some(tools::INSTALL_BUILDX.to_owned()),
            Self::BuilderNotStarted { builder, .. } => Some(start_builder_help(builder)),
            Self::BuildkitTooOld { .. } => Some(
                "upgrade the builder, or add `\"--load\"` to `docker-build` in `[package.metadata.kdev]` to store the image in Docker"
                    .to_owned(),
            ),
            Self::CacheRequired { .. } | Self::AssemblyCacheRequired => {
                Some("set XDG_CACHE_HOME to a folder that you can write to".to_owned())
            }
            Self::Nerdctl => Some(tools::INSTALL_DOCKER.to_owned()),
            Self::RemotePodman { is_variable } => Some(remote_podman_help(*is_variable)),
            Self::PodmanUnusable { source } => podman_unusable_help(&source.stderr),
            Self::Tool(error) => error.help(),
            Self::Command { source, .. } => tools::full_disk(source).map(FullDisk::help),
            Self::Process(_) => None,
        }
    }
}

/// Returns how to find out why a builder is not running.
pub(crate) fn start_builder_help(builder: &str) -> String {
    format!(
        "run `docker buildx inspect --bootstrap {}` until it succeeds, or pass `--builder buildx:default` to build with Docker",
        quote(builder)
    )
}

fn upgrade_help(side: &str) -> String {
    format!("follow https://docs.docker.com/engine/install to upgrade the Docker {side}")
}

/// Returns how to select the local daemon instead of a context.
fn leave_context(is_variable: bool) -> &'static str {
    if is_variable { "unset DOCKER_CONTEXT" } else { "run `docker context use default`" }
}

fn podman_help(host: Option<&DockerHost>) -> String {
    match host {
        Some(DockerHost { context, address, .. }) if context == "default" => {
            format!(
                "DOCKER_HOST is `{address}`; pass `--builder podman`, or set it to a Docker daemon"
            )
        }
        Some(DockerHost { context, address, is_variable }) => format!(
            "the Docker context `{context}` is at `{address}`; {} to use the local daemon",
            leave_context(*is_variable)
        ),
        None => "pass `--builder podman` to use Podman without Docker's client".to_owned(),
    }
}

fn remote_podman_help(is_variable: bool) -> String {
    if is_variable {
        return "unset CONTAINER_HOST and CONTAINER_CONNECTION to use the Podman of this machine"
            .to_owned();
    }
    "run `podman save --output image.tar NAME:TAG && cargo kdev load image.tar`, or pass `--builder docker`"
        .to_owned()
}

/// Returns how to install the programs that rootless Podman needs, if they are missing.
fn podman_unusable_help(stderr: &str) -> Option<String> {
    let is_missing = stderr.contains("newuidmap") || stderr.contains("newgidmap");
    is_missing.then(|| "run `sudo apt-get install uidmap`".to_owned())
}

fn unreachable_help(stderr: &str, host: Option<&DockerHost>) -> String {
    if stderr.contains("permission denied") {
        return "run `sudo usermod -aG docker $USER` and log in again".to_owned();
    }
    match host {
        Some(DockerHost { context, address, .. }) if context == "default" => {
            format!("DOCKER_HOST is `{address}`; unset or fix it")
        }
        Some(DockerHost { context, address, is_variable }) => format!(
            "the Docker context `{context}` is at `{address}`; start the daemon there, or {} to use the local one",
            leave_context(*is_variable)
        ),
        None => {
            "run `sudo systemctl start docker`, or set DOCKER_HOST to a running daemon".to_owned()
        }
    }
}
