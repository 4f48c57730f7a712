//! The key `base` of the table `container`.

use std::fmt;
use std::path::PathBuf;

use kdev_core::image::archive;
use kdev_core::image::reference::Reference;
use serde::Deserialize;

use crate::details::Details;

/// The base without files.
const SCRATCH: &str = "scratch";

/// The image on which the program is put.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "BaseValue")]
#[non_exhaustive]
pub enum BaseImage {
    /// No files.
    #[default]
    Scratch,
    /// An image in Docker or Podman on this machine.
    Image(Reference),
    /// An archive, or a directory with an OCI image layout, relative to the package.
    Path(PathBuf),
    /// An image on the nodes, and the digest of its configuration, when it was read.
    Node(Reference, Option<String>),
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected the name of an image, a path, or a table with `node`")]
enum BaseValue {
    Text(String),
    Table(NodeTable),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeTable {
    node: String,
}

impl TryFrom<BaseValue> for BaseImage {
    type Error = Details;

    fn try_from(value: BaseValue) -> Result<Self, Details> {
        let parse = |text: &str| Reference::parse(text).map_err(|error| Details(error.to_string()));
        match value {
            BaseValue::Table(table) => Ok(Self::Node(parse(&table.node)?, None)),
            BaseValue::Text(text) if text == SCRATCH => Ok(Self::Scratch),
            BaseValue::Text(text) if archive::is_path(&text) => Ok(Self::Path(text.into())),
            BaseValue::Text(text) => parse(&text).map(Self::Image),
        }
    }
}

impl fmt::Display for BaseImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scratch => f.write_str(SCRATCH),
            Self::Image(reference) | Self::Node(reference, _) => f.write_str(&reference.familiar()),
            Self::Path(path) => write!(f, "{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_is_scratch_path_or_image() {
        let image = |name| Ok(BaseImage::Image(Reference::parse(name).unwrap()));
        let path = |path: &str| Ok(BaseImage::Path(path.into()));
        let node = |name| Ok(BaseImage::Node(Reference::parse(name).unwrap(), None));
        let table = [
            (r#"{"node": "debian:12"}"#, node("debian:12")),
            (r#"{"nodes": "debian:12"}"#, Err(())),
            (r#"{"node": "Upper"}"#, Err(())),
        ];
        for (json, expected) in table {
            assert_eq!(serde_json::from_str(json).map_err(drop), expected, "{json}");
        }
        let table = [
            ("scratch", Ok(BaseImage::Scratch)),
            ("debian:12-slim", image("docker.io/library/debian:12-slim")),
            ("node:22", image("node:22")),
            ("gcr.io/distroless/cc", image("gcr.io/distroless/cc")),
            ("./base", path("./base")),
            ("../base", path("../base")),
            ("/srv/base", path("/srv/base")),
            ("base.tar.gz", path("base.tar.gz")),
            ("UPPER", Err(())),
            ("", Err(())),
        ];
        for (text, expected) in table {
            let found = BaseImage::try_from(BaseValue::Text(text.to_owned())).map_err(drop);
            assert_eq!(found, expected, "{text}");
        }
    }
}
