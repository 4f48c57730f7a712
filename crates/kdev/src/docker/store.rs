//! The program that builds images, and that has them afterwards.

use std::collections::BTreeMap;

use kdev_core::image::local::LocalImage;
use kdev_core::image::reference::Reference;
use kdev_core::shell::quote;
use xshell::{Cmd, Shell};

use crate::config::BuilderChoice;
use crate::cx::Cx;
use crate::docker::podman::ADD_USER_IDS;
use crate::docker::{Docker, Engine, Error, InspectedImage, Podman, Result};
use crate::tools;

/// Docker or Podman.
#[derive(Clone, Debug)]
pub(crate) enum ImageStore {
    Docker(Docker),
    Podman(Podman),
}

impl ImageStore {
    /// Connects to the program that the settings select.
    pub(crate) fn connect(cx: &Cx, builder: &BuilderChoice) -> Result<Self> {
        match builder {
            BuilderChoice::Auto => Self::detect(cx),
            BuilderChoice::Docker | BuilderChoice::Buildx(_) => {
                Docker::connect(cx).map(Self::Docker)
            }
            BuilderChoice::Podman => Podman::connect(cx).map(Self::Podman),
        }
    }

    /// Connects to Docker. Where it is not installed, or `docker` is Podman, connects to Podman.
    fn detect(cx: &Cx) -> Result<Self> {
        match Docker::connect(cx) {
            Ok(docker) => Ok(Self::Docker(docker)),
            Err(error @ Error::Tool(tools::Error::NotFound { .. } | tools::Error::Podman)) => {
                match Podman::connect(cx) {
                    Err(Error::Tool(tools::Error::NotFound { .. })) => Err(error),
                    podman => podman.map(Self::Podman),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Returns which of the programs it is.
    pub(crate) fn engine(&self) -> Engine {
        match self {
            Self::Docker(_) => Engine::Docker,
            Self::Podman(_) => Engine::Podman,
        }
    }

    /// Returns the default platform of builds.
    pub(crate) fn platform(&self) -> &str {
        match self {
            Self::Docker(docker) => &docker.platform,
            Self::Podman(podman) => &podman.platform,
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

    /// Starts a command line of the program; the subcommand follows.
    pub(crate) fn cmd<'a>(&self, sh: &'a Shell) -> Cmd<'a> {
        match self {
            Self::Docker(docker) => docker.cmd(sh),
            Self::Podman(podman) => podman.cmd(sh),
        }
    }

    /// Returns the name under which the program lists an image of kdev.
    pub(crate) fn local_name(&self, reference: &Reference) -> String {
        match self {
            Self::Docker(_) => reference.familiar(),
            Self::Podman(_) => Podman::local_name(reference),
        }
    }

    /// Inspects an image by its name.
    pub(crate) fn find(&self, cx: &Cx, reference: &Reference) -> Result<InspectedImage> {
        match self {
            Self::Docker(docker) => docker.inspect(cx, &reference.familiar()),
            Self::Podman(podman) => podman.find(cx, reference),
        }
    }

    /// Inspects an image by its ID.
    pub(crate) fn inspect(&self, cx: &Cx, id: &str) -> Result<InspectedImage> {
        match self {
            Self::Docker(docker) => docker.inspect(cx, id),
            Self::Podman(podman) => podman.inspect(cx, id),
        }
    }

    /// Lists all named images, the newest first.
    pub(crate) fn images(&self, cx: &Cx) -> Result<Vec<LocalImage>> {
        match self {
            Self::Docker(docker) => docker.images(cx),
            Self::Podman(podman) => podman.images(cx),
        }
    }

    /// Returns the platforms of images, by ID.
    pub(crate) fn platforms(&self, cx: &Cx, ids: &[&str]) -> Result<BTreeMap<String, String>> {
        match self {
            Self::Docker(docker) => docker.platforms(cx, ids),
            Self::Podman(podman) => podman.platforms(cx, ids),
        }
    }

    /// Returns whether an image ID is the digest of the configuration.
    pub(crate) fn uses_config_digest_as_id(&self) -> bool {
        match self {
            Self::Docker(docker) => docker.uses_config_digest_as_id(),
            Self::Podman(_) => true,
        }
    }

    /// Returns whether the daemon, if there is one, responds now.
    pub(crate) fn is_responding(&self, cx: &Cx) -> bool {
        match self {
            Self::Docker(docker) => docker.is_responding(cx),
            Self::Podman(_) => true,
        }
    }

    /// Makes the next run read the facts about the builder again, because a build has failed.
    pub(crate) fn forget_facts(&self, cx: &Cx, named: Option<&str>) {
        if let Self::Docker(docker) = self {
            docker.forget_facts(cx, named);
        }
    }

    /// Tags an image.
    pub(crate) fn tag(&self, cx: &Cx, id: &str, reference: &Reference) -> Result<()> {
        match self {
            Self::Docker(docker) => docker.tag(cx, id, reference),
            Self::Podman(podman) => podman.tag(cx, id, reference),
        }
    }

    /// Returns the command line that tags an image, for messages.
    pub(crate) fn display_tag(&self, image: &str, reference: &Reference) -> String {
        let (program, name) = (self.engine().program(), self.local_name(reference));
        format!("{program} tag {} {}", quote(image), quote(&name))
    }

    /// Removes the tags of earlier builds, and images without any other tag.
    pub(crate) fn remove_old_tags(&self, cx: &Cx, current: &Reference) {
        match self {
            Self::Docker(docker) => docker.remove_old_tags(cx, current),
            Self::Podman(podman) => podman.remove_old_tags(cx, current),
        }
    }
}
