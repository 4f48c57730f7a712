//! The order in which objects are applied and deleted: an object is created after those that it
//! needs, and deleted before them.

use serde_json::Value;

use crate::kube::object::text;

/// A phase of an apply. Objects of one phase keep the order of the manifests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Namespaces and CustomResourceDefinitions, without which the API server rejects other
    /// objects.
    Definitions,
    /// Objects that pods refer to: a pod that is created before them waits or fails.
    Dependencies,
    /// Workloads and custom resources.
    Others,
    /// Webhooks and API services, which can reject all later requests until their pods run.
    Admission,
}

const CRD: &str = "CustomResourceDefinition";

const DEPENDENCIES: [&str; 16] = [
    "ClusterRole",
    "ClusterRoleBinding",
    "ConfigMap",
    "IngressClass",
    "LimitRange",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "PriorityClass",
    "ResourceQuota",
    "Role",
    "RoleBinding",
    "RuntimeClass",
    "Secret",
    "Service",
    "ServiceAccount",
    "StorageClass",
];

const ADMISSION: [&str; 5] = [
    "APIService",
    "MutatingAdmissionPolicyBinding",
    "MutatingWebhookConfiguration",
    "ValidatingAdmissionPolicyBinding",
    "ValidatingWebhookConfiguration",
];

/// Returns the phase in which an object is applied.
pub fn phase(object: &Value) -> Phase {
    match text(object, "/kind") {
        "Namespace" | CRD => Phase::Definitions,
        kind if DEPENDENCIES.contains(&kind) => Phase::Dependencies,
        kind if ADMISSION.contains(&kind) => Phase::Admission,
        _ => Phase::Others,
    }
}

/// Whether an object is a CustomResourceDefinition.
pub fn is_crd(object: &Value) -> bool {
    text(object, "/kind") == CRD
}

/// A phase of a deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeletionPhase {
    /// Webhooks, which could reject later deletions, and custom resources, whose controller must
    /// still run to remove their finalizers.
    Custom,
    /// Workloads and everything that they need.
    BuiltIn,
    /// CustomResourceDefinitions.
    Definitions,
    /// Namespaces.
    Namespaces,
}

/// The API groups of Kubernetes 1.34.
const BUILT_IN_GROUPS: [&str; 24] = [
    "",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "apps",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "extensions",
    "flowcontrol.apiserver.k8s.io",
    "internal.apiserver.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "resource.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
    "storagemigration.k8s.io",
];

const NAMESPACE_PREFIX: &str = "namespace/";
const CRD_PREFIX: &str = "customresourcedefinition.apiextensions.k8s.io/";
/// Kinds whose objects hold stored data.
const STORAGE_PREFIXES: [&str; 4] = [
    "persistentvolume/",
    "persistentvolumeclaim/",
    "volumesnapshot.snapshot.storage.k8s.io/",
    "volumesnapshotcontent.snapshot.storage.k8s.io/",
];

/// Returns the phase in which an object with this id, such as `deployment.apps/hello`, is
/// deleted.
pub fn deletion_phase(id: &str) -> DeletionPhase {
    let kind = id.split('/').next().unwrap_or_default();
    let (name, group) = kind.split_once('.').unwrap_or((kind, ""));
    if id.starts_with(NAMESPACE_PREFIX) {
        DeletionPhase::Namespaces
    } else if id.starts_with(CRD_PREFIX) {
        DeletionPhase::Definitions
    } else if !BUILT_IN_GROUPS.contains(&group) || is_admission(name) {
        DeletionPhase::Custom
    } else {
        DeletionPhase::BuiltIn
    }
}

fn is_admission(kind: &str) -> bool {
    ADMISSION.iter().any(|known| known.eq_ignore_ascii_case(kind))
}

/// Whether the deletion of an object deletes other people's objects or stored data: a namespace,
/// a definition of custom resources, a volume, a volume claim, or a snapshot of a volume.
pub fn holds_data(id: &str) -> bool {
    let mut prefixes = [NAMESPACE_PREFIX, CRD_PREFIX].into_iter().chain(STORAGE_PREFIXES);
    prefixes.any(|prefix| id.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn needed_objects_come_first() {
        let kinds = ["Namespace", "ConfigMap", "Deployment", "ValidatingWebhookConfiguration"];
        let phases: Vec<Phase> = kinds.iter().map(|kind| phase(&json!({"kind": kind}))).collect();
        assert!(phases.is_sorted_by(|a, b| a < b), "{phases:?}");
        let crd = json!({"kind": "CustomResourceDefinition"});
        assert_eq!((phase(&crd), is_crd(&crd)), (Phase::Definitions, true));
        assert_eq!(phase(&json!({"kind": "Widget"})), Phase::Others);
    }

    #[test]
    fn custom_resources_are_deleted_before_their_controller() {
        let table = [
            (
                "validatingwebhookconfiguration.admissionregistration.k8s.io/a",
                DeletionPhase::Custom,
            ),
            ("widget.example.com/a", DeletionPhase::Custom),
            ("gateway.gateway.networking.k8s.io/a", DeletionPhase::Custom),
            ("volumesnapshot.snapshot.storage.k8s.io/a", DeletionPhase::Custom),
            ("deployment.apps/a", DeletionPhase::BuiltIn),
            ("persistentvolume/a", DeletionPhase::BuiltIn),
            ("persistentvolumeclaim/a", DeletionPhase::BuiltIn),
            ("clusterrole.rbac.authorization.k8s.io/a", DeletionPhase::BuiltIn),
            ("customresourcedefinition.apiextensions.k8s.io/a", DeletionPhase::Definitions),
            ("namespace/a", DeletionPhase::Namespaces),
        ];
        for (id, expected) in table {
            assert_eq!(deletion_phase(id), expected, "{id}");
        }
        assert!(table.is_sorted_by_key(|(_, phase)| *phase));
        let with_data: Vec<&str> =
            table.iter().map(|(id, _)| *id).filter(|id| holds_data(id)).collect();
        let expected = [
            "volumesnapshot.snapshot.storage.k8s.io/a",
            "persistentvolume/a",
            "persistentvolumeclaim/a",
            "customresourcedefinition.apiextensions.k8s.io/a",
            "namespace/a",
        ];
        assert_eq!(with_data, expected);
    }
}
