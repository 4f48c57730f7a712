//! Why manifests are not applied.

use kdev_core::kube::api_error::{Conflict, Immutable};
use kdev_core::text::list;

use crate::details::Details;
use crate::{cluster, process};

/// The result of an apply.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// Why manifests are not applied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Other managers own fields that the manifests set.
    #[error("fields of the manifests are owned by others in context `{context}`")]
    Conflicts {
        /// The context.
        context: String,
        /// Each field with its owner.
        conflicts: Vec<Conflict>,
        /// The same in words.
        #[source]
        reason: Details,
    },
    /// Fields that the API lets nobody change.
    #[error("the cluster of context `{context}` cannot change {}", ids(immutables))]
    Immutable {
        /// The context.
        context: String,
        /// Each object with the field.
        immutables: Vec<Immutable>,
        /// kubectl with the context and namespace that were used.
        kubectl: String,
        /// The same in words.
        #[source]
        reason: Details,
    },
    /// The cluster cannot be used, or refuses.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    /// Nothing could be run.
    #[error(transparent)]
    Process(#[from] process::Error),
}

impl Error {
    /// Of each field with its owner.
    pub(crate) fn conflicts(context: String, conflicts: Vec<Conflict>) -> Self {
        let words = |c: &Conflict| format!("`{}` is owned by `{}`", c.field, c.manager);
        let reason = Details(conflicts.iter().map(words).collect::<Vec<_>>().join(", "));
        Self::Conflicts { context, conflicts, reason }
    }

    /// Of each object with its field.
    pub(crate) fn immutable(context: String, immutables: Vec<Immutable>, kubectl: String) -> Self {
        let words =
            |i: &Immutable| format!("`{}` of {} is fixed once it is created", i.field, i.id());
        let reason = Details(immutables.iter().map(words).collect::<Vec<_>>().join(", "));
        Self::Immutable { context, immutables, kubectl, reason }
    }

    /// One action that helps.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Conflicts { conflicts, .. } => Some(conflicts_help(conflicts).to_owned()),
            Self::Immutable { immutables, kubectl, .. } => {
                Some(immutable_help(kubectl, immutables))
            }
            Self::Cluster(error) => error.help(),
            Self::Process(_) => None,
        }
    }
}

fn ids(immutables: &[Immutable]) -> String {
    list(&immutables.iter().map(Immutable::id).collect::<Vec<_>>())
}

/// What an autoscaler sets is taken from it only to be set again.
fn conflicts_help(conflicts: &[Conflict]) -> &'static str {
    if conflicts.iter().all(|conflict| conflict.field == ".spec.replicas") {
        "whoever scales it shall go on to do so: take `replicas` out of the manifest; or take it over with `--force-conflicts`"
    } else if conflicts.iter().all(|conflict| conflict.manager.starts_with("kubectl")) {
        "write into the manifest what kubectl has changed in the cluster, or put the manifest's back with `--force-conflicts`"
    } else {
        "if these fields shall be kdev's, take them over with `--force-conflicts`"
    }
}

fn immutable_help(kubectl: &str, immutables: &[Immutable]) -> String {
    if immutables.iter().all(Immutable::is_recreatable) {
        "delete it with its pods and create it anew with `--recreate`".to_owned()
    } else {
        format!(
            "rename it, or delete it with what it holds: `{kubectl} delete {}`",
            immutables[0].id()
        )
    }
}
