//! `cargo kdev load`: loads an image from Docker, from Podman, or from an archive onto the nodes.

use std::thread::ScopedJoinHandle;
use std::time::Instant;

use kdev_core::image::built::BuiltImage;
use kdev_core::image::reference::Reference;
use kdev_core::kube::node::Node;
use kdev_core::kube::placement::{self, PodSpec};

use crate::cluster::Cluster;
use crate::cluster::kubeconfig::{ClusterTarget, Kubeconfig};
use crate::commands::several;
use crate::config::{Config, ConfigLayer};
use crate::cx::Cx;
use crate::details::Details;
use crate::docker::ImageStore;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::layers::archive::Archive;
use crate::layers::{ImageSource, LayerProvider};
use crate::load::targets::{self, ConnectTime, Targets};
use crate::node::connection::NodeConnection;
use crate::node::transport::Transports;
use crate::parallel::run_both;
use crate::project::{PackageSelection, Project};
use crate::{build, load as stage};

/// The options of [`load`].
#[derive(Clone, Debug, Default)]
pub struct LoadRequest {
    /// An image in Docker or Podman, or an image archive (`-` for stdin), which is loaded under its own
    /// name. `None` loads the last build of the project under its content tag.
    pub image: Option<String>,
    /// The package; not required if an image is given.
    pub selection: PackageSelection,
    /// The cluster.
    pub target: ClusterTarget,
    /// The nodes to load onto; if empty, all nodes that accept pods.
    pub nodes: Vec<String>,
    /// Settings from flags and environment variables.
    pub flags: ConfigLayer,
}

/// Loads an image from Docker, from Podman, or from an archive onto the nodes, and verifies that
/// it is there. Builds and applies nothing.
pub fn load(cx: &Cx, request: &LoadRequest) -> Result<()> {
    if request.image.is_some() {
        let project = Project::read_if_unambiguous(cx, &request.selection)?;
        return load_one(cx, request, &project.unwrap_or_else(Project::placeholder));
    }
    let projects = Project::read_all(cx, &request.selection)?;
    several::for_each(cx, &request.selection, &projects, |cx, selection, project| {
        load_one(cx, &LoadRequest { selection: selection.clone(), ..request.clone() }, project)
    })
}

fn load_one(cx: &Cx, request: &LoadRequest, project: &Project) -> Result<()> {
    let start = Instant::now();
    let image_arg = request.image.as_deref().map(ImageArg::parse).transpose()?;
    let config = Config::resolve_without_build(project, request.flags.clone())?;
    let find_origin = || match image_arg {
        Some(ImageArg::Archive(archive)) => Ok(ImageOrigin::Archive(archive)),
        Some(ImageArg::Image(image)) => ImageStore::connect_with(cx, &config, &image)
            .map(|store| ImageOrigin::Store(Box::new(store), Some(image))),
        None => {
            ImageStore::connect(cx, &config).map(|store| ImageOrigin::Store(Box::new(store), None))
        }
    };
    let (origin, kubeconfig) = run_both(find_origin, || Kubeconfig::read(cx, &request.target));
    let origin = origin?;
    let cluster = Cluster::select(cx, kubeconfig?, &request.target, &config)?;
    let all = cluster.nodes(cx)?;
    let unrestricted = PodSpec::default();
    let exclusion_cause = |node: &Node| placement::may_run("Pod", &unrestricted, node).err();
    let nodes = targets::choose(cx, &cluster, &all, &config, &request.nodes, exclusion_cause)?;
    let transports = Transports::find(cx, &config, &nodes)?;
    let _open = transports.close_at_end(cx);
    // A builder can export the layers of its image again, if the image can be built.
    let build_config = Config::resolve(project, request.flags.clone()).ok();
    let build_config = build_config.as_ref();
    let find_image = |cx: &Cx| {
        Ok::<_, Error>(match &origin {
            ImageOrigin::Archive(archive) => ImageSource::Archive(archive.unpack(cx)?),
            ImageOrigin::Store(store, Some(image)) => {
                build::image_source(store, build_config, build::find_image(cx, store, image)?)
            }
            ImageOrigin::Store(store, None) => {
                let found = build::identify(cx, store, &config.image);
                let found =
                    found.map_err(|error| build::into_not_built(error, &request.selection))?;
                build::image_source(store, build_config, found)
            }
        })
    };
    let (transports, config) = (&transports, &config);
    let targets = Targets {
        cluster: &cluster,
        all: &all,
        transports,
        config,
        nodes: &nodes,
        requested: &request.nodes,
    };
    let finish = |image: &BuiltImage| {
        if !cx.is_dry_run() {
            let image = image.reference.familiar();
            cx.emit(Event::Finished { image, duration: start.elapsed() });
        }
    };
    let load =
        |source: &LayerProvider, connections: Vec<NodeConnection>, _: ScopedJoinHandle<()>| {
            stage::load(cx, source, &connections)?;
            finish(source.image);
            for other_name in &source.source.images()[1..] {
                stage::load(cx, &LayerProvider::new(cx, source.source, other_name), &connections)?;
                finish(other_name);
            }
            Ok(())
        };
    let time = ConnectTime::DuringBuild;
    targets::build_and_load(cx, &targets, time, find_image, |_| false, |_, _| (), load)?;
    Ok(())
}

/// The image argument of the command line.
enum ImageArg {
    Image(Reference),
    Archive(Archive),
}

/// The source of the image. A store without a reference provides the last build of the project.
enum ImageOrigin {
    Archive(Archive),
    Store(Box<ImageStore>, Option<Reference>),
}

impl ImageArg {
    fn parse(text: &str) -> Result<Self> {
        match Archive::from_arg(text) {
            Some(archive) => Ok(Self::Archive(archive)),
            None => Ok(Self::Image(parse_reference(text)?)),
        }
    }
}

/// Parses a reference under which an image can be loaded.
fn parse_reference(text: &str) -> stage::Result<Reference> {
    let fail = |reason: String| stage::Error::InvalidReference {
        image: text.to_owned(),
        reason: Details(reason),
    };
    let reference = Reference::parse(text).map_err(|error| fail(error.to_string()))?;
    match reference.digest() {
        None => Ok(reference),
        Some(_) => Err(fail("a reference with a digest cannot be loaded; use a tag".to_owned())),
    }
}
