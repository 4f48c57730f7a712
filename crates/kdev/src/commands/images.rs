//! `cargo kdev images`: lists the builds of the project's image, on the nodes and in Docker or
//! Podman.

use std::collections::BTreeSet;

use jiff::Timestamp;
use kdev_core::image::builds::{NodeBuild, NodeBuilds, build_tag};
use kdev_core::image::local::{Engine, LocalImage};
use kdev_core::image::reference::Reference;
use serde::{Deserialize, Serialize};

use crate::cluster::Cluster;
use crate::cluster::kubeconfig::{ClusterTarget, Kubeconfig};
use crate::commands::status::builds::Builds;
use crate::config::{Config, ConfigLayer};
use crate::cx::Cx;
use crate::docker::ImageStore;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::load;
use crate::node::connection::NodeConnection;
use crate::node::error::NodeError;
use crate::parallel::{map_all, run_both};
use crate::project::{PackageSelection, Project};
use crate::prune::{ContainerUser, OpenNodes, UsageById, image_usage, with_nodes};

/// The options of [`images`].
#[derive(Clone, Debug, Default)]
pub struct ImagesRequest {
    /// The package.
    pub selection: PackageSelection,
    /// The cluster.
    pub target: ClusterTarget,
    /// The nodes; if empty, all nodes that accept pods.
    pub nodes: Vec<String>,
    /// Settings from flags and environment variables.
    pub flags: ConfigLayer,
}

/// The builds of the project's image.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ImagesReport {
    /// The name of the image, without a tag.
    pub image: String,
    /// One row for each build in each place.
    pub rows: Vec<ImageRow>,
}

/// A build in one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ImageRow {
    /// The name of the node; `None` for this machine.
    pub node: Option<String>,
    /// The program that has the image on this machine.
    pub engine: Option<Engine>,
    /// The reference of the build.
    pub image: String,
    /// Its content tag.
    pub tag: String,
    /// Whether it is the last build on this machine; `None` if that is unknown.
    pub latest: Option<bool>,
    /// Its size in bytes as it is stored; `None` if it is unknown.
    pub bytes: Option<u64>,
    /// How many of these bytes other images also use: on a node, other builds of the image.
    pub shared_bytes: Option<u64>,
    /// When it was created or, on a node, loaded last.
    pub time: Option<String>,
    /// Whether it is protected from the kubelet's garbage collection; `None` for this machine.
    pub pinned: Option<bool>,
    /// The pods that use it, as `NAMESPACE/POD`.
    pub pods: Vec<String>,
    /// The number of containers that use it; `None` if it is unknown.
    pub containers: Option<u64>,
}

/// Lists the builds of the project's image. Calls `show` with what was found, also if that is
/// not possible everywhere.
pub fn images(cx: &Cx, request: &ImagesRequest, show: impl FnOnce(&ImagesReport)) -> Result<()> {
    let project = Project::read(cx, &request.selection)?;
    let config = Config::resolve_without_build(&project, request.flags.clone())?;
    let connect = || ImageStore::connect(cx, &config).map_err(Error::from);
    let (store, kubeconfig) = run_both(connect, || Kubeconfig::read(cx, &request.target));
    let cluster =
        Cluster::connect_read_only(kubeconfig?, &request.target, config.namespace.clone())?;
    let on_nodes = || {
        let list = |open: OpenNodes| list_on_nodes(cx, open, &config.image);
        Ok::<_, Error>(with_nodes(cx, &cluster, &config, &request.nodes, list)?)
    };
    let (local, nodes) = run_both(|| list_local(cx, &store?, &config), on_nodes);
    cx.check_interrupt()?;
    let (mut rows, mut failures, mut node_error) = (Vec::new(), Vec::new(), None);
    match nodes {
        Ok((found, failed)) => (rows, failures) = (found, failed),
        Err(error) => node_error = Some(error),
    }
    let mut local_error = None;
    match local {
        Ok(found) => {
            let latest = found.iter().find(|row| row.latest == Some(true));
            let latest = latest.map(|row| row.tag.clone());
            for row in &mut rows {
                row.latest = latest.as_ref().map(|latest| *latest == row.tag);
            }
            rows.extend(found);
        }
        Err(error) => local_error = Some(error),
    }
    show(&ImagesReport { image: config.image.name().familiar(), rows });
    if !failures.is_empty() {
        node_error = Some(load::Error::Nodes(failures).into());
    }
    match (node_error, local_error) {
        (Some(error), Some(other)) => {
            cx.emit(Event::Note {
                text: format!("the builds on this machine are unknown: {other}"),
            });
            Err(error)
        }
        (Some(error), None) | (None, Some(error)) => Err(error),
        (None, None) => Ok(()),
    }
}

fn list_on_nodes(cx: &Cx, open: OpenNodes, image: &Reference) -> (Vec<ImageRow>, Vec<NodeError>) {
    let list = |connection: &NodeConnection| {
        let (builds, users) = connection.list_builds(cx, image.name())?;
        let row = |build: &NodeBuild| node_row(&connection.node.name, build, &builds, &users);
        Ok::<Vec<ImageRow>, NodeError>(builds.builds.iter().map(row).collect())
    };
    let (mut rows, mut failures) = (Vec::new(), open.failures);
    for result in map_all(&open.connections, list) {
        match result {
            Ok(found) => rows.extend(found),
            Err(error) => failures.push(error),
        }
    }
    (rows, failures)
}

fn node_row(node: &str, build: &NodeBuild, all: &NodeBuilds, users: &[ContainerUser]) -> ImageRow {
    let is_user = |user: &&ContainerUser| build.containers.contains(&user.container);
    let pods = users.iter().filter(is_user).map(|user| format!("{}/{}", user.namespace, user.pod));
    let pods: BTreeSet<String> = pods.collect();
    let time = build.loaded.and_then(|seconds| Timestamp::from_second(seconds).ok());
    ImageRow {
        node: Some(node.to_owned()),
        engine: None,
        image: Reference::parse(&build.name).map_or_else(|_| build.name.clone(), |r| r.familiar()),
        tag: build.tag.clone(),
        latest: None,
        bytes: build.size(),
        shared_bytes: build.shared(all),
        time: time.map(|time| time.to_string()),
        pinned: Some(build.pinned),
        pods: pods.into_iter().collect(),
        containers: u64::try_from(build.containers.len()).ok(),
    }
}

fn list_local(cx: &Cx, store: &ImageStore, config: &Config) -> Result<Vec<ImageRow>> {
    let images = store.images(cx)?;
    let tag = |local: &LocalImage| build_tag(config.image.name(), &local.name);
    let named: Vec<(String, LocalImage)> =
        images.iter().filter_map(|local| Some((tag(local)?, local.clone()))).collect();
    let usage = if named.is_empty() { UsageById::new() } else { image_usage(cx, store) };
    let builds = Builds::from_images(&config.image, images, store.uses_config_digest_as_id());
    let latest = builds.latest_tag();
    let row = |(tag, local): &(String, LocalImage)| {
        let usage = usage.get(&local.id);
        Ok(ImageRow {
            node: None,
            engine: Some(store.engine()),
            image: config.image.name().familiar() + ":" + tag,
            tag: tag.clone(),
            latest: latest.as_ref().map(|latest| latest == tag),
            bytes: store.inspect(cx, &local.id).ok().map(|found| found.size),
            shared_bytes: usage.and_then(|usage| usage.shared),
            time: Some(local.created_at.clone()).filter(|time| !time.is_empty()),
            pinned: None,
            pods: Vec::new(),
            containers: usage.and_then(|usage| usage.containers),
        })
    };
    named.iter().map(row).collect()
}
