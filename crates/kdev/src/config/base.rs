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
#[serde(try_from = "String")]
#[non_exhaustive]
pub enum BaseImage {
    /// No files.
    #[default]
    Scratch,
    /// An image in Docker or Podman on this machine.
    Image(Reference),
    /// An archive, or a directory with an OCI image layout, relative to the package.
    Path(PathBuf),
}

impl TryFrom<String> for BaseImage {
    type Error = Details;

    fn try_from(text: String) -> Result<Self, Details> {
        if text == SCRATCH {
            return Ok(Self::Scratch);
        }
        if archive::is_path(&text) {
            return Ok(Self::Path(text.into()));
        }
        let reference = Reference::parse(&text);
        reference.map(Self::Image).map_err(|error| Details(error.to_string()))
    }
}

impl fmt::Display for BaseImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scratch => f.write_str(SCRATCH),
            Self::Image(reference) => f.write_str(&reference.familiar()),
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
            let found = BaseImage::try_from(text.to_owned()).map_err(drop);
            assert_eq!(found, expected, "{text}");
        }
    }
}
