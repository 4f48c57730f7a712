//! The inner loop, once: build, load, apply, wait.

use std::thread;
use std::time::Instant;

use crate::apply::{self, Rendered};
use crate::build::{self, BuiltImage};
use crate::cluster::{Cluster, Node, Target};
use crate::config::{Config, Layer, NodeSettings};
use crate::cx::{Cx, joined};
use crate::docker::Docker;
use crate::error::{Error, Reason, Result};
use crate::event::Event;
use crate::fault::NodeError;
use crate::load;
use crate::manifest::{self, Manifest, Object, Want};
use crate::node::{self, Link};
use crate::placement;
use crate::project::{Project, Selection};
use crate::rollout;
use crate::ssh::Ssh;
use crate::tool;

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
    /// Take fields over that another manager of the API's owns.
    pub force_conflicts: bool,
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
    let manifests = Manifest::read_all(&config)?;
    let objects = manifest::objects_using(&manifests, &config.image)?;
    // A fault of a manifest should not cost a build.
    render(&manifests, &config, "kdev-000000000000")?;
    let docker = Docker::find(cx)?;
    let kubectl = tool::kubectl(cx)?;
    let cluster = Cluster::select(cx, kubectl, &request.target, &config)?;
    let all = cluster.nodes(cx)?;
    let nodes = choose(cx, &cluster, &all, &objects, &config, &request.nodes)?;
    let ssh = ssh(cx, &config, &nodes)?;

    let image = on_nodes(cx, &ssh, &config, &docker, &nodes, |image, links| {
        fits_all(image, &nodes)?;
        let loaded = load::load(cx, &docker, image, links)?;
        let texts = render(&manifests, &config, image.reference.tag().unwrap_or_default())?;
        apply::apply(cx, &cluster, &Rendered::new(&texts), request.force_conflicts, &loaded)
    })?;
    if cx.is_dry_run() {
        docker.untag_old(cx, &image.reference);
        return Ok(());
    }
    rollout::wait(cx, &cluster, &objects, &image, config.timeout)?;
    docker.untag_old(cx, &image.reference);
    cx.emit(Event::Finished { image: image.reference.familiar(), took: begun.elapsed() });
    Ok(())
}

/// ssh, which must be there only if a node is another machine.
fn ssh(cx: &Cx, config: &Config, nodes: &[&Node]) -> Result<Ssh> {
    let nobody = NodeSettings::default();
    let is_here =
        |node: &&Node| node::is_here(node, config.nodes.get(&node.name).unwrap_or(&nobody));
    let path = if nodes.iter().all(is_here) { "ssh".into() } else { tool::ssh(cx)? };
    Ok(Ssh::new(path, config.ssh_config.clone()))
}

/// Builds while the nodes are being reached, does the work that needs both,
/// and closes the connections whatever happens. A node that cannot be used
/// ends the build: its result would be of no use.
fn on_nodes(
    cx: &Cx,
    ssh: &Ssh,
    config: &Config,
    docker: &Docker,
    nodes: &[&Node],
    work: impl FnOnce(&BuiltImage, &[Link]) -> Result<()>,
) -> Result<BuiltImage> {
    let building = cx.interrupt().part();
    let done = thread::scope(|scope| {
        let opening = scope.spawn(|| {
            let links = open_all(cx, ssh, config, nodes);
            links.inspect_err(|_| building.raise())
        });
        let built = build::build(&cx.clone().interrupted_by(building.clone()), docker, config);
        match (joined(opening), built) {
            (Ok(links), Ok(image)) => work(&image, &links).map(|()| image),
            // The build may have failed only since it was ended.
            (Err(error), Err(Error::Interrupted) | Ok(_)) | (_, Err(error)) => Err(error),
        }
    });
    ssh.close(cx);
    done
}

fn open_all<'a>(
    cx: &Cx,
    ssh: &'a Ssh,
    config: &Config,
    nodes: &[&'a Node],
) -> Result<Vec<Link<'a>>> {
    let nobody = NodeSettings::default();
    let results: Vec<Result<Link, NodeError>> = thread::scope(|scope| {
        let open = |node: &&'a Node| {
            let (node, settings) = (*node, config.nodes.get(&node.name).unwrap_or(&nobody));
            scope.spawn(move || Link::open(cx, ssh, node, settings))
        };
        let threads: Vec<_> = nodes.iter().map(open).collect();
        threads.into_iter().map(joined).collect()
    });
    if cx.interrupt().is_raised() {
        return Err(Error::Interrupted);
    }
    let (mut links, mut failures) = (Vec::new(), Vec::new());
    for result in results {
        match result {
            Ok(link) => links.push(link),
            Err(error) => failures.push(error),
        }
    }
    if failures.is_empty() { Ok(links) } else { Err(Error::Nodes(failures)) }
}

fn render(manifests: &[Manifest], config: &Config, tag: &str) -> Result<Vec<String>> {
    let want = Want { name: config.image.name(), tag, policy: config.pull_policy };
    manifests.iter().map(|manifest| manifest.render(&want)).collect()
}

/// The nodes that were asked for, else those that may run a pod with the image.
fn choose<'a>(
    cx: &Cx,
    cluster: &Cluster,
    all: &'a [Node],
    objects: &[Object],
    config: &Config,
    asked: &[String],
) -> Result<Vec<&'a Node>> {
    let known = || all.iter().map(|node| node.name.clone()).collect();
    let is_known = |name: &&String| all.iter().any(|node| node.name == **name);
    if let Some(name) = asked.iter().find(|name| !is_known(name)) {
        return Err(Error::UnknownNode { node: name.clone(), known: known() });
    }
    // The configuration may tell of another cluster's nodes, too.
    if let Some(name) = config.nodes.keys().find(|name| !is_known(name)) {
        let text = format!("the cluster has no node `{name}`, which the configuration names");
        cx.emit(Event::Note { text });
    }
    if !asked.is_empty() {
        return Ok(all.iter().filter(|node| asked.contains(&node.name)).collect());
    }
    let mut reasons = Vec::new();
    let mut chosen = Vec::new();
    for node in all {
        match why_not(objects, config, node) {
            None => chosen.push(node),
            Some(why) => reasons.push((node.name.clone(), why)),
        }
    }
    if chosen.is_empty() {
        let words: Vec<String> =
            reasons.iter().map(|(node, why)| format!("`{node}`: {why}")).collect();
        let words =
            if all.is_empty() { "the cluster lists no node".to_owned() } else { words.join("; ") };
        return Err(Error::NoNode { context: cluster.context.clone(), reason: Reason(words) });
    }
    for (node, why) in reasons {
        cx.emit(Event::NodeSkipped { node, why });
    }
    Ok(chosen)
}

/// What keeps every pod with the image off a node; `None` if one may run.
fn why_not(objects: &[Object], config: &Config, node: &Node) -> Option<String> {
    let mut why = None;
    for object in objects.iter().filter(|object| object.uses(config.image.name())) {
        // A kind that kdev does not know may put its pods anywhere.
        let pod = object.pod.as_ref()?;
        why = Some(placement::may_run(&object.kind, pod, node).err()?);
    }
    why
}

/// Before anything is sent: whether the image can run on each node.
fn fits_all(image: &BuiltImage, nodes: &[&Node]) -> Result<()> {
    let other = nodes
        .iter()
        .find(|node| !image.platform.is_empty() && node.info.platform() != image.platform);
    match other {
        None => Ok(()),
        Some(node) => Err(Error::WrongPlatform {
            image: image.reference.familiar(),
            image_platform: image.platform.clone(),
            node: node.name.clone(),
            node_platform: node.info.platform(),
        }),
    }
}
