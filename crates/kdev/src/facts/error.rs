//! Why there are no facts to judge.

use std::cmp::Ordering;
use std::path::PathBuf;

use kdev_core::text::list;
use kdev_diagnosis::subject::Asked;

use crate::details::Details;
use crate::{cluster, process};

/// The result of collecting facts.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// Why there are no facts to judge.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing that makes pods has this name.
    #[error("no pod or workload `{query}` is in namespace `{namespace}`")]
    WorkloadNotFound {
        /// As it was asked for.
        query: String,
        /// Where it was looked for.
        namespace: String,
        /// Those that exist.
        known: Vec<String>,
    },
    /// The file is not a record of facts, or one of another version.
    #[error("cannot read the facts in `{}`", path.display())]
    InvalidRecord {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        reason: Details,
    },
    /// The cluster cannot be used, or refuses.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    /// A file could not be read or written, or nothing could be run.
    #[error(transparent)]
    Process(#[from] process::Error),
}

impl Error {
    /// One action that helps.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::WorkloadNotFound { known, .. } if known.is_empty() => {
                Some("name another namespace with `--namespace NAME`".to_owned())
            }
            Self::WorkloadNotFound { query: asked, known, .. } => Some(workload_help(asked, known)),
            Self::InvalidRecord { .. } => {
                Some("record the facts again with `cargo kdev why --record FILE`".to_owned())
            }
            Self::Cluster(error) => error.help(),
            Self::Process(_) => None,
        }
    }
}

/// With the one first that looks most like what was asked for.
fn workload_help(asked: &str, known: &[String]) -> String {
    let name = |id: &str| id.rsplit('/').next().unwrap_or_default().to_owned();
    let likeness = |id: &str| strsim::jaro_winkler(&name(asked), &name(id));
    let nearest = known.iter().filter(|id| likeness(id) > 0.8);
    // Of a Deployment and its pods the Deployment.
    let nearest = nearest.max_by(|a, b| {
        let key = |id: &str| (likeness(id), !id.starts_with("pod/"));
        key(a).partial_cmp(&key(b)).unwrap_or(Ordering::Equal)
    });
    let is_known = Asked::parse(asked).is_some();
    let about = if is_known { "" } else { "it can be asked about pods and what makes them: " };
    let Some(nearest) = nearest else {
        return format!("{about}use one of {}, or another `--namespace NAME`", list(known));
    };
    let others: Vec<&String> = known.iter().filter(|id| *id != nearest).collect();
    match others.as_slice() {
        [] => format!("{about}did you mean `{nearest}`?"),
        others => format!("{about}did you mean `{nearest}`? If not, use one of {}", list(others)),
    }
}
