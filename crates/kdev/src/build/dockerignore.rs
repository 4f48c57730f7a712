//! The files that `.dockerignore`, or Podman's `.containerignore`, keeps out of the build context.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use kdev_core::dockerignore::Dockerignore as Patterns;

use crate::config::{BuilderChoice, Config};

/// The patterns that apply to a build.
#[derive(Debug, Default)]
pub(crate) struct Dockerignore(Patterns);

impl Dockerignore {
    /// Reads the file of the Dockerfile, else that of the context.
    pub(crate) fn read(config: &Config) -> Self {
        let files = candidates(config);
        let text = files.iter().find_map(|file| fs::read_to_string(file).ok()).unwrap_or_default();
        Self(Patterns::parse(&text))
    }

    /// Returns whether a path in an excluded folder, relative to the context, may be included.
    pub(crate) fn may_include_below(&self, folder: &Path) -> bool {
        self.0.may_include_below(&folder.to_string_lossy())
    }

    /// Returns whether a path, relative to the context, is excluded for certain.
    pub(crate) fn excludes(&self, path: &Path) -> bool {
        self.0.is_excluded(&path.to_string_lossy()).unwrap_or(false)
    }

    /// Returns whether a path, relative to the context, may be excluded.
    pub(crate) fn may_exclude(&self, path: &Path) -> bool {
        self.0.is_excluded(&path.to_string_lossy()).unwrap_or(true)
    }
}

/// Returns the files of which the first one that exists applies.
pub(crate) fn candidates(config: &Config) -> Vec<PathBuf> {
    let (dockerfile, context) = (config.dockerfile.as_os_str(), &config.context);
    let own = |end: &str| PathBuf::from(OsString::from_iter([dockerfile, end.as_ref()]));
    let (own_docker, docker) = (own(".dockerignore"), context.join(".dockerignore"));
    if config.builder == BuilderChoice::Podman {
        // The order of Podman 4.3.1.
        let own_podman = own(".containerignore");
        return vec![own_docker, own_podman, context.join(".containerignore"), docker];
    }
    vec![own_docker, docker]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ConfigLayer;

    #[test]
    fn patterns_are_those_of_builder() {
        let (docker, podman) = (BuilderChoice::Docker, BuilderChoice::Podman);
        // The files, of which each excludes the file that has its name, the builder, and the file
        // that has the patterns.
        let table: [(&[&str], &BuilderChoice, Option<&str>); 7] = [
            (&[".containerignore"], &podman, Some(".containerignore")),
            (&[".containerignore"], &docker, None),
            (&[".containerignore", ".dockerignore"], &podman, Some(".containerignore")),
            (&[".containerignore", ".dockerignore"], &docker, Some(".dockerignore")),
            (&[".dockerignore"], &podman, Some(".dockerignore")),
            (&["f.containerignore", ".containerignore"], &podman, Some("f.containerignore")),
            (&["f.containerignore", "f.dockerignore"], &podman, Some("f.dockerignore")),
        ];
        for (files, builder, expected) in table {
            let dir = tempfile::tempdir().unwrap();
            for file in files {
                fs::write(dir.path().join(file), file).unwrap();
            }
            let mut config = Config::from_flags(ConfigLayer::default()).unwrap();
            (config.dockerfile, config.context) = (dir.path().join("f"), dir.path().to_owned());
            config.builder = builder.clone();
            let ignore = Dockerignore::read(&config);
            let excluded = files.iter().copied().filter(|file| ignore.may_exclude(Path::new(file)));
            assert_eq!(
                excluded.collect::<Vec<_>>(),
                Vec::from_iter(expected),
                "{files:?} {builder}"
            );
        }
    }
}
