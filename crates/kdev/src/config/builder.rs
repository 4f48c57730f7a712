//! The value of the key `builder`.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use crate::details::Details;

/// The prefix of the name of a builder of BuildKit.
const BUILDX_PREFIX: &str = "buildx:";

/// Which program builds the image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
#[non_exhaustive]
pub enum BuilderChoice {
    /// Detected.
    #[default]
    Auto,
    /// Docker, with the builder that is selected in it.
    Docker,
    /// Docker, with the builder of this name.
    Buildx(String),
    /// Podman.
    Podman,
    /// cargo: kdev puts its program into an image, without Docker and without a Dockerfile.
    Cargo,
}

impl BuilderChoice {
    /// Returns the name of the builder that Docker must use instead of the selected one.
    pub(crate) fn buildx_name(&self) -> Option<&str> {
        match self {
            Self::Buildx(name) => Some(name),
            Self::Auto | Self::Docker | Self::Podman | Self::Cargo => None,
        }
    }
}

impl FromStr for BuilderChoice {
    type Err = Details;

    fn from_str(text: &str) -> Result<Self, Details> {
        match text {
            "auto" => Ok(Self::Auto),
            "docker" => Ok(Self::Docker),
            "podman" => Ok(Self::Podman),
            "cargo" => Ok(Self::Cargo),
            text => match text.strip_prefix(BUILDX_PREFIX) {
                Some(name) if is_builder_name(name) => Ok(Self::Buildx(name.to_owned())),
                Some("") => Err(Details("`buildx:` requires the name of a builder".to_owned())),
                Some(name) => Err(Details(format!("`{name}` is not a valid builder name"))),
                None => Err(Details(format!(
                    "expected `auto`, `docker`, `buildx:NAME`, `podman`, or `cargo`, found `{text}`"
                ))),
            },
        }
    }
}

impl TryFrom<String> for BuilderChoice {
    type Error = Details;

    fn try_from(text: String) -> Result<Self, Details> {
        text.parse()
    }
}

impl fmt::Display for BuilderChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Docker => f.write_str("docker"),
            Self::Buildx(name) => write!(f, "{BUILDX_PREFIX}{name}"),
            Self::Podman => f.write_str("podman"),
            Self::Cargo => f.write_str("cargo"),
        }
    }
}

/// Returns whether buildx accepts the name of a builder. A context of Docker is also a builder.
pub(crate) fn is_builder_name(name: &str) -> bool {
    let is_first = |c: char| c.is_ascii_alphanumeric();
    let is_other = |c: char| c.is_ascii_alphanumeric() || "._+-".contains(c);
    name.starts_with(is_first) && name.chars().all(is_other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builder_round_trips() {
        let table = [
            ("auto", BuilderChoice::Auto),
            ("docker", BuilderChoice::Docker),
            ("podman", BuilderChoice::Podman),
            ("buildx:far", BuilderChoice::Buildx("far".to_owned())),
            ("buildx:docker", BuilderChoice::Buildx("docker".to_owned())),
            ("buildx:a.b_c-1", BuilderChoice::Buildx("a.b_c-1".to_owned())),
        ];
        for (text, expected) in table {
            assert_eq!(text.parse::<BuilderChoice>().unwrap(), expected, "{text}");
            assert_eq!(expected.to_string(), text);
        }
    }

    #[test]
    fn invalid_builder_error_names_values() {
        let table = [
            ("", "expected `auto`, `docker`, `buildx:NAME`, `podman`, or `cargo`, found ``"),
            (
                "Docker",
                "expected `auto`, `docker`, `buildx:NAME`, `podman`, or `cargo`, found `Docker`",
            ),
            (
                "buildx",
                "expected `auto`, `docker`, `buildx:NAME`, `podman`, or `cargo`, found `buildx`",
            ),
            ("buildx:", "`buildx:` requires the name of a builder"),
            ("buildx:--push", "`--push` is not a valid builder name"),
            ("buildx:a b", "`a b` is not a valid builder name"),
        ];
        for (text, expected) in table {
            assert_eq!(text.parse::<BuilderChoice>().unwrap_err().to_string(), expected, "{text}");
        }
    }
}
