//! What is wrong with docker, or with what it has.

use crate::process::{self, Failure};
use crate::tools;

/// The result of asking docker.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// What is wrong with docker, or with what it has.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// docker has no such image.
    #[error("docker has no image `{image}`")]
    ImageNotFound {
        /// Its name or ID.
        image: String,
    },
    /// The docker daemon does not answer.
    #[error("the docker daemon does not answer")]
    DaemonUnreachable {
        /// docker's own words.
        #[source]
        source: Failure,
        /// Which one was asked, where that is not this machine's own.
        host: Option<DockerHost>,
    },
    /// docker ran, and failed.
    #[error("cannot {action}")]
    Command {
        /// A verb phrase.
        action: String,
        /// Its own words.
        #[source]
        source: Failure,
    },
    /// docker is missing or too old, or cannot be understood.
    #[error(transparent)]
    Tool(#[from] tools::Error),
    /// Nothing could be run.
    #[error(transparent)]
    Process(#[from] process::Error),
}

/// A docker daemon that somebody has chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerHost {
    /// docker's context.
    pub context: String,
    /// As a URL.
    pub address: String,
}

impl Error {
    /// One action that helps.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::ImageNotFound { .. } => {
                Some("name one that `docker image ls` lists, as `NAME:TAG`".to_owned())
            }
            Self::DaemonUnreachable { source, host: asked } => {
                Some(unreachable_help(&source.stderr, asked.as_ref()))
            }
            Self::Tool(error) => error.help(),
            Self::Command { .. } | Self::Process(_) => None,
        }
    }
}

fn unreachable_help(stderr: &str, asked: Option<&DockerHost>) -> String {
    if stderr.contains("permission denied") {
        return "add yourself to its group with `sudo usermod -aG docker $USER`, and log in again"
            .to_owned();
    }
    match asked {
        Some(DockerHost { context, address }) if context == "default" => {
            format!("DOCKER_HOST is `{address}`: unset or correct it")
        }
        Some(DockerHost { context, address }) => format!(
            "docker's context `{context}` is at `{address}`: start the daemon there, or take this machine's with `docker context use default`"
        ),
        None => "start it with `sudo systemctl start docker`, or set DOCKER_HOST to one that runs"
            .to_owned(),
    }
}
