//! `cargo kdev status`: which pods of this project run, and whether they run the latest
//! build.
//!
//! - `builds.rs`: the builds that docker has
//! - `rows.rs`: a line per pod

pub(crate) mod builds;
pub(crate) mod rows;

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use kdev_core::kube::kinds::{self, WorkloadKind};
use kdev_core::shell;
use kdev_manifest::expected::{self, ExpectedWorkload};
use serde::{Deserialize, Serialize};

use crate::cluster::kubeconfig::{ClusterTarget, Kubeconfig};
use crate::cluster::snapshot::Snapshot;
use crate::cluster::{self, Cluster};
use crate::commands::status::builds::Builds;
use crate::commands::status::rows::StatusRow;
use crate::config::{Config, ConfigLayer};
use crate::cx::Cx;
use crate::docker::{self, Docker};
use crate::error::{Error, Result};
use crate::event::Event;
use crate::manifests::{self, Manifest};
use crate::parallel::run_both;
use crate::process;
use crate::project::{Project, PackageSelection};

/// The pause between two looks of a watch.
const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// How soon an interrupt ends a pause.
const INTERRUPT_INTERVAL: Duration = Duration::from_millis(50);

/// What a user may ask.
#[derive(Clone, Debug, Default)]
pub struct StatusRequest {
    /// Which package.
    pub selection: PackageSelection,
    /// Which cluster.
    pub target: ClusterTarget,
    /// Look again and again, until it is interrupted.
    pub watch: bool,
    /// Settings from flags and variables.
    pub flags: ConfigLayer,
}

/// What runs of a project at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Status {
    /// The package.
    pub package: String,
    /// The context that was looked at.
    pub context: String,
    /// The namespace of what names none.
    pub namespace: String,
    /// The flags by which `cargo kdev` was told of both.
    pub flags: String,
    /// The tag of the newest build that docker here has.
    pub latest: Option<String>,
    /// Why nobody knows what docker has.
    pub docker_error: Option<String>,
    /// A line for each pod, and for each workload that has none.
    pub rows: Vec<StatusRow>,
}

/// Shows what runs of a project; with `watch` again and again, until it is
/// interrupted, which is no failure then. Only looks: no context needs consent.
pub fn status(cx: &Cx, request: &StatusRequest, show: impl Fn(&Status)) -> Result<()> {
    let project = Project::read(cx, &request.selection)?;
    let config = Config::resolve_without_build(&project, request.flags.clone())?;
    let manifests = Manifest::read_all(cx, &config, &request.target)?;
    manifests::collect_objects(&manifests, &config)?;
    let texts: Vec<String> = manifests.into_iter().map(|manifest| manifest.text).collect();
    let wanted = expected::all(&texts, config.image.name());
    let (docker, kubeconfig) =
        run_both(|| Docker::connect(cx), || Kubeconfig::read(cx, &request.target));
    let cluster =
        Cluster::connect_read_only(kubeconfig?, &request.target, config.namespace.clone())?;
    let flags = repeatable_flags(request);
    let view = StatusReader { cx, config: &config, cluster: &cluster, flags, expected: &wanted, docker };
    let first = view.read()?;
    if first.rows.iter().all(StatusRow::is_absent) {
        cluster.require_namespace(cx)?;
    }
    show(&first);
    while request.watch && view.wait() {
        match view.read() {
            Ok(status) => show(&status),
            // What was seen last still stands.
            Err(error @ Error::Cluster(cluster::Error::Unreachable { .. })) => {
                cx.emit(Event::Note { text: format!("{error}; looking again") });
            }
            Err(error) if error.is_interrupt() => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// As a person gives them again.
fn repeatable_flags(request: &StatusRequest) -> String {
    let kubeconfig = request.target.kubeconfig.as_ref().map(|path| path.display().to_string());
    let flags = shell::flags([
        ("--kubeconfig", kubeconfig),
        ("--context", request.target.explicit_context()),
        ("--namespace", request.flags.namespace.clone()),
    ]);
    flags + &request.selection.to_flags()
}

/// What is looked at.
struct StatusReader<'a> {
    cx: &'a Cx<'a>,
    config: &'a Config,
    cluster: &'a Cluster,
    flags: String,
    expected: &'a [ExpectedWorkload],
    docker: docker::Result<Docker>,
}

impl StatusReader<'_> {
    fn read(&self) -> Result<Status> {
        let (builds, rows) = run_both(|| self.read_builds(), || self.read_objects());
        let (items, builds) = (rows?, builds?);
        let rows = self.expected.iter().flat_map(|wanted| {
            let namespace = wanted.namespace.as_deref().unwrap_or(&self.cluster.namespace);
            rows::workload_rows(wanted, namespace, &items, builds.as_ref().ok())
        });
        Ok(Status {
            package: self.config.package.clone(),
            context: self.cluster.context.clone(),
            namespace: self.cluster.namespace.clone(),
            flags: self.flags.clone(),
            latest: builds.as_ref().ok().and_then(Builds::latest_tag),
            docker_error: builds.as_ref().err().cloned(),
            rows: rows.collect(),
        })
    }

    /// What docker here has; in words why that is not known.
    fn read_builds(&self) -> Result<std::result::Result<Builds, String>> {
        let docker = match &self.docker {
            Ok(docker) => docker,
            Err(error) if process::is_interrupt(error) => {
                return Err(process::Error::from(process::Interrupted).into());
            }
            Err(error) => return Ok(Err(error.to_string())),
        };
        match docker.images(self.cx) {
            Ok(images) => {
                let are_configs = docker.uses_config_digest_as_id();
                Ok(Ok(Builds::from_images(&self.config.image, images, are_configs)))
            }
            Err(error) if process::is_interrupt(&error) => Err(error.into()),
            Err(error) => Ok(Err(error.to_string())),
        }
    }

    /// What the API has, in one look at each namespace.
    fn read_objects(&self) -> Result<Vec<serde_json::Value>> {
        let namespaces: BTreeSet<Option<&str>> =
            self.expected.iter().map(|wanted| wanted.namespace.as_deref()).collect();
        let mut items = Vec::new();
        for namespace in namespaces {
            let of_it = self.expected.iter().filter(|w| w.namespace.as_deref() == namespace);
            let mut resources: BTreeSet<&str> =
                of_it.flat_map(|wanted| resources(&wanted.kind)).collect();
            resources.insert("pods");
            let look = Snapshot::fetch_resources(self.cx, self.cluster, namespace, &resources)?;
            items.extend_from_slice(look.items());
        }
        Ok(items)
    }

    /// Waits; says whether it is to go on.
    fn wait(&self) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < POLL_INTERVAL && !self.cx.interrupt().is_raised() {
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
