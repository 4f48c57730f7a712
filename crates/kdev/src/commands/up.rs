//! `cargo kdev up`: build, load, apply, wait.

use std::collections::BTreeSet;
use std::time::Instant;

use kdev_core::image::built::BuiltImage;
use kdev_core::kube::node::Node;
use kdev_core::kube::owner::Owner;
use kdev_manifest::expected::{self, ExpectedWorkload};
use kdev_manifest::objects::Object;

use crate::apply::server_side::ApplyOptions;
use crate::apply::{DiffResult, JobRecord, Rendered};
use crate::build;
use crate::cluster::Cluster;
use crate::cluster::kubeconfig::{ClusterTarget, Kubeconfig};
use crate::cluster::namespaces::Namespaces;
use crate::commands::{address, live_pods, several, why};
use crate::config::{Config, ConfigLayer, siblings};
use crate::cx::Cx;
use crate::docker::ImageStore;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::layers::LayerProvider;
use crate::load;
use crate::load::targets::{self, Targets};
use crate::manifests::shared::{self, SharedPlan};
use crate::manifests::{self, Error as ManifestsError, Manifest, RenderTarget};
use crate::node::transport::Transports;
use crate::parallel::run_both;
use crate::process;
use crate::project::{PackageSelection, Project, owner};
use crate::prune;
use crate::rollout::rollback::{self, Workloads};
use crate::rollout::{self, Rollout};

/// The options of [`up`].
#[derive(Clone, Debug, Default)]
pub struct UpRequest {
    /// The package.
    pub selection: PackageSelection,
    /// The cluster.
    pub target: ClusterTarget,
    /// The nodes to load onto, regardless of the manifests; if empty, all nodes that can run
    /// the pods.
    pub nodes: Vec<String>,
    /// What the apply is allowed to do.
    pub apply_options: ApplyOptions,
    /// Roll back to the previous revision if the rollout fails.
    pub rollback: bool,
    /// Settings from flags and environment variables.
    pub flags: ConfigLayer,
}

/// Builds the image, loads it onto every node that can run it, applies the manifests, and
/// waits until the new pods are ready.
///
/// Everything that does not depend on the build is checked before it, and the connections to
/// the nodes are opened while it runs. Emits events through `cx`; prints nothing.
///
/// Several services are deployed one after another. A failure does not stop the others.
pub fn up(cx: &Cx, request: &UpRequest) -> Result<()> {
    let projects = Project::read_all(cx, &request.selection)?;
    several::check_images(&projects, &request.flags)?;
    several::check_cargo_flags(&projects, &request.flags)?;
    let run = |cx: &Cx, selection: &PackageSelection, project: &Project, later: &[&Project]| {
        let request = UpRequest { selection: selection.clone(), ..request.clone() };
        // A dry run deploys none of them, but the real one would.
        let is_pending =
            |one: &&Project| cx.is_dry_run() || later.iter().any(|it| it.package == one.package);
        let pending = projects.iter().filter(is_pending).map(|one| one.package.clone());
        up_one(cx, &request, project, &pending.collect::<Vec<_>>())
    };
    several::for_each_in_turn(cx, &request.selection, &projects, run, waits_for_sibling)
}

/// Returns whether a package can be deployed after one of these.
fn waits_for_sibling(error: &Error, later: &[&Project]) -> bool {
    match error {
        Error::Manifests(ManifestsError::SiblingNotDeployed { package, is_mixed, .. }) => {
            !is_mixed && later.iter().any(|project| project.package == *package)
        }
        _ => false,
    }
}

fn up_one(cx: &Cx, request: &UpRequest, project: &Project, pending: &[String]) -> Result<()> {
    let start = Instant::now();
    let mut config = Config::resolve(project, request.flags.clone())?;
    let (store, cluster, owner) = connect(cx, &config, &request.target)?;
    config = config.with_detected_builder(project, &request.flags, store.is_podman())?;
    let target = RenderTarget::Cluster(&cluster, &request.target);
    let manifests = Manifest::read_all(cx, &config, target)?;
    let mut objects = manifests::collect_objects(&manifests, &config)?;
    // Fail before the build if a manifest is invalid.
    manifests::check(cx, &manifests, &config, Some(&cluster.namespace))?;
    let siblings = siblings::siblings(project, &config);
    let shared = shared::shared_workloads(&manifests, &objects, &config, &siblings);
    let plan = SharedPlan::fetch(cx, &cluster, &shared)?;
    plan.note_left_out(cx, pending);
    objects.retain(|object| !plan.is_left_out(object));
    let (all, namespaces) = cluster.nodes_and_namespaces(cx)?;
    check_namespaces(&cluster, namespaces.as_ref(), &objects)?;
    let exclusion_cause = |node: &Node| targets::exclusion_cause(&objects, &config, node);
    let nodes = targets::choose(cx, &cluster, &all, &config, &request.nodes, exclusion_cause)?;
    let transports = Transports::find(cx, &config, &nodes)?;
    let _open = transports.close_at_end(cx);
    config.platform = build::platform::choose(cx, &store, &config, &nodes)?;

    let build = |cx: &Cx| Ok::<_, Error>(build::build_source(cx, &store, &config)?);
    let compare = |cx: &Cx, image: &BuiltImage| {
        // Another package may have been deployed during the build.
        let plan = SharedPlan::fetch(cx, &cluster, &shared)?;
        let tag = image.reference.tag().unwrap_or_default();
        let texts = render_all(&manifests, &config, tag, &plan)?;
        let expected_workloads = expected::all(&texts, config.image.name());
        let compared = DiffResult::fetch(cx, &cluster, &owner, Rendered::new(&texts))?;
        Ok((expected_workloads, compared))
    };
    let mut done = None;
    let apply = |source: &LayerProvider,
                 connections: Vec<_>,
                 compared: Result<(Vec<ExpectedWorkload>, DiffResult)>| {
        let loaded = load::load(cx, source, &connections)?;
        let (expected_workloads, compared) = compared?;
        let before = fetch_workloads(cx, &cluster, &objects, request)?;
        let applied =
            compared.apply(cx, &cluster, &expected_workloads, request.apply_options, &loaded)?;
        done = Some((expected_workloads, before, applied, loaded, connections));
        Ok(())
    };
    let (transports, requested) = (&transports, request.nodes.as_slice());
    let targets = Targets {
        cluster: &cluster,
        all: &all,
        transports,
        config: &config,
        nodes: &nodes,
        requested,
    };
    let image = targets::build_and_load(cx, &targets, build, compare, apply)
        .inspect_err(|error| note_places(cx, &manifests, error))?;
    let (cluster, keep) = (&cluster, config.keep.rule());
    let deployed = prune::Deployed { cluster, store: &store, image: &image, keep };
    let Some((expected_workloads, before, applied, loaded, connections)) =
        done.filter(|_| !cx.is_dry_run())
    else {
        deployed.prune_store(cx);
        return Ok(());
    };
    let rollout = Rollout {
        cx: &cx.for_wait(),
        cluster,
        image: &image,
        loaded,
        expected_workloads: &expected_workloads,
        applied: &applied.members,
        limit: config.timeout,
        settle: config.settle,
    };
    // The rollout of another package's workload only matters if this run has changed it.
    objects.retain(|object| !plan.is_foreign(object) || rollout.has_changed(object));
    if let Err(error) = wait(cx, &rollout, &mut objects, applied.jobs) {
        return Err(end_failed_rollout(cx, &rollout, &config, request, &objects, &before, error));
    }
    deployed.prune(cx, &rollout.loaded, &connections);
    let flags = live_pods::repeatable_flags(&request.selection, &request.target, &request.flags);
    address::report(cx, cluster, &manifests, config.image.name(), &flags);
    cx.emit(Event::Finished { image: image.reference.familiar(), duration: start.elapsed() });
    Ok(())
}

/// Reports the file and line of objects that the API server has rejected.
fn note_places(cx: &Cx, manifests: &[Manifest], error: &Error) {
    if matches!(error, Error::Apply(_) | Error::Cluster(_)) {
        manifests::note_places(cx, manifests, error);
    }
}

/// Connects to Docker or Podman and to the cluster, and identifies the project.
fn connect(
    cx: &Cx,
    config: &Config,
    target: &ClusterTarget,
) -> Result<(ImageStore, Cluster, Owner)> {
    let find_owner = || owner::find(cx, &config.package, &config.dir, config.project_id.as_deref());
    let connect =
        || run_both(|| ImageStore::connect_for_build(cx, config), || Kubeconfig::read(cx, target));
    let ((store, kubeconfig), owner) = run_both(connect, find_owner);
    let (store, mut owner) = (store?, owner?);
    owner.set_manifests(config.manifests.iter().flatten().map(|path| path.to_string_lossy()));
    let cluster = Cluster::select(cx, kubeconfig?, target, config)?;
    Ok((store, cluster, owner))
}

/// Waits for the rollout, and records the Jobs that have completed.
fn wait(
    cx: &Cx,
    rollout: &Rollout,
    objects: &mut Vec<Object>,
    jobs: JobRecord,
) -> rollout::Result<()> {
    objects.retain(|object| !jobs.has_deleted(object));
    let (completed, result) = rollout.wait(objects);
    jobs.record(cx, rollout.cluster, &completed);
    result
}

/// Explains why a rollout failed, and rolls back if that was requested. Returns the error of
/// the command. Newer changes stop only the wait, and not this.
fn end_failed_rollout(
    cx: &Cx,
    rollout: &Rollout,
    config: &Config,
    request: &UpRequest,
    objects: &[Object],
    before: &Workloads,
    error: rollout::Error,
) -> Error {
    if process::is_interrupt(&error) {
        return error.into();
    }
    let Rollout { cluster, applied, .. } = *rollout;
    let is_recoverable = rollback::is_recoverable_by_rollback(&error);
    let failed = error.stuck_workload().map(str::to_owned);
    // The rollback deletes the pods that the diagnosis needs.
    let error = why::explain(cx, cluster, config, &request.selection, objects, error);
    if !request.rollback || !is_recoverable {
        return error;
    }
    let after = match fetch_workloads(cx, cluster, objects, request) {
        Ok(after) => after,
        Err(cause) => {
            cx.emit(Event::Note { text: format!("nothing was rolled back: {cause}") });
            return error;
        }
    };
    match rollback::roll_back(cx, cluster, before, &after, applied, failed.as_deref()) {
        Ok(()) => error,
        Err(error) => error.into(),
    }
}

/// Fetches the workloads that `--rollback` may roll back.
fn fetch_workloads(
    cx: &Cx,
    cluster: &Cluster,
    objects: &[Object],
    request: &UpRequest,
) -> Result<Workloads> {
    if !request.rollback || cx.is_dry_run() {
        return Ok(Workloads::default());
    }
    Ok(Workloads::fetch(cx, cluster, objects)?)
}

fn render_all(
    manifests: &[Manifest],
    config: &Config,
    tag: &str,
    plan: &SharedPlan,
) -> Result<Vec<String>> {
    let update = manifests::image_update(config, tag);
    let render =
        |manifest: &Manifest| Ok(plan.apply(manifest, &manifest.render(&update)?.text, config)?);
    manifests.iter().map(render).collect()
}

/// Fails before the build if the API server would reject objects because of their namespace.
fn check_namespaces(
    cluster: &Cluster,
    namespaces: Option<&Namespaces>,
    objects: &[Object],
) -> Result<()> {
    let Some(namespaces) = namespaces else { return Ok(()) };
    let is_namespace = |object: &&Object| object.kind == "Namespace";
    let created = objects.iter().filter(is_namespace).map(|object| object.name.as_str());
    let created: BTreeSet<&str> = created.collect();
    let set = objects.iter().filter_map(|object| object.namespace.as_deref());
    // The record of the applied objects is in the cluster's namespace.
    let used = set.chain(created.iter().copied()).chain([cluster.namespace.as_str()]).collect();
    Ok(cluster.check_namespaces(namespaces, &used, &created)?)
}
