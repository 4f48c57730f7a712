//! The nodes that are loaded: chosen, reached all at once, and left again.

use std::thread;

use kdev_core::image::built::BuiltImage;
use kdev_core::kube::node::Node;
use kdev_core::kube::placement;

use crate::cluster::{self, Cluster};
use crate::config::{Config, NodeSettings};
use crate::cx::Cx;
use crate::details::Reason;
use crate::event::Event;
use crate::layers::{Source, Supply};
use crate::load::error::{Error, Result};
use crate::node::connection::Link;
use crate::node::error::NodeError;
use crate::node::transport::Transports;
use crate::parallel::{each, joined};
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
        let (context, kubectl) = (cluster.context.clone(), cluster.by_hand(None));
        return Err(cluster::Error::NoEligibleNode {
            context,
            kubectl,
            reasons,
            reason: Reason(words),
        }
        .into());
    }
    for (node, why) in reasons {
        cx.emit(Event::NodeSkipped { node, why });
    }
    Ok(chosen)
}

/// Where an image is brought.
pub(crate) struct Destination<'a> {
    pub(crate) transports: &'a Transports,
    pub(crate) config: &'a Config,
    pub(crate) nodes: &'a [&'a Node],
    /// The nodes that were asked for by name.
    pub(crate) asked: &'a [String],
}

/// Builds, and lets docker hand out what is new, while the nodes are being
/// reached; does meanwhile what needs the build alone, then the work that needs
/// both, and closes the connections whatever happens. A node that is needed and cannot
/// be used ends the build, whose result would be of no use; where the build has to
/// tell which nodes are needed, that waits for it.
pub(crate) fn on_nodes<'s, T: Send, E: From<Error> + std::error::Error + 'static>(
    cx: &Cx,
    to: &Destination,
    build: impl FnOnce(&Cx) -> Result<Supply<'s>, E>,
    meanwhile: impl FnOnce(&Cx, &BuiltImage) -> T + Send,
    work: impl FnOnce(&Source, &[Link], T) -> Result<(), E>,
) -> Result<BuiltImage, E> {
    let building = cx.interrupt().part();
    let build_cx = cx.clone().interrupted_by(building.clone());
    let done = thread::scope(|scope| {
        let opening = scope.spawn(|| {
            let opened = open_all(cx, to.transports, to.config, to.nodes, to.asked);
            opened.inspect_err(|_| building.raise())
        });
        let supply = match build(&build_cx) {
            Ok(supply) => supply,
            // The build may have failed only since it was ended.
            Err(error) => match joined(opening) {
                Err(cause) if process::is_interrupt(&error) => return Err(cause.into()),
                _ => return Err(error),
            },
        };
        let (source, image) = (Source::new(cx, &supply), supply.image());
        thread::scope(|scope| {
            scope.spawn(|| source.begin(&build_cx));
            let meanwhile = scope.spawn(|| meanwhile(&build_cx, image));
            let ready = joined(opening).and_then(|opened| opened.fitting(cx, image, to.asked));
            let links = ready.inspect_err(|_| building.raise())?;
            work(&source, &links, joined(meanwhile))
        })?;
        Ok(image.clone())
    });
    to.transports.close(cx);
    done
}

/// The nodes that were reached, and those that were not.
struct Opened<'a> {
    links: Vec<Link<'a>>,
    failures: Vec<(NodeError, &'a Node)>,
}

fn open_all<'a>(
    cx: &Cx,
    transports: &'a Transports,
    config: &Config,
    nodes: &[&'a Node],
    asked: &[String],
) -> Result<Opened<'a>> {
    let nobody = NodeSettings::default();
    let results = each(nodes, |node: &&'a Node| {
        let settings = config.nodes.get(&node.name).unwrap_or(&nobody);
        Link::open(cx, transports.to(node)?, node, settings)
    });
    cx.check_interrupt()?;
    let mut opened = Opened { links: Vec::new(), failures: Vec::new() };
    for (result, node) in results.into_iter().zip(nodes) {
        match result {
            Ok(link) => opened.links.push(link),
            Err(error) => opened.failures.push((error, *node)),
        }
    }
    let is_alike = |node: &&Node| node.info.platform() == nodes[0].info.platform();
    let is_asked = |(_, node): &(NodeError, &Node)| asked.contains(&node.name);
    let is_certain = opened.links.is_empty() || opened.failures.iter().any(is_asked);
    // Of several platforms, only the build tells which are needed.
    if is_certain || nodes.iter().all(is_alike) {
        return opened.without(cx, |_| None);
    }
    Ok(opened)
}

/// Why a node is left out on which the image cannot run.
fn unfit(image: &BuiltImage, node: &Node) -> Option<String> {
    let (theirs, ours) = (node.info.platform(), &image.platform);
    let is_fit = ours.is_empty() || theirs == *ours;
    (!is_fit).then(|| format!("it runs {theirs}, and the image is built for {ours}"))
}

impl<'a> Opened<'a> {
    /// Leaves out what was not reached and is not needed, which is an error of all
    /// others.
    fn without(mut self, cx: &Cx, is_needless: impl Fn(&Node) -> Option<String>) -> Result<Self> {
        let why = |(error, node): &(NodeError, &Node)| {
            // A node that the cluster does not hear of either holds up nobody.
            let is_silent = placement::is_not_responding(node);
            let silent = || format!("the cluster does not hear of it, and {error}");
            let why = is_needless(node).or_else(|| is_silent.then(silent));
            why.filter(|_| !self.links.is_empty())
        };
        let reasons: Vec<Option<String>> = self.failures.iter().map(why).collect();
        if reasons.iter().any(Option::is_none) {
            let failures = self.failures.into_iter().zip(reasons);
            let needed = failures.filter_map(|((error, _), why)| why.is_none().then_some(error));
            return Err(Error::Nodes(needed.collect()));
        }
        for ((_, node), why) in self.failures.drain(..).zip(reasons.into_iter().flatten()) {
            cx.emit(Event::NodeSkipped { node: node.name.clone(), why });
        }
        Ok(self)
    }

    /// Before anything is sent: the nodes on which the image can run. One that was
    /// asked for must be among them.
    fn fitting(self, cx: &Cx, image: &BuiltImage, asked: &[String]) -> Result<Vec<Link<'a>>> {
        let is_needless = |node: &Node| unfit(image, node).filter(|_| !asked.contains(&node.name));
        let links = self.without(cx, is_needless)?.links;
        let (unfit, fit): (Vec<_>, Vec<_>) =
            links.into_iter().partition(|link| unfit(image, link.node).is_some());
        let must = unfit.iter().find(|link| fit.is_empty() || asked.contains(&link.node.name));
        if let Some(Link { node, .. }) = must {
            return Err(Error::PlatformMismatch {
                image: image.reference.familiar(),
                image_platform: image.platform.clone(),
                node: node.name.clone(),
                node_platform: node.info.platform(),
            });
        }
        for Link { node, .. } in unfit {
            let why = self::unfit(image, node).unwrap_or_default();
            cx.emit(Event::NodeSkipped { node: node.name.clone(), why });
        }
        Ok(fit)
    }
}
