//! Parses the API server's errors as kubectl prints them.

use serde_json::Value;

use crate::kube::kinds;
use crate::kube::object::{format_id, text};

/// The field manager of a client-side `kubectl apply`.
const CLIENT_SIDE: &str = "kubectl-client-side-apply";
/// The field manager of `kubectl rollout undo` and `kubectl scale`.
const ROLLOUT_UNDO: &str = "kubectl";
/// Messages of the API server about an immutable field.
const IMMUTABLE: [&str; 5] = [
    "cannot change roleRef",
    "field is immutable",
    "updates to statefulset spec for fields other than",
    "pod updates may not change fields other than",
    "may not change once set",
];

/// A field that another field manager owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The field manager that owns it.
    pub manager: String,
    /// The path of the field, such as `.spec.replicas`.
    pub field: String,
}

/// An object with an immutable field that was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Immutable {
    /// The kind, such as `Job`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The path of the field, such as `spec.template`.
    pub field: String,
}

impl Immutable {
    /// Returns kind and name as kubectl accepts them.
    pub fn id(&self) -> String {
        format_id(&self.kind, &self.name)
    }

    /// Whether it binds a role, so that the permissions are missing until it is recreated.
    pub fn is_binding(&self) -> bool {
        ["RoleBinding", "ClusterRoleBinding"].contains(&self.kind.as_str())
    }

    /// Whether deleting it loses nothing but pods or a binding.
    pub fn is_recreatable(&self) -> bool {
        if self.is_binding() {
            return true;
        }
        kinds::BUILT_IN.find(&self.kind).is_some_and(|kind| kind.is_recreatable)
    }
}

impl Conflict {
    /// Whether the field was set by an earlier `kubectl apply` of the same manifest, or by
    /// a rollback to an earlier build.
    pub fn is_earlier_apply(&self) -> bool {
        self.manager == CLIENT_SIDE
            || self.manager == ROLLOUT_UNDO && self.field.starts_with(".spec.template.")
    }
}

/// Parses `conflict with "NAME" using …: FIELD`, or `conflicts with "NAME" …:` and a list
/// of fields with a dash each.
pub fn conflicts(stderr: &str) -> Vec<Conflict> {
    let mut conflicts = Vec::new();
    let mut manager = None;
    for line in stderr.lines() {
        if let Some((_, rest)) = line.split_once(" with \"")
            && let Some((name, rest)) = rest.split_once('"')
            && line.contains("conflict")
        {
            manager = Some(name.to_owned());
            let field = rest.split_once(": ").map(|(_, field)| field.trim().to_owned());
            conflicts.extend(field.map(|field| Conflict { manager: name.to_owned(), field }));
        } else if let (Some(manager), Some(field)) = (&manager, line.strip_prefix("- ")) {
            conflicts.push(Conflict { manager: manager.clone(), field: field.trim().to_owned() });
        } else {
            manager = None;
        }
    }
    conflicts
}

/// Parses `KIND "NAME" is invalid: FIELD: …: field is immutable` for each object.
pub fn immutables(stderr: &str) -> Vec<Immutable> {
    let pieces: Vec<&str> = stderr.split("\" is invalid: ").collect();
    pieces.windows(2).filter_map(|pair| immutable(pair[0], pair[1])).collect()
}

/// Parses the texts before and after ` is invalid: `.
fn immutable(before: &str, after: &str) -> Option<Immutable> {
    let (before, name) = before.rsplit_once(" \"")?;
    let kind = before.rsplit([' ', '\n']).next()?.split('.').next()?;
    // Several reasons are printed as a list, followed by the next object.
    let reasons = after.split("Error from server").next()?;
    let reason =
        reasons.split("\n* ").find(|reason| IMMUTABLE.iter().any(|sign| reason.contains(sign)))?;
    let field = reason.trim_start_matches("* ").split(": ").next()?.trim();
    Some(Immutable { kind: kind.to_owned(), name: name.to_owned(), field: field.to_owned() })
}

/// A kind or namespace that does not exist, which the same stream may be about to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    Kind {
        kind: String,
        /// Such as `apps/v1`.
        api_version: String,
    },
    Namespace,
    /// Another object.
    Unknown,
}

impl Missing {
    /// Returns whether an object does not exist either. This is certain for objects of the kind,
    /// and for all objects of the namespace.
    pub fn concerns(&self, object: &Value) -> bool {
        match self {
            Self::Kind { kind, api_version } => {
                object["kind"] == **kind && object["apiVersion"] == **api_version
            }
            Self::Namespace => !CLUSTER_SCOPED.contains(&text(object, "/kind")),
            Self::Unknown => true,
        }
    }
}

/// The built-in kinds without a namespace that manifests usually contain. The scope of custom
/// resources is unknown.
const CLUSTER_SCOPED: [&str; 17] = [
    "APIService",
    "CSIDriver",
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "FlowSchema",
    "IngressClass",
    "MutatingWebhookConfiguration",
    "Namespace",
    "PersistentVolume",
    "PriorityClass",
    "PriorityLevelConfiguration",
    "RuntimeClass",
    "StorageClass",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "ValidatingWebhookConfiguration",
];

/// Returns what does not exist, if that is the error. `kubectl` reports only one kind at a time.
pub fn missing(stderr: &str) -> Option<Missing> {
    let quoted = |text: &str, before: &str| {
        let rest = text.split_once(before)?.1;
        Some(rest.split_once('"')?.0.to_owned())
    };
    if let Some((_, rest)) = stderr.split_once("no matches for kind") {
        let kind = quoted(rest, " \"").zip(quoted(rest, "in version \""));
        return Some(
            kind.map_or(Missing::Unknown, |(kind, api_version)| Missing::Kind {
                kind,
                api_version,
            }),
        );
    }
    let is_namespace = stderr.contains("(NotFound): namespaces \"");
    let is_not_found = stderr.contains("(NotFound)");
    is_not_found.then_some(if is_namespace { Missing::Namespace } else { Missing::Unknown })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn conflict(manager: &str, field: &str) -> Conflict {
        Conflict { manager: manager.into(), field: field.into() }
    }

    #[test]
    fn conflicts_are_parsed_per_field() {
        let one = "error: Apply failed with 1 conflict: conflict with \"kubectl-client-side-apply\" using apps/v1: .spec.x\nPlease review the fields above--they currently have other managers. Here\n* If you intend";
        assert_eq!(conflicts(one), [conflict(CLIENT_SIDE, ".spec.x")]);
        let many = "error: Apply failed with 3 conflicts: conflicts with \"ed\" using v1:\n- .data.b\n- .data.c\nconflicts with \"helm\" using v1:\n- .data.a\nPlease review";
        let expected =
            [conflict("ed", ".data.b"), conflict("ed", ".data.c"), conflict("helm", ".data.a")];
        assert_eq!(conflicts(many), expected);
        assert_eq!(conflicts("Error from server (Forbidden): x"), []);
    }

    #[test]
    fn missing_kinds_and_namespaces_are_found() {
        let kind = |kind: &str, api_version: &str| Missing::Kind {
            kind: kind.to_owned(),
            api_version: api_version.to_owned(),
        };
        let table = [
            (
                "error: resource mapping not found for name: \"f\" namespace: \"\" from \"STDIN\": no matches for kind \"Foo\" in version \"example.com/v1\"\nensure CRDs are installed first\n",
                Some(kind("Foo", "example.com/v1")),
            ),
            ("error: no matches for kind \"Foo\" in version \"v1\"", Some(kind("Foo", "v1"))),
            ("no matches for kind", Some(Missing::Unknown)),
            ("Error from server (NotFound): namespaces \"a\" not found", Some(Missing::Namespace)),
            ("Error from server (NotFound): the server could not", Some(Missing::Unknown)),
            ("Error from server (Forbidden): namespaces \"a\"", None),
        ];
        for (stderr, expected) in table {
            assert_eq!(missing(stderr), expected, "{stderr}");
        }
        let foo = json!({"apiVersion": "example.com/v1", "kind": "Foo"});
        let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole"});
        let cases = [kind("Foo", "example.com/v1"), kind("Foo", "v1"), Missing::Namespace];
        assert_eq!(cases.each_ref().map(|missing| missing.concerns(&foo)), [true, false, true]);
        assert_eq!(cases.each_ref().map(|missing| missing.concerns(&role)), [false, false, false]);
    }

    #[test]
    fn earlier_apply_is_not_a_foreign_manager() {
        assert!(conflict(CLIENT_SIDE, ".spec.replicas").is_earlier_apply());
        assert!(
            conflict("kubectl", ".spec.template.spec.containers[name=\"web\"].image")
                .is_earlier_apply()
        );
        assert!(!conflict("kubectl", ".spec.replicas").is_earlier_apply());
        assert!(!conflict("kubectl-edit", ".spec.template.x").is_earlier_apply());
    }

    #[test]
    fn immutable_fields_are_parsed_in_each_format() {
        let found = |text: &str| {
            let found = immutables(text);
            found.iter().map(|i| format!("{} {}", i.id(), i.field)).collect::<Vec<_>>()
        };
        let one = "The Deployment \"d\" is invalid: spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"e\"}}: field is immutable\n";
        assert_eq!(found(one), ["deployment/d spec.selector"]);
        let several = "Error from server (Invalid): Job.batch \"j\" is invalid: spec.template: Invalid value: {\"labels\":null}: field is immutable\nError from server (Invalid): Pod \"p\" is invalid: spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`\n@@ -1 +1 @@\nError from server (Invalid): StatefulSet.apps \"s\" is invalid: spec: Forbidden: updates to statefulset spec for fields other than 'replicas' are forbidden\n";
        assert_eq!(found(several), ["job/j spec.template", "pod/p spec", "statefulset/s spec"]);
        let binding = "The RoleBinding \"b\" is invalid: roleRef: Invalid value: {\"apiGroup\":\"rbac.authorization.k8s.io\",\"kind\":\"Role\",\"name\":\"o\"}: cannot change roleRef";
        assert_eq!(found(binding), ["rolebinding/b roleRef"]);
        let list = "The Job \"j\" is invalid: \n* spec.a: Required value\n* spec.template: Invalid value: 1: field is immutable\n";
        assert_eq!(found(list), ["job/j spec.template"]);
        let other = "The ConfigMap \"X\" is invalid: metadata.name: Invalid value: \"X\": a name\nError from server (Invalid): Job.batch \"j\" is invalid: spec.template: x: field is immutable";
        assert_eq!(found(other), ["job/j spec.template"]);
    }
}
