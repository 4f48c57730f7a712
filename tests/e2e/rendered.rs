//! Compares rendered manifests with their sources, both as `kubectl create` reads them.

use std::path::Path;

use serde_json::Value;

use crate::exclusive::{Claim, Part, Permit};
use crate::kubectl as reference;
use crate::lab::{kubectl, run};

/// Returns every object of a folder as `kubectl` would create it. Without validation,
/// because the corpus contains fields that the schema does not define.
fn read_objects(folder: &Path) -> Vec<Value> {
    let create = ["create", "--dry-run=client", "--validate=false", "--output=json"];
    let list = run(kubectl("default", &create).arg("--filename").arg(folder));
    reference::objects(list.as_bytes())
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn rendered_objects_differ_only_in_image_and_policy() {
    let _permit = Permit::acquire("rendered", Claim::default().uses(Part::Controllers));
    reference::check(read_objects);
}
