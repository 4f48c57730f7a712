//! The order in which objects are applied: an object comes after those that it needs.

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
}
