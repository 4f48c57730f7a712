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
pub(crate) mod finding;
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

use crate::cluster::kubeconfig::{Kubeconfig, Target};
use crate::cluster::{self, Cluster, PATIENCE};
use crate::commands::doctor::docker::Engine;
use crate::commands::doctor::finding::{Checkup, Finding, Group, State};
use crate::commands::doctor::fix::Fix;
use crate::commands::doctor::observation::Seen;
use crate::commands::doctor::project::Plan;
use crate::config::{LOCAL_FILE, Layer, NodeSettings};
use crate::cx::Cx;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::node::connection::Link;
use crate::node::error::NodeError;
use crate::node::report::Visit;
use crate::node::transport::{Transport, Transports};
use crate::parallel::{both, each};
use crate::process::Task;
use crate::project::Selection;
use crate::tools::{self, DOCKER, HELM, KUBECTL, SSH};

/// What a user may ask.
#[derive(Clone, Debug, Default)]
pub struct DoctorRequest {
    /// Which package; there need be none.
    pub selection: Selection,
    /// Which cluster.
    pub target: Target,
    /// Look at these nodes; at all that may run the pods if empty.
    pub nodes: Vec<String>,
    /// Ask whether to do what is safe.
    pub fix: bool,
    /// What docker is told to build for, as `DOCKER_DEFAULT_PLATFORM` is.
    pub platform: Option<String>,
    /// Settings from flags and variables.
    pub flags: Layer,
}

impl DoctorRequest {
    /// The command that asks whether to do what is safe, as a person would type it.
    fn by_hand(&self) -> String {
        let path = |path: &Option<PathBuf>| path.as_ref().map(|p| p.display().to_string());
        let flags = [
            ("--context", self.target.named()),
            ("--kubeconfig", path(&self.target.kubeconfig)),
            ("--namespace", self.flags.namespace.clone()),
            ("--ssh-config", path(&self.flags.ssh_config)),
        ];
        let nodes = self.nodes.iter().map(|node| ("--node", Some(node.clone())));
        let flags = shell::flags(flags.into_iter().chain(nodes));
        format!("cargo kdev doctor{}{flags} --fix", self.selection.flags_by_hand())
    }
}

/// Checks all that `up` needs, as much as possible at once. What is wrong is a
/// finding, and no error. `tell` gets what was found: before anything is asked, and
/// once more if something was done.
pub fn doctor(cx: &Cx, request: &DoctorRequest, mut tell: impl FnMut(&Checkup)) -> Result<()> {
    let checkup = examine(cx, request)?;
    tell(&checkup);
    if request.fix && apply_fixes(cx, &checkup.findings)? {
        tell(&examine(cx, request)?);
    }
    Ok(())
}

/// Asks about each cure, and does what is allowed; whether anything was done.
fn apply_fixes(cx: &Cx, findings: &[Finding]) -> Result<bool> {
    let mut done = false;
    let fixes = findings.iter().filter_map(|finding| finding.fix.as_ref());
    let fixes: Vec<Fix> = fixes.filter_map(|fix| fix.prepared(cx)).collect();
    if fixes.is_empty() {
        let is_fault = |finding: &Finding| finding.state >= State::Warning;
        let text = if findings.iter().any(is_fault) {
            "none of this can be fixed from here"
        } else {
            "nothing to fix"
        };
        cx.emit(Event::Note { text: text.to_owned() });
    }
    for fix in fixes {
        let answer = cx.ask(&fix.question());
        cx.check_interrupt()?;
        match answer {
            Some(true) => {
                fix.apply(cx)?;
                done = true;
            }
            Some(false) => {}
            None => {
                let text = format!("not done, for nobody can be asked: {}", fix.in_words());
                cx.emit(Event::Note { text });
            }
        }
    }
    Ok(done)
}

fn examine(cx: &Cx, request: &DoctorRequest) -> Result<Checkup> {
    let here = || both(|| installed(cx), || Engine::find(cx));
    let there = || {
        let plan = Plan::read(cx, &request.selection, &request.flags, &request.target)?;
        let seen = ask_cluster(cx, request, &plan);
        Ok::<_, Error>((plan, seen))
    };
    let ((tools, mut docker), there) = both(here, there);
    let (plan, seen) = there?;
    cx.check_interrupt()?;
    docker.judge(plan.needs_buildkit.as_ref());
    // A client that is too old is one fault, whoever asks it.
    let is_told = |found: &Finding| tools.iter().any(|tool| tool.evidence == found.evidence);
    docker.findings.retain(|found| !is_told(found));
    let mut findings = tools;
    findings.extend(docker.findings);
    findings.extend(plan.findings);
    findings.extend(seen.findings);
    let platform = request.platform.clone().or(docker.platform);
    findings.extend(of_nodes(seen.nodes, platform.as_deref()));
    let mut checkup = Checkup { findings, fix_by: None };
    checkup.fix_by = (checkup.fixable() > 0 && !request.fix).then(|| request.by_hand());
    Ok(checkup)
}

/// A node that the cluster does not hear of either holds up nobody, as long as
/// another one can be loaded.
fn of_nodes(nodes: Vec<Asked>, docker: Option<&str>) -> Vec<Finding> {
    let judged = |asked: Asked| (placement::is_not_responding(&asked.node), asked.judged(docker));
    let nodes: Vec<(bool, Vec<Finding>)> = nodes.into_iter().map(judged).collect();
    let fails = |found: &Finding| found.state == State::Error;
    let can_be_loaded = |found: &[Finding]| {
        found.iter().any(|one| one.check == "access") && !found.iter().any(fails)
    };
    let is_needed = !nodes.iter().any(|(_, found)| can_be_loaded(found));
    let findings = nodes.into_iter().flat_map(|(is_silent, found)| {
        let lessen = is_silent && !is_needed;
        let one = move |one: Finding| if lessen && fails(&one) { one.lessened() } else { one };
        found.into_iter().map(one)
    });
    findings.collect()
}

/// docker itself is needed, and so is kubectl; ssh and helm only if something of
/// theirs is used, which then says so.
fn installed(cx: &Cx) -> Vec<Finding> {
    let tools = [(DOCKER, true), (KUBECTL, true), (SSH, false), (HELM, false)];
    each(&tools, |(tool, is_needed)| match tool.seen(cx) {
        Ok(words) => Finding::ok(Group::Tools, tool.name, words),
        Err(tools::Error::NotFound { .. }) if !is_needed => {
            let words = "not installed, and needed only for nodes that ssh reaches";
            let words = if tool.name == "helm" {
                "not installed, and needed only for charts"
            } else {
                words
            };
            Finding::skipped(Group::Tools, tool.name, words)
        }
        Err(error) => {
            let found = Finding::failed(Group::Tools, tool.name, error);
            if *is_needed { found } else { found.lessened() }
        }
    })
}

/// What the cluster and its nodes say.
#[derive(Default)]
struct Answers {
    findings: Vec<Finding>,
    nodes: Vec<Asked>,
}

/// A node, and what it says.
struct Asked {
    node: Node,
    item: Value,
    kubectl: String,
    answer: Answer,
}

enum Answer {
    /// Why nobody asked it.
    Nobody(Finding),
    /// What it has said, when, and what would help where it has said nothing.
    Said(Box<Result<Visit, NodeError>>, RangeInclusive<i64>, Option<Fix>),
}

impl Asked {
    fn judged(self, docker: Option<&str>) -> Vec<Finding> {
        match self.answer {
            Answer::Nobody(finding) => vec![finding.on(&self.node.name)],
            Answer::Said(visit, asked, fix) => {
                let found = node::findings(&Seen {
                    node: &self.node,
                    item: &self.item,
                    kubectl: &self.kubectl,
                    visit: *visit,
                    asked,
                    docker,
                });
                let fixed = |found: Finding| match found.check {
                    "reached" => found.fixed_by(fix.clone()),
                    _ => found,
                };
                found.into_iter().map(fixed).collect()
            }
        }
    }
}

fn ask_cluster(cx: &Cx, request: &DoctorRequest, plan: &Plan) -> Answers {
    let mut answers = Answers::default();
    let Some(cluster) = find(cx, request, plan, &mut answers.findings) else { return answers };
    let list = || cluster.items(cx);
    let (items, (namespace, rights)) =
        both(list, || both(|| namespace(cx, &cluster), || rights(cx, &cluster, plan)));
    match items {
        Ok(items) => {
            let words = format!("it answers, and lists {}", nodes_in_words(items.len()));
            answers.findings.push(Finding::ok(Group::Cluster, "api-server", words));
            answers.nodes = ask_nodes(cx, request, plan, &cluster, items, &mut answers.findings);
        }
        // The rights say so already, with a better cure.
        Err(cluster::Error::Rejected { .. })
            if rights.iter().any(|found| found.check == "rights-nodes") =>
        {
            let words = "it answers, and does not let you list the nodes";
            answers.findings.push(Finding::ok(Group::Cluster, "api-server", words));
        }
        Err(error) => {
            answers.findings.push(Finding::failed(Group::Cluster, "api-server", error));
            return answers;
        }
    }
    answers.findings.extend([namespace].into_iter().chain(rights));
    answers
}

fn nodes_in_words(count: usize) -> String {
    if count == 1 { "1 node".to_owned() } else { format!("{count} nodes") }
}

/// The context, and whether it may be changed.
fn find(
    cx: &Cx,
    request: &DoctorRequest,
    plan: &Plan,
    findings: &mut Vec<Finding>,
) -> Option<Cluster> {
    let namespace = plan.config.namespace.clone();
    let found = Kubeconfig::read(cx, &request.target)
        .and_then(|kubeconfig| Cluster::find(kubeconfig, &request.target, namespace));
    let (mut cluster, server) = match found {
        Ok(found) => found,
        Err(cluster::Error::Tool(tools::Error::NotFound { .. } | tools::Error::TooOld { .. })) => {
            let words = "`kubectl` cannot be used";
            findings.push(Finding::skipped(Group::Cluster, "context", words));
            return None;
        }
        Err(error) => {
            findings.push(Finding::failed(Group::Cluster, "context", error));
            return None;
        }
    };
    let context = cluster.context.clone();
    findings.push(Finding::ok(Group::Cluster, "context", format!("`{context}` at {server}")));
    let is_local = cluster.is_local(cx, &server).unwrap_or_default();
    findings.push(consent(request, plan, &context, server, is_local));
    Some(cluster)
}

/// Whether the context may be changed without a question.
fn consent(
    request: &DoctorRequest,
    plan: &Plan,
    context: &str,
    server: String,
    is_local: bool,
) -> Finding {
    let local = is_local.then_some("a local product has made it");
    if let Some(why) = cluster::consent(context, &request.target, &plan.config).or(local) {
        return Finding::ok(Group::Cluster, "permission", format!("may be changed: {why}"));
    }
    let refused = cluster::Error::ContextNotAllowed { context: context.to_owned(), server };
    let file = plan.project.as_ref().map(|project| project.dir.join(LOCAL_FILE));
    let fix = file.and_then(|file| Fix::allow(file, &plan.config.contexts, context));
    let words =
        "kdev asks each time before it changes this cluster, and refuses where nobody can be asked";
    let help = refused.help().unwrap_or_default();
    Finding::warning(Group::Cluster, "permission", words, help).fixed_by(fix)
}

impl Cluster {
    /// All nodes, with what is said of their state.
    fn items(&self, cx: &Cx) -> cluster::Result<Vec<Value>> {
        #[derive(Deserialize)]
        struct List {
            items: Vec<Value>,
        }
        let sh = cx.shell()?;
        let cmd = self.cmd(&sh, None).args(["get", "nodes", "--output=json"]);
        self.json::<List>(cx, cmd, "list its nodes").map(|list| list.items)
    }
}

fn namespace(cx: &Cx, cluster: &Cluster) -> Finding {
    let name = &cluster.namespace;
    let asked = cx.shell().map_err(cluster::Error::from).and_then(|sh| {
        let cmd = cluster.cmd(&sh, None).args(["get", "namespace", name, "--output=name"]);
        let task = Task::new(cmd).limit(PATIENCE);
        task.read(cx).map_err(|failure| cluster.failed(failure, "show the namespace"))
    });
    match asked {
        Ok(_) => Finding::ok(Group::Cluster, "namespace", format!("`{name}` exists")),
        Err(error) if says_not_found(&error) => {
            let (words, help) = (format!("`{name}` does not exist"), error.help());
            Finding::error(Group::Cluster, "namespace", words, help.unwrap_or_default())
        }
        Err(cluster::Error::Rejected { .. }) => {
            let words = format!("whether `{name}` exists is not told to you");
            Finding::skipped(Group::Cluster, "namespace", words)
        }
        Err(error) => Finding::skipped(Group::Cluster, "namespace", error.to_string()),
    }
}

fn says_not_found(error: &cluster::Error) -> bool {
    matches!(error, cluster::Error::Rejected { source, .. } if source.stderr.contains("(NotFound)"))
}

/// What the user may do, asked in one go.
fn rights(cx: &Cx, cluster: &Cluster, plan: &Plan) -> Vec<Finding> {
    let objects = plan.objects.as_deref().unwrap_or_default();
    let needed = permissions::needed(objects, &cluster.namespace);
    let asked = cx.shell().map_err(cluster::Error::from).and_then(|sh| {
        let cmd = cluster.cmd(&sh, None);
        let cmd = cmd.args(["create", "--validate=false", "--filename=-", "--output=json"]);
        let task = Task::new(cmd).stdin(permissions::reviews(&needed)).limit(PATIENCE);
        task.read(cx).map_err(|failure| cluster.failed(failure, "tell your rights"))
    });
    let allowed = match asked.map(|output| permissions::answers(&output.stdout, &needed)) {
        Ok(Some(allowed)) => allowed,
        Ok(None) => {
            let words = "the cluster does not tell them";
            return vec![Finding::skipped(Group::Cluster, "rights", words)];
        }
        Err(error) => {
            return vec![Finding::skipped(Group::Cluster, "rights", error.to_string())];
        }
    };
    let user = if allowed.contains(&false) { user(cx, cluster) } else { None };
    let mut found = permissions::findings(&needed, &allowed, user.as_deref());
    let unknown = permissions::unknown(objects);
    if !unknown.is_empty() {
        let words = format!("not asked for {}: kdev does not know these kinds", list(&unknown));
        found.push(Finding::skipped(Group::Cluster, "rights", words));
    }
    found
}

/// What the cluster calls the user; kubectl before 1.27 cannot ask.
fn user(cx: &Cx, cluster: &Cluster) -> Option<String> {
    let sh = cx.shell().ok()?;
    let cmd = cluster.cmd(&sh, None).args(["auth", "whoami", "--output=json"]);
    let answer: Value = cluster.json(cx, cmd, "tell who you are").ok()?;
    answer.pointer("/status/userInfo/username")?.as_str().map(str::to_owned)
}

fn ask_nodes(
    cx: &Cx,
    request: &DoctorRequest,
    plan: &Plan,
    cluster: &Cluster,
    items: Vec<Value>,
    findings: &mut Vec<Finding>,
) -> Vec<Asked> {
    let nodes: Vec<(Node, Value)> =
        items.into_iter().filter_map(|item| Some((read_node(&item)?, item))).collect();
    let known = || nodes.iter().map(|(node, _)| node.name.clone()).collect();
    let is_known = |name: &&String| nodes.iter().any(|(node, _)| node.name == **name);
    for name in request.nodes.iter().filter(|name| !is_known(name)) {
        let error = cluster::Error::NodeNotFound { node: name.clone(), known: known() };
        findings.push(Finding::failed(Group::Cluster, "node", error));
    }
    let why_not = |node: &Node| {
        if plan.is_guess {
            let words = "how it is reached is not known without the configuration";
            Some(Finding::skipped(Group::Node, "reached", words))
        } else if request.nodes.is_empty() {
            plan.why_not(node).map(|why| kept_off(cluster, node, &why))
        } else {
            let words = "it was not asked for";
            let is_asked = request.nodes.contains(&node.name);
            (!is_asked).then(|| Finding::skipped(Group::Node, "placement", words))
        }
    };
    let why: Vec<Option<Finding>> = nodes.iter().map(|(node, _)| why_not(node)).collect();
    let chosen: Vec<&Node> = nodes
        .iter()
        .zip(&why)
        .filter(|(_, why)| why.is_none())
        .map(|((node, _), _)| node)
        .collect();
    if chosen.is_empty() && !plan.is_guess && request.nodes.is_empty() {
        let words = "no node may run the pods";
        let reason = |(node, _): &(Node, Value)| Some((node.name.clone(), plan.why_not(node)?));
        let help = cluster::no_node_help(
            &cluster.by_hand(None),
            &nodes.iter().filter_map(reason).collect::<Vec<_>>(),
        );
        findings.push(Finding::error(Group::Cluster, "placement", words, help));
    }
    let mut answers = match Transports::find(cx, &plan.config, &chosen) {
        Ok(transports) => {
            let answers = each(&chosen, |node| ask_node(cx, plan, &transports, node));
            transports.close(cx);
            answers
        }
        Err(error) => {
            let found = Finding::failed(Group::Node, "reached", error);
            chosen.iter().map(|_| Answer::Nobody(found.clone())).collect()
        }
    }
    .into_iter();
    let kubectl = cluster.by_hand(None);
    let asked = nodes.into_iter().zip(why).filter_map(|((node, item), why)| {
        let answer = why.map(Answer::Nobody).or_else(|| answers.next())?;
        Some(Asked { node, item, kubectl: kubectl.clone(), answer })
    });
    asked.collect()
}

/// Whoever has written the taint or the selector meant it, but for a node that was
/// cordoned.
fn kept_off(cluster: &Cluster, node: &Node, why: &str) -> Finding {
    let meaning = if why.contains(" taint `") {
        ", which keeps off pods that do not tolerate it"
    } else {
        ""
    };
    let words = format!("no pod goes there: {why}{meaning}");
    let name = &node.name;
    let kubectl = cluster.by_hand(None);
    if why == placement::IS_CORDONED {
        let help = format!("let pods go there again with `{kubectl} uncordon {name}`");
        return Finding::warning(Group::Node, "placement", words, help);
    }
    if why.contains("`node.kubernetes.io/") {
        let help = format!("see `{kubectl} describe node {name}`");
        return Finding::warning(Group::Node, "placement", words, help);
    }
    Finding::skipped(Group::Node, "placement", words)
}

fn ask_node(cx: &Cx, plan: &Plan, transports: &Transports, node: &Node) -> Answer {
    let nobody = NodeSettings::default();
    let settings = plan.config.nodes.get(&node.name).unwrap_or(&nobody);
    let begun = now();
    let way = transports.to(node);
    let door = way.as_ref().ok().and_then(Transport::door);
    let visit = way.and_then(|way| Link::visit(cx, way, node, settings));
    let fix = visit.as_ref().err().and_then(|error| Fix::of_host(error, door));
    Answer::Said(Box::new(visit), begun..=now(), fix)
}

/// In seconds since 1970.
fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    i64::try_from(now).unwrap_or_default()
}
