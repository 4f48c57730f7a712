//! Errors of the collection of facts.

use std::cmp::Ordering;
use std::path::PathBuf;

use kdev_core::text::list;
use kdev_diagnosis::subject::WorkloadQuery;

use crate::details::Details;
use crate::{cluster, process};

/// The result of collecting facts.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the collection of facts.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No pod or workload has the name.
    #[error("no pod or workload named `{query}` in namespace `{namespace}`")]
    WorkloadNotFound {
        /// The name that the user passed.
        query: String,
        /// The namespace.
        namespace: String,
        /// The pods and workloads in the namespace.
        known: Vec<String>,
    },
    /// The file does not contain recorded facts, or has another version.
    #[error("cannot read recorded facts from `{}`", path.display())]
    InvalidRecord {
        /// The file.
        path: PathBuf,
        /// Why it is invalid.
        #[source]
        reason: Details,
    },
    /// The cluster cannot be used, or rejected a request.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    /// A file could not be used, a process could not be started, or the run was interrupted.
    #[error(transparent)]
    Process(#[from] process::Error),
}

/// Kubernetes deletes a Job with `ttlSecondsAfterFinished` when it has completed.
const COMPLETED_JOB: &str =
    "run `cargo kdev status` to see whether it has completed and was deleted; else ";

impl Error {
    /// Returns the text of the `help:` line, if there is one.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::WorkloadNotFound { query, known, .. } => {
                let is_job = WorkloadQuery::parse(query).is_some_and(|query| query.is_job());
                let job = if is_job { COMPLETED_JOB } else { "" };
                let other = match known.as_slice() {
                    [] => "pass `--namespace NAME` to use another namespace".to_owned(),
                    known => workload_help(query, known),
                };
                Some(format!("{job}{other}"))
            }
            Self::InvalidRecord { .. } => {
                Some("run `cargo kdev why --record FILE` to record them again".to_owned())
            }
            Self::Cluster(error) => error.help(),
            Self::Process(_) => None,
        }
    }
}

/// Suggests the most similar name first.
fn workload_help(query: &str, known: &[String]) -> String {
    let name = |id: &str| id.rsplit('/').next().unwrap_or_default().to_owned();
    let similarity = |id: &str| strsim::jaro_winkler(&name(query), &name(id));
    let nearest = known.iter().filter(|id| similarity(id) > 0.8);
    // Prefer a Deployment to its pods.
    let nearest = nearest.max_by(|a, b| {
        let key = |id: &str| (similarity(id), !id.starts_with("pod/"));
        key(a).partial_cmp(&key(b)).unwrap_or(Ordering::Equal)
    });
    let is_known = WorkloadQuery::parse(query).is_some();
    let prefix = if is_known { "" } else { "only pods and workloads are supported; " };
    let Some(nearest) = nearest else {
        return format!("{prefix}use one of {}, or pass `--namespace NAME`", list(known));
    };
    let others: Vec<&String> = known.iter().filter(|id| *id != nearest).collect();
    match others.as_slice() {
        [] => format!("{prefix}did you mean `{nearest}`?"),
        others => format!("{prefix}did you mean `{nearest}`? Others: {}", list(others)),
    }
}
