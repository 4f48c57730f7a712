//! Fields of objects that several projects apply. All of them apply as the same field manager, so
//! an apply would remove the fields of another project.

use kdev_core::kube::applyset::{self, Parent};
use kdev_core::kube::managed_fields;
use kdev_core::kube::membership::Owners;
use kdev_core::kube::owner::Owner;

use crate::apply::diff::ObjectDiff;
use crate::apply::error::{ContestedField, Error, Result};
use crate::apply::server_side::FIELD_MANAGER;
use crate::apply::sharing::OtherSets;
use crate::cluster::Cluster;
use crate::cx::Cx;

/// Fails if the apply would remove fields from objects that other projects apply, too. This makes
/// a request only if there is such an object.
pub(crate) fn check<'a>(
    cx: &Cx,
    cluster: &Cluster,
    owner: &Owner,
    ours: &Parent,
    compared: impl Iterator<Item = &'a ObjectDiff>,
) -> Result<()> {
    let removed: Vec<(&ObjectDiff, Vec<String>)> = compared
        .filter(|diff| !Owners::read(&diff.live).others(ours).is_empty())
        .map(|diff| (diff, managed_fields::removed_fields(&diff.live, &diff.merged, FIELD_MANAGER)))
        .filter(|(_, fields)| !fields.is_empty())
        .collect();
    if removed.is_empty() {
        return Ok(());
    }
    let others = OtherSets::read(cx, cluster, ours, removed.iter().map(|(diff, _)| &diff.live))?;
    let mut contested = Vec::new();
    for (diff, fields) in removed {
        let projects = others.of_other_projects(owner, ours, &diff.live);
        if projects.is_empty() {
            continue;
        }
        let contest = |field| {
            let id = applyset::id(&diff.live);
            ContestedField { id, field, projects: projects.clone() }
        };
        contested.extend(fields.into_iter().map(contest));
    }
    if contested.is_empty() {
        return Ok(());
    }
    Err(Error::contested(cluster.context.clone(), contested))
}
