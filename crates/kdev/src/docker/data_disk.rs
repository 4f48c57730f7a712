//! The disk on which a daemon stores images, if it is a disk of this machine.

use std::path::Path;

use crate::config::Config;
use crate::cx::Cx;
use crate::docker::{DockerFacts, ImageStore};
use crate::process::{Disk, DiskWatch};
use crate::tools::FullDisk;

impl ImageStore {
    /// Watches the disk on which Docker stores images. Returns `None` if it may be a disk of
    /// another machine.
    pub(crate) fn watch_disk(&self, cx: &Cx, config: &Config) -> Option<DiskWatch> {
        let Self::Docker(docker) = self else { return None };
        let facts = docker.facts(cx, config.builder_name()).ok()?;
        Some(DiskWatch::new(Disk::of(facts.near_data_dir()?)))
    }
}

impl DockerFacts {
    /// Returns the directory in which the daemon stores images, if the daemon is on this machine.
    fn near_data_dir(&self) -> Option<&Path> {
        let is_near = self.is_near() || self.is_rootless && self.address.starts_with("unix://");
        self.data_dir.as_deref().filter(|dir| is_near && dir.is_dir())
    }
}

/// Returns a possible reason why a build has failed.
pub(crate) fn full_disk_hint(watch: &DiskWatch) -> Option<String> {
    let dir = watch.full_dir()?.display();
    let help = FullDisk::DOCKER.usage_help();
    Some(format!("the disk of `{dir}`, where Docker stores images, was almost full; {help}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_of_daemon_on_other_machine_is_not_on_disk_of_this_one() {
        let dir = tempfile::tempdir().unwrap();
        let facts = |address: &str| DockerFacts {
            address: address.to_owned(),
            data_dir: Some(dir.path().to_owned()),
            ..DockerFacts::default()
        };
        let local = facts("unix:///run/docker.sock");
        assert_eq!(local.near_data_dir(), Some(dir.path()));
        let rootless = DockerFacts { is_rootless: true, ..local.clone() };
        assert_eq!(rootless.near_data_dir(), Some(dir.path()));
        let absent = DockerFacts { data_dir: Some(dir.path().join("absent")), ..local.clone() };
        let desktop = DockerFacts { is_desktop: true, ..local.clone() };
        for other in [absent, desktop, local.with_refused_push(), facts("ssh://far")] {
            assert_eq!(other.near_data_dir(), None, "{other:?}");
        }
    }

    #[test]
    fn disk_that_is_full_is_named() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(full_disk_hint(&DiskWatch::new(Disk::of(dir.path()))), None);
        let hint = full_disk_hint(&DiskWatch::new(Disk::full(dir.path()))).unwrap();
        let expected = format!(
            "the disk of `{}`, where Docker stores images, was almost full; run `docker system df` to see what uses it",
            dir.path().display()
        );
        assert_eq!(hint, expected);
    }
}
