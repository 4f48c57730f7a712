//! Where an image comes from: one variant and one file for each kind of
//! builder.
//!
//! A source only has to bring layers into the cache directory. The cache shows which ones have
//! arrived: a layer counts if its content has the requested diffID.

use kdev_core::image::built::BuiltImage;

use crate::cx::Cx;
use crate::docker::{Docker, Podman};
use crate::layers::archive::UnpackedArchive;
use crate::layers::assembled::AssembledSource;
use crate::layers::buildx::BuildxSource;
use crate::layers::cache::LayerCache;
use crate::layers::docker::DockerSource;
use crate::layers::podman::PodmanSource;
use crate::layers::unavailable::Unavailable;
use crate::layers::wanted::WantedLayers;
use crate::process::Command;

/// Where the image comes from.
pub(crate) enum ImageSource<'a> {
    Docker(DockerSource<'a>),
    Buildx(BuildxSource<'a>),
    Podman(PodmanSource<'a>),
    Archive(UnpackedArchive),
    Assembled(AssembledSource<'a>),
}

impl<'a> ImageSource<'a> {
    pub(crate) fn from_docker(docker: &'a Docker, image: BuiltImage) -> Self {
        Self::Docker(DockerSource::new(docker, image))
    }

    pub(crate) fn from_podman(podman: &'a Podman, image: BuiltImage) -> Self {
        Self::Podman(PodmanSource::new(podman, image))
    }

    /// Returns the image under its first name.
    pub(crate) fn image(&self) -> &BuiltImage {
        &self.images()[0]
    }

    /// Returns the image under each of its names; never empty.
    pub(crate) fn images(&self) -> &[BuiltImage] {
        match self {
            Self::Docker(source) => std::slice::from_ref(source.image()),
            Self::Buildx(source) => std::slice::from_ref(source.image()),
            Self::Podman(source) => std::slice::from_ref(source.image()),
            Self::Archive(unpacked) => &unpacked.images,
            Self::Assembled(source) => std::slice::from_ref(source.image()),
        }
    }

    /// Returns the directory from which layers are sent, if it is not the cache directory.
    pub(super) fn own_layers(&self) -> Option<&LayerCache> {
        match self {
            Self::Archive(unpacked) => Some(&unpacked.layers),
            Self::Docker(_) | Self::Buildx(_) | Self::Podman(_) | Self::Assembled(_) => None,
        }
    }

    /// Returns whether the source cannot write the archive of a whole image.
    pub(super) fn has_only_layers(&self) -> bool {
        matches!(self, Self::Buildx(_) | Self::Archive(_) | Self::Assembled(_))
    }

    /// Returns whether layer by layer is the fastest way to read a whole image.
    pub(super) fn prefers_layers(&self, cx: &Cx) -> bool {
        match self {
            Self::Docker(source) => source.prefers_layers(cx),
            Self::Podman(_) => false,
            Self::Buildx(_) | Self::Archive(_) | Self::Assembled(_) => true,
        }
    }

    /// Brings the layers into the cache that the nodes probably need, while they are being
    /// connected to.
    pub(super) fn prefetch(&self, cx: &Cx, cache: &LayerCache) {
        match self {
            Self::Docker(source) => source.prefetch(cx, cache),
            Self::Podman(source) => source.prefetch(cx, cache),
            // The build has stored the new layers, or the archive was unpacked.
            Self::Buildx(_) | Self::Archive(_) | Self::Assembled(_) => {}
        }
    }

    /// Returns whether layers that were removed from the cache can be brought there again.
    pub(super) fn can_fetch_again(&self) -> bool {
        match self {
            Self::Buildx(source) => source.has_rebuild(),
            Self::Docker(_) | Self::Podman(_) => true,
            Self::Archive(_) | Self::Assembled(_) => false,
        }
    }

    /// Brings layers into the cache. Returns why some are missing, if that is known.
    pub(super) fn fetch(&self, cx: &Cx, wanted: &WantedLayers) -> Result<(), Unavailable> {
        match self {
            Self::Docker(source) => source.fetch(cx, wanted),
            Self::Buildx(source) => source.fetch(cx, wanted),
            Self::Podman(source) => source.fetch(cx, wanted),
            Self::Assembled(source) => source.fetch(cx, wanted),
            Self::Archive(_) => Err("the folder of the unpacked archive was deleted".into()),
        }
    }

    /// Returns the command that writes the archive of the whole image to stdout; `None` if there
    /// are only single layers.
    pub(crate) fn save_command(&self, cx: &Cx) -> Option<Command> {
        match self {
            Self::Docker(source) => source.save_command(cx),
            Self::Podman(source) => source.save_command(cx),
            Self::Buildx(_) | Self::Archive(_) | Self::Assembled(_) => None,
        }
    }

    /// Returns the command line that writes the archive of the whole image, for messages.
    pub(crate) fn display_save(&self) -> Option<String> {
        match self {
            Self::Docker(source) => Some(source.display_save()),
            Self::Podman(source) => Some(source.display_save()),
            Self::Buildx(_) | Self::Archive(_) | Self::Assembled(_) => None,
        }
    }
}
