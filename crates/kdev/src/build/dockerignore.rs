//! The files that `.dockerignore`, or `.containerignore` for Podman, keeps out of the build context.

use std::fs;
use std::path::Path;

use kdev_core::dockerignore::Dockerignore as Patterns;

/// The patterns that apply to a build.
#[derive(Debug, Default)]
pub(crate) struct Dockerignore(Patterns);

impl Dockerignore {
    /// Reads the file of the Dockerfile, else that of the context.
    pub(crate) fn read(dockerfile: &Path, context: &Path) -> Self {
        let mut own = dockerfile.as_os_str().to_owned();
        own.push(".dockerignore");
        let text = fs::read_to_string(own)
            .or_else(|_| fs::read_to_string(context.join(".dockerignore")))
            .unwrap_or_default();
        Self(Patterns::parse(&text))
    }

    /// Returns whether a path, relative to the context, may be excluded.
    pub(crate) fn may_exclude(&self, path: &Path) -> bool {
        self.0.is_excluded(&path.to_string_lossy()).unwrap_or(true)
    }
}
