//! The inner loop, once: build, load, apply, wait.

use std::time::Instant;

use kdev_core::image::built::BuiltImage;
use kdev_core::kube::node::Node;
use kdev_core::kube::placement;
use kdev_manifest::expected::{self, ExpectedWorkload};
use kdev_manifest::objects::Object;

use crate::apply::server_side::Consent;
use crate::apply::{Compared, Rendered};
use crate::build;
use crate::cluster::Cluster;
use crate::cluster::kubeconfig::{Kubeconfig, Target};
use crate::commands::why;
use crate::config::{Config, Layer};
use crate::cx::Cx;
use crate::docker::Docker;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::layers::{Source, Supply};
use crate::load;
use crate::load::targets::{self, Destination};
use crate::manifests::{self, Manifest};
use crate::node::connection::Link;
use crate::node::transport::Transports;
use crate::parallel::both;
use crate::project::{Project, Selection};
use crate::rollout::{Rollout, rollback};

/// What a user may say about one `up`.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Which package.
    pub selection: Selection,
    /// Which cluster.
    pub target: Target,
    /// Load onto these nodes, whatever the manifests say; all that may run
    /// the pods if empty.
    pub nodes: Vec<String>,
    /// What the apply may do.
    pub consent: Consent,
    /// Put the revision before back where the rollout fails.
    pub rollback: bool,
    /// Settings from flags and variables.
    pub flags: Layer,
}

/// Builds the image, loads it onto every node that may run it, applies the
/// manifests, and waits until the new pods are ready.
///
/// Whatever can be checked without a build is checked before it, and the nodes
/// are reached while it runs. Events come through `cx`; nothing is printed.
pub fn up(cx: &Cx, request: &Request) -> Result<()> {
    let begun = Instant::now();
    let project = Project::read(cx, &request.selection)?;
    let config = Config::resolve(&project, request.flags.clone())?;
    let manifests = Manifest::read_all(cx, &config, &request.target)?;
    let objects = manifests::objects_using(&manifests, &config)?;
    // A fault of a manifest should not cost a build.
    manifests::check(cx, &manifests, &config)?;
    let (docker, kubeconfig) = both(|| Docker::find(cx), || Kubeconfig::read(cx, &request.target));
    let docker = docker?;
    let cluster = Cluster::select(cx, kubeconfig?, &request.target, &config)?;
    let all = cluster.nodes(cx)?;
    let why_not = |node: &Node| why_not(&objects, &config, node);
    let nodes = targets::choose(cx, &cluster, &all, &config, &request.nodes, why_not)?;
    let transports = Transports::find(cx, &config, &nodes)?;

    let build =
        |cx: &Cx| Ok::<_, Error>(Supply::Docker(&docker, build::build(cx, &docker, &config)?));
    let compare = |cx: &Cx, image: &BuiltImage| {
        let texts = render(&manifests, &config, image.reference.tag().unwrap_or_default())?;
        let wanted = expected::all(&texts, config.image.name());
        let compared = Compared::ask(cx, &cluster, &config.package, Rendered::new(&texts))?;
        Ok((wanted, compared))
    };
    let mut done = None;
    let work = |source: &Source, links: &[Link], compared: Result<(Vec<ExpectedWorkload>, Compared)>| {
        let loaded = load::load(cx, source, links)?;
        let (wanted, compared) = compared?;
        let applied = compared.apply(cx, &cluster, &wanted, request.consent, &loaded)?;
        done = Some((wanted, applied, loaded));
        Ok(())
    };
    let (transports, asked) = (&transports, request.nodes.as_slice());
    let to = Destination { transports, config: &config, nodes: &nodes, asked };
    let image = targets::on_nodes(cx, &to, build, compare, work)?;
    let Some((wanted, applied, loaded)) = done.filter(|_| !cx.is_dry_run()) else {
        docker.untag_old(cx, &image.reference);
        return Ok(());
    };
    let (wanted, limit) = (wanted.as_slice(), config.timeout);
    let rollout = Rollout { cx, cluster: &cluster, image: &image, loaded, wanted, limit };
    if let Err(error) = rollout.wait(&objects, applied.is_empty()) {
        let is_curable = rollback::helps_against(&error);
        // While the pods are there that tell.
        let error = why::explain(cx, &cluster, &config, &request.selection, &objects, error);
        if request.rollback && is_curable {
            rollback::undo(cx, &cluster, &applied)?;
        }
        return Err(error);
    }
    docker.untag_old(cx, &image.reference);
    cx.emit(Event::Finished { image: image.reference.familiar(), took: begun.elapsed() });
    Ok(())
}

fn render(manifests: &[Manifest], config: &Config, tag: &str) -> Result<Vec<String>> {
    let want = manifests::want(config, tag);
    manifests.iter().map(|manifest| Ok(manifest.render(&want)?.text)).collect()
}

/// What keeps every pod with the image off a node; `None` if one may run.
pub(crate) fn why_not(objects: &[Object], config: &Config, node: &Node) -> Option<String> {
    let mut why = None;
    for object in objects.iter().filter(|object| object.uses(config.image.name())) {
        // A kind that kdev does not know may put its pods anywhere.
        let pod = object.pod.as_ref()?;
        why = Some(placement::may_run(&object.kind, pod, node).err()?);
    }
    why
}
