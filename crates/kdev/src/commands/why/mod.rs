//! `cargo kdev why`: finds out why a pod is not running.
//!
//! - `packages.rs`: the facts for each of several packages

mod packages;

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
use crate::project::PackageSelection;
use crate::{facts, process, rollout};

/// The options of [`why`].
#[derive(Clone, Debug, Default)]
pub struct WhyRequest {
    /// `NAME` of a pod or workload, or `KIND/NAME`; `None` for everything in the namespace that
    /// has a problem.
    pub query: Option<String>,
    /// The packages; not required.
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
    for facts in &mut facts {
        packages::set_project(facts, config, selection.to_flags());
    }
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
    let packages = packages::read(cx, &request.selection, &request.flags)?;
    let connect = |namespace: Option<String>| {
        let kubeconfig = Kubeconfig::read(cx, &request.target)?;
        Ok(Cluster::connect_read_only(kubeconfig, &request.target, namespace)?)
    };
    let (facts, clusters) = packages::collect(cx, &packages, request.query.as_deref(), connect)?;
    let namespaces: Vec<&str> = clusters.iter().map(|one| one.namespace.as_str()).collect();
    report.namespace = namespaces.join("`, `");
    report.context = clusters.into_iter().next().map(|one| one.context).unwrap_or_default();
    Ok(facts)
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
