//! Builders of Buildx that keep the results of their builds, instead of storing them in Docker:
//! those with the drivers `docker-container`, `kubernetes`, `cloud`, and `remote`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use kdev_core::image::builds::Keep;
use kdev_core::image::local::LocalImage;
use kdev_core::image::reference::Reference;
use xshell::{Cmd, Shell, cmd};

use crate::cx::Cx;
use crate::docker::builder::Builder;
use crate::docker::detect::inspect_builder;
use crate::docker::kept::{KeptBuild, KeptBuilds};
use crate::docker::{Docker, DockerFacts, Engine, Error, InspectedImage, Result, facts};
use crate::event::Event;
use crate::process::{self, Command};
use crate::tools;

/// A builder that keeps its results.
#[derive(Clone, Debug)]
pub(crate) struct Buildx {
    /// The Docker client.
    path: PathBuf,
    /// The name in the settings of kdev.
    named: Option<String>,
    pub(crate) builder: Builder,
    facts: DockerFacts,
    /// The daemon of the client; `None` if none responds, and the builder does not need it.
    pub(crate) docker: Option<Docker>,
    /// The builds; `None` without a cache directory.
    builds: Option<KeptBuilds>,
}

impl Buildx {
    /// Returns the builder that the settings name or select, if it keeps its results.
    pub(super) fn find(cx: &Cx, docker: &Docker, named: Option<&str>) -> Result<Option<Self>> {
        if !facts::selects_builder(cx.docker_settings(), named) {
            return Ok(None);
        }
        let facts = docker.facts(cx, named)?;
        let docker = docker.clone();
        Ok(Self::new(cx, docker.path.clone(), named, facts, Some(docker)))
    }

    /// Returns the builder that the settings name or select, if it does not need the daemon
    /// of the client.
    pub(super) fn find_without_daemon(cx: &Cx, named: Option<&str>) -> Result<Option<Self>> {
        let settings = cx.docker_settings();
        if !facts::selects_builder(settings, named) {
            return Ok(None);
        }
        let path = tools::DOCKER.find()?;
        let name = facts::builder_name(settings, named, "");
        let facts =
            DockerFacts { builder: inspect_builder(cx, &path, name)?, ..DockerFacts::default() };
        let found = Self::new(cx, path, named, facts, None);
        Ok(found.filter(|found| found.facts.has_remote_builder()))
    }

    fn new(
        cx: &Cx,
        path: PathBuf,
        named: Option<&str>,
        facts: DockerFacts,
        docker: Option<Docker>,
    ) -> Option<Self> {
        let builder = facts.builder.clone().filter(Builder::keeps_results)?;
        let builds = cx.cache_dir().map(|dir| KeptBuilds::new(dir, &builder.name));
        Some(Self { path, named: named.map(str::to_owned), builder, facts, docker, builds })
    }

    /// Starts the builder if it is not running, as a build does: only then, its version and its
    /// platforms are known.
    pub(super) fn start(self, cx: &Cx) -> Result<Self> {
        if self.builder.is_running || cx.is_dry_run() {
            return Ok(self);
        }
        let name = &self.builder.name;
        cx.emit(Event::Note { text: format!("starting builder `{name}`") });
        let sh = cx.shell()?;
        let start = self.cmd(&sh).args(["buildx", "inspect", "--bootstrap", name]);
        // Its image may have to be pulled.
        let output = Command::new(start).read(cx);
        let output = output
            .map_err(|source| Error::BuilderNotStarted { builder: name.clone(), source })?
            .text();
        let builder = Builder::parse(&output).unwrap_or_else(|| self.builder.clone());
        let facts = DockerFacts { builder: Some(builder.clone()), ..self.facts.clone() };
        Ok(Self { builder, facts, ..self })
    }

    /// Checks that a builder can export an image into a directory.
    pub(crate) fn check_export(builder: &Builder) -> Result<()> {
        match builder.buildkit_version {
            Some(version) if !builder.can_export_layout() => {
                Err(Error::BuildkitTooOld { builder: builder.name.clone(), version })
            }
            _ => Ok(()),
        }
    }

    /// Returns the default platform of builds, if it is known.
    pub(crate) fn platform(&self) -> Option<&str> {
        self.builder.default_platform.as_deref()
    }

    /// Returns the properties that decide how the image is exported.
    pub(crate) fn facts(&self) -> &DockerFacts {
        &self.facts
    }

    /// Makes the next run read the facts again, because a build has failed.
    pub(crate) fn forget_facts(&self, cx: &Cx) {
        if let Some(docker) = &self.docker {
            docker.forget_facts(cx, self.named.as_deref());
        }
    }

    /// Starts a docker command line; the subcommand follows.
    pub(crate) fn cmd<'a>(&self, sh: &'a Shell) -> Cmd<'a> {
        let path = &self.path;
        cmd!(sh, "{path}")
    }

    /// Sets how many builds are kept.
    pub(super) fn keep(&mut self, keep: Keep) {
        if let Some(builds) = &mut self.builds {
            builds.keep(keep);
        }
    }

    /// Returns the build with this tag.
    pub(crate) fn build(&self, reference: &Reference) -> Option<KeptBuild> {
        self.builds.as_ref()?.get(reference)
    }

    /// Records a build under a tag.
    pub(crate) fn record(&self, reference: &Reference, build: &KeptBuild) -> Result<()> {
        let builds = self.builds.as_ref().ok_or_else(|| self.cache_required())?;
        let recorded = builds.put(reference, build);
        Ok(recorded.map_err(process::Error::write("the record of the build"))?)
    }

    /// Returns the error for a run without a cache directory, where the layers are stored.
    pub(crate) fn cache_required(&self) -> Error {
        Error::CacheRequired { builder: self.builder.name.clone() }
    }

    pub(super) fn find_image(&self, reference: &Reference) -> Result<InspectedImage> {
        inspected(self.build(reference), &reference.familiar())
    }

    pub(super) fn inspect(&self, config_digest: &str) -> Result<InspectedImage> {
        let build = self.builds.as_ref().and_then(|builds| builds.with_digest(config_digest));
        inspected(build, config_digest)
    }

    pub(super) fn images(&self) -> Vec<LocalImage> {
        self.builds.as_ref().map(KeptBuilds::images).unwrap_or_default()
    }

    pub(super) fn platforms(&self) -> BTreeMap<String, String> {
        self.builds.as_ref().map(KeptBuilds::platforms).unwrap_or_default()
    }

    pub(super) fn tag(&self, config_digest: &str, reference: &Reference) -> Result<()> {
        let build = self.builds.as_ref().and_then(|builds| builds.with_digest(config_digest));
        let not_found = || image_not_found(config_digest);
        self.record(reference, &build.ok_or_else(not_found)?)
    }

    /// Returns the tags of an image, the newest build first.
    pub(crate) fn tags(&self, image: &Reference) -> Vec<String> {
        self.builds.as_ref().map(|builds| builds.tags(image)).unwrap_or_default()
    }

    /// Removes builds by their tags. Returns the removed ones.
    pub(crate) fn remove(&self, image: &Reference, tags: &[&str]) -> Vec<String> {
        self.builds.as_ref().map(|builds| builds.remove_tags(image, tags)).unwrap_or_default()
    }
}

fn inspected(build: Option<KeptBuild>, image: &str) -> Result<InspectedImage> {
    build.map(InspectedImage::from).ok_or_else(|| image_not_found(image))
}

fn image_not_found(image: &str) -> Error {
    Error::ImageNotFound { image: image.to_owned(), engine: Engine::Buildx }
}
