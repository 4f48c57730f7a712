//! The files that `.dockerignore` keeps out of the build context.

use std::fs;
use std::path::{Path, PathBuf};

use kdev_core::dockerignore::Dockerignore as Patterns;

/// The patterns that apply to a build.
#[derive(Debug, Default)]
pub(crate) struct Dockerignore(Patterns);

/// Returns the files that can have the patterns, in the order of their precedence. Docker's
/// legacy builder only reads the second one.
pub(crate) fn files(dockerfile: &Path, context: &Path) -> [PathBuf; 2] {
    let mut own = dockerfile.as_os_str().to_owned();
    own.push(".dockerignore");
    [own.into(), context.join(".dockerignore")]
}

impl Dockerignore {
    /// Reads the file of the Dockerfile, else that of the context.
    pub(crate) fn read(dockerfile: &Path, context: &Path) -> Self {
        let texts = files(dockerfile, context).map(fs::read_to_string);
        let text = texts.into_iter().find_map(Result::ok).unwrap_or_default();
        Self(Patterns::parse(&text))
    }

    /// Returns whether a path, relative to the context, may be excluded.
    pub(crate) fn may_exclude(&self, path: &Path) -> bool {
        self.0.is_excluded(&path.to_string_lossy()).unwrap_or(true)
    }
}
