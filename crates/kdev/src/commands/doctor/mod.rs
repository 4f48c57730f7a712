//! `cargo kdev doctor`: checks everything that `up` needs. Read-only except for `--fix`, which
//! asks before each change.
//!
//! - `builder.rs`: the builder, and the way of the layers to this machine
//! - `cluster.rs`: the context, the API server and the permissions
//! - `containerd.rs`: containerd and `ctr` on a node
//! - `docker.rs`: the Docker daemon, its image store and builder; or Podman
//! - `fix.rs`: the fixes that `--fix` applies
//! - `node.rs`: a node
//! - `observation.rs`: the facts about a node
//! - `packages.rs`: the results of several packages
//! - `permissions.rs`: the required permissions in the cluster
//! - `project.rs`: the project and its manifests
//! - `report.rs`: the results
//! - `visit.rs`: selects the nodes and connects to them

mod builder;
mod cluster;
mod containerd;
mod docker;
mod fix;
mod node;
mod observation;
mod packages;
mod permissions;
mod project;
pub(crate) mod report;
mod visit;

use std::path::PathBuf;

use kdev_core::kube::node::Node;
use kdev_core::shell;

use crate::build;
use crate::cluster::kubeconfig::ClusterTarget;
use crate::commands::doctor::cluster::ClusterCheck;
use crate::commands::doctor::docker::{BuilderPlatform, DockerCheck};
use crate::commands::doctor::fix::Fix;
use crate::commands::doctor::project::ProjectCheck;
use crate::commands::doctor::report::{CheckGroup, CheckResult, CheckState, DoctorReport};
use crate::commands::doctor::visit::VisitedNode;
use crate::config::{BuilderChoice, Config, ConfigLayer};
use crate::cx::Cx;
use crate::docker::{Engine, ImageStore};
use crate::error::{Error, Result};
use crate::event::Event;
use crate::parallel::{map_all, run_both};
use crate::project::{PackageSelection, Project};
use crate::tools::{self, CARGO, DOCKER, HELM, KUBECTL, PODMAN, SSH};

/// The options of [`doctor`].
#[derive(Clone, Debug, Default)]
pub struct DoctorRequest {
    /// The packages; not required.
    pub selection: PackageSelection,
    /// The cluster.
    pub target: ClusterTarget,
    /// The nodes to check; if empty, all nodes that can run the pods.
    pub nodes: Vec<String>,
    /// Offer to fix problems.
    pub fix: bool,
    /// The platform that Docker builds for, as in `DOCKER_DEFAULT_PLATFORM`.
    pub platform: Option<String>,
    /// Settings from flags and environment variables.
    pub flags: ConfigLayer,
}

impl DoctorRequest {
    /// Returns the command that offers to fix problems, with the flags of this request.
    fn fix_command(&self) -> String {
        let path = |path: &Option<PathBuf>| path.as_ref().map(|p| p.display().to_string());
        let flags = [
            ("--context", self.target.explicit_context()),
            ("--kubeconfig", path(&self.target.kubeconfig)),
            ("--namespace", self.flags.namespace.clone()),
            ("--ssh-config", path(&self.flags.ssh_config)),
            ("--builder", self.flags.builder.as_ref().map(ToString::to_string)),
        ];
        let nodes = self.nodes.iter().map(|node| ("--node", Some(node.clone())));
        let flags = shell::flags(flags.into_iter().chain(nodes));
        format!("cargo kdev doctor{}{flags} --fix", self.selection.to_flags())
    }
}

/// Checks everything that `up` needs, in parallel. Problems are results, not errors. Calls
/// `show` with the results, and again after fixes were applied.
pub fn doctor(cx: &Cx, request: &DoctorRequest, mut show: impl FnMut(&DoctorReport)) -> Result<()> {
    let report = run_checks(cx, request)?;
    show(&report);
    if request.fix && apply_fixes(cx, &report.checks)? {
        show(&run_checks(cx, request)?);
    }
    Ok(())
}

/// Applies the fixes that the user confirms. Returns whether any was applied.
fn apply_fixes(cx: &Cx, checks: &[CheckResult]) -> Result<bool> {
    let mut is_applied = false;
    let mut fixes: Vec<Fix> = Vec::new();
    // Several packages can have the same problem.
    for fix in checks.iter().filter_map(|check| check.fix.as_ref()) {
        let fix = fix.prepare(cx);
        fixes.extend(fix.filter(|fix| !fixes.iter().any(|known| known.is_same(fix))));
    }
    if fixes.is_empty() {
        let is_problem = |check: &CheckResult| check.state >= CheckState::Warning;
        let text = if checks.iter().any(is_problem) {
            "none of these problems can be fixed automatically"
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
                is_applied = true;
            }
            Some(false) => {}
            None => {
                let text = format!(
                    "cannot ask for confirmation without a terminal; skipped: {}",
                    fix.describe()
                );
                cx.emit(Event::Note { text });
            }
        }
    }
    Ok(is_applied)
}

/// Checks each selected package.
fn run_checks(cx: &Cx, request: &DoctorRequest) -> Result<DoctorReport> {
    let checks = match Project::read_all_if_present(cx, &request.selection) {
        Ok(projects) if projects.len() > 1 => {
            let check = |project: &Project| {
                let cx = cx.for_service(&project.package);
                let mut checks = check_package(&cx, request, Ok(Some(project.clone())))?;
                for fix in checks.iter_mut().filter_map(|check| check.fix.as_mut()) {
                    fix.apply_to_workspace(&project.workspace_root);
                }
                Ok::<_, Error>((project.package.clone(), checks))
            };
            let results = map_all(&projects, check).into_iter().collect::<Result<Vec<_>>>()?;
            packages::merge(&results)
        }
        projects => {
            let project = projects.map(|projects| projects.into_iter().next());
            check_package(cx, request, project.map_err(Error::from))?
        }
    };
    let mut report = DoctorReport { checks, fix_command: None };
    if report.fixable_count() > 0 && !request.fix {
        report.fix_command = Some(request.fix_command());
    }
    Ok(report)
}

/// Checks everything that `up` of one package needs.
fn check_package(
    cx: &Cx,
    request: &DoctorRequest,
    project: Result<Option<Project>>,
) -> Result<Vec<CheckResult>> {
    let project = ProjectCheck::run(cx, project, &request.flags, &request.target)?;
    let check_machine = || {
        let store = ImageStore::connect(cx, &project.config);
        let engine = store.as_ref().map_or_else(|_| expected_engine(&project), ImageStore::engine);
        run_both(|| check_tools(cx, engine), || DockerCheck::run(cx, store, &project.config))
    };
    let check_cluster = || cluster::check(cx, &request.target, &request.nodes, &project);
    let ((tools, mut docker), cluster) = run_both(check_machine, check_cluster);
    cx.check_interrupt()?;
    docker.check_dockerfile(project.buildkit_line.as_ref());
    // An outdated client fails both checks; report it once.
    let is_duplicate =
        |result: &CheckResult| tools.iter().any(|tool| tool.evidence == result.evidence);
    docker.results.retain(|result| !is_duplicate(result));
    let platform = choose_platform(cx, request, &project, &cluster, &mut docker);
    let mut checks = tools;
    checks.extend(docker.results);
    checks.extend(project.results);
    checks.extend(cluster.results);
    checks.extend(visit::check_all(cluster.nodes, platform.as_ref()));
    Ok(checks)
}

/// Returns the platform that `up` builds for. Adds a problem if the builder cannot build for the
/// nodes.
fn choose_platform(
    cx: &Cx,
    request: &DoctorRequest,
    project: &ProjectCheck,
    cluster: &ClusterCheck,
    docker: &mut DockerCheck,
) -> Option<BuilderPlatform> {
    let detected = match (docker.platform.clone(), request.platform.clone()) {
        // Podman ignores the variable.
        (Some(BuilderPlatform { engine: Engine::Docker, .. }) | None, Some(platform)) => {
            Some(BuilderPlatform { engine: Engine::Docker, platform })
        }
        (detected, _) => detected,
    };
    let store = docker.store.as_ref().filter(|_| project.project.is_some());
    let Some(store) = store else { return detected };
    let nodes: Vec<&Node> = cluster.nodes.iter().filter_map(VisitedNode::visited).collect();
    if store.engine() == Engine::Cargo {
        let result = check_target(cx, store, &project.config, &nodes);
        docker.results.extend(result);
        return None;
    }
    match build::platform::choose(cx, store, &project.config, &nodes) {
        Ok(Some(platform)) => Some(BuilderPlatform { engine: store.engine(), platform }),
        Ok(None) => detected,
        // A builder that cannot be used was reported.
        Err(build::Error::Docker(_)) => None,
        Err(error) => {
            docker.results.push(CheckResult::failed(CheckGroup::Docker, "build-platform", error));
            None
        }
    }
}

/// Checks that cargo can build for the platform of the nodes.
fn check_target(
    cx: &Cx,
    store: &ImageStore,
    config: &Config,
    nodes: &[&Node],
) -> Option<CheckResult> {
    let platform = build::platform::choose(cx, store, config, nodes).ok()??;
    let check = (CheckGroup::Tools, "rust-target");
    Some(match build::assemble::describe_target(cx, config, &platform) {
        Ok(target) => CheckResult::ok(check.0, check.1, format!("{target} for {platform}")),
        Err(error) => CheckResult::failed(check.0, check.1, error),
    })
}

/// Returns the program that the settings require, if it cannot be used.
fn expected_engine(project: &ProjectCheck) -> Engine {
    match project.config.builder {
        BuilderChoice::Podman => Engine::Podman,
        BuilderChoice::Cargo => Engine::Cargo,
        _ => Engine::Docker,
    }
}

/// Checks the client programs. The builder and `kubectl` are required; the commands that need `ssh`
/// or `helm` report if it is missing.
fn check_tools(cx: &Cx, engine: Engine) -> Vec<CheckResult> {
    let builder = match engine {
        Engine::Docker | Engine::Buildx => DOCKER,
        Engine::Podman => PODMAN,
        Engine::Cargo => CARGO,
    };
    let tools = [(builder, true), (KUBECTL, true), (SSH, false), (HELM, false)];
    map_all(&tools, |(tool, is_required)| match tool.check_version(cx) {
        Ok(version) => CheckResult::ok(CheckGroup::Tools, tool.name, version),
        Err(tools::Error::NotFound { .. }) if !is_required => {
            let cause = if tool.name == "helm" {
                "not installed; required only for charts"
            } else {
                "not installed; required only for nodes that are reached over SSH"
            };
            CheckResult::skipped(CheckGroup::Tools, tool.name, cause)
        }
        Err(error) => {
            let result = CheckResult::failed(CheckGroup::Tools, tool.name, error);
            if *is_required { result } else { result.into_warning() }
        }
    })
}
