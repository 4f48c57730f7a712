//! Fields of objects that several projects apply. All of them apply as the same field manager, so
//! an apply would remove the fields of another project.

use kdev_core::kube::applyset;
use kdev_core::kube::managed_fields::{changed_fields, removed_fields};
use kdev_core::kube::membership::Owners;
use kdev_core::text::{join, list};
use serde_json::Value;

use crate::apply::diff::ObjectDiff;
use crate::apply::error::{ContestedField, Error, Result};
use crate::apply::server_side::FIELD_MANAGER;
use crate::apply::sharing::{Applier, OtherSets};
use crate::cluster::Cluster;
use crate::cx::Cx;
use crate::event::Event;

/// An object that other projects apply, too, and fields of it.
struct Shared {
    id: String,
    fields: Vec<String>,
    projects: Vec<String>,
}

/// Fails if the apply would remove fields from objects that other projects apply, too. This makes
/// a request only if there is such an object.
pub(crate) fn check<'a>(
    cx: &Cx,
    cluster: &Cluster,
    ours: Applier,
    compared: impl Iterator<Item = &'a ObjectDiff>,
) -> Result<()> {
    let mut contested = Vec::new();
    for Shared { id, fields, projects } in find(cx, cluster, ours, compared, removed_fields)? {
        let contest = |field| ContestedField { id: id.clone(), field, projects: projects.clone() };
        contested.extend(fields.into_iter().map(contest));
    }
    if contested.is_empty() {
        return Ok(());
    }
    Err(Error::contested(cluster.context.clone(), contested))
}

/// Notes values that the apply changes in objects that other projects apply, too: their next apply
/// can change them back.
pub(crate) fn note_changes<'a>(
    cx: &Cx,
    cluster: &Cluster,
    ours: Applier,
    compared: impl Iterator<Item = &'a ObjectDiff>,
) -> Result<()> {
    for Shared { id, fields, projects } in find(cx, cluster, ours, compared, changed_fields)? {
        let change = if fields.len() == 1 { "changes" } else { "change" };
        let apply = if projects.len() == 1 { "applies" } else { "apply" };
        let (fields, projects) = (list(&fields), join(&projects));
        let text = format!("{fields} of `{id}` {change}, and {projects} also {apply} the object");
        cx.emit(Event::Note { text });
    }
    Ok(())
}

/// Returns the fields that `fields_of` finds in objects that other projects apply, too.
fn find<'a>(
    cx: &Cx,
    cluster: &Cluster,
    Applier { owner, parent }: Applier,
    compared: impl Iterator<Item = &'a ObjectDiff>,
    fields_of: fn(&Value, &Value, &str) -> Vec<String>,
) -> Result<Vec<Shared>> {
    let found: Vec<(&ObjectDiff, Vec<String>)> = compared
        .filter(|diff| !Owners::read(&diff.live).others(parent).is_empty())
        .map(|diff| (diff, fields_of(&diff.live, &diff.merged, FIELD_MANAGER)))
        .filter(|(_, fields)| !fields.is_empty())
        .collect();
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let others = OtherSets::read(cx, cluster, parent, found.iter().map(|(diff, _)| &diff.live))?;
    let shared = found.into_iter().map(|(diff, fields)| Shared {
        id: applyset::id(&diff.live),
        fields,
        projects: others.of_other_projects(owner, parent, &diff.live),
    });
    Ok(shared.filter(|shared| !shared.projects.is_empty()).collect())
}
