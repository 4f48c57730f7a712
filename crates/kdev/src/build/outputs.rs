//! The outputs of a build with `BuildKit`: Docker's image store, or a directory of this machine;
//! or both, if the daemon cannot push its new layers.

use std::ffi::OsStr;
use std::fs;

use serde::Deserialize;
use tempfile::NamedTempFile;

use crate::build::error::{Error, Result};
use crate::config::Config;
use crate::cx::Cx;
use crate::details::Details;
use crate::docker::{Buildx, Docker, DockerFacts, ImageStore, KeptBuild, LayerSource};
use crate::layers::cache::LayerCache;
use crate::layers::export;
use crate::layers::layout::Layout;
use crate::process::{self, Command};

/// The argument that names the file for the digests.
const METADATA: &str = "--metadata-file";
/// The argument that names the platforms.
const PLATFORM: &str = "--platform";

/// The outputs of a build; the default one if kdev does not select any.
#[derive(Default)]
pub(crate) struct Outputs {
    /// The value of `--output` for Docker's store.
    image: Option<String>,
    /// The directory for the new layers, with the value of `--output`.
    layout: Option<(Layout, String)>,
    cache: Option<LayerCache>,
    /// The file in which buildx writes the digests of the image. In the containerd image store,
    /// `--iidfile` may have the digest of the configuration, which is not the ID of the image.
    metadata: Option<NamedTempFile>,
}

/// The digests that buildx writes.
#[derive(Deserialize)]
struct Metadata {
    #[serde(rename = "containerimage.digest")]
    manifest: String,
    #[serde(rename = "containerimage.config.digest")]
    config: Option<String>,
}

impl Outputs {
    /// Selects the outputs, unless the user has selected Docker. The settings do not permit
    /// others.
    pub(crate) fn select(cx: &Cx, store: &ImageStore, config: &Config) -> Result<Self> {
        match store {
            ImageStore::Docker(docker) => Ok(Self::for_docker(cx, docker, config)),
            ImageStore::Buildx(buildx) => Self::for_buildx(cx, buildx, config),
            ImageStore::Podman(_) | ImageStore::Assembled(_) => Ok(Self::default()),
        }
    }

    /// Selects the only output of a builder that keeps its results.
    fn for_buildx(cx: &Cx, buildx: &Buildx, config: &Config) -> Result<Self> {
        Buildx::check_export(&buildx.builder)?;
        check_platforms(&config.docker_build)?;
        let dir = cx.cache_dir().ok_or_else(|| buildx.cache_required())?;
        let unusable = || process::Error::write(dir);
        let cache = LayerCache::open_in(dir).map_err(unusable())?;
        let layout = export::prepare(cx, &cache, &config.image).map_err(unusable())?;
        let output = buildx.facts().layout_output(layout.path());
        Ok(Self { layout: Some((layout, output)), cache: Some(cache), ..Self::default() })
    }

    fn for_docker(cx: &Cx, docker: &Docker, config: &Config) -> Self {
        if docker.uses_config_digest_as_id() {
            return Self::default();
        }
        let facts = docker.facts(cx, config.builder_name()).ok();
        // The legacy builder does not have any of these options.
        let Some(facts) = facts.filter(|facts| facts.driver().is_some()) else {
            return Self::default();
        };
        let cache = cx.cache_dir().and_then(|dir| LayerCache::open_in(dir).ok());
        let metadata = match config.docker_build_flag(METADATA) {
            // Its file is for the user.
            Some(_) => None,
            None => NamedTempFile::new().ok(),
        };
        let mut outputs = Self { cache, metadata, ..Self::default() };
        if !config.loads_into_docker() {
            outputs.add(cx, &facts, config);
        }
        outputs
    }

    fn add(&mut self, cx: &Cx, facts: &DockerFacts, config: &Config) {
        self.image = facts.image_output();
        if let (Some(_), Some(cache), LayerSource::Layout) =
            (&self.image, &self.cache, facts.layer_source())
        {
            let layout = export::prepare(cx, cache, &config.image).ok();
            self.layout = layout.map(|layout| {
                let output = facts.layout_output(layout.path());
                (layout, output)
            });
        }
    }

    /// Returns the arguments of `docker build`.
    pub(crate) fn args(&self) -> Vec<&OsStr> {
        let layout = self.layout.iter().map(|(_, output)| output);
        let outputs = self.image.iter().chain(layout).flat_map(|output| ["--output", output]);
        let metadata = self.metadata.iter().map(|file| file.path().as_os_str());
        let metadata = metadata.flat_map(|path| [METADATA.as_ref(), path]);
        outputs.map(OsStr::new).chain(metadata).collect()
    }

    /// Terminates the build before its export fills the disk.
    pub(crate) fn keep_disk_free(&self, build: Command) -> Command {
        match &self.layout {
            Some((layout, _)) => build.keep_free(layout.disk()),
            None => build,
        }
    }

    /// Returns whether a failed build has failed while it was writing the layers, which it can
    /// do without.
    pub(crate) fn has_failed_export(&self) -> bool {
        // A full disk ends the build before it writes.
        let is_cause = |layout: &Layout| layout.is_written() || layout.disk().check().is_err();
        self.image.is_some() && self.layout.as_ref().is_some_and(|(layout, _)| is_cause(layout))
    }

    /// Returns a possible reason why a build has failed.
    pub(crate) fn failure_hint(&self) -> Option<String> {
        let (layout, _) = self.layout.as_ref()?;
        let dir = layout.path().parent()?;
        layout.disk().check().is_err().then(|| {
            format!(
                "the disk of `{}` is almost full, where the build exports its layers; free space there, or set XDG_CACHE_HOME to another folder",
                dir.display()
            )
        })
    }

    /// Removes the directory for the new layers.
    pub(crate) fn without_layout(self) -> Self {
        Self { layout: None, ..self }
    }

    /// Moves the new layers to the cache. Returns the ID of the image in the store, if the
    /// outputs have it.
    pub(crate) fn read_id(&self, store: &ImageStore, config: &Config) -> Result<Option<String>> {
        match (store, &self.layout, &self.cache) {
            (ImageStore::Buildx(buildx), Some((layout, _)), Some(cache)) => {
                record_build(buildx, layout, cache, config).map(Some)
            }
            (_, Some((layout, _)), Some(cache)) => {
                // Otherwise the image is exported again.
                let _ = export::take(layout, cache, config.platform.as_deref());
                Ok(self.read_metadata())
            }
            _ => Ok(self.read_metadata()),
        }
    }

    /// Returns the ID of the image in Docker's store, if buildx has reported it.
    fn read_metadata(&self) -> Option<String> {
        let text = fs::read(self.metadata.as_ref()?.path()).ok()?;
        let Metadata { manifest, config } = serde_json::from_slice(&text).ok()?;
        if let (Some(config), Some(cache)) = (config, &self.cache) {
            export::record_config(cache, &manifest, &config);
        }
        Some(manifest)
    }
}

/// Moves the layers of a build to the cache, and records the build. Returns the digest of the
/// image's configuration.
fn record_build(
    buildx: &Buildx,
    layout: &Layout,
    cache: &LayerCache,
    config: &Config,
) -> Result<String> {
    let exported = export::take(layout, cache, config.platform.as_deref());
    let image = exported.map_err(|error| Error::Export {
        builder: buildx.builder.name.clone(),
        reason: Details(error.reason),
        help: error.help,
    })?;
    let image = image.image;
    let platform = image.platform.or_else(|| buildx.platform().map(str::to_owned));
    let build = KeptBuild {
        name: String::new(),
        config_digest: image.config_digest.clone(),
        platform: platform.unwrap_or_default(),
        passed_platform: config.platform.clone(),
        size: image.layer_bytes,
        layers: image.diff_ids,
        built_at: jiff::Timestamp::now().as_second(),
    };
    buildx.record(&config.image, &build)?;
    Ok(image.config_digest)
}

/// Checks that the arguments of `docker build` name at most one platform: nodes get one image.
fn check_platforms(args: &[String]) -> Result<()> {
    let flags =
        || args.iter().enumerate().filter(|(_, arg)| arg.split('=').next() == Some(PLATFORM));
    let values = flags().filter_map(|(at, arg)| match arg.split_once('=') {
        Some((_, value)) => Some(value),
        None => args.get(at + 1).map(String::as_str),
    });
    let platforms: Vec<&str> = values.flat_map(|value| value.split(',')).collect();
    if platforms.len() > 1 {
        return Err(Error::SeveralPlatforms { platforms: platforms.join(",") });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_on_full_disk_is_repeated_without_export() {
        let dir = tempfile::tempdir().unwrap();
        let emit = |_| {};
        let cx = Cx::new(&emit).with_cache_dir(dir.path());
        let outputs = |layout: Layout, image: Option<&str>| Outputs {
            image: image.map(str::to_owned),
            layout: Some((layout, String::new())),
            ..Outputs::default()
        };
        let layout = || Layout::create(&cx).unwrap();
        assert!(!outputs(layout(), Some("type=image")).has_failed_export());
        assert!(outputs(layout().on_full_disk(), Some("type=image")).has_failed_export());
        // Its only output is the export.
        assert!(!outputs(layout().on_full_disk(), None).has_failed_export());
    }

    #[test]
    fn several_platforms_are_rejected() {
        let table: [(&[&str], bool); 5] = [
            (&["--ssh"], true),
            (&["--platform=linux/amd64"], true),
            (&["--platform", "linux/amd64", "--ssh"], true),
            (&["--platform", "linux/amd64,linux/arm64"], false),
            (&["--platform=linux/amd64", "--platform", "linux/arm64"], false),
        ];
        for (args, expected) in table {
            let args: Vec<String> = args.iter().map(ToString::to_string).collect();
            assert_eq!(check_platforms(&args).is_ok(), expected, "{args:?}");
        }
    }
}
