//! Selects the nodes to load onto, and connects to them in parallel.

use std::thread::{self, ScopedJoinHandle};

use kdev_core::image::built::BuiltImage;
use kdev_core::kube::node::Node;
use kdev_core::kube::placement;
use kdev_manifest::objects::Object;

use crate::cluster::{self, Cluster};
use crate::config::{Config, NodeSettings};
use crate::cx::Cx;
use crate::details::Details;
use crate::event::Event;
use crate::layers::{ImageSource, LayerProvider};
use crate::load::error::{Error, Result};
use crate::load::identity;
use crate::node::connection::NodeConnection;
use crate::node::error::NodeError;
use crate::node::transport::Transports;
use crate::parallel::{join_thread, map_all};
use crate::process;

/// Returns why no pod with the image can run on a node; `None` if one can.
pub(crate) fn exclusion_cause(objects: &[Object], config: &Config, node: &Node) -> Option<String> {
    let mut cause = None;
    for object in objects.iter().filter(|object| object.uses(config.image.name())) {
        // The pods of an unknown kind may run on any node.
        let pod = object.pod.as_ref()?;
        cause = Some(placement::may_run(&object.kind, pod, node).err()?);
    }
    cause
}

/// Returns the requested nodes or, if none are requested, all nodes that can run a pod with
/// the image. `why_not` returns why a node cannot.
pub(crate) fn choose<'a>(
    cx: &Cx,
    cluster: &Cluster,
    all: &'a [Node],
    config: &Config,
    requested: &[String],
    why_not: impl Fn(&Node) -> Option<String>,
) -> Result<Vec<&'a Node>> {
    let known = || all.iter().map(|node| node.name.clone()).collect();
    let is_known = |name: &&String| all.iter().any(|node| node.name == **name);
    if let Some(name) = requested.iter().find(|name| !is_known(name)) {
        return Err(cluster::Error::NodeNotFound { node: name.clone(), known: known() }.into());
    }
    // The configuration can also have settings for nodes of other clusters.
    if let Some(name) = config.nodes.keys().find(|name| !is_known(name)) {
        let text = format!(
            "the configuration has settings for node `{name}`, which does not exist in the cluster"
        );
        cx.emit(Event::Note { text });
    }
    if !requested.is_empty() {
        return Ok(all.iter().filter(|node| requested.contains(&node.name)).collect());
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
        let reasons_text: Vec<String> =
            reasons.iter().map(|(node, why)| format!("`{node}`: {why}")).collect();
        let text = if all.is_empty() {
            "the cluster has no nodes".to_owned()
        } else {
            reasons_text.join("; ")
        };
        let (context, kubectl) = (cluster.context.clone(), cluster.display_command(None));
        return Err(cluster::Error::NoEligibleNode {
            context,
            kubectl,
            reasons,
            reason: Details(text),
        }
        .into());
    }
    for (node, why) in reasons {
        cx.emit(Event::NodeSkipped { node, cause: why });
    }
    Ok(chosen)
}

/// The nodes to load an image onto.
pub(crate) struct Targets<'a> {
    pub(crate) cluster: &'a Cluster,
    /// All nodes of the cluster.
    pub(crate) all: &'a [Node],
    pub(crate) transports: &'a Transports,
    pub(crate) config: &'a Config,
    pub(crate) nodes: &'a [&'a Node],
    /// The nodes that the user requested by name.
    pub(crate) requested: &'a [String],
}

/// When the nodes are connected to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConnectTime {
    /// While the image is being built.
    DuringBuild,
    /// After the build. No node is necessary if the image is deployed already.
    AfterBuild,
}

/// Builds the image while the nodes are being connected to, unless that is done after the build,
/// and then runs `load`, which needs both, while `with_image` is running, which needs only the
/// image. The connections stay open.
///
/// If a required node cannot be used, the build is aborted. If the platform of the image
/// decides which nodes are required, that is checked after the build. Nothing else happens with
/// an image for which `is_deployed` returns true.
pub(crate) fn build_and_load<'s, 'a, T: Send, E: From<Error> + std::error::Error + 'static>(
    cx: &Cx,
    to: &Targets<'a>,
    time: ConnectTime,
    build: impl FnOnce(&Cx) -> Result<ImageSource<'s>, E>,
    is_deployed: impl FnOnce(&BuiltImage) -> bool,
    with_image: impl FnOnce(&Cx, &BuiltImage) -> T + Send,
    load: impl FnOnce(&LayerProvider, Vec<NodeConnection<'a>>, ScopedJoinHandle<'_, T>) -> Result<(), E>,
) -> Result<BuiltImage, E> {
    let (building, unneeded) = (cx.interrupt().child(), cx.interrupt().child());
    let build_cx = cx.clone().with_interrupt(building.clone());
    thread::scope(|scope| {
        let connect = || {
            let connected = connect_all(&cx.clone().with_interrupt(unneeded.clone()), to);
            connected.inspect_err(|_| building.raise())
        };
        let connecting = (time == ConnectTime::DuringBuild).then(|| scope.spawn(connect));
        let image_source = match build(&build_cx.for_build()) {
            Ok(image_source) => image_source,
            // The build may have failed because it was aborted.
            Err(error) => match connecting.map(join_thread) {
                Some(Err(cause)) if process::is_interrupt(&error) => return Err(cause.into()),
                _ => return Err(error),
            },
        };
        cx.for_build().check_interrupt().map_err(Error::from)?;
        let image = image_source.image();
        if is_deployed(image) {
            unneeded.raise();
            return Ok(image.clone());
        }
        let connecting = connecting.unwrap_or_else(|| scope.spawn(connect));
        let provider = LayerProvider::new(cx, &image_source, image);
        thread::scope(|scope| {
            scope.spawn(|| provider.prefetch(&build_cx));
            let with_image = scope.spawn(|| with_image(&build_cx, image));
            let ready = join_thread(connecting)
                .and_then(|connected| connected.matching_platform(cx, image, to.requested));
            let connections = ready.inspect_err(|_| building.raise())?;
            load(&provider, connections, with_image)
        })?;
        Ok(image.clone())
    })
}

/// The connected nodes, and those that could not be connected to.
struct ConnectedNodes<'a> {
    connections: Vec<NodeConnection<'a>>,
    failures: Vec<(NodeError, &'a Node)>,
}

/// Connects to the nodes in parallel. The results are in the order of the nodes.
pub(crate) fn open_all<'a>(
    cx: &Cx,
    to: &Targets<'a>,
) -> Result<Vec<Result<NodeConnection<'a>, NodeError>>> {
    let default = NodeSettings::default();
    let results = map_all(to.nodes, |node: &&'a Node| {
        let settings = to.config.nodes.get(&node.name).unwrap_or(&default);
        let opened = NodeConnection::open(cx, to.transports.get(node)?, node, settings);
        identity::confirm(cx, to.cluster, to.all, opened)
    });
    cx.check_interrupt()?;
    Ok(results)
}

fn connect_all<'a>(cx: &Cx, to: &Targets<'a>) -> Result<ConnectedNodes<'a>> {
    let Targets { nodes, requested, .. } = *to;
    let results = open_all(cx, to)?;
    let mut connected = ConnectedNodes { connections: Vec::new(), failures: Vec::new() };
    for (result, node) in results.into_iter().zip(nodes) {
        match result {
            Ok(connection) => connected.connections.push(connection),
            Err(error) => connected.failures.push((error, *node)),
        }
    }
    let is_same_platform = |node: &&Node| node.info.platform() == nodes[0].info.platform();
    let is_requested = |(_, node): &(NodeError, &Node)| requested.contains(&node.name);
    let is_decided =
        connected.connections.is_empty() || connected.failures.iter().any(is_requested);
    // With several platforms, the build decides which nodes are required.
    if is_decided || nodes.iter().all(is_same_platform) {
        return connected.drop_unneeded(cx, |_| None);
    }
    Ok(connected)
}

/// Returns why the image cannot run on a node because of its platform.
fn platform_mismatch(image: &BuiltImage, node: &Node) -> Option<String> {
    let (node_platform, platform) = (node.info.platform(), &image.platform);
    let matches = platform.is_empty() || node_platform == *platform;
    (!matches).then(|| format!("it is {node_platform}, but the image is built for {platform}"))
}

impl<'a> ConnectedNodes<'a> {
    /// Drops unreachable nodes that are not needed. Any other unreachable node is an error.
    fn drop_unneeded(
        mut self,
        cx: &Cx,
        unneeded_reason: impl Fn(&Node) -> Option<String>,
    ) -> Result<Self> {
        let why = |(error, node): &(NodeError, &Node)| {
            // A node whose kubelet has stopped reporting does not block the others.
            let is_not_responding = placement::is_not_responding(node);
            let reason = || format!("its kubelet has stopped reporting; {error}");
            let why = unneeded_reason(node).or_else(|| is_not_responding.then(reason));
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

    /// Returns the nodes whose platform matches the image. A mismatch of a requested node, or
    /// of all nodes, is an error.
    fn matching_platform(
        self,
        cx: &Cx,
        image: &BuiltImage,
        requested: &[String],
    ) -> Result<Vec<NodeConnection<'a>>> {
        let unneeded_reason = |node: &Node| {
            platform_mismatch(image, node).filter(|_| !requested.contains(&node.name))
        };
        let connections = self.drop_unneeded(cx, unneeded_reason)?.connections;
        let (mismatched, matching): (Vec<_>, Vec<_>) = connections
            .into_iter()
            .partition(|connection| platform_mismatch(image, connection.node).is_some());
        let required = mismatched
            .iter()
            .find(|connection| matching.is_empty() || requested.contains(&connection.node.name));
        if let Some(NodeConnection { node, .. }) = required {
            return Err(Error::PlatformMismatch {
                image: image.reference.familiar(),
                image_platform: image.platform.clone(),
                node: node.name.clone(),
                node_platform: node.info.platform(),
            });
        }
        for NodeConnection { node, .. } in mismatched {
            let why = self::platform_mismatch(image, node).unwrap_or_default();
            cx.emit(Event::NodeSkipped { node: node.name.clone(), cause: why });
        }
        Ok(matching)
    }
}
