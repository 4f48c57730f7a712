//! Only the load: an image that docker or an archive has, onto the nodes.

use std::time::Instant;

use kdev_core::image::reference::Reference;
use kdev_core::kube::node::Node;
use kdev_core::kube::placement::{self, PodSpec};

use crate::cluster::Cluster;
use crate::cluster::kubeconfig::{Kubeconfig, ClusterTarget};
use crate::config::{Config, ConfigLayer};
use crate::cx::Cx;
use crate::details::Details;
use crate::docker::Docker;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::layers::archive::Archive;
use crate::layers::{LayerProvider, ImageSource};
use crate::load::targets::{self, Targets};
use crate::node::connection::NodeConnection;
use crate::node::transport::Transports;
use crate::parallel::run_both;
use crate::project::{Project, PackageSelection};
use crate::{build, load as stage};

/// What a user may say about one load.
#[derive(Clone, Debug, Default)]
pub struct LoadRequest {
    /// A local image, loaded under its own name, an archive of one (`-` for
    /// stdin); the project's last build, under the name of its content, if
    /// none is given.
    pub image: Option<String>,
    /// Which package; there need be none if an image is given.
    pub selection: PackageSelection,
    /// Which cluster.
    pub target: ClusterTarget,
    /// Load onto these nodes; onto all that take pods if empty.
    pub nodes: Vec<String>,
    /// Settings from flags and variables.
    pub flags: ConfigLayer,
}

/// Loads an image that docker or an archive has onto nodes, and proves that it is there.
/// Nothing is built, and nothing is applied.
pub fn load(cx: &Cx, request: &LoadRequest) -> Result<()> {
    let begun = Instant::now();
    let given = request.image.as_deref().map(ImageArg::parse).transpose()?;
    let project = match given {
        Some(_) => Project::read_if_unambiguous(cx, &request.selection)?.unwrap_or_else(Project::placeholder),
        None => Project::read(cx, &request.selection)?,
    };
    let config = Config::resolve_without_build(&project, request.flags.clone())?;
    let asked = || match given {
        Some(ImageArg::Archive(archive)) => Ok(ImageOrigin::Archive(archive)),
        Some(ImageArg::Image(image)) => {
            Docker::connect(cx).map(|docker| ImageOrigin::Docker(docker, Some(image)))
        }
        None => Docker::connect(cx).map(|docker| ImageOrigin::Docker(docker, None)),
    };
    let (asked, kubeconfig) = run_both(asked, || Kubeconfig::read(cx, &request.target));
    let asked = asked?;
    let cluster = Cluster::select(cx, kubeconfig?, &request.target, &config)?;
    let all = cluster.nodes(cx)?;
    let anywhere = PodSpec::default();
    let why_not = |node: &Node| placement::may_run("Pod", &anywhere, node).err();
    let nodes = targets::choose(cx, &cluster, &all, &config, &request.nodes, why_not)?;
    let transports = Transports::find(cx, &config, &nodes)?;
    let find = |cx: &Cx| {
        Ok::<_, Error>(match &asked {
            ImageOrigin::Archive(archive) => ImageSource::Archive(archive.unpack(cx)?),
            ImageOrigin::Docker(docker, Some(image)) => {
                ImageSource::Docker(docker, build::find_image(cx, docker, &image.familiar(), image)?)
            }
            ImageOrigin::Docker(docker, None) => {
                let found = build::identify(cx, docker, &config.image.familiar(), &config.image);
                let found = found.map_err(|error| build::into_not_built(error, &request.selection))?;
                ImageSource::Docker(docker, found)
            }
        })
    };
    let (transports, config) = (&transports, &config);
    let to = Targets { transports, config, nodes: &nodes, requested: &request.nodes };
    let load = |source: &LayerProvider, links: &[NodeConnection], ()| {
        stage::load(cx, source, links)?;
        Ok(())
    };
    let image = targets::build_and_load(cx, &to, find, |_, _| (), load)?;
    if !cx.is_dry_run() {
        cx.emit(Event::Finished { image: image.reference.familiar(), duration: begun.elapsed() });
    }
    Ok(())
}

/// What was given to be loaded.
enum ImageArg {
    Image(Reference),
    Archive(Archive),
}

/// Who is asked for it: docker for an image, or for the project's last build.
enum ImageOrigin {
    Archive(Archive),
    Docker(Docker, Option<Reference>),
}

impl ImageArg {
    fn parse(text: &str) -> Result<Self> {
        match Archive::from_arg(text) {
            Some(archive) => Ok(Self::Archive(archive)),
            None => Ok(Self::Image(parse_reference(text)?)),
        }
    }
}

/// A name that an image can be loaded under.
fn parse_reference(text: &str) -> stage::Result<Reference> {
    let fail = |reason: String| stage::Error::InvalidReference {
        image: text.to_owned(),
        reason: Details(reason),
    };
    let reference = Reference::parse(text).map_err(|error| fail(error.to_string()))?;
    match reference.digest() {
        None => Ok(reference),
        Some(_) => Err(fail("a digest is no name that a manifest could use".to_owned())),
    }
}
