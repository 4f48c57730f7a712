//! Selects the nodes to check, and connects to them.

use std::ops::RangeInclusive;
use std::time::{SystemTime, UNIX_EPOCH};

use kdev_core::kube::node::{Node, node as read_node};
use kdev_core::kube::placement;
use serde_json::Value;

use crate::cluster::{self, Cluster};
use crate::commands::doctor::docker::BuilderPlatform;
use crate::commands::doctor::fix::Fix;
use crate::commands::doctor::node;
use crate::commands::doctor::observation::ObservedNode;
use crate::commands::doctor::project::ProjectCheck;
use crate::commands::doctor::report::{CheckGroup, CheckResult, CheckState};
use crate::config::NodeSettings;
use crate::cx::Cx;
use crate::node::connection::NodeConnection;
use crate::node::error::NodeError;
use crate::node::report::NodeProbe;
use crate::node::transport::{Transport, Transports};
use crate::parallel::map_all;

/// A node, and the outcome of the visit.
pub(super) struct VisitedNode {
    node: Node,
    object: Value,
    kubectl: String,
    outcome: Outcome,
}

enum Outcome {
    /// The node was not visited.
    Skipped(CheckResult),
    /// The facts that the node reported, the local time of the visit, and the fix if it failed.
    Visited(Box<Result<NodeProbe, NodeError>>, RangeInclusive<i64>, Option<Fix>),
}

impl VisitedNode {
    /// Returns the node, if it was selected.
    pub(super) fn visited(&self) -> Option<&Node> {
        matches!(self.outcome, Outcome::Visited(..)).then_some(&self.node)
    }

    fn check(self, builder: Option<&BuilderPlatform>) -> Vec<CheckResult> {
        match self.outcome {
            Outcome::Skipped(result) => vec![result.on_node(&self.node.name)],
            Outcome::Visited(visit, visited_at, fix) => {
                let results = node::check(&ObservedNode {
                    node: &self.node,
                    object: &self.object,
                    kubectl: &self.kubectl,
                    visit: *visit,
                    visited_at,
                    builder,
                });
                let add_fix = |result: CheckResult| match result.check {
                    "connection" => result.with_fix(fix.clone()),
                    _ => result,
                };
                results.into_iter().map(add_fix).collect()
            }
        }
    }
}

/// Checks the nodes. Reduces the errors of a node that does not respond to the control plane
/// either to warnings, if another node can be loaded.
pub(super) fn check_all(
    nodes: Vec<VisitedNode>,
    builder: Option<&BuilderPlatform>,
) -> Vec<CheckResult> {
    let check = |node: VisitedNode| (placement::is_not_responding(&node.node), node.check(builder));
    let nodes: Vec<(bool, Vec<CheckResult>)> = nodes.into_iter().map(check).collect();
    let is_error = |result: &CheckResult| result.state == CheckState::Error;
    let is_loadable = |results: &[CheckResult]| {
        results.iter().any(|result| result.check == "access") && !results.iter().any(is_error)
    };
    let is_any_loadable = nodes.iter().any(|(_, results)| is_loadable(results));
    let results = nodes.into_iter().flat_map(|(is_not_responding, results)| {
        let is_reduced = is_not_responding && is_any_loadable;
        let reduce = move |result: CheckResult| {
            if is_reduced && is_error(&result) { result.into_warning() } else { result }
        };
        results.into_iter().map(reduce)
    });
    results.collect()
}

/// Connects to the requested nodes; without a request, to all nodes that can run the pods.
pub(super) fn visit(
    cx: &Cx,
    requested: &[String],
    project: &ProjectCheck,
    cluster: &Cluster,
    objects: Vec<Value>,
    results: &mut Vec<CheckResult>,
) -> Vec<VisitedNode> {
    let nodes: Vec<(Node, Value)> =
        objects.into_iter().filter_map(|object| Some((read_node(&object)?, object))).collect();
    let known = || nodes.iter().map(|(node, _)| node.name.clone()).collect();
    let is_known = |name: &&String| nodes.iter().any(|(node, _)| node.name == **name);
    for name in requested.iter().filter(|name| !is_known(name)) {
        let error = cluster::Error::NodeNotFound { node: name.clone(), known: known() };
        results.push(CheckResult::failed(CheckGroup::Cluster, "node", error));
    }
    let skip = |node: &Node| {
        if project.is_config_unknown {
            let cause = "connecting requires a valid configuration";
            Some(CheckResult::skipped(CheckGroup::Node, "connection", cause))
        } else if requested.is_empty() {
            let cause = project.exclusion_cause(node)?;
            Some(excluded_node(cluster, node, &cause))
        } else {
            let is_requested = requested.contains(&node.name);
            let skipped =
                || CheckResult::skipped(CheckGroup::Node, "placement", "excluded by `--node`");
            (!is_requested).then(skipped)
        }
    };
    let skipped: Vec<Option<CheckResult>> = nodes.iter().map(|(node, _)| skip(node)).collect();
    let selected: Vec<&Node> = nodes
        .iter()
        .zip(&skipped)
        .filter(|(_, skipped)| skipped.is_none())
        .map(|((node, _), _)| node)
        .collect();
    if selected.is_empty() && !project.is_config_unknown && requested.is_empty() {
        results.push(no_eligible_node(project, cluster, &nodes));
    }
    let mut outcomes = match Transports::find(cx, &project.config, &selected) {
        Ok(transports) => {
            let outcomes = map_all(&selected, |node| visit_node(cx, project, &transports, node));
            transports.close(cx);
            outcomes
        }
        Err(error) => {
            let failed = CheckResult::failed(CheckGroup::Node, "connection", error);
            selected.iter().map(|_| Outcome::Skipped(failed.clone())).collect()
        }
    }
    .into_iter();
    let kubectl = cluster.display_cluster_command();
    let visited = nodes.into_iter().zip(skipped).filter_map(|((node, object), skipped)| {
        let outcome = skipped.map(Outcome::Skipped).or_else(|| outcomes.next())?;
        Some(VisitedNode { node, object, kubectl: kubectl.clone(), outcome })
    });
    visited.collect()
}

fn no_eligible_node(
    project: &ProjectCheck,
    cluster: &Cluster,
    nodes: &[(Node, Value)],
) -> CheckResult {
    let cause =
        |(node, _): &(Node, Value)| Some((node.name.clone(), project.exclusion_cause(node)?));
    let causes: Vec<(String, String)> = nodes.iter().filter_map(cause).collect();
    let help = cluster::no_node_help(&cluster.display_command(None), &causes);
    CheckResult::error(CheckGroup::Cluster, "placement", "no node can run the pods", help)
}

/// Creates the result for a node that cannot run the pods. Only conditions that are usually
/// temporary are warnings: labels and other taints are set on purpose.
fn excluded_node(cluster: &Cluster, node: &Node, cause: &str) -> CheckResult {
    let explanation =
        if cause.contains(" taint `") { ", which the pods do not tolerate" } else { "" };
    let evidence = format!("cannot run the pods: {cause}{explanation}");
    let name = &node.name;
    let kubectl = cluster.display_cluster_command();
    if cause == placement::IS_CORDONED {
        let help = format!("run `{kubectl} uncordon {name}` to allow new pods on the node");
        return CheckResult::warning(CheckGroup::Node, "placement", evidence, help);
    }
    if cause.contains("`node.kubernetes.io/") {
        let help = format!("run `{kubectl} describe node {name}` to find the cause");
        return CheckResult::warning(CheckGroup::Node, "placement", evidence, help);
    }
    CheckResult::skipped(CheckGroup::Node, "placement", evidence)
}

fn visit_node(cx: &Cx, project: &ProjectCheck, transports: &Transports, node: &Node) -> Outcome {
    let default = NodeSettings::default();
    let settings = project.config.nodes.get(&node.name).unwrap_or(&default);
    let start = unix_time();
    let transport = transports.get(node);
    let endpoint = transport.as_ref().ok().and_then(Transport::ssh_endpoint);
    let visit =
        transport.and_then(|transport| NodeConnection::inspect(cx, transport, node, settings));
    let fix = visit.as_ref().err().and_then(|error| Fix::for_node_error(error, endpoint));
    Outcome::Visited(Box::new(visit), start..=unix_time(), fix)
}

/// Returns the seconds since 1970.
fn unix_time() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    i64::try_from(now).unwrap_or_default()
}
