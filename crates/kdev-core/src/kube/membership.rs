//! The sets that an object belongs to. The label of the specification has room for one, so each
//! member also has a label for every set: two projects can have the same Namespace in their
//! manifests.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::kube::applyset::{EXISTED_PREFIX, OWNER_PREFIX, PART_OF, Parent};

/// The sets that a live object belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owners {
    /// The ID in the label of the specification.
    part_of: Option<String>,
    /// The parents in the labels of kdev.
    parents: BTreeSet<Parent>,
    /// The labels of sets before whose first apply the object existed.
    existed: BTreeSet<String>,
}

impl Owners {
    pub fn read(object: &Value) -> Self {
        let labels = object["metadata"]["labels"].as_object();
        let parent = |(key, value): (&String, &Value)| {
            let name = key.strip_prefix(OWNER_PREFIX)?.to_owned();
            Some(Parent { name, namespace: value.as_str()?.to_owned() })
        };
        let part_of = object["metadata"]["labels"][PART_OF].as_str();
        Self {
            part_of: part_of.map(str::to_owned),
            parents: labels.into_iter().flatten().filter_map(parent).collect(),
            existed: labels
                .into_iter()
                .flat_map(Map::keys)
                .filter(|key| key.starts_with(EXISTED_PREFIX))
                .cloned()
                .collect(),
        }
    }

    /// Returns the parents other than this one.
    pub fn others(&self, ours: &Parent) -> BTreeSet<Parent> {
        self.parents.iter().filter(|parent| *parent != ours).cloned().collect()
    }

    /// Returns the ID of a set that kdev has no owner label for: of another tool, or of an older
    /// kdev.
    pub fn foreign_set(&self, ours: &Parent) -> Option<&str> {
        let part_of = self.part_of.as_deref()?;
        let is_known = |parent: &Parent| parent.id() == part_of;
        let is_foreign = !is_known(ours) && !self.parents.iter().any(is_known);
        is_foreign.then_some(part_of)
    }

    /// Returns the changes to the labels with which the object becomes a member of `ours`, as
    /// arguments of `kubectl label`. Memberships of the sets in `replaced` end.
    pub fn labels_to_join(&self, ours: &Parent, replaced: &BTreeSet<Parent>) -> Vec<String> {
        let mut changes = Vec::new();
        let is_replaced = |id: &String| replaced.iter().any(|parent| parent.id() == *id);
        if self.part_of.as_ref().is_none_or(is_replaced) {
            changes.push(format!("{PART_OF}={}", ours.id()));
        }
        if !self.parents.contains(ours) {
            changes.push(ours.owner_label());
        }
        let ended =
            self.parents.intersection(replaced).map(|parent| format!("{}-", parent.owner_key()));
        changes.extend(ended);
        changes
    }

    /// Returns the labels of other sets that a recreated object has lost, and those that the object
    /// existed before a set. `before` are the sets of the deleted object.
    pub fn lost_labels(&self, before: &Self, ours: &Parent) -> Vec<String> {
        let lost = before.parents.difference(&self.parents).filter(|parent| *parent != ours);
        let existed = before.existed.difference(&self.existed).map(|key| format!("{key}=true"));
        lost.map(Parent::owner_label).chain(existed).collect()
    }

    /// Returns the changes to the labels with which the object leaves `ours`, so that one of
    /// `others` has the label of the specification.
    pub fn labels_to_leave(&self, ours: &Parent, others: &BTreeSet<Parent>) -> Vec<String> {
        let mut changes = Vec::new();
        if self.part_of.as_deref() == Some(ours.id().as_str()) {
            let heir = others.first().map(|parent| format!("{PART_OF}={}", parent.id()));
            changes.push(heir.unwrap_or_else(|| format!("{PART_OF}-")));
        }
        if self.parents.contains(ours) {
            changes.push(format!("{}-", ours.owner_key()));
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kube::owner::Identity;
    use serde_json::json;

    fn parent(key: &str) -> Parent {
        Parent::new("My_App", "n", &Identity::from_key(key))
    }

    fn object(labels: &Value) -> Owners {
        Owners::read(&json!({"metadata": {"labels": labels}}))
    }

    #[test]
    fn members_have_label_of_each_set() {
        let (ours, theirs) = (parent("a"), parent("b"));
        let old = Parent::without_identity("my-app", "n");
        let (our_key, their_key) = (ours.owner_key(), theirs.owner_key());
        let part_of = |parent: &Parent| format!("{PART_OF}={}", parent.id());
        let none = BTreeSet::new();
        let replaced = BTreeSet::from([old.clone(), theirs.clone()]);
        // Labels of an object, replaced sets, changes to join our set.
        let table = [
            (json!({}), &none, vec![part_of(&ours), format!("{our_key}=n")]),
            (json!({PART_OF: ours.id(), our_key.as_str(): "n"}), &none, vec![]),
            (
                json!({PART_OF: theirs.id(), their_key.as_str(): "n"}),
                &none,
                vec![format!("{our_key}=n")],
            ),
            (
                json!({PART_OF: theirs.id(), their_key.as_str(): "n"}),
                &replaced,
                vec![part_of(&ours), format!("{our_key}=n"), format!("{their_key}-")],
            ),
            (json!({PART_OF: old.id()}), &none, vec![format!("{our_key}=n")]),
            (json!({PART_OF: old.id()}), &replaced, vec![part_of(&ours), format!("{our_key}=n")]),
            (json!({PART_OF: "applyset-other-v1"}), &replaced, vec![format!("{our_key}=n")]),
        ];
        for (labels, replaced, expected) in table {
            assert_eq!(object(&labels).labels_to_join(&ours, replaced), expected, "{labels}");
        }
    }

    #[test]
    fn recreated_object_gets_labels_of_other_sets_again() {
        let (ours, theirs) = (parent("a"), parent("b"));
        let (our_key, their_key) = (ours.owner_key(), theirs.owner_key());
        let existed = ours.existed_label();
        let before = object(
            &json!({our_key.as_str(): "n", their_key.as_str(): "n", existed.as_str(): "true"}),
        );
        let lost = [theirs.owner_label(), format!("{existed}=true")];
        assert_eq!(object(&json!({})).lost_labels(&before, &ours), lost);
        assert_eq!(before.lost_labels(&before, &ours), [""; 0]);
    }

    #[test]
    fn last_owner_is_known_from_labels() {
        let (ours, theirs) = (parent("a"), parent("b"));
        let (our_key, their_key) = (ours.owner_key(), theirs.owner_key());
        let only_theirs = BTreeSet::from([theirs.clone()]);
        // Labels of an object, other owners, a foreign set, changes to leave our set.
        let table = [
            (json!({}), vec![], None, vec![]),
            (
                json!({PART_OF: ours.id(), our_key.as_str(): "n"}),
                vec![],
                None,
                vec![format!("{PART_OF}-"), format!("{our_key}-")],
            ),
            (
                json!({PART_OF: ours.id(), our_key.as_str(): "n", their_key.as_str(): "n"}),
                vec![theirs.clone()],
                None,
                vec![format!("{PART_OF}={}", theirs.id()), format!("{our_key}-")],
            ),
            (
                json!({PART_OF: theirs.id(), our_key.as_str(): "n", their_key.as_str(): "n"}),
                vec![theirs.clone()],
                None,
                vec![format!("{our_key}-")],
            ),
            (
                json!({PART_OF: "applyset-other-v1", our_key.as_str(): "n"}),
                vec![],
                Some("applyset-other-v1"),
                vec![format!("{our_key}-")],
            ),
        ];
        for (labels, others, foreign, changes) in table {
            let owners = object(&labels);
            assert_eq!(owners.others(&ours), others.iter().cloned().collect(), "{labels}");
            assert_eq!(owners.foreign_set(&ours), foreign, "{labels}");
            let heirs = if others.is_empty() { BTreeSet::new() } else { only_theirs.clone() };
            assert_eq!(owners.labels_to_leave(&ours, &heirs), changes, "{labels}");
        }
    }
}
