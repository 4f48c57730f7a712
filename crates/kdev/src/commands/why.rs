//! `cargo kdev why`: the root cause of what does not run.

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
use crate::project::{Project, PackageSelection};
use crate::{facts, process, rollout};

/// What a user may ask.
#[derive(Clone, Debug, Default)]
pub struct WhyRequest {
    /// `NAME` of a pod or workload, or `KIND/NAME`; everything in the namespace
    /// that does not run as it should if none is given.
    pub query: Option<String>,
    /// Which package; there need be none.
    pub selection: PackageSelection,
    /// Which cluster.
    pub target: ClusterTarget,
    /// A file that is to keep the facts.
    pub record: Option<PathBuf>,
    /// A file with recorded facts, to be judged instead of a cluster.
    pub replay: Option<PathBuf>,
    /// Settings from flags and variables.
    pub flags: ConfigLayer,
}

/// What there is to say.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct WhyReport {
    /// Where it was looked; empty for recorded facts.
    pub context: String,
    /// Where it was looked; empty for recorded facts.
    pub namespace: String,
    /// Of whatever was asked about; without a question, of what is wrong.
    pub workloads: Vec<WorkloadReport>,
    /// How many workloads, and pods of their own, were looked at.
    pub examined: usize,
    /// Why some of these have no pods, or no new ones, though nothing is wrong.
    pub inactive: Vec<String>,
}

/// What is wrong with one pod, or with a workload that has none.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct WorkloadReport {
    /// Kind and name, as `pod/hello`.
    pub subject: String,
    /// Whose pod it is, as `deployment/hello`.
    pub owner: Option<String>,
    /// The pod's node, once it has one.
    pub node: Option<String>,
    /// One word for its state, as kubectl has it.
    pub state: String,
    /// How many other pods of the same workload are not ready either.
    pub unready_siblings: u64,
    /// What is wrong, what must be cured first coming first; empty if nothing is.
    pub diagnoses: Vec<Diagnosis>,
}

/// An error of a rollout, with its root cause if that can be found.
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

/// Finds out why a pod does not run as it should, from what the cluster, docker
/// here and the nodes' containerd say. Only looks: no context needs consent.
pub fn why(cx: &Cx, request: &WhyRequest) -> Result<WhyReport> {
    let mut answer = WhyReport::default();
    let facts = match &request.replay {
        Some(path) => replay(path)?,
        None => gather(cx, request, &mut answer)?,
    };
    if let Some(path) = &request.record {
        save(&facts, path)?;
    }
    answer.examined = facts.len();
    // Without a question, only what is wrong is of interest.
    let all = request.query.is_some() || request.replay.is_some();
    for verdict in facts.iter().map(report_on) {
        if all || verdict.diagnoses.iter().any(Diagnosis::is_problem) {
            answer.workloads.push(verdict);
        } else {
            answer.inactive.extend(verdict.diagnoses.into_iter().map(|one| one.message));
        }
    }
    Ok(answer)
}

fn gather(cx: &Cx, request: &WhyRequest, answer: &mut WhyReport) -> Result<Vec<Facts>> {
    let (has_project, config) = read_config(cx, request)?;
    let kubeconfig = Kubeconfig::read(cx, &request.target)?;
    let cluster =
        Cluster::connect_read_only(kubeconfig, &request.target, config.namespace.clone())?;
    let mut facts = facts::collect(cx, &cluster, &config, request.query.as_deref())?;
    if has_project {
        add_project(&mut facts, &config, &request.selection);
    }
    (answer.context, answer.namespace) = (cluster.context, cluster.namespace);
    Ok(facts)
}

/// Whether there is a project, and what is to be heeded. A project that cannot be read
/// is left out, unless it was asked for.
fn read_config(cx: &Cx, request: &WhyRequest) -> Result<(bool, Config)> {
    let read = || {
        let project = Project::read_if_unambiguous(cx, &request.selection)?;
        let (is_any, project) = (project.is_some(), project.unwrap_or_else(Project::placeholder));
        Ok::<_, Error>((is_any, Config::resolve_without_build(&project, request.flags.clone())?))
    };
    match read() {
        Err(error) if !request.selection.is_unset() || error.is_interrupt() => Err(error),
        Err(error) => {
            let config = Config::from_flags(request.flags.clone())?;
            let help = error.help().map(|help| format!("; {help}")).unwrap_or_default();
            let text = format!("the project is left out: {error}{help}");
            cx.emit(Event::Note { text });
            Ok((false, config))
        }
        found => found,
    }
}

/// Notes which image the project builds, and how it is named.
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
        owner: facts.controller().map(kdev_core::kube::object::id).filter(|id| *id != facts.subject),
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
