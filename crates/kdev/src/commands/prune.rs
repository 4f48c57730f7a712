//! `cargo kdev prune`: removes older builds of the project's image.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use kdev_core::image::builds::{Keep, KeepRule};
use kdev_core::image::reference::is_content_tag;
use kdev_core::text::list;

use crate::cluster::kubeconfig::{ClusterTarget, Kubeconfig};
use crate::cluster::{self, Cluster};
use crate::commands::several;
use crate::commands::status::builds::Builds;
use crate::config::{Config, ConfigLayer};
use crate::cx::Cx;
use crate::docker::ImageStore;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::load;
use crate::node::connection::NodeConnection;
use crate::node::error::NodeError;
use crate::parallel::run_both;
use crate::project::{PackageSelection, Project};
use crate::prune::{NodePrune, OpenNodes, note_kept, prune_store, with_nodes};

/// How long `down` waits for containers to end: the usual grace period of pods, and some time
/// for the kubelet.
const MAX_WAIT: Duration = Duration::from_secs(45);
const WAIT_INTERVAL: Duration = Duration::from_secs(1);

/// The options of [`prune`].
#[derive(Clone, Debug, Default)]
pub struct PruneRequest {
    /// The package.
    pub selection: PackageSelection,
    /// The cluster.
    pub target: ClusterTarget,
    /// The nodes; if empty, all nodes that accept pods.
    pub nodes: Vec<String>,
    /// Settings from flags and environment variables.
    pub flags: ConfigLayer,
}

/// Removes older builds of the project's image from the nodes, and from Docker or Podman. An
/// error in one place does not prevent the removal in the others.
pub fn prune(cx: &Cx, request: &PruneRequest) -> Result<()> {
    let projects = Project::read_all(cx, &request.selection)?;
    several::for_each(cx, &request.selection, &projects, |cx, selection, project| {
        prune_one(cx, &PruneRequest { selection: selection.clone(), ..request.clone() }, project)
    })
}

fn prune_one(cx: &Cx, request: &PruneRequest, project: &Project) -> Result<()> {
    let config = Config::resolve_without_build(project, request.flags.clone())?;
    let connect = || ImageStore::connect(cx, &config).map_err(Error::from);
    let (store, kubeconfig) = run_both(connect, || Kubeconfig::read(cx, &request.target));
    let cluster = Cluster::select(cx, kubeconfig?, &request.target, &config)?;
    let keep = config.keep.rule();
    if keep == Keep::All {
        let text = "nothing is removed: `keep` is `all`".to_owned();
        cx.emit(Event::Note { text });
        return Ok(());
    }
    let prune = NodePrune::new(&cluster, &config.image, keep);
    let on_nodes = || -> Result<()> {
        let work = |open: OpenNodes| {
            let connections: Vec<&NodeConnection> = open.connections.iter().collect();
            let outcome = prune.run(cx, &connections);
            note_used(cx, &outcome.used);
            let failures = open.failures.into_iter().chain(outcome.failures).collect();
            into_result(cx, failures, outcome.unlisted)
        };
        with_nodes(cx, &cluster, &config, &request.nodes, work)?
    };
    let in_store = || prune_latest(cx, &store?, &config, keep);
    let (nodes, store) = run_both(on_nodes, in_store);
    cx.check_interrupt()?;
    match (nodes, store) {
        (Err(error), Err(other)) => {
            note_kept(cx, &other.to_string());
            Err(error)
        }
        (nodes, store) => nodes.and(store),
    }
}

/// Removes older builds from Docker or Podman. The last build stays, also if it is not the newest
/// image there.
fn prune_latest(cx: &Cx, store: &ImageStore, config: &Config, keep: Keep) -> Result<()> {
    let images = store.images(cx)?;
    let builds = Builds::from_images(&config.image, images, store.uses_config_digest_as_id());
    let current = builds.latest_tag().filter(|tag| is_content_tag(tag));
    let rule = KeepRule { keep, current, named: BTreeSet::new() };
    Ok(prune_store(cx, store, &config.image, &rule, true)?)
}

/// Removes all builds from the nodes. Waits for the containers of pods that were deleted.
pub(crate) fn remove_all(cx: &Cx, cluster: &Cluster, config: &Config) -> Result<()> {
    let work = |open: OpenNodes| -> Result<()> {
        let mut prune = NodePrune::new(cluster, &config.image, Keep::Newest(0));
        prune.shows_used = cx.is_dry_run();
        prune.reports_nothing = false;
        let (mut waiting_since, mut failures) = (None, open.failures);
        let mut connections: Vec<&NodeConnection> = open.connections.iter().collect();
        let mut unlisted = None;
        loop {
            let outcome = prune.run(cx, &connections);
            failures.extend(outcome.failures);
            unlisted = unlisted.or(outcome.unlisted);
            // The wait for the lock of a node does not count.
            let since = waiting_since.get_or_insert_with(Instant::now);
            if outcome.used.is_empty() || since.elapsed() > MAX_WAIT {
                note_used(cx, &outcome.used);
                break;
            }
            connections
                .retain(|connection| outcome.used.iter().any(|(n, _)| *n == connection.node.name));
            thread::sleep(WAIT_INTERVAL);
            cx.check_interrupt()?;
        }
        into_result(cx, failures, unlisted)
    };
    with_nodes(cx, cluster, config, &[], work)?
}

/// Returns the error of the nodes, or else that of the list of the workloads.
fn into_result(cx: &Cx, failures: Vec<NodeError>, unlisted: Option<cluster::Error>) -> Result<()> {
    match (failures.is_empty(), unlisted) {
        (true, None) => Ok(()),
        (true, Some(error)) => Err(error.into()),
        (false, other) => {
            if let Some(other) = other {
                note_kept(cx, &other.to_string());
            }
            Err(load::Error::Nodes(failures).into())
        }
    }
}

fn note_used(cx: &Cx, used: &[(String, Vec<String>)]) {
    for (node, images) in used {
        let text = format!("containers on node `{node}` use {}", list(images));
        cx.emit(Event::Note { text });
    }
}
