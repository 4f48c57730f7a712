//! Doors to the parts that do no I/O, for the corpus and the fuzz targets. They
//! are no part of what the library offers.

use crate::archive;
use crate::config::PullPolicy;
use crate::image::Reference;
use crate::image_path::ImagePath;
use crate::manifest::{self, Want};

/// The text with this image's tag set, and `Never`; else `LINE:COLUMN: why not`.
pub fn render(text: &str, image: &Reference, tag: &str) -> Result<String, String> {
    let paths = [ImagePath::parse("Mine:spec.image")?];
    let want = Want { name: image.name(), tag, policy: PullPolicy::Never, paths: &paths };
    manifest::render(text, &want)
        .map(|rendered| rendered.text)
        .map_err(|fault| format!("{}:{}: {}", fault.line, fault.column, fault.reason))
}

/// Whether an archive holds an image of this platform.
pub fn reads_archive(bytes: &[u8]) -> bool {
    archive::config_digest(bytes, "linux/amd64").is_ok()
}
