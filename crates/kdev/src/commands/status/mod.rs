//! `cargo kdev status`: lists the pods of the project, and whether they run the latest build.
//!
//! - `builds.rs`: the builds in Docker
//! - `rows.rs`: a row per pod

pub(crate) mod builds;
pub(crate) mod rows;

use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kdev_core::kube::kinds::{self, WorkloadKind};
use kdev_core::kube::owner::Owner;
use kdev_manifest::expected::{self, ExpectedWorkload};
use serde::{Deserialize, Serialize};

use crate::apply::completed_jobs;
use crate::cluster::kubeconfig::{ClusterTarget, Kubeconfig};
use crate::cluster::snapshot::Snapshot;
use crate::cluster::{self, Cluster};
use crate::commands::status::builds::Builds;
use crate::commands::status::rows::StatusRow;
use crate::commands::{live_pods, several};
use crate::config::{Config, ConfigLayer};
use crate::cx::Cx;
use crate::docker::{self, Engine, ImageStore};
use crate::error::{Error, Result};
use crate::event::Event;
use crate::manifests::{self, Manifest, RenderTarget};
use crate::parallel::run_both;
use crate::process;
use crate::project::{PackageSelection, Project, owner};

/// The interval of `--watch`.
const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// How often a wait checks for an interrupt.
const INTERRUPT_INTERVAL: Duration = Duration::from_millis(50);

/// The options of [`status`].
#[derive(Clone, Debug, Default)]
pub struct StatusRequest {
    /// The package.
    pub selection: PackageSelection,
    /// The cluster.
    pub target: ClusterTarget,
    /// Repeat until interrupted.
    pub watch: bool,
    /// Settings from flags and environment variables.
    pub flags: ConfigLayer,
}

/// The pods of a project at one point in time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Status {
    /// The package.
    pub package: String,
    /// The context.
    pub context: String,
    /// The namespace of objects that do not set one.
    pub namespace: String,
    /// The flags of `cargo kdev` that select the project and the cluster.
    pub flags: String,
    /// Which program has the builds.
    pub engine: Engine,
    /// The tag of the latest build.
    pub latest: Option<String>,
    /// Why the builds are unknown.
    pub docker_error: Option<String>,
    /// A row for each pod and for each workload without pods.
    pub rows: Vec<StatusRow>,
}

/// Reads the status of a project and passes it to `show`. With `watch`, repeats until
/// interrupted, and then succeeds. Read-only, so no context needs permission.
pub fn status(cx: &Cx, request: &StatusRequest, show: impl Fn(&Status)) -> Result<()> {
    if request.watch {
        return status_of(cx, request, &Project::read(cx, &request.selection)?, show);
    }
    let projects = Project::read_all(cx, &request.selection)?;
    several::for_each(cx, &request.selection, &projects, |cx, selection, project| {
        let request = StatusRequest { selection: selection.clone(), ..request.clone() };
        status_of(cx, &request, project, &show)
    })
}

fn status_of(
    cx: &Cx,
    request: &StatusRequest,
    project: &Project,
    show: impl Fn(&Status),
) -> Result<()> {
    let config = Config::resolve_without_build(project, request.flags.clone())?;
    let manifests = Manifest::read_all(cx, &config, RenderTarget::Offline(&request.target))?;
    manifests::collect_objects(&manifests, &config)?;
    let texts: Vec<String> = manifests.into_iter().map(|manifest| manifest.text).collect();
    let wanted = expected::all(&texts, config.image.name());
    let (store, kubeconfig) =
        run_both(|| ImageStore::connect(cx, &config), || Kubeconfig::read(cx, &request.target));
    let cluster =
        Cluster::connect_read_only(kubeconfig?, &request.target, config.namespace.clone())?;
    let flags = live_pods::repeatable_flags(&request.selection, &request.target, &request.flags);
    let reader = StatusReader {
        cx,
        config: &config,
        cluster: &cluster,
        flags,
        expected: &wanted,
        store,
        owner: OnceLock::new(),
    };
    let first = reader.read()?;
    if first.rows.iter().all(StatusRow::is_absent) {
        cluster.require_namespace(cx)?;
    }
    show(&first);
    while request.watch && reader.wait() {
        match reader.read() {
            Ok(status) => show(&status),
            // Keep the last status on the screen.
            Err(error @ Error::Cluster(cluster::Error::Unreachable { .. })) => {
                cx.emit(Event::Note { text: format!("{error}; retrying") });
            }
            Err(error) if error.is_interrupt() => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads the status again and again.
struct StatusReader<'a> {
    cx: &'a Cx<'a>,
    config: &'a Config,
    cluster: &'a Cluster,
    flags: String,
    expected: &'a [ExpectedWorkload],
    store: docker::Result<ImageStore>,
    owner: OnceLock<Option<Owner>>,
}

impl StatusReader<'_> {
    fn read(&self) -> Result<Status> {
        let (builds, rows) = run_both(|| self.read_builds(), || self.read_objects());
        let (items, builds) = (rows?, builds?);
        let rows = self.expected.iter().flat_map(|wanted| {
            let namespace = wanted.namespace.as_deref().unwrap_or(&self.cluster.namespace);
            rows::workload_rows(wanted, namespace, &items, builds.as_ref().ok())
        });
        let mut rows: Vec<StatusRow> = rows.collect();
        self.complete_jobs(&mut rows);
        Ok(Status {
            package: self.config.package.clone(),
            context: self.cluster.context.clone(),
            namespace: self.cluster.namespace.clone(),
            flags: self.flags.clone(),
            engine: self.store.as_ref().map_or(Engine::Docker, ImageStore::engine),
            latest: builds.as_ref().ok().and_then(Builds::latest_tag),
            docker_error: builds.as_ref().err().cloned(),
            rows,
        })
    }

    /// Marks the Jobs that have completed and that Kubernetes has deleted. This makes a request
    /// only if a Job does not exist.
    fn complete_jobs(&self, rows: &mut [StatusRow]) {
        let namespace = &self.cluster.namespace;
        if !rows.iter().any(|row| row.absent_job(namespace).is_some()) {
            return;
        }
        // It is found by git, and stays the same.
        let find = || {
            let (package, dir) = (&self.config.package, &self.config.dir);
            owner::find(self.cx, package, dir, self.config.project_id.as_deref()).ok()
        };
        let Some(owner) = self.owner.get_or_init(find) else { return };
        let completed = completed_jobs::recorded(self.cx, self.cluster, owner);
        let now = Timestamp::now().as_second();
        for row in rows {
            if row.absent_job(namespace).is_some_and(|name| completed.has_completed(name, now)) {
                row.complete();
            }
        }
    }

    /// Returns the builds, or the text of the error if they are unknown.
    fn read_builds(&self) -> Result<std::result::Result<Builds, String>> {
        let store = match &self.store {
            Ok(store) => store,
            Err(error) if process::is_interrupt(error) => {
                return Err(process::Error::from(process::Interrupted).into());
            }
            Err(error) => return Ok(Err(error.to_string())),
        };
        match store.images(self.cx) {
            Ok(images) => {
                let are_configs = store.uses_config_digest_as_id();
                Ok(Ok(Builds::from_images(&self.config.image, images, are_configs)))
            }
            Err(error) if process::is_interrupt(&error) => Err(error.into()),
            Err(error) => Ok(Err(error.to_string())),
        }
    }

    /// Reads the objects with one request per namespace.
    fn read_objects(&self) -> Result<Vec<serde_json::Value>> {
        let namespaces: BTreeSet<Option<&str>> =
            self.expected.iter().map(|wanted| wanted.namespace.as_deref()).collect();
        let mut items = Vec::new();
        for namespace in namespaces {
            let workloads = self.expected.iter().filter(|w| w.namespace.as_deref() == namespace);
            let mut resources: BTreeSet<&str> =
                workloads.flat_map(|wanted| resources(&wanted.kind)).collect();
            resources.insert("pods");
            let snapshot = Snapshot::fetch_resources(self.cx, self.cluster, namespace, &resources)?;
            items.extend_from_slice(snapshot.items());
        }
        Ok(items)
    }

    /// Waits for the next interval. Returns false if interrupted.
    fn wait(&self) -> bool {
        let start = Instant::now();
        while start.elapsed() < POLL_INTERVAL && !self.cx.interrupt().is_raised() {
            thread::sleep(INTERRUPT_INTERVAL);
        }
        !self.cx.interrupt().is_raised()
    }
}

/// Returns the resources of a workload, of its pods, and of all objects between them.
fn resources(kind: &str) -> impl Iterator<Item = &'static str> {
    let kind = kinds::BUILT_IN.find(kind).filter(|kind| kind.runs_pods);
    kind.into_iter().flat_map(WorkloadKind::resources).chain(["pods"])
}
