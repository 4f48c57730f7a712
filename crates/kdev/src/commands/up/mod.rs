//! `cargo kdev up`: build, load, apply, wait.
//!
//! - `deployment.rs`: the steps that do not depend on the builder
//! - `request.rs`: the options
//! - `services.rs`: deploys several packages at the same time
//! - `turns.rs`: which of them wait for others

mod deployment;
mod request;
mod services;
mod turns;

use std::sync::Arc;
use std::thread::{self, ScopedJoinHandle};
use std::time::Instant;

use kdev_core::image::built::BuiltImage;
use kdev_core::kube::owner::Owner;
use kdev_core::watch::need::Achieved;

use crate::build::{self, BuildSeat};
use crate::cluster::kubeconfig::{ClusterTarget, Kubeconfig};
use crate::cluster::listing::Listings;
use crate::cluster::{Cluster, Error as ClusterError};
use crate::commands::order::Order;
use crate::commands::several;
use crate::commands::up::deployment::{Compared, Deployment, Sources};
use crate::commands::up::services::Service;
use crate::config::{BaseImage, Config};
use crate::cx::Cx;
use crate::docker::ImageStore;
use crate::error::{Error, Result};
use crate::layers::LayerProvider;
use crate::layers::cache::LayerCache;
use crate::load;
use crate::load::base;
use crate::load::targets::{self, ConnectTime, Targets};
use crate::manifests::Error as ManifestsError;
use crate::node::transport::Transports;
use crate::parallel::{join_thread, run_both};
use crate::process::Error as ProcessError;
use crate::project::{Project, owner};
use crate::prune;
use crate::session::Session;
use crate::session::images::{KeptImage, Reuse};

pub use request::UpRequest;

/// Builds the image, loads it onto every node that can run it, applies the manifests, and
/// waits until the new pods are ready.
///
/// Everything that does not depend on the build is checked before it, and the connections to
/// the nodes are opened while it runs. Emits events through `cx`; prints nothing.
///
/// Several services are deployed at the same time, with one call of `cargo build`. A failure does
/// not stop the others.
pub fn up(cx: &Cx, request: &UpRequest) -> Result<()> {
    let session = Session::default();
    let _open = session.close_at_end(cx);
    up_again(cx, request, Project::read_all(cx, &request.selection)?, &session)
}

/// Like [`up`], but does not repeat what an earlier run has done, as far as that was planned. The
/// projects are the selected ones.
pub(crate) fn up_again(
    cx: &Cx,
    request: &UpRequest,
    projects: Vec<Project>,
    session: &Session,
) -> Result<()> {
    let (projects, order) = Order::sort(projects, &request.flags)?;
    several::check_images(&projects, &request.flags)?;
    several::check_cargo_flags(&projects, &request.flags)?;
    let deploy = |cx: &Cx, service: &Service| {
        let mut request = request.clone();
        if projects.len() > 1 {
            request.selection = request.selection.of_package(&service.project.package);
        }
        up_one(cx, &request, session, service)
    };
    services::run(cx, &projects, &order, deploy, can_be_resolved)
}

/// Returns whether a package may be deployed after others.
fn can_be_resolved(error: &Error) -> bool {
    match error {
        Error::Manifests(ManifestsError::SiblingNotDeployed { is_mixed, .. }) => !is_mixed,
        Error::Cluster(ClusterError::NamespaceNotFound { .. }) => true,
        _ => false,
    }
}

/// Deploys a package. cargo starts before anything is checked if an earlier cycle has run it, too:
/// the build counts if it is the one that is then needed.
fn up_one(cx: &Cx, request: &UpRequest, session: &Session, service: &Service) -> Result<()> {
    let (package, start) = (&service.project.package, Instant::now());
    let reuse = session.images.take(package);
    thread::scope(|scope| {
        let seat = service.build_seat();
        if reuse.for_manifests().is_none()
            && let Some(call) = session.calls.take(package)
            && let Some(build) = seat.begin_early(cx, call)
        {
            scope.spawn(build);
        }
        deploy(cx, request, session, service, (seat, reuse, start))
    })
}

fn deploy(
    cx: &Cx,
    request: &UpRequest,
    session: &Session,
    service: &Service,
    (seat, reuse, start): (BuildSeat, Reuse, Instant),
) -> Result<()> {
    let (project, images) = (service.project, &session.images);
    let mut config = Config::resolve(project, request.flags.clone())?;
    let (store, cluster, owner) =
        connect(cx, &config, &request.target, &reuse, service.listings())?;
    if let Some(store) = &store {
        config = config.with_detected_builder(project, &request.flags, store.is_podman())?;
    }
    let sources = Sources::read(cx, request, project, &config, &cluster)?;
    let deployment = Deployment::new(cx, request, &config, (&cluster, &owner), &sources, service)?;
    let nodes = deployment.choose_nodes(cx)?;
    let store = match (store, reuse.for_manifests()) {
        (Some(store), _) => store,
        (None, Some(kept)) if kept.is_on(&nodes) => {
            drop(seat);
            return deployment.apply_again(cx, images, kept, start);
        }
        (None, _) => ImageStore::connect_for_build(cx, &config)?,
    };
    let mut building =
        config.clone().with_detected_builder(project, &request.flags, store.is_podman())?;
    let transports =
        Transports::find_again(cx, &config, &nodes, &session.ssh, service.probes().clone())?;
    building.programs = sources.programs(&config);
    building.platform = build::platform::choose(cx, &store, &building, &nodes)?;

    let targets = Targets {
        cluster: &cluster,
        all: &deployment.all,
        transports: &transports,
        config: &config,
        nodes: &nodes,
        requested: &request.nodes,
    };
    read_base(cx, &store, &mut building, &targets)?;
    let build = |cx: &Cx| {
        let seat = seat;
        let source = build::build_source(cx, &store, &building, &seat);
        session.calls.record(&project.package, seat.requested());
        Ok::<_, Error>(source?)
    };
    let compare = |cx: &Cx, image: &BuiltImage| deployment.compare_early(cx, image);
    let mut done = None;
    let apply = |source: &LayerProvider, connections: Vec<_>, comparing: ScopedJoinHandle<_>| {
        let loaded = load::load(cx, source, &connections)?;
        let compared: Result<Option<Compared>> = join_thread(comparing);
        let kept = Arc::new(KeptImage::new(source.image.clone(), loaded, &nodes));
        images.record(&project.package, &kept, Achieved::Loaded);
        let applied = deployment.apply(cx, compared?, &kept.image, &kept.loaded)?;
        done = Some((applied, kept, connections));
        Ok(())
    };
    let is_deployed = |image: &BuiltImage| reuse.deployed().is_some_and(|it| it.is_same(image));
    let time = connect_time(&store, &reuse);
    let image = targets::build_and_load(cx, &targets, time, build, is_deployed, compare, apply)
        .inspect_err(|error| deployment.note_places(cx, error))?;
    let keep = config.keep.rule();
    let deployed = prune::Deployed { cluster: &cluster, store: &store, image: &image, keep };
    if cx.is_dry_run() {
        deployed.prune_store(cx);
        return Ok(());
    }
    let Some((applied, kept, connections)) = done else {
        if let Some(kept) = reuse.deployed() {
            images.record(&project.package, kept, Achieved::Ready);
        }
        return Ok(());
    };
    deployment.wait(cx, &kept, applied)?;
    images.record(&project.package, &kept, Achieved::Ready);
    deployed.prune(cx, &kept.loaded, &connections);
    deployment.report(cx, &image, start);
    Ok(())
}

/// Returns when the nodes are connected to. A change of a source that does not change the program
/// must not reach them. Docker needs more time for the image, in which they are connected to.
fn connect_time(store: &ImageStore, reuse: &Reuse) -> ConnectTime {
    match (store, reuse.deployed()) {
        (ImageStore::Assembled(_), Some(_)) => ConnectTime::AfterBuild,
        _ => ConnectTime::DuringBuild,
    }
}

/// Reads the configuration of the base from a node, if it is there.
fn read_base(cx: &Cx, store: &ImageStore, config: &mut Config, targets: &Targets) -> Result<()> {
    let platform = config.platform.as_deref();
    if let (ImageStore::Assembled(images), BaseImage::Node(reference, digest)) =
        (store, &mut config.container.base)
    {
        let cache = LayerCache::open_in(images.cache_dir())
            .map_err(ProcessError::write(images.cache_dir()))
            .map_err(load::Error::from)?;
        *digest = Some(base::read_config(cx, targets, &cache, reference, platform)?);
    }
    Ok(())
}

/// Connects to Docker or Podman, unless only the manifests are necessary, and to the cluster, and
/// identifies the project.
fn connect(
    cx: &Cx,
    config: &Config,
    target: &ClusterTarget,
    reuse: &Reuse,
    listings: &Listings,
) -> Result<(Option<ImageStore>, Cluster, Owner)> {
    let find_owner = || owner::find(cx, &config.package, &config.dir, config.project_id.as_deref());
    let find_store = || match reuse.for_manifests() {
        Some(_) => Ok(None),
        None => ImageStore::connect_for_build(cx, config).map(Some),
    };
    let find_cluster = || {
        let kubeconfig = Kubeconfig::read(cx, target)?;
        Cluster::resolve_and_list(kubeconfig, target, config, |cluster| listings.get(cx, cluster))
    };
    let connect = || run_both(find_store, find_cluster);
    let ((store, cluster), owner) = run_both(connect, find_owner);
    let (store, mut owner) = (store?, owner?);
    owner.set_manifests(config.manifests.iter().flatten().map(|path| path.to_string_lossy()));
    let (mut cluster, server) = cluster?;
    cluster.share_requests(listings.requests());
    cluster.check_permission(cx, target, config, &server)?;
    Ok((store, cluster, owner))
}
