//! The inner loop, once: build, load, apply, wait.

use std::time::Instant;

use kdev_core::image::built::BuiltImage;
use kdev_core::kube::node::Node;
use kdev_core::kube::placement;
use kdev_manifest::expected::{self, ExpectedWorkload};
use kdev_manifest::objects::Object;

use crate::apply::server_side::ApplyOptions;
use crate::apply::{DiffResult, Rendered};
use crate::build;
use crate::cluster::Cluster;
use crate::cluster::kubeconfig::{Kubeconfig, ClusterTarget};
use crate::commands::why;
use crate::config::{Config, ConfigLayer};
use crate::cx::Cx;
use crate::docker::Docker;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::layers::{LayerProvider, ImageSource};
use crate::load;
use crate::load::targets::{self, Targets};
use crate::manifests::{self, Manifest};
use crate::node::connection::NodeConnection;
use crate::node::transport::Transports;
use crate::parallel::run_both;
use crate::project::{Project, PackageSelection};
use crate::rollout::{Rollout, rollback};

/// What a user may say about one `up`.
#[derive(Clone, Debug, Default)]
pub struct UpRequest {
    /// Which package.
    pub selection: PackageSelection,
    /// Which cluster.
    pub target: ClusterTarget,
    /// Load onto these nodes, whatever the manifests say; all that may run
    /// the pods if empty.
    pub nodes: Vec<String>,
    /// What the apply may do.
    pub consent: ApplyOptions,
    /// Put the revision before back where the rollout fails.
    pub rollback: bool,
    /// Settings from flags and variables.
    pub flags: ConfigLayer,
}

/// Builds the image, loads it onto every node that may run it, applies the
/// manifests, and waits until the new pods are ready.
///
/// Whatever can be checked without a build is checked before it, and the nodes
/// are reached while it runs. Events come through `cx`; nothing is printed.
pub fn up(cx: &Cx, request: &UpRequest) -> Result<()> {
    let begun = Instant::now();
    let project = Project::read(cx, &request.selection)?;
    let config = Config::resolve(&project, request.flags.clone())?;
    let manifests = Manifest::read_all(cx, &config, &request.target)?;
    let objects = manifests::collect_objects(&manifests, &config)?;
    // A fault of a manifest should not cost a build.
    manifests::check(cx, &manifests, &config)?;
    let (docker, kubeconfig) = run_both(|| Docker::connect(cx), || Kubeconfig::read(cx, &request.target));
    let docker = docker?;
    let cluster = Cluster::select(cx, kubeconfig?, &request.target, &config)?;
    let all = cluster.nodes(cx)?;
    let why_not = |node: &Node| exclusion_cause(&objects, &config, node);
    let nodes = targets::choose(cx, &cluster, &all, &config, &request.nodes, why_not)?;
    let transports = Transports::find(cx, &config, &nodes)?;

    let build =
        |cx: &Cx| Ok::<_, Error>(ImageSource::Docker(&docker, build::build(cx, &docker, &config)?));
    let compare = |cx: &Cx, image: &BuiltImage| {
        let texts = render_all(&manifests, &config, image.reference.tag().unwrap_or_default())?;
        let wanted = expected::all(&texts, config.image.name());
        let compared = DiffResult::fetch(cx, &cluster, &config.package, Rendered::new(&texts))?;
        Ok((wanted, compared))
    };
    let mut done = None;
    let work = |source: &LayerProvider, links: &[NodeConnection], compared: Result<(Vec<ExpectedWorkload>, DiffResult)>| {
        let loaded = load::load(cx, source, links)?;
        let (wanted, compared) = compared?;
        let applied = compared.apply(cx, &cluster, &wanted, request.consent, &loaded)?;
        done = Some((wanted, applied, loaded));
        Ok(())
    };
    let (transports, asked) = (&transports, request.nodes.as_slice());
    let to = Targets { transports, config: &config, nodes: &nodes, requested: asked };
    let image = targets::build_and_load(cx, &to, build, compare, work)?;
    let Some((wanted, applied, loaded)) = done.filter(|_| !cx.is_dry_run()) else {
        docker.remove_old_tags(cx, &image.reference);
        return Ok(());
    };
    let (wanted, limit) = (wanted.as_slice(), config.timeout);
    let rollout = Rollout { cx, cluster: &cluster, image: &image, loaded, wanted, limit };
    if let Err(error) = rollout.wait(&objects, applied.is_empty()) {
        let is_curable = rollback::is_recoverable_by_rollback(&error);
        // While the pods are there that tell.
        let error = why::explain(cx, &cluster, &config, &request.selection, &objects, error);
        if request.rollback && is_curable {
            rollback::undo(cx, &cluster, &applied)?;
        }
        return Err(error);
    }
    docker.remove_old_tags(cx, &image.reference);
    cx.emit(Event::Finished { image: image.reference.familiar(), duration: begun.elapsed() });
    Ok(())
}

fn render_all(manifests: &[Manifest], config: &Config, tag: &str) -> Result<Vec<String>> {
    let want = manifests::image_update(config, tag);
    manifests.iter().map(|manifest| Ok(manifest.render(&want)?.text)).collect()
}

/// What keeps every pod with the image off a node; `None` if one may run.
pub(crate) fn exclusion_cause(objects: &[Object], config: &Config, node: &Node) -> Option<String> {
    let mut why = None;
    for object in objects.iter().filter(|object| object.uses(config.image.name())) {
        // A kind that kdev does not know may put its pods anywhere.
        let pod = object.pod.as_ref()?;
        why = Some(placement::may_run(&object.kind, pod, node).err()?);
    }
    why
}
