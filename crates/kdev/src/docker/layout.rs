//! Exports images with `BuildKit` as OCI image layouts, into a directory of this machine.

use std::path::Path;

use kdev_core::image::built::BuiltImage;

use crate::cx::Cx;
use crate::docker::{Docker, DockerFacts, LayerSource, Result, command_error};
use crate::process::{Command, Disk};

/// With attestations an image would be an index, and a new one after each build.
pub(crate) const NO_ATTESTATIONS: (&str, &str) = ("BUILDX_NO_DEFAULT_ATTESTATIONS", "1");
/// The driver of builders on other machines, and of those in clusters.
const REMOTE_DRIVERS: [&str; 3] = ["remote", "kubernetes", "cloud"];

impl DockerFacts {
    /// Returns the compression of layers that a build creates. Over a network, compressed
    /// layers are faster; locally, the compression would only take time.
    pub(crate) fn compression(&self) -> &'static str {
        let is_remote = self.has_remote_builder();
        let is_local = self.address.starts_with("unix://") || self.address.starts_with("npipe://");
        if is_local && !is_remote { "uncompressed" } else { "zstd" }
    }

    /// Returns whether the builder does not run in Docker.
    pub(crate) fn has_remote_builder(&self) -> bool {
        self.driver().is_some_and(|driver| REMOTE_DRIVERS.contains(&driver))
    }

    /// Returns the output of a build that puts the image into Docker's containerd image store;
    /// `None` for another store, which ignores the compression.
    pub(crate) fn image_output(&self) -> Option<String> {
        let is_docker = !self.keeps_results() && self.can_export_layout();
        is_docker.then(|| {
            // With these media types, the layout has the manifest of the image.
            format!("type=image,oci-mediatypes=true,compression={}", self.compression())
        })
    }

    /// Returns the output of a build that writes the image into a directory.
    pub(crate) fn layout_output(&self, dir: &Path) -> String {
        let compression = self.compression();
        // The value is a line of CSV.
        let dest = format!("dest={}", dir.display()).replace('"', "\"\"");
        format!("type=oci,tar=false,compression={compression},\"{dest}\"")
    }
}

impl Docker {
    /// Returns how the layers of an image in Docker's store get to this machine.
    pub(crate) fn layer_source(&self, cx: &Cx) -> LayerSource {
        self.store_facts(cx).map_or(LayerSource::Archive, |facts| facts.layer_source())
    }

    /// Returns the facts about the builder that is part of the daemon. Another one may be
    /// selected, if its images are loaded into Docker.
    fn store_facts(&self, cx: &Cx) -> Result<DockerFacts> {
        match self.facts(cx, None) {
            Ok(facts) if !facts.keeps_results() => Ok(facts),
            _ => self.facts(cx, Some(&self.context)),
        }
    }

    /// Writes an image of Docker's containerd store as an OCI layout to a directory, without
    /// the blobs that are already there: `BuildKit` only checks that such a file exists.
    pub(crate) fn export_layout(&self, cx: &Cx, image: &BuiltImage, dir: &Path) -> Result<()> {
        let facts = self.store_facts(cx)?;
        let sh = cx.shell()?;
        let (name, value) = NO_ATTESTATIONS;
        let mut cmd = self.cmd(&sh).env(name, value);
        cmd = cmd.args(["buildx", "build", "--quiet", "--builder", &self.context]);
        if !image.platform.is_empty() {
            cmd = cmd.args(["--platform", &image.platform]);
        }
        let command = Command::new(cmd.arg("--output").arg(facts.layout_output(dir)).arg("-"));
        let dockerfile = format!("FROM {}\n", image.reference.familiar());
        let exported =
            command.stdin(dockerfile).keep_free(Disk::of(dir.parent().unwrap_or(dir))).read(cx);
        exported.map_err(|failure| command_error(failure, "export the layers".to_owned()))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compression_depends_on_network() {
        let table = [
            ("unix:///run/docker.sock", "uncompressed"),
            ("npipe:////./pipe/docker_engine", "uncompressed"),
            ("ssh://host", "zstd"),
            ("tcp://host:2376", "zstd"),
        ];
        for (address, expected) in table {
            let facts = DockerFacts { address: address.to_owned(), ..DockerFacts::default() };
            assert_eq!(facts.compression(), expected, "{address}");
        }
    }

    #[test]
    fn layout_output_quotes_directory() {
        let facts = DockerFacts { address: "ssh://h".to_owned(), ..DockerFacts::default() };
        let output = facts.layout_output(Path::new("/a,\"b"));
        assert_eq!(output, "type=oci,tar=false,compression=zstd,\"dest=/a,\"\"b\"");
    }
}
