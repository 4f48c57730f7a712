//! `cargo kdev doctor`: checks all that `up` needs. Only `--fix` changes anything, and asks
//! first.
//!
//! - `containerd.rs`: containerd and `ctr` on a node
//! - `docker.rs`: docker's daemon, image store and builder
//! - `finding.rs`: what a check has found
//! - `fix.rs`: what `--fix` can do
//! - `node.rs`: whether a node can be loaded
//! - `observation.rs`: what is known of a node
//! - `permissions.rs`: which permissions are needed in the cluster
//! - `project.rs`: the project and its manifests

mod containerd;
mod docker;
pub(crate) mod report;
mod fix;
mod node;
mod observation;
mod permissions;
mod project;

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use kdev_core::kube::node::{Node, node as read_node};
use kdev_core::kube::placement;
use kdev_core::shell;
use kdev_core::text::list;
use serde::Deserialize;
use serde_json::Value;

use crate::cluster::kubeconfig::{Kubeconfig, ClusterTarget};
use crate::cluster::{self, Cluster, KUBECTL_TIMEOUT};
use crate::commands::doctor::docker::DockerCheck;
use crate::commands::doctor::report::{DoctorReport, CheckResult, CheckGroup, CheckState};
use crate::commands::doctor::fix::Fix;
use crate::commands::doctor::observation::ObservedNode;
use crate::commands::doctor::project::ProjectCheck;
use crate::config::{LOCAL_FILE, ConfigLayer, NodeSettings};
use crate::cx::Cx;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::node::connection::NodeConnection;
use crate::node::error::NodeError;
use crate::node::report::NodeProbe;
use crate::node::transport::{Transport, Transports};
use crate::parallel::{run_both, map_all};
use crate::process::Command;
use crate::project::PackageSelection;
use crate::tools::{self, DOCKER, HELM, KUBECTL, SSH};

/// What a user may ask.
#[derive(Clone, Debug, Default)]
pub struct DoctorRequest {
    /// Which package; there need be none.
    pub selection: PackageSelection,
    /// Which cluster.
    pub target: ClusterTarget,
    /// Look at these nodes; at all that may run the pods if empty.
    pub nodes: Vec<String>,
    /// Ask whether to do what is safe.
    pub fix: bool,
    /// What docker is told to build for, as `DOCKER_DEFAULT_PLATFORM` is.
    pub platform: Option<String>,
    /// Settings from flags and variables.
    pub flags: ConfigLayer,
}

impl DoctorRequest {
    /// The command that asks whether to do what is safe, as a person would type it.
    fn fix_command(&self) -> String {
        let path = |path: &Option<PathBuf>| path.as_ref().map(|p| p.display().to_string());
        let flags = [
            ("--context", self.target.explicit_context()),
            ("--kubeconfig", path(&self.target.kubeconfig)),
            ("--namespace", self.flags.namespace.clone()),
            ("--ssh-config", path(&self.flags.ssh_config)),
        ];
        let nodes = self.nodes.iter().map(|node| ("--node", Some(node.clone())));
        let flags = shell::flags(flags.into_iter().chain(nodes));
        format!("cargo kdev doctor{}{flags} --fix", self.selection.to_flags())
    }
}

/// Checks all that `up` needs, as much as possible at once. What is wrong is a
/// finding, and no error. `tell` gets what was found: before anything is asked, and
/// once more if something was done.
pub fn doctor(cx: &Cx, request: &DoctorRequest, mut tell: impl FnMut(&DoctorReport)) -> Result<()> {
    let checkup = run_checks(cx, request)?;
    tell(&checkup);
    if request.fix && apply_fixes(cx, &checkup.checks)? {
        tell(&run_checks(cx, request)?);
    }
    Ok(())
}

/// Asks about each cure, and does what is allowed; whether anything was done.
fn apply_fixes(cx: &Cx, findings: &[CheckResult]) -> Result<bool> {
    let mut done = false;
    let fixes = findings.iter().filter_map(|finding| finding.fix.as_ref());
    let fixes: Vec<Fix> = fixes.filter_map(|fix| fix.prepare(cx)).collect();
    if fixes.is_empty() {
        let is_fault = |finding: &CheckResult| finding.state >= CheckState::Warning;
        let text = if findings.iter().any(is_fault) {
            "none of this can be fixed from here"
        } else {
            "nothing to fix"
        };
        cx.emit(Event::Note { text: text.to_owned() });
    }
    for fix in fixes {
        let answer = cx.confirm(&fix.question());
        cx.check_interrupt()?;
        match answer {
            Some(true) => {
                fix.apply(cx)?;
                done = true;
            }
            Some(false) => {}
            None => {
                let text = format!("not done, for nobody can be asked: {}", fix.describe());
                cx.emit(Event::Note { text });
            }
        }
    }
    Ok(done)
}

fn run_checks(cx: &Cx, request: &DoctorRequest) -> Result<DoctorReport> {
    let here = || run_both(|| check_tools(cx), || DockerCheck::run(cx));
    let there = || {
        let plan = ProjectCheck::run(cx, &request.selection, &request.flags, &request.target)?;
        let seen = check_cluster(cx, request, &plan);
        Ok::<_, Error>((plan, seen))
    };
    let ((tools, mut docker), there) = run_both(here, there);
    let (plan, seen) = there?;
    cx.check_interrupt()?;
    docker.check_dockerfile(plan.needs_buildkit.as_ref());
    // A client that is too old is one fault, whoever asks it.
    let is_told = |found: &CheckResult| tools.iter().any(|tool| tool.evidence == found.evidence);
    docker.results.retain(|found| !is_told(found));
    let mut findings = tools;
    findings.extend(docker.results);
    findings.extend(plan.results);
    findings.extend(seen.findings);
    let platform = request.platform.clone().or(docker.platform);
    findings.extend(node_results(seen.nodes, platform.as_deref()));
    let mut checkup = DoctorReport { checks: findings, fix_command: None };
    checkup.fix_command = (checkup.fixable_count() > 0 && !request.fix).then(|| request.fix_command());
    Ok(checkup)
}

/// A node that the cluster does not hear of either holds up nobody, as long as
/// another one can be loaded.
fn node_results(nodes: Vec<CheckedNode>, docker: Option<&str>) -> Vec<CheckResult> {
    let judged = |asked: CheckedNode| (placement::is_not_responding(&asked.node), asked.into_results(docker));
    let nodes: Vec<(bool, Vec<CheckResult>)> = nodes.into_iter().map(judged).collect();
    let fails = |found: &CheckResult| found.state == CheckState::Error;
    let can_be_loaded = |found: &[CheckResult]| {
        found.iter().any(|one| one.check == "access") && !found.iter().any(fails)
    };
    let is_needed = !nodes.iter().any(|(_, found)| can_be_loaded(found));
    let findings = nodes.into_iter().flat_map(|(is_silent, found)| {
        let lessen = is_silent && !is_needed;
        let one = move |one: CheckResult| if lessen && fails(&one) { one.as_warning() } else { one };
        found.into_iter().map(one)
    });
    findings.collect()
}

/// docker itself is needed, and so is kubectl; ssh and helm only if something of
/// theirs is used, which then says so.
fn check_tools(cx: &Cx) -> Vec<CheckResult> {
    let tools = [(DOCKER, true), (KUBECTL, true), (SSH, false), (HELM, false)];
    map_all(&tools, |(tool, is_needed)| match tool.check_version(cx) {
        Ok(words) => CheckResult::ok(CheckGroup::Tools, tool.name, words),
        Err(tools::Error::NotFound { .. }) if !is_needed => {
            let words = "not installed, and needed only for nodes that ssh reaches";
            let words = if tool.name == "helm" {
                "not installed, and needed only for charts"
            } else {
                words
            };
            CheckResult::skipped(CheckGroup::Tools, tool.name, words)
        }
        Err(error) => {
            let found = CheckResult::failed(CheckGroup::Tools, tool.name, error);
            if *is_needed { found } else { found.as_warning() }
        }
    })
}

/// What the cluster and its nodes say.
#[derive(Default)]
struct ClusterChecks {
    findings: Vec<CheckResult>,
    nodes: Vec<CheckedNode>,
}

/// A node, and what it says.
struct CheckedNode {
    node: Node,
    item: Value,
    kubectl: String,
    answer: NodeOutcome,
}

enum NodeOutcome {
    /// Why nobody asked it.
    Skipped(CheckResult),
    /// What it has said, when, and what would help where it has said nothing.
    Visited(Box<Result<NodeProbe, NodeError>>, RangeInclusive<i64>, Option<Fix>),
}

impl CheckedNode {
    fn into_results(self, docker: Option<&str>) -> Vec<CheckResult> {
        match self.answer {
            NodeOutcome::Skipped(finding) => vec![finding.on_node(&self.node.name)],
            NodeOutcome::Visited(visit, asked, fix) => {
                let found = node::check(&ObservedNode {
                    node: &self.node,
                    object: &self.item,
                    kubectl: &self.kubectl,
                    visit: *visit,
                    visited_at: asked,
                    docker_platform: docker,
                });
                let fixed = |found: CheckResult| match found.check {
                    "connection" => found.with_fix(fix.clone()),
                    _ => found,
                };
                found.into_iter().map(fixed).collect()
            }
        }
    }
}

fn check_cluster(cx: &Cx, request: &DoctorRequest, plan: &ProjectCheck) -> ClusterChecks {
    let mut answers = ClusterChecks::default();
    let Some(cluster) = select_cluster(cx, request, plan, &mut answers.findings) else { return answers };
    let list = || cluster.list_nodes(cx);
    let (items, (namespace, rights)) =
        run_both(list, || run_both(|| check_namespace(cx, &cluster), || check_permissions(cx, &cluster, plan)));
    match items {
        Ok(items) => {
            let words = format!("it answers, and lists {}", count_nodes(items.len()));
            answers.findings.push(CheckResult::ok(CheckGroup::Cluster, "api-server", words));
            answers.nodes = visit_nodes(cx, request, plan, &cluster, items, &mut answers.findings);
        }
        // The rights say so already, with a better cure.
        Err(cluster::Error::Rejected { .. })
            if rights.iter().any(|found| found.check == "permissions-nodes") =>
        {
            let words = "it answers, and does not let you list the nodes";
            answers.findings.push(CheckResult::ok(CheckGroup::Cluster, "api-server", words));
        }
        Err(error) => {
            answers.findings.push(CheckResult::failed(CheckGroup::Cluster, "api-server", error));
            return answers;
        }
    }
    answers.findings.extend([namespace].into_iter().chain(rights));
    answers
}

fn count_nodes(count: usize) -> String {
    if count == 1 { "1 node".to_owned() } else { format!("{count} nodes") }
}

/// The context, and whether it may be changed.
fn select_cluster(
    cx: &Cx,
    request: &DoctorRequest,
    plan: &ProjectCheck,
    findings: &mut Vec<CheckResult>,
) -> Option<Cluster> {
    let namespace = plan.config.namespace.clone();
    let found = Kubeconfig::read(cx, &request.target)
        .and_then(|kubeconfig| Cluster::resolve(kubeconfig, &request.target, namespace));
    let (mut cluster, server) = match found {
        Ok(found) => found,
        Err(cluster::Error::Tool(tools::Error::NotFound { .. } | tools::Error::TooOld { .. })) => {
            let words = "`kubectl` cannot be used";
            findings.push(CheckResult::skipped(CheckGroup::Cluster, "context", words));
            return None;
        }
        Err(error) => {
            findings.push(CheckResult::failed(CheckGroup::Cluster, "context", error));
            return None;
        }
    };
    let context = cluster.context.clone();
    findings.push(CheckResult::ok(CheckGroup::Cluster, "context", format!("`{context}` at {server}")));
    let is_local = cluster.is_local(cx, &server).unwrap_or_default();
    findings.push(check_consent(request, plan, &context, server, is_local));
    Some(cluster)
}

/// Whether the context may be changed without a question.
fn check_consent(
    request: &DoctorRequest,
    plan: &ProjectCheck,
    context: &str,
    server: String,
    is_local: bool,
) -> CheckResult {
    let local = is_local.then_some("a local product has made it");
    if let Some(why) = cluster::permission_reason(context, &request.target, &plan.config).or(local) {
        return CheckResult::ok(CheckGroup::Cluster, "context-allowed", format!("may be changed: {why}"));
    }
    let refused = cluster::Error::ContextNotAllowed { context: context.to_owned(), server };
    let file = plan.project.as_ref().map(|project| project.dir.join(LOCAL_FILE));
    let fix = file.and_then(|file| Fix::for_context(file, &plan.config.contexts, context));
    let words =
        "kdev asks each time before it changes this cluster, and refuses where nobody can be asked";
    let help = refused.help().unwrap_or_default();
    CheckResult::warning(CheckGroup::Cluster, "context-allowed", words, help).with_fix(fix)
}

impl Cluster {
    /// All nodes, with what is said of their state.
    fn list_nodes(&self, cx: &Cx) -> cluster::Result<Vec<Value>> {
        #[derive(Deserialize)]
        struct List {
            items: Vec<Value>,
        }
        let sh = cx.shell()?;
        let cmd = self.cmd(&sh, None).args(["get", "nodes", "--output=json"]);
        self.get_json::<List>(cx, cmd, "list its nodes").map(|list| list.items)
    }
}

fn check_namespace(cx: &Cx, cluster: &Cluster) -> CheckResult {
    let name = &cluster.namespace;
    let asked = cx.shell().map_err(cluster::Error::from).and_then(|sh| {
        let cmd = cluster.cmd(&sh, None).args(["get", "namespace", name, "--output=name"]);
        let task = Command::new(cmd).timeout(KUBECTL_TIMEOUT);
        task.read(cx).map_err(|failure| cluster.request_error(failure, "show the namespace"))
    });
    match asked {
        Ok(_) => CheckResult::ok(CheckGroup::Cluster, "namespace", format!("`{name}` exists")),
        Err(error) if is_not_found(&error) => {
            let (words, help) = (format!("`{name}` does not exist"), error.help());
            CheckResult::error(CheckGroup::Cluster, "namespace", words, help.unwrap_or_default())
        }
        Err(cluster::Error::Rejected { .. }) => {
            let words = format!("whether `{name}` exists is not told to you");
            CheckResult::skipped(CheckGroup::Cluster, "namespace", words)
        }
        Err(error) => CheckResult::skipped(CheckGroup::Cluster, "namespace", error.to_string()),
    }
}

fn is_not_found(error: &cluster::Error) -> bool {
    matches!(error, cluster::Error::Rejected { source, .. } if source.stderr.contains("(NotFound)"))
}

/// What the user may do, asked in one go.
fn check_permissions(cx: &Cx, cluster: &Cluster, plan: &ProjectCheck) -> Vec<CheckResult> {
    let objects = plan.objects.as_deref().unwrap_or_default();
    let needed = permissions::required(objects, &cluster.namespace);
    let asked = cx.shell().map_err(cluster::Error::from).and_then(|sh| {
        let cmd = cluster.cmd(&sh, None);
        let cmd = cmd.args(["create", "--validate=false", "--filename=-", "--output=json"]);
        let task = Command::new(cmd).stdin(permissions::access_reviews(&needed)).timeout(KUBECTL_TIMEOUT);
        task.read(cx).map_err(|failure| cluster.request_error(failure, "tell your rights"))
    });
    let allowed = match asked.map(|output| permissions::parse_reviews(&output.stdout, &needed)) {
        Ok(Some(allowed)) => allowed,
        Ok(None) => {
            let words = "the cluster does not tell them";
            return vec![CheckResult::skipped(CheckGroup::Cluster, "permissions", words)];
        }
        Err(error) => {
            return vec![CheckResult::skipped(CheckGroup::Cluster, "permissions", error.to_string())];
        }
    };
    let user = if allowed.contains(&false) { current_user(cx, cluster) } else { None };
    let mut found = permissions::check(&needed, &allowed, user.as_deref());
    let unknown = permissions::unknown_kinds(objects);
    if !unknown.is_empty() {
        let words = format!("not asked for {}: kdev does not know these kinds", list(&unknown));
        found.push(CheckResult::skipped(CheckGroup::Cluster, "permissions", words));
    }
    found
}

/// What the cluster calls the user; kubectl before 1.27 cannot ask.
fn current_user(cx: &Cx, cluster: &Cluster) -> Option<String> {
    let sh = cx.shell().ok()?;
    let cmd = cluster.cmd(&sh, None).args(["auth", "whoami", "--output=json"]);
    let answer: Value = cluster.get_json(cx, cmd, "tell who you are").ok()?;
    answer.pointer("/status/userInfo/username")?.as_str().map(str::to_owned)
}

fn visit_nodes(
    cx: &Cx,
    request: &DoctorRequest,
    plan: &ProjectCheck,
    cluster: &Cluster,
    items: Vec<Value>,
    findings: &mut Vec<CheckResult>,
) -> Vec<CheckedNode> {
    let nodes: Vec<(Node, Value)> =
        items.into_iter().filter_map(|item| Some((read_node(&item)?, item))).collect();
    let known = || nodes.iter().map(|(node, _)| node.name.clone()).collect();
    let is_known = |name: &&String| nodes.iter().any(|(node, _)| node.name == **name);
    for name in request.nodes.iter().filter(|name| !is_known(name)) {
        let error = cluster::Error::NodeNotFound { node: name.clone(), known: known() };
        findings.push(CheckResult::failed(CheckGroup::Cluster, "node", error));
    }
    let why_not = |node: &Node| {
        if plan.is_config_unknown {
            let words = "how it is reached is not known without the configuration";
            Some(CheckResult::skipped(CheckGroup::Node, "connection", words))
        } else if request.nodes.is_empty() {
            plan.exclusion_cause(node).map(|why| excluded_node(cluster, node, &why))
        } else {
            let words = "it was not asked for";
            let is_asked = request.nodes.contains(&node.name);
            (!is_asked).then(|| CheckResult::skipped(CheckGroup::Node, "placement", words))
        }
    };
    let why: Vec<Option<CheckResult>> = nodes.iter().map(|(node, _)| why_not(node)).collect();
    let chosen: Vec<&Node> = nodes
        .iter()
        .zip(&why)
        .filter(|(_, why)| why.is_none())
        .map(|((node, _), _)| node)
        .collect();
    if chosen.is_empty() && !plan.is_config_unknown && request.nodes.is_empty() {
        let words = "no node may run the pods";
        let reason = |(node, _): &(Node, Value)| Some((node.name.clone(), plan.exclusion_cause(node)?));
        let help = cluster::no_node_help(
            &cluster.display_command(None),
            &nodes.iter().filter_map(reason).collect::<Vec<_>>(),
        );
        findings.push(CheckResult::error(CheckGroup::Cluster, "placement", words, help));
    }
    let mut answers = match Transports::find(cx, &plan.config, &chosen) {
        Ok(transports) => {
            let answers = map_all(&chosen, |node| visit_node(cx, plan, &transports, node));
            transports.close(cx);
            answers
        }
        Err(error) => {
            let found = CheckResult::failed(CheckGroup::Node, "connection", error);
            chosen.iter().map(|_| NodeOutcome::Skipped(found.clone())).collect()
        }
    }
    .into_iter();
    let kubectl = cluster.display_command(None);
    let asked = nodes.into_iter().zip(why).filter_map(|((node, item), why)| {
        let answer = why.map(NodeOutcome::Skipped).or_else(|| answers.next())?;
        Some(CheckedNode { node, item, kubectl: kubectl.clone(), answer })
    });
    asked.collect()
}

/// Whoever has written the taint or the selector meant it, but for a node that was
/// cordoned.
fn excluded_node(cluster: &Cluster, node: &Node, why: &str) -> CheckResult {
    let meaning = if why.contains(" taint `") {
        ", which keeps off pods that do not tolerate it"
    } else {
        ""
    };
    let words = format!("no pod goes there: {why}{meaning}");
    let name = &node.name;
    let kubectl = cluster.display_command(None);
    if why == placement::IS_CORDONED {
        let help = format!("let pods go there again with `{kubectl} uncordon {name}`");
        return CheckResult::warning(CheckGroup::Node, "placement", words, help);
    }
    if why.contains("`node.kubernetes.io/") {
        let help = format!("see `{kubectl} describe node {name}`");
        return CheckResult::warning(CheckGroup::Node, "placement", words, help);
    }
    CheckResult::skipped(CheckGroup::Node, "placement", words)
}

fn visit_node(cx: &Cx, plan: &ProjectCheck, transports: &Transports, node: &Node) -> NodeOutcome {
    let nobody = NodeSettings::default();
    let settings = plan.config.nodes.get(&node.name).unwrap_or(&nobody);
    let begun = unix_time();
    let way = transports.get(node);
    let door = way.as_ref().ok().and_then(Transport::ssh_endpoint);
    let visit = way.and_then(|way| NodeConnection::inspect(cx, way, node, settings));
    let fix = visit.as_ref().err().and_then(|error| Fix::for_node_error(error, door));
    NodeOutcome::Visited(Box::new(visit), begun..=unix_time(), fix)
}

/// In seconds since 1970.
fn unix_time() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    i64::try_from(now).unwrap_or_default()
}
