//! Whether kdev created an object, or applied one that existed before.

use serde_json::Value;

use crate::kube::apply_order;
use crate::kube::applyset::{self, EXISTED_PREFIX, Member, Parent, Set};
use crate::kube::membership::Owners;
use crate::kube::object::{list, text};

/// The field manager of applied fields.
const MANAGER: &str = "kdev";

/// Whether an object existed before kdev applies it now. `before` is the recorded set, and
/// `live` is the object with its managed fields.
pub fn exists_before_apply(parent: &Parent, before: Option<&Set>, live: &Value) -> bool {
    let id = applyset::id(live);
    if !live["metadata"]["labels"][parent.existed_label()].is_null() {
        return true;
    }
    if !parent.has_member(live) && is_in_other_set(parent, live) {
        // The other set has marked it if it existed before.
        return has_existed_label(live);
    }
    if !before.is_some_and(|set| set.records_origin) && apply_order::holds_data(&id) {
        // An older version may have applied it without a mark.
        return true;
    }
    if parent.has_member(live) {
        return false;
    }
    // It existed before another set, so also before this one.
    if has_existed_label(live) {
        return true;
    }
    !before.is_some_and(|set| is_created_without_label(set, live))
}

/// Whether an apply that was interrupted has created a member of its set, but not added the
/// label. It marks the objects that exist before it creates any. An object without fields, such
/// as a Namespace without labels, has no field manager.
pub fn is_created_without_label(set: &Set, live: &Value) -> bool {
    let is_of_kdev = managers(live).any(|manager| manager == MANAGER);
    set.has(text(live, "/metadata/namespace"), &applyset::id(live))
        && !set.parent.has_member(live)
        && !is_in_other_set(&set.parent, live)
        && !has_existed_label(live)
        && (is_of_kdev || managers(live).next().is_none())
}

/// Whether the apply that returned this object did not create it: another field manager has
/// fields. The object does not belong to the set yet.
pub fn existed_in_response(parent: &Parent, response: &Value) -> bool {
    managers(response).any(|manager| manager != MANAGER)
        && !has_existed_label(response)
        && !is_in_other_set(parent, response)
}

/// Whether `down` and `--prune` must keep a member of this set, because kdev has not created
/// it, or because an older version did not record it and the object holds data.
pub fn is_foreign(set: &Set, member: &Member, live: &Value) -> bool {
    !live["metadata"]["labels"][set.parent.existed_label()].is_null()
        || (!set.records_origin && apply_order::holds_data(&member.1))
}

fn is_in_other_set(parent: &Parent, object: &Value) -> bool {
    !Owners::read(object).others(parent).is_empty()
}

fn has_existed_label(object: &Value) -> bool {
    let labels = object["metadata"]["labels"].as_object();
    labels.is_some_and(|labels| labels.keys().any(|key| key.starts_with(EXISTED_PREFIX)))
}

fn managers(object: &Value) -> impl Iterator<Item = &str> {
    list(&object["metadata"]["managedFields"]).map(|entry| text(entry, "/manager"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kube::applyset::PART_OF;
    use serde_json::json;

    fn parent() -> Parent {
        Parent::without_identity("app", "n")
    }

    fn set(records_origin: bool) -> Set {
        let objects = [
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}),
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}),
        ];
        Set { records_origin, ..Set::from_objects(parent(), objects) }
    }

    fn live(kind: &str, name: &str, label: Option<&str>, managers: &[&str]) -> Value {
        let fields: Vec<Value> = managers.iter().map(|m| json!({"manager": m})).collect();
        let labels = label.map(|key| json!({key: parent().id()})).unwrap_or_default();
        let metadata = json!({"name": name, "labels": labels, "managedFields": fields});
        json!({"apiVersion": "v1", "kind": kind, "metadata": metadata})
    }

    #[test]
    fn object_of_others_existed_before_apply() {
        let mark = parent().existed_label();
        let (old, new) = (set(false), set(true));
        let kdev = ["kdev", "kubectl"];
        let mut shared = live("Namespace", "a", Some(PART_OF), &kdev);
        shared["metadata"]["labels"]["existed-before.kdev/other"] = json!("true");
        let mut marked = live("Namespace", "b", Some("owner.kdev/other"), &kdev);
        marked["metadata"]["labels"]["existed-before.kdev/other"] = json!("true");
        let table = [
            (live("ConfigMap", "a", None, &["kubectl"]), Some(&new), true),
            (live("ConfigMap", "a", None, &[]), None, true),
            (live("ConfigMap", "a", Some(&mark), &kdev), Some(&new), true),
            (live("ConfigMap", "a", Some("existed-before.kdev/other"), &kdev), Some(&new), true),
            (shared, Some(&new), false),
            (live("ConfigMap", "a", Some(PART_OF), &kdev), Some(&new), false),
            // An interrupted run has created it; in a set that does not list it, another run.
            (live("ConfigMap", "a", None, &kdev), Some(&new), false),
            (live("Namespace", "a", None, &[]), Some(&new), false),
            (live("Namespace", "a", None, &["kubectl"]), Some(&new), true),
            (live("ConfigMap", "b", None, &kdev), Some(&new), true),
            (live("ConfigMap", "a", None, &kdev), None, true),
            // Another set contains it, and has marked it if it existed before.
            (live("ConfigMap", "b", Some("owner.kdev/other"), &kdev), Some(&new), false),
            (live("Namespace", "b", Some("owner.kdev/other"), &kdev), None, false),
            (marked, None, true),
            // An older version has not recorded who created it.
            (live("Namespace", "a", Some(PART_OF), &kdev), Some(&old), true),
            (live("ConfigMap", "a", Some(PART_OF), &kdev), Some(&old), false),
            (live("Namespace", "a", Some(PART_OF), &kdev), Some(&new), false),
        ];
        for (live, before, expected) in table {
            assert_eq!(exists_before_apply(&parent(), before, &live), expected, "{live}");
        }
    }

    #[test]
    fn foreign_member_is_kept() {
        let mark = parent().existed_label();
        let kept =
            |set: &Set, live: &Value| is_foreign(set, &(String::new(), applyset::id(live)), live);
        let (old, new) = (set(false), set(true));
        assert!(kept(&new, &live("ConfigMap", "a", Some(&mark), &[])));
        assert!(!kept(&new, &live("ConfigMap", "a", Some("existed-before.kdev/other"), &[])));
        assert!(!kept(&new, &live("Namespace", "a", Some(PART_OF), &[])));
        assert!(kept(&old, &live("Namespace", "a", Some(PART_OF), &[])));
        assert!(!kept(&old, &live("ConfigMap", "a", Some(PART_OF), &[])));
    }

    #[test]
    fn response_shows_other_creator() {
        assert!(!existed_in_response(&parent(), &live("ConfigMap", "a", None, &["kdev"])));
        let shared = live("ConfigMap", "a", Some("owner.kdev/other"), &["kdev", "kdev-applyset"]);
        assert!(!existed_in_response(&parent(), &shared));
        assert!(existed_in_response(
            &parent(),
            &live("ConfigMap", "a", None, &["kdev", "before-first-apply"])
        ));
        let mark = parent().existed_label();
        assert!(!existed_in_response(
            &parent(),
            &live("ConfigMap", "a", Some(&mark), &["kdev", "k"])
        ));
    }
}
