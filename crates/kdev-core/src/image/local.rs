//! An image in Docker or Podman on this machine.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An image in Docker or Podman, under one of its names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LocalImage {
    /// The full reference.
    pub name: String,
    /// Docker's image ID: the config digest in the classic image store.
    pub id: String,
    /// Age as Docker prints it, such as `3 minutes ago`.
    pub age: String,
    /// Time of its creation in the API's format; empty if Docker does not report it.
    pub created_at: String,
    /// Platform, such as `linux/amd64`; empty if Docker was not asked for it.
    pub platform: String,
}

/// The program that builds and stores images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// Docker.
    #[default]
    Docker,
    /// A builder of Buildx that does not store images in Docker.
    Buildx,
    /// Podman.
    Podman,
    /// cargo, whose programs kdev puts into images.
    Cargo,
}

impl Engine {
    /// Returns the program that pulls images of others.
    #[must_use]
    pub fn puller(self) -> Self {
        match self {
            Self::Docker | Self::Buildx | Self::Cargo => Self::Docker,
            Self::Podman => Self::Podman,
        }
    }

    /// Returns whether its program can add a name to an image.
    #[must_use]
    pub fn can_tag(self) -> bool {
        matches!(self, Self::Docker | Self::Podman)
    }

    /// Returns the name of its program.
    pub fn program(self) -> &'static str {
        match self {
            Self::Docker | Self::Buildx => "docker",
            Self::Podman => "podman",
            Self::Cargo => "cargo",
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Docker => "Docker",
            Self::Buildx => "Buildx",
            Self::Podman => "Podman",
            Self::Cargo => "the layer cache",
        })
    }
}
