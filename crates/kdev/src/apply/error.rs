//! Errors of an apply.

use kdev_core::kube::api_error::{Conflict, Immutable};
use kdev_core::kube::deletion::Finalizer;
use kdev_core::text::{join, list};

use crate::details::Details;
use crate::{cluster, process};

/// The result of an apply.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of an apply.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Other field managers own fields that the manifests set.
    #[error("field conflicts in context `{context}`")]
    Conflicts {
        /// The context.
        context: String,
        /// Each field with its field manager.
        conflicts: Vec<Conflict>,
        /// The same as text.
        #[source]
        reason: Details,
    },
    /// The apply would remove fields from objects that other projects apply, too.
    #[error("refusing to remove fields of objects that another project applies, too")]
    Contested {
        /// The context.
        context: String,
        /// Each field with the other projects.
        fields: Vec<ContestedField>,
        /// The same as text.
        #[source]
        reason: Details,
    },
    /// An object whose change is immutable would be deleted and recreated, but other projects apply
    /// it, too.
    #[error("refusing to delete and recreate objects that another project applies, too")]
    SharedImmutable {
        /// The context.
        context: String,
        /// Each object with the other projects.
        objects: Vec<ContestedObject>,
        /// The same as text.
        #[source]
        reason: Details,
    },
    /// A StatefulSet whose change is immutable would be deleted with its volume claims.
    #[error(
        "refusing to delete and recreate `{id}`, because its volume claims would be deleted with it"
    )]
    RecreationDeletesData {
        /// The StatefulSet.
        id: String,
        /// `kubectl` with the context and namespace that were used.
        kubectl: String,
    },
    /// The manifests change immutable fields.
    #[error("cannot change immutable fields of {}", ids(immutables))]
    Immutable {
        /// The context.
        context: String,
        /// Each object with the field.
        immutables: Vec<Immutable>,
        /// `kubectl` with the context and namespace that were used.
        kubectl: String,
        /// The same as text.
        #[source]
        reason: Details,
    },
    /// The user has not confirmed the deletion of data.
    #[error("refusing to delete {data} without confirmation")]
    DataNotConfirmed {
        /// The context.
        context: String,
        /// The objects with what they contain.
        data: String,
    },
    /// Finalizers prevent a deletion.
    #[error("finalizers prevent the deletion of {}", held(finalizers))]
    Finalizers {
        /// The context.
        context: String,
        /// Each object with a finalizer.
        finalizers: Vec<Finalizer>,
        /// `kubectl` with the context and the namespace of the first object.
        kubectl: String,
        /// The same as text.
        #[source]
        reason: Details,
    },
    /// Objects were not gone in time, although their deletion began.
    #[error("timed out waiting for the deletion of {}", list(ids))]
    NotDeleted {
        /// The context.
        context: String,
        /// The objects.
        ids: Vec<String>,
        /// `kubectl` with the context and the namespace of the objects.
        kubectl: String,
        /// The objects and finalizers that remain, as the API server reports them.
        #[source]
        reason: Option<Details>,
    },
    /// The cluster cannot be used, or rejected a request.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    /// A process could not be started, or the run was interrupted.
    #[error(transparent)]
    Process(#[from] process::Error),
}

/// A field of an object that another project applies, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContestedField {
    /// The object, such as `configmap/settings`.
    pub id: String,
    /// The path of the field, such as `.data.color`.
    pub field: String,
    /// The other projects.
    pub projects: Vec<String>,
}

/// An object that another project applies, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContestedObject {
    /// The object, such as `service/web`.
    pub id: String,
    /// The other projects.
    pub projects: Vec<String>,
}

impl Error {
    /// Creates the error for field conflicts.
    pub(crate) fn conflicts(context: String, conflicts: Vec<Conflict>) -> Self {
        let text = |c: &Conflict| format!("`{}` is owned by `{}`", c.field, c.manager);
        let reason = Details(conflicts.iter().map(text).collect::<Vec<_>>().join(", "));
        Self::Conflicts { context, conflicts, reason }
    }

    /// Creates the error for fields of other projects.
    pub(crate) fn contested(context: String, fields: Vec<ContestedField>) -> Self {
        let mut texts: Vec<String> = Vec::new();
        for same in fields.chunk_by(|a, b| (&a.id, &a.projects) == (&b.id, &b.projects)) {
            let paths: Vec<&String> = same.iter().map(|contested| &contested.field).collect();
            let (verb, ContestedField { id, projects, .. }) =
                (if paths.len() == 1 { "is" } else { "are" }, &same[0]);
            let apply = if projects.len() == 1 { "applies" } else { "apply" };
            texts.push(format!(
                "{} of `{id}` {verb} not in the manifests, and {} also {apply} the object",
                list(&paths),
                join(projects)
            ));
        }
        Self::Contested { context, fields, reason: Details(texts.join("; ")) }
    }

    /// Creates the error for immutable objects of other projects.
    pub(crate) fn shared_immutable(context: String, objects: Vec<ContestedObject>) -> Self {
        let text = |ContestedObject { id, projects }: &ContestedObject| {
            let apply = if projects.len() == 1 { "applies" } else { "apply" };
            format!("{} also {apply} `{id}`", join(projects))
        };
        let reason = Details(objects.iter().map(text).collect::<Vec<_>>().join("; "));
        Self::SharedImmutable { context, objects, reason }
    }

    /// Creates the error for immutable fields.
    pub(crate) fn immutable(context: String, immutables: Vec<Immutable>, kubectl: String) -> Self {
        let text = |i: &Immutable| format!("`{}` of {} is immutable", i.field, i.id());
        let reason = Details(immutables.iter().map(text).collect::<Vec<_>>().join(", "));
        Self::Immutable { context, immutables, kubectl, reason }
    }

    /// Creates the error for finalizers that prevent a deletion.
    pub(crate) fn finalizers(context: String, finalizers: Vec<Finalizer>, kubectl: String) -> Self {
        let reason = Details(finalizers.iter().map(describe).collect::<Vec<_>>().join(", "));
        Self::Finalizers { context, finalizers, kubectl, reason }
    }

    /// Returns the text of the `help:` line, if there is one.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Conflicts { conflicts, .. } => Some(conflicts_help(conflicts).to_owned()),
            Self::Contested { .. } => Some(
                "add the fields to the manifests, or pass `--force-conflicts` to remove them from the object"
                    .to_owned(),
            ),
            Self::SharedImmutable { .. } => Some(
                "pass `--recreate --force-conflicts` to recreate them with the fields of these manifests only"
                    .to_owned(),
            ),
            Self::RecreationDeletesData { id, kubectl } => Some(format!(
                "run `{kubectl} delete {id} --cascade=orphan` and then the command again to keep its pods and volume claims as they are"
            )),
            Self::Immutable { immutables, kubectl, .. } => {
                Some(immutable_help(kubectl, immutables))
            }
            Self::DataNotConfirmed { .. } => {
                Some("pass `--yes` to delete it without a question".to_owned())
            }
            Self::Finalizers { finalizers, kubectl, .. } => {
                finalizers.first().map(|finalizer| finalizer_help(kubectl, finalizer))
            }
            Self::NotDeleted { ids, kubectl, .. } => Some(format!(
                "run `{kubectl} wait --for=delete {} --timeout=120s`, and then the command again",
                ids.join(" ")
            )),
            Self::Cluster(error) => error.help(),
            Self::Process(_) => None,
        }
    }
}

/// Kubernetes removes it when no pod uses the volume claim any more.
const CLAIM_PROTECTION: &str = "kubernetes.io/pvc-protection";

fn held(finalizers: &[Finalizer]) -> String {
    let mut ids: Vec<&String> = finalizers.iter().map(|finalizer| &finalizer.id).collect();
    ids.dedup();
    list(&ids)
}

fn describe(finalizer: &Finalizer) -> String {
    let Finalizer { namespace, id, name, manager } = finalizer;
    let place = if namespace.is_empty() { "" } else { " in namespace " };
    let set_by = match manager.as_deref() {
        Some("kdev") => ", which the manifest sets".to_owned(),
        Some(manager) => format!(", which field manager `{manager}` has set"),
        None => String::new(),
    };
    let namespace = if namespace.is_empty() { String::new() } else { format!("`{namespace}`") };
    format!("`{id}`{place}{namespace} has the finalizer `{name}`{set_by}")
}

/// Returns the fix for a finalizer. A removed finalizer is ignored with the cleanup that it
/// stands for.
fn finalizer_help(kubectl: &str, Finalizer { id, name, .. }: &Finalizer) -> String {
    if name == CLAIM_PROTECTION {
        return format!(
            "run `{kubectl} describe {id}` to see the pods that use it, and delete them"
        );
    }
    let patch = r#"{"metadata":{"finalizers":null}}"#;
    format!(
        "run the command again while the controller of the finalizer is running, or skip its cleanup: `{kubectl} patch {id} --type=merge --patch '{patch}'`"
    )
}

fn ids(immutables: &[Immutable]) -> String {
    list(&immutables.iter().map(Immutable::id).collect::<Vec<_>>())
}

/// Returns the fix for field conflicts. An autoscaler would set `replicas` again.
fn conflicts_help(conflicts: &[Conflict]) -> &'static str {
    if conflicts.iter().all(|conflict| conflict.field == ".spec.replicas") {
        "remove `replicas` from the manifest to leave scaling to the autoscaler, or pass `--force-conflicts` to take over the field"
    } else if conflicts.iter().all(|conflict| conflict.manager.starts_with("kubectl")) {
        "copy the change that was made with `kubectl` to the manifest, or pass `--force-conflicts` to overwrite it"
    } else {
        "pass `--force-conflicts` to take over the fields"
    }
}

fn immutable_help(kubectl: &str, immutables: &[Immutable]) -> String {
    let is_stateful = |immutable: &Immutable| immutable.kind == "StatefulSet";
    if let [immutable] = immutables
        && is_stateful(immutable)
    {
        format!(
            "run `{kubectl} delete {} --cascade=orphan` and then the command again to keep its pods and volume claims as they are, or pass `--recreate` to replace the pods",
            immutable.id()
        )
    } else if immutables.iter().all(Immutable::is_binding) {
        "pass `--recreate` to delete and recreate it".to_owned()
    } else if immutables.iter().all(Immutable::is_recreatable) {
        "pass `--recreate` to delete and recreate it with its pods".to_owned()
    } else {
        format!("rename it, or delete it and its data: `{kubectl} delete {}`", immutables[0].id())
    }
}
