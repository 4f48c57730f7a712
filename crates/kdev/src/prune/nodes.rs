//! Connects to the nodes whose images are listed or removed.

use kdev_core::kube::node::Node;
use kdev_core::kube::placement::{self, PodSpec};

use crate::cluster::Cluster;
use crate::config::Config;
use crate::cx::Cx;
use crate::load;
use crate::load::targets::{self, Targets};
use crate::node::connection::NodeConnection;
use crate::node::error::NodeError;
use crate::node::transport::Transports;

/// The nodes that could be connected to, and the errors of the others.
pub(crate) struct OpenNodes<'a> {
    pub(crate) connections: Vec<NodeConnection<'a>>,
    pub(crate) failures: Vec<NodeError>,
}

/// Connects to the requested nodes or, if none are requested, to all nodes that accept pods, and
/// calls `work`. Afterwards closes the connections.
pub(crate) fn with_nodes<T>(
    cx: &Cx,
    cluster: &Cluster,
    config: &Config,
    requested: &[String],
    work: impl FnOnce(OpenNodes) -> T,
) -> Result<T, load::Error> {
    let all = cluster.nodes(cx)?;
    let unrestricted = PodSpec::default();
    let exclusion_cause = |node: &Node| placement::may_run("Pod", &unrestricted, node).err();
    let nodes = targets::choose(cx, cluster, &all, config, requested, exclusion_cause)?;
    let transports = Transports::find(cx, config, &nodes)?;
    let _open = transports.close_at_end(cx);
    let targets =
        Targets { cluster, all: &all, transports: &transports, config, nodes: &nodes, requested };
    let (mut connections, mut failures) = (Vec::new(), Vec::new());
    for opened in targets::open_all(cx, &targets)? {
        match opened {
            Ok(connection) => connections.push(connection),
            Err(error) => failures.push(error),
        }
    }
    Ok(work(OpenNodes { connections, failures }))
}
