//! Removes builds of the project's image, from nodes and from Docker or Podman: only names with
//! a content tag of this image, which no container of the node uses and no workload names.
//!
//! - `named.rs`: the builds that workloads name
//! - `nodes.rs`: connects to the nodes
//! - `session.rs`: one list or removal in one run of the script on the node
//! - `store.rs`: the builds in Docker or Podman
//! - `usage.rs`: what `docker system df` reports about images

mod named;
mod nodes;
mod session;
mod store;
mod usage;

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use kdev_core::image::builds::{Keep, KeepRule, NodeBuilds, Removal};
use kdev_core::image::built::BuiltImage;
use kdev_core::image::reference::Reference;

use crate::cluster::{self, Cluster};
use crate::cx::Cx;
use crate::docker::ImageStore;
use crate::event::Event;
use crate::load::Loaded;
use crate::node::connection::NodeConnection;
use crate::node::error::NodeError;
use crate::parallel::{map_all, run_both};

pub(crate) use nodes::{OpenNodes, with_nodes};
pub(crate) use session::ContainerUser;
pub(crate) use store::prune_store;
pub(crate) use usage::{UsageById, image_usage};

/// How many seconds a removal waits for a load that holds the lock of a node: for a command that
/// only removes, and at the end of `up`, which tries again next time.
const PATIENT: u32 = 60;
const BRIEF: u32 = 5;

/// The builds to remove from nodes.
pub(crate) struct NodePrune<'a> {
    cluster: &'a Cluster,
    /// The image; its tag is ignored.
    image: &'a Reference,
    keep: Keep,
    /// The tag of the build that was deployed last, which stays.
    pub(crate) current: Option<String>,
    /// Whether a node without such builds also gets an event.
    pub(crate) reports_nothing: bool,
    /// How many seconds to wait for the lock.
    patience: u32,
    /// Whether a dry run shows the builds that the namespace still uses, because it would delete
    /// its workloads.
    pub(crate) shows_used: bool,
    /// The tags that workloads name, or the error, and when their list began.
    named: Mutex<Option<Listed>>,
}

/// When a list of the named tags began, and its result.
type Listed = (Instant, cluster::Result<BTreeSet<String>>);

/// What a removal has left.
#[derive(Default)]
pub(crate) struct PruneOutcome {
    /// The nodes with builds that stay because containers use them, and these builds.
    pub(crate) used: Vec<(String, Vec<String>)>,
    /// The errors of nodes.
    pub(crate) failures: Vec<NodeError>,
    /// Why the workloads could not be listed, so that a node has kept all builds.
    pub(crate) unlisted: Option<cluster::Error>,
}

impl<'a> NodePrune<'a> {
    pub(crate) fn new(cluster: &'a Cluster, image: &'a Reference, keep: Keep) -> Self {
        Self {
            cluster,
            image,
            keep,
            current: None,
            reports_nothing: true,
            patience: PATIENT,
            shows_used: false,
            named: Mutex::new(None),
        }
    }

    /// Removes the builds from all nodes in parallel. From a node for which the workloads cannot be
    /// listed, nothing is removed.
    pub(crate) fn run(&self, cx: &Cx, connections: &[&NodeConnection]) -> PruneOutcome {
        let results = map_all(connections, |connection| connection.prune(cx, self));
        let mut outcome = PruneOutcome::default();
        if let Some((_, Err(error))) = self.lock_named().take() {
            outcome.unlisted = Some(error);
        }
        for (connection, result) in connections.iter().zip(results) {
            match result {
                Ok(used) if used.is_empty() => {}
                Ok(used) => outcome.used.push((connection.node.name.clone(), used)),
                Err(error) => outcome.failures.push(error),
            }
        }
        outcome
    }

    /// Selects the builds to remove from a node that holds its lock. The workloads are listed only
    /// if there are any, and not before the builds: a load that was waiting for the lock, or that
    /// has ended before, can name one of them.
    fn removal(&self, cx: &Cx, builds: &NodeBuilds) -> Removal {
        let listed = Instant::now();
        // On a node, the time of the load decides. Another project or user may have loaded
        // newer builds, which are not deployed yet.
        let mut rule = KeepRule {
            keep: self.keep,
            current: None,
            named: self.current.iter().cloned().collect(),
        };
        let removal = builds.removal(&rule);
        if removal.builds.is_empty() && removal.used.is_empty() {
            return removal;
        }
        match self.named_since(cx, listed) {
            Some(named) => {
                rule.named.extend(named);
                builds.removal(&rule)
            }
            None => Removal::default(),
        }
    }

    /// Returns the tags that workloads name, from a list that began after this time; `None` if it
    /// has failed. Several nodes share a list.
    fn named_since(&self, cx: &Cx, time: Instant) -> Option<BTreeSet<String>> {
        let mut named = self.lock_named();
        let is_current = |(began, result): &Listed| *began >= time || result.is_err();
        if !named.as_ref().is_some_and(is_current) {
            let began = Instant::now();
            let deleted = self.shows_used.then_some(self.cluster.namespace.as_str());
            let tags = named::named_tags(cx, self.cluster, self.image.name(), deleted);
            *named = Some((began, tags));
        }
        named.as_ref().and_then(|(_, tags)| tags.as_ref().ok().cloned())
    }

    fn lock_named(&self) -> MutexGuard<'_, Option<Listed>> {
        self.named.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a successful `up` has deployed.
pub(crate) struct Deployed<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) store: &'a ImageStore,
    pub(crate) image: &'a BuiltImage,
    pub(crate) keep: Keep,
}

impl Deployed<'_> {
    /// Removes older builds from Docker or Podman, and from the nodes, if the load has changed
    /// them. An error is only a note: the next `up` tries again.
    pub(crate) fn prune(&self, cx: &Cx, loaded: &Loaded, connections: &[NodeConnection]) {
        let Keep::Newest(keep) = self.keep else { return };
        if !loaded.has_changed() {
            return;
        }
        let is_crowded =
            |connection: &&NodeConnection| loaded.has_more_builds(&connection.node.name, keep);
        let crowded: Vec<&NodeConnection> = connections.iter().filter(is_crowded).collect();
        run_both(|| self.prune_nodes(cx, &crowded), || self.prune_store(cx));
    }

    /// Removes older builds from Docker or Podman.
    pub(crate) fn prune_store(&self, cx: &Cx) {
        let reference = &self.image.reference;
        let current = reference.tag().map(str::to_owned);
        let rule = KeepRule { keep: self.keep, current, named: BTreeSet::new() };
        if let Err(error) = prune_store(cx, self.store, reference, &rule, false) {
            note_kept(cx, &error.to_string());
        }
    }

    fn prune_nodes(&self, cx: &Cx, connections: &[&NodeConnection]) {
        if connections.is_empty() {
            return;
        }
        let reference = &self.image.reference;
        let prune = NodePrune {
            current: reference.tag().map(str::to_owned),
            reports_nothing: false,
            patience: BRIEF,
            ..NodePrune::new(self.cluster, reference, self.keep)
        };
        let outcome = prune.run(cx, connections);
        outcome.failures.iter().for_each(|error| note_kept(cx, &error.to_string()));
        outcome.unlisted.iter().for_each(|error| note_kept(cx, &error.to_string()));
    }
}

pub(crate) fn note_kept(cx: &Cx, cause: &str) {
    if !cx.interrupt().is_raised() {
        cx.emit(Event::Note { text: format!("older builds were not removed: {cause}") });
    }
}
