//! The steps of a deployment that do not depend on the builder.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use kdev_core::image::built::BuiltImage;
use kdev_core::kube::node::Node;
use kdev_core::kube::owner::Owner;
use kdev_core::watch::need::Achieved;
use kdev_manifest::expected::{self, ExpectedWorkload};
use kdev_manifest::objects::Object;
use kdev_manifest::shared::SharedWorkload;

use crate::apply::{Applied, DiffResult, JobRecord, Rendered};
use crate::cluster::Cluster;
use crate::cluster::namespaces::Namespaces;
use crate::commands::up::request::UpRequest;
use crate::commands::up::services::Service;
use crate::commands::up::turns::{Manifests, Turn};
use crate::commands::{address, live_pods, why};
use crate::config::{Config, siblings};
use crate::cx::Cx;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::load::{Loaded, targets};
use crate::manifests::shared::{self, SharedPlan};
use crate::manifests::{self, Manifest, RenderTarget};
use crate::process;
use crate::project::Project;
use crate::rollout::rollback::{self, Workloads};
use crate::rollout::{self, Rollout};
use crate::session::images::{KeptImage, KeptImages};

/// The manifests of a package.
pub(super) struct Sources {
    manifests: Vec<Manifest>,
    objects: Vec<Object>,
    /// The workloads with the image of another package.
    shared: Vec<SharedWorkload>,
}

impl Sources {
    /// Reads the manifests. Fails before the build if one is invalid.
    pub(super) fn read(
        cx: &Cx,
        request: &UpRequest,
        project: &Project,
        config: &Config,
        cluster: &Cluster,
    ) -> Result<Self> {
        let target = RenderTarget::Cluster(cluster, &request.target);
        let manifests = Manifest::read_all(cx, config, target)?;
        let objects = manifests::collect_objects(&manifests, config)?;
        manifests::check(cx, &manifests, config, Some(&cluster.namespace))?;
        let siblings = siblings::siblings(project, config);
        let shared = shared::shared_workloads(&manifests, &objects, config, &siblings);
        Ok(Self { manifests, objects, shared })
    }

    /// Returns the programs that containers run instead of that of the image.
    pub(super) fn programs(&self, config: &Config) -> Vec<String> {
        let texts: Vec<String> =
            self.manifests.iter().map(|manifest| manifest.text.clone()).collect();
        let workloads = expected::all(&texts, config.image.name());
        let containers = workloads.into_iter().flat_map(|workload| workload.containers);
        containers.filter_map(|container| container.program).collect()
    }
}

/// A package whose manifests can be applied to its cluster.
pub(super) struct Deployment<'a> {
    request: &'a UpRequest,
    config: &'a Config,
    cluster: &'a Cluster,
    own: (&'a Owner, &'a Sources),
    turn: &'a Turn<'a>,
    plan: SharedPlan<'a>,
    /// The packages of this run.
    pending: &'a [String],
    /// The objects that are applied.
    objects: Vec<Object>,
    /// All nodes of the cluster.
    pub(super) all: Vec<Node>,
}

/// The rendered manifests, compared with the cluster.
pub(super) struct Compared {
    expected_workloads: Vec<ExpectedWorkload>,
    differences: DiffResult,
}

/// What was applied.
pub(super) struct Deployed {
    expected_workloads: Vec<ExpectedWorkload>,
    before: Workloads,
    applied: Applied,
}

impl<'a> Deployment<'a> {
    /// Selects the objects to apply. Fails before the build if the cluster would reject them.
    pub(super) fn new(
        cx: &Cx,
        request: &'a UpRequest,
        config: &'a Config,
        (cluster, owner): (&'a Cluster, &'a Owner),
        sources: &'a Sources,
        service: &'a Service,
    ) -> Result<Self> {
        let (turn, pending) = (&service.turn, service.packages());
        let plan = SharedPlan::fetch(cx, cluster, &sources.shared, pending)?;
        plan.note_left_out(cx, pending);
        let is_applied = |object: &&Object| !plan.is_left_out(object);
        let objects: Vec<Object> = sources.objects.iter().filter(is_applied).cloned().collect();
        let (all, namespaces) = service.listings().get(cx, cluster)?;
        check_namespaces(cluster, namespaces.as_ref(), &objects)?;
        turn.announce(Manifests::new(&sources.objects, &sources.shared, &cluster.namespace));
        let own = (owner, sources);
        Ok(Self { request, config, cluster, own, turn, plan, pending, objects, all })
    }

    /// Returns the nodes that need the image.
    pub(super) fn choose_nodes(&self, cx: &Cx) -> Result<Vec<&Node>> {
        let exclusion_cause =
            |node: &Node| targets::exclusion_cause(&self.objects, self.config, node);
        let (all, requested) = (&self.all, &self.request.nodes);
        Ok(targets::choose(cx, self.cluster, all, self.config, requested, exclusion_cause)?)
    }

    /// Compares the manifests with the cluster, unless the package must wait for its turn. This
    /// needs the image's name, but not the image.
    pub(super) fn compare_early(&self, cx: &Cx, image: &BuiltImage) -> Result<Option<Compared>> {
        if self.turn.is_independent(cx)? { self.compare(cx, image).map(Some) } else { Ok(None) }
    }

    /// Compares the manifests with the cluster.
    fn compare(&self, cx: &Cx, image: &BuiltImage) -> Result<Compared> {
        // Another package may have been deployed during the build.
        let (owner, sources) = self.own;
        let plan = SharedPlan::fetch(cx, self.cluster, &sources.shared, self.pending)?;
        let tag = image.reference.tag().unwrap_or_default();
        let texts = render_all(&sources.manifests, self.config, tag, &plan)?;
        let expected_workloads = expected::all(&texts, self.config.image.name());
        let differences = DiffResult::fetch(cx, self.cluster, owner, Rendered::new(&texts))?;
        Ok(Compared { expected_workloads, differences })
    }

    /// Applies the objects that differ. Waits for the turn of the package if they are not compared
    /// yet. `loaded` proves that the image is on every node.
    pub(super) fn apply(
        &self,
        cx: &Cx,
        compared: Option<Compared>,
        image: &BuiltImage,
        loaded: &Loaded,
    ) -> Result<Deployed> {
        let compared = if let Some(compared) = compared {
            compared
        } else {
            self.turn.begin(cx)?;
            self.compare(cx, image)?
        };
        let Compared { expected_workloads, differences } = compared;
        let before = self.fetch_workloads(cx, &self.objects)?;
        let options = self.request.apply_options;
        let applied = differences.apply(cx, self.cluster, &expected_workloads, options, loaded)?;
        self.turn.end_apply();
        Ok(Deployed { expected_workloads, before, applied })
    }

    /// Applies the manifests with an image that the nodes have, and waits for the rollout.
    pub(super) fn apply_again(
        &self,
        cx: &Cx,
        images: &KeptImages,
        kept: &Arc<KeptImage>,
        start: Instant,
    ) -> Result<()> {
        let applied = self
            .compare_early(cx, &kept.image)
            .and_then(|compared| self.apply(cx, compared, &kept.image, &kept.loaded))
            .inspect_err(|error| self.note_places(cx, error))?;
        if let Err(error) = self.wait(cx, kept, applied) {
            if !error.is_interrupt() {
                // A node may have lost the image.
                images.forget(&self.config.package);
            }
            return Err(error);
        }
        images.record(&self.config.package, kept, Achieved::Ready);
        self.report(cx, &kept.image, start);
        Ok(())
    }

    /// Waits until the new pods are ready. If they cannot become ready, explains why, and rolls
    /// back if that was requested.
    pub(super) fn wait(&self, cx: &Cx, kept: &KeptImage, deployed: Deployed) -> Result<()> {
        let Deployed { expected_workloads, before, applied } = deployed;
        let rollout = Rollout {
            cx: &cx.for_wait(),
            cluster: self.cluster,
            image: &kept.image,
            loaded: &kept.loaded,
            expected_workloads: &expected_workloads,
            applied: &applied.members,
            live_jobs: &applied.live_jobs,
            limit: self.config.timeout,
            settle: self.config.settle,
        };
        // The rollout of another package's workload only matters if this run has changed it.
        let is_awaited =
            |object: &&Object| !self.plan.is_foreign(object) || rollout.has_changed(object);
        let mut objects: Vec<Object> = self.objects.iter().filter(is_awaited).cloned().collect();
        wait(cx, &rollout, &mut objects, applied.jobs)
            .map_err(|error| self.end_failed_rollout(cx, &rollout, &objects, &before, error))
    }

    /// Explains why a rollout failed, and rolls back if that was requested. Returns the error of
    /// the command. Newer changes stop only the wait, and not this.
    fn end_failed_rollout(
        &self,
        cx: &Cx,
        rollout: &Rollout,
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
        let error = why::explain(cx, cluster, self.config, &self.request.selection, objects, error);
        if !self.request.rollback || !is_recoverable {
            return error;
        }
        let after = match self.fetch_workloads(cx, objects) {
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
    fn fetch_workloads(&self, cx: &Cx, objects: &[Object]) -> Result<Workloads> {
        if !self.request.rollback || cx.is_dry_run() {
            return Ok(Workloads::default());
        }
        Ok(Workloads::fetch(cx, self.cluster, objects)?)
    }

    /// Reports the file and line of objects that the API server has rejected.
    pub(super) fn note_places(&self, cx: &Cx, error: &Error) {
        if matches!(error, Error::Apply(_) | Error::Cluster(_)) {
            manifests::note_places(cx, &self.own.1.manifests, error);
        }
    }

    /// Reports that the pods are ready, and where they can be reached.
    pub(super) fn report(&self, cx: &Cx, image: &BuiltImage, start: Instant) {
        let UpRequest { selection, target, flags, .. } = self.request;
        let flags = live_pods::repeatable_flags(selection, target, flags);
        let name = self.config.image.name();
        address::report(cx, self.cluster, &self.own.1.manifests, name, &flags);
        cx.emit(Event::Finished { image: image.reference.familiar(), duration: start.elapsed() });
    }
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
