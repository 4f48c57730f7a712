//! What the API server's refusals say, by its words as kubectl prints them.

use crate::kube::kinds;

/// The manager of fields that a plain `kubectl apply` has set.
const CLIENT_SIDE: &str = "kubectl-client-side-apply";
/// The manager of a template that `kubectl rollout undo` has put back, and of
/// what `kubectl scale` has set.
const ROLLOUT_UNDO: &str = "kubectl";
/// What the server says of a field that it lets nobody change.
const IMMUTABLE: [&str; 4] = [
    "field is immutable",
    "updates to statefulset spec for fields other than",
    "pod updates may not change fields other than",
    "may not change once set",
];

/// A field that another manager owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Who owns it.
    pub manager: String,
    /// Its path, as `.spec.replicas`.
    pub field: String,
}

/// An object with a field that may not be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Immutable {
    /// As `Job`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The field's path, as `spec.template`.
    pub field: String,
}

impl Immutable {
    /// Kind and name, as kubectl takes them.
    pub fn id(&self) -> String {
        format!("{}/{}", self.kind.to_lowercase(), self.name)
    }

    /// Whether nothing but pods is lost if it is deleted.
    pub fn is_recreatable(&self) -> bool {
        kinds::BUILT_IN.find(&self.kind).is_some_and(|kind| kind.is_recreatable)
    }
}

impl Conflict {
    /// Whether it is of the same manifest, applied by hand before, or of an
    /// earlier build that was put back.
    pub fn is_earlier_apply(&self) -> bool {
        self.manager == CLIENT_SIDE
            || self.manager == ROLLOUT_UNDO && self.field.starts_with(".spec.template.")
    }
}

/// `conflict with "NAME" using …: FIELD`, or `conflicts with "NAME" …:` and a
/// list of fields, each with a dash.
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

/// `KIND "NAME" is invalid: FIELD: …: field is immutable`, of each object.
pub fn immutables(stderr: &str) -> Vec<Immutable> {
    let pieces: Vec<&str> = stderr.split("\" is invalid: ").collect();
    pieces.windows(2).filter_map(|pair| immutable(pair[0], pair[1])).collect()
}

/// From the text before and after the words ` is invalid: `.
fn immutable(before: &str, after: &str) -> Option<Immutable> {
    let (before, name) = before.rsplit_once(" \"")?;
    let kind = before.rsplit([' ', '\n']).next()?.split('.').next()?;
    // Several reasons come as a list; what follows is the next object's.
    let reasons = after.split("Error from server").next()?;
    let reason =
        reasons.split("\n* ").find(|reason| IMMUTABLE.iter().any(|sign| reason.contains(sign)))?;
    let field = reason.trim_start_matches("* ").split(": ").next()?.trim();
    Some(Immutable { kind: kind.to_owned(), name: name.to_owned(), field: field.to_owned() })
}

/// Whether what is missing is a namespace or a kind that the same stream may be
/// about to create.
pub fn is_not_created_yet(stderr: &str) -> bool {
    let says = |sign: &str| stderr.contains(sign);
    says("(NotFound)") || says("no matches for kind")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conflict(manager: &str, field: &str) -> Conflict {
        Conflict { manager: manager.into(), field: field.into() }
    }

    #[test]
    fn conflicts_are_read_field_by_field() {
        let one = "error: Apply failed with 1 conflict: conflict with \"kubectl-client-side-apply\" using apps/v1: .spec.x\nPlease review the fields above--they currently have other managers. Here\n* If you intend";
        assert_eq!(conflicts(one), [conflict(CLIENT_SIDE, ".spec.x")]);
        let many = "error: Apply failed with 3 conflicts: conflicts with \"ed\" using v1:\n- .data.b\n- .data.c\nconflicts with \"helm\" using v1:\n- .data.a\nPlease review";
        let expected =
            [conflict("ed", ".data.b"), conflict("ed", ".data.c"), conflict("helm", ".data.a")];
        assert_eq!(conflicts(many), expected);
        assert_eq!(conflicts("Error from server (Forbidden): x"), []);
    }

    #[test]
    fn only_what_a_person_has_set_by_other_means_is_anothers() {
        assert!(conflict(CLIENT_SIDE, ".spec.replicas").is_earlier_apply());
        assert!(
            conflict("kubectl", ".spec.template.spec.containers[name=\"web\"].image")
                .is_earlier_apply()
        );
        assert!(!conflict("kubectl", ".spec.replicas").is_earlier_apply());
        assert!(!conflict("kubectl-edit", ".spec.template.x").is_earlier_apply());
    }

    #[test]
    fn immutable_fields_are_read_in_each_form_that_kubectl_prints() {
        let found = |text: &str| {
            let found = immutables(text);
            found.iter().map(|i| format!("{} {}", i.id(), i.field)).collect::<Vec<_>>()
        };
        let one = "The Deployment \"d\" is invalid: spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"e\"}}: field is immutable\n";
        assert_eq!(found(one), ["deployment/d spec.selector"]);
        let several = "Error from server (Invalid): Job.batch \"j\" is invalid: spec.template: Invalid value: {\"labels\":null}: field is immutable\nError from server (Invalid): Pod \"p\" is invalid: spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`\n@@ -1 +1 @@\nError from server (Invalid): StatefulSet.apps \"s\" is invalid: spec: Forbidden: updates to statefulset spec for fields other than 'replicas' are forbidden\n";
        assert_eq!(found(several), ["job/j spec.template", "pod/p spec", "statefulset/s spec"]);
        let list = "The Job \"j\" is invalid: \n* spec.a: Required value\n* spec.template: Invalid value: 1: field is immutable\n";
        assert_eq!(found(list), ["job/j spec.template"]);
        let other = "The ConfigMap \"X\" is invalid: metadata.name: Invalid value: \"X\": a name\nError from server (Invalid): Job.batch \"j\" is invalid: spec.template: x: field is immutable";
        assert_eq!(found(other), ["job/j spec.template"]);
    }
}
