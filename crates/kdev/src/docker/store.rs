//! The program that builds images, and that has them afterwards.

use std::collections::BTreeMap;

use kdev_core::image::local::LocalImage;
use kdev_core::image::reference::Reference;
use kdev_core::shell::quote;
use xshell::{Cmd, Shell, cmd};

use crate::config::{BuilderChoice, Config};
use crate::cx::Cx;
use crate::docker::podman::ADD_USER_IDS;
use crate::docker::{
    AssembledImages, Buildx, Docker, Engine, Error, InspectedImage, Podman, Result,
};
use crate::process;
use crate::tools;

/// Docker, a builder that keeps its results, Podman, or the layer cache.
#[derive(Clone, Debug)]
pub(crate) enum ImageStore {
    Docker(Box<Docker>),
    Buildx(Box<Buildx>),
    Podman(Podman),
    Assembled(AssembledImages),
}

impl ImageStore {
    /// Connects to the program that the settings select.
    pub(crate) fn connect(cx: &Cx, config: &Config) -> Result<Self> {
        let mut store = match config.builder {
            BuilderChoice::Auto => Self::detect(cx, config),
            BuilderChoice::Docker | BuilderChoice::Buildx(_) => Self::connect_docker(cx, config),
            BuilderChoice::Podman => Podman::connect(cx).map(Self::Podman),
            BuilderChoice::Cargo => AssembledImages::connect(cx).map(Self::Assembled),
        }?;
        match &mut store {
            Self::Buildx(buildx) => buildx.keep(config.keep.rule()),
            Self::Assembled(images) => images.keep(config.keep.rule()),
            Self::Docker(_) | Self::Podman(_) => {}
        }
        Ok(store)
    }

    /// Like [`Self::connect`], and starts a builder that is not running.
    pub(crate) fn connect_for_build(cx: &Cx, config: &Config) -> Result<Self> {
        Ok(match Self::connect(cx, config)? {
            Self::Buildx(buildx) => Self::Buildx(Box::new(buildx.start(cx)?)),
            store => store,
        })
    }

    /// Connects to the program that has an image. Only builds of kdev are in a builder.
    pub(crate) fn connect_with(cx: &Cx, config: &Config, image: &Reference) -> Result<Self> {
        match Self::connect(cx, config) {
            Ok(Self::Buildx(buildx)) if buildx.build(image).is_none() => {
                buildx.docker.map_or_else(|| Docker::connect(cx), Ok).map(Self::from)
            }
            Ok(Self::Assembled(images)) if images.find(image).is_err() => {
                Self::connect(cx, &Config { builder: BuilderChoice::Auto, ..config.clone() })
            }
            // Another builder does not matter for an image in Docker.
            Err(error) if error.is_about_builder() => Docker::connect(cx).map(Self::from),
            store => store,
        }
    }

    /// Connects to Docker, or to the selected builder if it keeps its results.
    fn connect_docker(cx: &Cx, config: &Config) -> Result<Self> {
        let named = config.builder_name();
        let docker = Docker::connect(cx);
        if config.loads_into_docker() {
            return docker.map(Self::from);
        }
        match docker {
            Ok(docker) => Ok(match Buildx::find(cx, &docker, named)? {
                Some(buildx) => Self::Buildx(Box::new(buildx)),
                None => Self::from(docker),
            }),
            // A builder in a cluster or on another machine does not need the daemon.
            Err(error @ Error::DaemonUnreachable { .. }) if !process::is_interrupt(&error) => {
                match Buildx::find_without_daemon(cx, named) {
                    Ok(Some(buildx)) => Ok(Self::Buildx(Box::new(buildx))),
                    _ => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Connects to Docker. Where it is not installed, or `docker` is Podman, connects to Podman.
    fn detect(cx: &Cx, config: &Config) -> Result<Self> {
        match Self::connect_docker(cx, config) {
            Err(error @ Error::Tool(tools::Error::NotFound { .. } | tools::Error::Podman)) => {
                match Podman::connect(cx) {
                    Err(Error::Tool(tools::Error::NotFound { .. })) => Err(error),
                    podman => podman.map(Self::Podman),
                }
            }
            store => store,
        }
    }

    /// Returns which of the programs it is.
    pub(crate) fn engine(&self) -> Engine {
        match self {
            Self::Docker(_) => Engine::Docker,
            Self::Buildx(_) => Engine::Buildx,
            Self::Podman(_) => Engine::Podman,
            Self::Assembled(_) => Engine::Cargo,
        }
    }

    /// Returns whether Podman builds the images.
    pub(crate) fn is_podman(&self) -> bool {
        matches!(self, Self::Podman(_))
    }

    /// Returns the default platform of builds.
    pub(crate) fn platform(&self) -> Option<&str> {
        match self {
            Self::Docker(docker) => Some(&docker.platform),
            Self::Buildx(buildx) => buildx.platform(),
            Self::Podman(podman) => Some(&podman.platform),
            Self::Assembled(_) => None,
        }
    }

    /// Returns a possible reason why a build has failed.
    pub(crate) fn build_hint(&self, cx: &Cx) -> Option<String> {
        let Self::Podman(podman) = self else { return None };
        podman.has_single_user_id(cx).then(|| {
            format!(
                "Podman has only one user ID, so it cannot store files of other users; {ADD_USER_IDS}"
            )
        })
    }

    /// Starts the command line of a build.
    pub(crate) fn build_cmd<'a>(&self, sh: &'a Shell) -> Cmd<'a> {
        match self {
            Self::Docker(docker) => docker.cmd(sh).arg("build"),
            // Old clients do not have `docker build --builder`.
            Self::Buildx(buildx) => buildx.cmd(sh).args(["buildx", "build"]),
            Self::Podman(podman) => podman.cmd(sh).arg("build"),
            Self::Assembled(_) => cmd!(sh, "cargo build"),
        }
    }

    /// Returns the name under which the program lists an image of kdev.
    pub(crate) fn local_name(&self, reference: &Reference) -> String {
        match self {
            Self::Docker(_) | Self::Buildx(_) | Self::Assembled(_) => reference.familiar(),
            Self::Podman(_) => Podman::local_name(reference),
        }
    }

    /// Inspects an image by its name.
    pub(crate) fn find(&self, cx: &Cx, reference: &Reference) -> Result<InspectedImage> {
        match self {
            Self::Docker(docker) => docker.inspect(cx, &reference.familiar()),
            Self::Buildx(buildx) => buildx.find_image(reference),
            Self::Podman(podman) => podman.find(cx, reference),
            Self::Assembled(images) => images.find(reference),
        }
    }

    /// Inspects an image by its ID.
    pub(crate) fn inspect(&self, cx: &Cx, id: &str) -> Result<InspectedImage> {
        match self {
            Self::Docker(docker) => docker.inspect(cx, id),
            Self::Buildx(buildx) => buildx.inspect(id),
            Self::Podman(podman) => podman.inspect(cx, id),
            Self::Assembled(images) => images.inspect(id),
        }
    }

    /// Lists all named images, the newest first.
    pub(crate) fn images(&self, cx: &Cx) -> Result<Vec<LocalImage>> {
        match self {
            Self::Docker(docker) => docker.images(cx),
            Self::Buildx(buildx) => Ok(buildx.images()),
            Self::Podman(podman) => podman.images(cx),
            Self::Assembled(images) => Ok(images.builds().images()),
        }
    }

    /// Returns the platforms of images, by ID.
    pub(crate) fn platforms(&self, cx: &Cx, ids: &[&str]) -> Result<BTreeMap<String, String>> {
        match self {
            Self::Docker(docker) => docker.platforms(cx, ids),
            Self::Buildx(buildx) => Ok(buildx.platforms()),
            Self::Podman(podman) => podman.platforms(cx, ids),
            Self::Assembled(images) => Ok(images.builds().platforms()),
        }
    }

    /// Returns whether an image ID is the digest of the configuration.
    pub(crate) fn uses_config_digest_as_id(&self) -> bool {
        match self {
            Self::Docker(docker) => docker.uses_config_digest_as_id(),
            Self::Buildx(_) | Self::Podman(_) | Self::Assembled(_) => true,
        }
    }

    /// Returns whether the daemon, if there is one, responds now.
    pub(crate) fn is_responding(&self, cx: &Cx) -> bool {
        match self {
            Self::Docker(docker) => docker.is_responding(cx),
            Self::Buildx(_) | Self::Podman(_) | Self::Assembled(_) => true,
        }
    }

    /// Makes the next run read the facts about the builder again, because a build has failed.
    pub(crate) fn forget_facts(&self, cx: &Cx, named: Option<&str>) {
        match self {
            Self::Docker(docker) => docker.forget_facts(cx, named),
            Self::Buildx(buildx) => buildx.forget_facts(cx),
            Self::Podman(_) | Self::Assembled(_) => {}
        }
    }

    /// Tags an image.
    pub(crate) fn tag(&self, cx: &Cx, id: &str, reference: &Reference) -> Result<()> {
        match self {
            Self::Docker(docker) => docker.tag(cx, id, reference),
            Self::Buildx(buildx) => buildx.tag(id, reference),
            Self::Podman(podman) => podman.tag(cx, id, reference),
            Self::Assembled(images) => images.tag(id, reference),
        }
    }

    /// Returns the command line that tags an image, for messages; `None` if no command does it.
    pub(crate) fn display_tag(&self, image: &str, reference: &Reference) -> Option<String> {
        if matches!(self, Self::Buildx(_) | Self::Assembled(_)) {
            return None;
        }
        let (program, name) = (self.engine().program(), self.local_name(reference));
        Some(format!("{program} tag {} {}", quote(image), quote(&name)))
    }
}

impl From<Docker> for ImageStore {
    fn from(docker: Docker) -> Self {
        Self::Docker(Box::new(docker))
    }
}
