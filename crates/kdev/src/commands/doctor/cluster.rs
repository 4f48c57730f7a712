//! Checks of the cluster: the context, the API server, the namespace and the permissions.

use kdev_core::text::{list, pluralize};
use serde::Deserialize;
use serde_json::Value;

use crate::cluster::kubeconfig::{ClusterTarget, Kubeconfig};
use crate::cluster::{self, Cluster, KUBECTL_TIMEOUT};
use crate::commands::doctor::fix::Fix;
use crate::commands::doctor::permissions;
use crate::commands::doctor::project::ProjectCheck;
use crate::commands::doctor::report::{CheckGroup, CheckResult};
use crate::commands::doctor::visit::{self, VisitedNode};
use crate::config::LOCAL_FILE;
use crate::cx::Cx;
use crate::parallel::run_both;
use crate::process::Command;
use crate::tools;

/// The results for the cluster, and the nodes to check.
#[derive(Default)]
pub(super) struct ClusterCheck {
    pub(super) results: Vec<CheckResult>,
    pub(super) nodes: Vec<VisitedNode>,
}

/// Checks the cluster, and connects to the requested nodes.
pub(super) fn check(
    cx: &Cx,
    target: &ClusterTarget,
    requested_nodes: &[String],
    project: &ProjectCheck,
) -> ClusterCheck {
    let mut check = ClusterCheck::default();
    let Some(cluster) = select(cx, target, project, &mut check.results) else { return check };
    let (nodes, (namespace, permissions)) = run_both(
        || cluster.list_nodes(cx),
        || run_both(|| check_namespace(cx, &cluster), || check_permissions(cx, &cluster, project)),
    );
    match nodes {
        Ok(nodes) => {
            let evidence = format!("reachable, {}", pluralize(nodes.len() as u64, "node"));
            check.results.push(CheckResult::ok(CheckGroup::Cluster, "api-server", evidence));
            let results = &mut check.results;
            check.nodes = visit::visit(cx, requested_nodes, project, &cluster, nodes, results);
        }
        // The check of the permissions reports this with a more specific fix.
        Err(cluster::Error::Rejected { .. })
            if permissions.iter().any(|result| result.check == "permissions-nodes") =>
        {
            let evidence = "reachable, but you are not allowed to list the nodes";
            check.results.push(CheckResult::ok(CheckGroup::Cluster, "api-server", evidence));
        }
        Err(error) => {
            check.results.push(CheckResult::failed(CheckGroup::Cluster, "api-server", error));
            return check;
        }
    }
    check.results.extend([namespace].into_iter().chain(permissions));
    check
}

/// Selects the context, and checks whether kdev is allowed to modify it.
fn select(
    cx: &Cx,
    target: &ClusterTarget,
    project: &ProjectCheck,
    results: &mut Vec<CheckResult>,
) -> Option<Cluster> {
    let namespace = project.config.namespace.clone();
    let resolved = Kubeconfig::read(cx, target)
        .and_then(|kubeconfig| Cluster::resolve(kubeconfig, target, namespace));
    let (mut cluster, server) = match resolved {
        Ok(resolved) => resolved,
        Err(cluster::Error::Tool(tools::Error::NotFound { .. } | tools::Error::TooOld { .. })) => {
            let cause = "requires `kubectl`";
            results.push(CheckResult::skipped(CheckGroup::Cluster, "context", cause));
            return None;
        }
        Err(error) => {
            results.push(CheckResult::failed(CheckGroup::Cluster, "context", error));
            return None;
        }
    };
    let context = cluster.context.clone();
    let evidence = format!("`{context}` at {server}");
    results.push(CheckResult::ok(CheckGroup::Cluster, "context", evidence));
    let is_local = cluster.is_local(cx, &server).unwrap_or_default();
    results.push(check_context_allowed(target, project, &context, server, is_local));
    Some(cluster)
}

/// Checks whether kdev can modify the context without confirmation.
fn check_context_allowed(
    target: &ClusterTarget,
    project: &ProjectCheck,
    context: &str,
    server: String,
    is_local: bool,
) -> CheckResult {
    let local = is_local.then_some("a local Kubernetes distribution created it");
    if let Some(reason) = cluster::permission_reason(context, target, &project.config).or(local) {
        return CheckResult::ok(
            CheckGroup::Cluster,
            "context-allowed",
            format!("allowed: {reason}"),
        );
    }
    let refused = cluster::Error::ContextNotAllowed { context: context.to_owned(), server };
    let file = project.project.as_ref().map(|project| project.dir.join(LOCAL_FILE));
    let fix = file.and_then(|file| Fix::for_context(file, &project.config.contexts, context));
    let evidence =
        "kdev asks for confirmation before each change to this cluster, and fails if it cannot ask";
    let help = refused.help().unwrap_or_default();
    CheckResult::warning(CheckGroup::Cluster, "context-allowed", evidence, help).with_fix(fix)
}

impl Cluster {
    /// Lists all nodes with their conditions.
    fn list_nodes(&self, cx: &Cx) -> cluster::Result<Vec<Value>> {
        #[derive(Deserialize)]
        struct List {
            items: Vec<Value>,
        }
        let sh = cx.shell()?;
        let cmd = self.cmd(&sh, None).args(["get", "nodes", "--output=json"]);
        self.get_json::<List>(cx, cmd, "list the nodes").map(|list| list.items)
    }
}

fn check_namespace(cx: &Cx, cluster: &Cluster) -> CheckResult {
    let name = &cluster.namespace;
    let output = cx.shell().map_err(cluster::Error::from).and_then(|sh| {
        let cmd = cluster.cmd(&sh, None).args(["get", "namespace", name, "--output=name"]);
        let command = Command::new(cmd).timeout(KUBECTL_TIMEOUT);
        command.read(cx).map_err(|failure| cluster.request_error(failure, "get the namespace"))
    });
    match output {
        Ok(_) => CheckResult::ok(CheckGroup::Cluster, "namespace", format!("`{name}` exists")),
        Err(error) if is_not_found(&error) => {
            let (evidence, help) = (format!("`{name}` not found"), error.help());
            CheckResult::error(CheckGroup::Cluster, "namespace", evidence, help.unwrap_or_default())
        }
        Err(cluster::Error::Rejected { .. }) => {
            let cause = format!("you are not allowed to get the namespace `{name}`");
            CheckResult::skipped(CheckGroup::Cluster, "namespace", cause)
        }
        Err(error) => CheckResult::skipped(CheckGroup::Cluster, "namespace", error.to_string()),
    }
}

fn is_not_found(error: &cluster::Error) -> bool {
    matches!(error, cluster::Error::Rejected { source, .. } if source.stderr.contains("(NotFound)"))
}

/// Checks all permissions of the user with one `kubectl`.
fn check_permissions(cx: &Cx, cluster: &Cluster, project: &ProjectCheck) -> Vec<CheckResult> {
    let objects = project.objects.as_deref().unwrap_or_default();
    let required = permissions::required(objects, &cluster.namespace);
    let output = cx.shell().map_err(cluster::Error::from).and_then(|sh| {
        let cmd = cluster.cmd(&sh, None);
        let cmd = cmd.args(["create", "--validate=false", "--filename=-", "--output=json"]);
        let reviews = permissions::access_reviews(&required);
        let command = Command::new(cmd).stdin(reviews).timeout(KUBECTL_TIMEOUT);
        command
            .read(cx)
            .map_err(|failure| cluster.request_error(failure, "review your permissions"))
    });
    let allowed = match output.map(|output| permissions::parse_reviews(&output.stdout, &required)) {
        Ok(Some(allowed)) => allowed,
        Ok(None) => {
            let cause = "the API server did not review your permissions";
            return vec![CheckResult::skipped(CheckGroup::Cluster, "permissions", cause)];
        }
        Err(error) => {
            return vec![CheckResult::skipped(
                CheckGroup::Cluster,
                "permissions",
                error.to_string(),
            )];
        }
    };
    let user = if allowed.contains(&false) { current_user(cx, cluster) } else { None };
    let mut results = permissions::check(&required, &allowed, user.as_deref());
    let unknown = permissions::unknown_kinds(objects);
    if !unknown.is_empty() {
        let cause = format!("not checked for unknown kinds: {}", list(&unknown));
        results.push(CheckResult::skipped(CheckGroup::Cluster, "permissions", cause));
    }
    results
}

/// Returns the name of the user in the cluster; `None` if `kubectl` is older than 1.27.
fn current_user(cx: &Cx, cluster: &Cluster) -> Option<String> {
    let sh = cx.shell().ok()?;
    let cmd = cluster.cmd(&sh, None).args(["auth", "whoami", "--output=json"]);
    let review: Value = cluster.get_json(cx, cmd, "get your user name").ok()?;
    review.pointer("/status/userInfo/username")?.as_str().map(str::to_owned)
}
