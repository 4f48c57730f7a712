//! The nodes that are loaded: chosen, reached all at once, and left again.

use std::thread;

use kdev_core::image::built::BuiltImage;
use kdev_core::kube::node::Node;
use kdev_core::kube::placement;

use crate::cluster::{self, Cluster};
use crate::config::{Config, NodeSettings};
use crate::cx::Cx;
use crate::details::Details;
use crate::event::Event;
use crate::layers::{LayerProvider, ImageSource};
use crate::load::error::{Error, Result};
use crate::node::connection::NodeConnection;
use crate::node::error::NodeError;
use crate::node::transport::Transports;
use crate::parallel::{map_all, join_thread};
use crate::process;

/// The nodes that were asked for, else those that nothing keeps a pod with the
/// image off.
pub(crate) fn choose<'a>(
    cx: &Cx,
    cluster: &Cluster,
    all: &'a [Node],
    config: &Config,
    asked: &[String],
    why_not: impl Fn(&Node) -> Option<String>,
) -> Result<Vec<&'a Node>> {
    let known = || all.iter().map(|node| node.name.clone()).collect();
    let is_known = |name: &&String| all.iter().any(|node| node.name == **name);
    if let Some(name) = asked.iter().find(|name| !is_known(name)) {
        return Err(cluster::Error::NodeNotFound { node: name.clone(), known: known() }.into());
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
        match why_not(node) {
            None => chosen.push(node),
            Some(why) => reasons.push((node.name.clone(), why)),
        }
    }
    if chosen.is_empty() {
        let words: Vec<String> =
            reasons.iter().map(|(node, why)| format!("`{node}`: {why}")).collect();
        let words =
            if all.is_empty() { "the cluster lists no node".to_owned() } else { words.join("; ") };
        let (context, kubectl) = (cluster.context.clone(), cluster.display_command(None));
        return Err(cluster::Error::NoEligibleNode {
            context,
            kubectl,
            reasons,
            reason: Details(words),
        }
        .into());
    }
    for (node, why) in reasons {
        cx.emit(Event::NodeSkipped { node, cause: why });
    }
    Ok(chosen)
}

/// Where an image is brought.
pub(crate) struct Targets<'a> {
    pub(crate) transports: &'a Transports,
    pub(crate) config: &'a Config,
    pub(crate) nodes: &'a [&'a Node],
    /// The nodes that were asked for by name.
    pub(crate) requested: &'a [String],
}

/// Builds, and lets docker hand out what is new, while the nodes are being
/// reached; does meanwhile what needs the build alone, then the work that needs
/// both, and closes the connections whatever happens. A node that is needed and cannot
/// be used ends the build, whose result would be of no use; where the build has to
/// tell which nodes are needed, that waits for it.
pub(crate) fn build_and_load<'s, T: Send, E: From<Error> + std::error::Error + 'static>(
    cx: &Cx,
    to: &Targets,
    build: impl FnOnce(&Cx) -> Result<ImageSource<'s>, E>,
    meanwhile: impl FnOnce(&Cx, &BuiltImage) -> T + Send,
    work: impl FnOnce(&LayerProvider, &[NodeConnection], T) -> Result<(), E>,
) -> Result<BuiltImage, E> {
    let building = cx.interrupt().child();
    let build_cx = cx.clone().with_interrupt(building.clone());
    let done = thread::scope(|scope| {
        let opening = scope.spawn(|| {
            let opened = connect_all(cx, to.transports, to.config, to.nodes, to.requested);
            opened.inspect_err(|_| building.raise())
        });
        let supply = match build(&build_cx) {
            Ok(supply) => supply,
            // The build may have failed only since it was ended.
            Err(error) => match join_thread(opening) {
                Err(cause) if process::is_interrupt(&error) => return Err(cause.into()),
                _ => return Err(error),
            },
        };
        let (source, image) = (LayerProvider::new(cx, &supply), supply.image());
        thread::scope(|scope| {
            scope.spawn(|| source.prefetch(&build_cx));
            let meanwhile = scope.spawn(|| meanwhile(&build_cx, image));
            let ready = join_thread(opening).and_then(|opened| opened.matching_platform(cx, image, to.requested));
            let links = ready.inspect_err(|_| building.raise())?;
            work(&source, &links, join_thread(meanwhile))
        })?;
        Ok(image.clone())
    });
    to.transports.close(cx);
    done
}

/// The nodes that were reached, and those that were not.
struct ConnectedNodes<'a> {
    connections: Vec<NodeConnection<'a>>,
    failures: Vec<(NodeError, &'a Node)>,
}

fn connect_all<'a>(
    cx: &Cx,
    transports: &'a Transports,
    config: &Config,
    nodes: &[&'a Node],
    asked: &[String],
) -> Result<ConnectedNodes<'a>> {
    let nobody = NodeSettings::default();
    let results = map_all(nodes, |node: &&'a Node| {
        let settings = config.nodes.get(&node.name).unwrap_or(&nobody);
        NodeConnection::open(cx, transports.get(node)?, node, settings)
    });
    cx.check_interrupt()?;
    let mut opened = ConnectedNodes { connections: Vec::new(), failures: Vec::new() };
    for (result, node) in results.into_iter().zip(nodes) {
        match result {
            Ok(link) => opened.connections.push(link),
            Err(error) => opened.failures.push((error, *node)),
        }
    }
    let is_alike = |node: &&Node| node.info.platform() == nodes[0].info.platform();
    let is_asked = |(_, node): &(NodeError, &Node)| asked.contains(&node.name);
    let is_certain = opened.connections.is_empty() || opened.failures.iter().any(is_asked);
    // Of several platforms, only the build tells which are needed.
    if is_certain || nodes.iter().all(is_alike) {
        return opened.drop_unneeded(cx, |_| None);
    }
    Ok(opened)
}

/// Why a node is left out on which the image cannot run.
fn platform_mismatch(image: &BuiltImage, node: &Node) -> Option<String> {
    let (theirs, ours) = (node.info.platform(), &image.platform);
    let is_fit = ours.is_empty() || theirs == *ours;
    (!is_fit).then(|| format!("it runs {theirs}, and the image is built for {ours}"))
}

impl<'a> ConnectedNodes<'a> {
    /// Leaves out what was not reached and is not needed, which is an error of all
    /// others.
    fn drop_unneeded(mut self, cx: &Cx, is_needless: impl Fn(&Node) -> Option<String>) -> Result<Self> {
        let why = |(error, node): &(NodeError, &Node)| {
            // A node that the cluster does not hear of either holds up nobody.
            let is_silent = placement::is_not_responding(node);
            let silent = || format!("the cluster does not hear of it, and {error}");
            let why = is_needless(node).or_else(|| is_silent.then(silent));
            why.filter(|_| !self.connections.is_empty())
        };
        let reasons: Vec<Option<String>> = self.failures.iter().map(why).collect();
        if reasons.iter().any(Option::is_none) {
            let failures = self.failures.into_iter().zip(reasons);
            let needed = failures.filter_map(|((error, _), why)| why.is_none().then_some(error));
            return Err(Error::Nodes(needed.collect()));
        }
        for ((_, node), why) in self.failures.drain(..).zip(reasons.into_iter().flatten()) {
            cx.emit(Event::NodeSkipped { node: node.name.clone(), cause: why });
        }
        Ok(self)
    }

    /// Before anything is sent: the nodes on which the image can run. One that was
    /// asked for must be among them.
    fn matching_platform(self, cx: &Cx, image: &BuiltImage, asked: &[String]) -> Result<Vec<NodeConnection<'a>>> {
        let is_needless = |node: &Node| platform_mismatch(image, node).filter(|_| !asked.contains(&node.name));
        let links = self.drop_unneeded(cx, is_needless)?.connections;
        let (unfit, fit): (Vec<_>, Vec<_>) =
            links.into_iter().partition(|link| platform_mismatch(image, link.node).is_some());
        let must = unfit.iter().find(|link| fit.is_empty() || asked.contains(&link.node.name));
        if let Some(NodeConnection { node, .. }) = must {
            return Err(Error::PlatformMismatch {
                image: image.reference.familiar(),
                image_platform: image.platform.clone(),
                node: node.name.clone(),
                node_platform: node.info.platform(),
            });
        }
        for NodeConnection { node, .. } in unfit {
            let why = self::platform_mismatch(image, node).unwrap_or_default();
            cx.emit(Event::NodeSkipped { node: node.name.clone(), cause: why });
        }
        Ok(fit)
    }
}
