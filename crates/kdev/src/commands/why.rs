//! `cargo kdev why`: finds out why a pod is not running.

use std::fs;
use std::path::{Path, PathBuf};

use kdev_diagnosis::diagnosis::Diagnosis;
use kdev_diagnosis::facts::Facts;
use kdev_diagnosis::record;
use kdev_manifest::objects::Object;
use serde::Serialize;

use crate::cluster::Cluster;
use crate::cluster::kubeconfig::{ClusterTarget, Kubeconfig};
use crate::config::{Config, ConfigLayer};
use crate::cx::Cx;
use crate::details::Details;
use crate::error::{Diagnosed, Error, Result};
use crate::event::Event;
use crate::project::{PackageSelection, Project};
use crate::{facts, process, rollout};

/// The options of [`why`].
#[derive(Clone, Debug, Default)]
pub struct WhyRequest {
    /// `NAME` of a pod or workload, or `KIND/NAME`; `None` for everything in the namespace that
    /// has a problem.
    pub query: Option<String>,
    /// The package; not required.
    pub selection: PackageSelection,
    /// The cluster.
    pub target: ClusterTarget,
    /// The file to save the facts to.
    pub record: Option<PathBuf>,
    /// A file with recorded facts to diagnose instead of a cluster.
    pub replay: Option<PathBuf>,
    /// Settings from flags and environment variables.
    pub flags: ConfigLayer,
}

/// The result of [`why`].
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct WhyReport {
    /// The context; empty for recorded facts.
    pub context: String,
    /// The namespace; empty for recorded facts.
    pub namespace: String,
    /// The pods and workloads that match the query; without a query, those with a problem.
    pub workloads: Vec<WorkloadReport>,
    /// The number of workloads and bare pods that were examined.
    pub examined: usize,
    /// Why workloads without a problem have no pods or no new pods.
    pub inactive: Vec<String>,
}

/// The problems of one pod, or of a workload without pods.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct WorkloadReport {
    /// Kind and name, such as `pod/hello`.
    pub subject: String,
    /// The controller of the pod, such as `deployment/hello`.
    pub owner: Option<String>,
    /// The node of the pod; `None` before it is scheduled.
    pub node: Option<String>,
    /// The status that `kubectl get pods` prints.
    pub state: String,
    /// The number of other pods of the same workload that are not ready.
    pub unready_siblings: u64,
    /// The problems in the order in which they must be fixed; empty without a problem.
    pub diagnoses: Vec<Diagnosis>,
}

/// Adds the root cause to an error of a rollout, if it can be found.
pub(crate) fn explain(
    cx: &Cx,
    cluster: &Cluster,
    config: &Config,
    selection: &PackageSelection,
    objects: &[Object],
    error: rollout::Error,
) -> Error {
    let Some(workload) = error.stuck_workload() else { return error.into() };
    let object = objects.iter().find(|object| object.id() == workload);
    let cluster = cluster.with_namespace(object.and_then(|object| object.namespace.as_deref()));
    let Ok(mut facts) = facts::collect(cx, &cluster, config, Some(workload)) else {
        return error.into();
    };
    add_project(&mut facts, config, selection);
    let diagnoses: Vec<Diagnosis> =
        facts.iter().flat_map(kdev_diagnosis::diagnose).filter(Diagnosis::is_known).collect();
    if diagnoses.is_empty() {
        return error.into();
    }
    Diagnosed { error: error.into(), diagnoses }.into()
}

/// Finds out why a pod is not running. Collects facts from the cluster, from Docker and from
/// containerd on the nodes. Read-only, so no context needs permission.
pub fn why(cx: &Cx, request: &WhyRequest) -> Result<WhyReport> {
    let mut report = WhyReport::default();
    let facts = match &request.replay {
        Some(path) => replay(path)?,
        None => gather(cx, request, &mut report)?,
    };
    if let Some(path) = &request.record {
        save(&facts, path)?;
    }
    report.examined = facts.len();
    // Without a query, only problems are reported.
    let report_all = request.query.is_some() || request.replay.is_some();
    for workload_report in facts.iter().map(report_on) {
        if report_all || workload_report.diagnoses.iter().any(Diagnosis::is_problem) {
            report.workloads.push(workload_report);
        } else {
            report
                .inactive
                .extend(workload_report.diagnoses.into_iter().map(|diagnosis| diagnosis.message));
        }
    }
    Ok(report)
}

fn gather(cx: &Cx, request: &WhyRequest, report: &mut WhyReport) -> Result<Vec<Facts>> {
    let (has_project, config) = read_config(cx, request)?;
    let kubeconfig = Kubeconfig::read(cx, &request.target)?;
    let cluster =
        Cluster::connect_read_only(kubeconfig, &request.target, config.namespace.clone())?;
    let mut facts = facts::collect(cx, &cluster, &config, request.query.as_deref())?;
    if has_project {
        add_project(&mut facts, &config, &request.selection);
    }
    (report.context, report.namespace) = (cluster.context, cluster.namespace);
    Ok(facts)
}

/// Returns whether there is a project, and its configuration. A project that cannot be read is
/// ignored unless it was selected explicitly.
fn read_config(cx: &Cx, request: &WhyRequest) -> Result<(bool, Config)> {
    let read = || {
        let project = Project::read_if_unambiguous(cx, &request.selection)?;
        let (has_project, project) =
            (project.is_some(), project.unwrap_or_else(Project::placeholder));
        Ok::<_, Error>((
            has_project,
            Config::resolve_without_build(&project, request.flags.clone())?,
        ))
    };
    match read() {
        Err(error) if !request.selection.is_unset() || error.is_interrupt() => Err(error),
        Err(error) => {
            let config = Config::from_flags(request.flags.clone())?;
            let help = error.help().map(|help| format!("; {help}")).unwrap_or_default();
            let text = format!("ignoring the project: {error}{help}");
            cx.emit(Event::Note { text });
            Ok((false, config))
        }
        result => result,
    }
}

/// Adds the image of the project and the flags that select it to the facts.
fn add_project(facts: &mut [Facts], config: &Config, selection: &PackageSelection) {
    let image = config.image.name().to_string();
    for facts in facts {
        facts.project_image = Some(image.clone());
        facts.project_flags = selection.to_flags();
    }
}

fn report_on(facts: &Facts) -> WorkloadReport {
    WorkloadReport {
        subject: facts.subject.clone(),
        owner: facts
            .controller()
            .map(kdev_core::kube::object::id)
            .filter(|id| *id != facts.subject),
        node: facts.node_name().map(str::to_owned),
        state: facts.state(),
        unready_siblings: facts.unready_siblings,
        diagnoses: kdev_diagnosis::diagnose(facts),
    }
}

fn save(facts: &[Facts], path: &Path) -> facts::Result<()> {
    fs::write(path, record::to_json(facts)).map_err(process::Error::write(path))?;
    Ok(())
}

fn replay(path: &Path) -> facts::Result<Vec<Facts>> {
    let text = fs::read_to_string(path).map_err(process::Error::read(path))?;
    let invalid = |error: record::Error| facts::Error::InvalidRecord {
        path: path.to_owned(),
        reason: Details(error.to_string()),
    };
    record::parse(&text).map_err(invalid)
}
