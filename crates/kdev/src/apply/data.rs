//! Asks before data is deleted, with the objects that a deletion would delete with it.

use std::collections::BTreeMap;

use kdev_core::kube::apply_order::{self, DeletionPhase};
use kdev_core::kube::applyset::{Member, Parent};
use kdev_core::kube::deletion;
use kdev_core::kube::object::text;
use kdev_core::text::{join, pluralize};
use serde_json::Value;

use crate::apply::error::{Error, Result};
use crate::apply::lookup;
use crate::cluster::{Cluster, KUBECTL_TIMEOUT};
use crate::cx::Cx;
use crate::process::Command;

/// Asks the user before these objects are deleted, if they hold data. Without a terminal, the
/// user must have confirmed it with a flag.
pub(crate) fn confirm(
    cx: &Cx,
    cluster: &Cluster,
    parent: &Parent,
    objects: &BTreeMap<Member, Value>,
    is_confirmed: bool,
) -> Result<()> {
    let must_stay = |((_, id), live): &(&Member, &Value)| deletion::must_stay(id, live);
    let data: Vec<_> = objects.iter().filter(must_stay).collect();
    if data.is_empty() || is_confirmed || cx.is_dry_run() {
        return Ok(());
    }
    let mut described = Vec::new();
    for ((_, id), live) in data {
        let contents = match apply_order::deletion_phase(id) {
            DeletionPhase::Namespaces => describe_namespace(cx, cluster, parent, live, objects)?,
            DeletionPhase::Definitions => {
                describe_definition(cx, cluster, text(live, "/metadata/name"))?
            }
            _ if deletion::deletes_claims(live) => " with its volume claims".to_owned(),
            _ => describe_volume(live),
        };
        described.push(format!("`{id}`{contents}"));
    }
    let described = join(&described);
    let answer = cx.confirm(&format!("Delete {described}?"));
    cx.check_interrupt()?;
    match answer {
        Some(true) => Ok(()),
        _ => Err(Error::DataNotConfirmed { context: cluster.context.clone(), data: described }),
    }
}

/// Returns the size of a volume or of a volume claim.
fn describe_volume(object: &Value) -> String {
    let requested = match text(object, "/spec/capacity/storage") {
        "" => text(object, "/spec/resources/requests/storage"),
        capacity => capacity,
    };
    match text(object, "/status/capacity/storage") {
        "" if requested.is_empty() => String::new(),
        "" => format!(" with {requested}"),
        capacity => format!(" with {capacity}"),
    }
}

/// Counts the custom resources of a definition.
fn describe_definition(cx: &Cx, cluster: &Cluster, name: &str) -> Result<String> {
    let sh = cx.shell()?;
    let cmd = cluster.cmd(&sh, None).args(["get", name, "--all-namespaces", "--output=name"]);
    let output = Command::new(cmd).timeout(KUBECTL_TIMEOUT).output(cx);
    let output = output.map_err(|f| cluster.request_error(f, "list custom resources"))?;
    if !output.status.success() {
        return Ok(" with an unknown number of custom resources".to_owned());
    }
    let number = output.text().lines().count() as u64;
    Ok(format!(" with {}", pluralize(number, "custom resource")))
}

/// Counts the objects in a namespace that are not among the deleted ones.
fn describe_namespace(
    cx: &Cx,
    cluster: &Cluster,
    parent: &Parent,
    live: &Value,
    deleted: &BTreeMap<Member, Value>,
) -> Result<String> {
    let namespace = text(live, "/metadata/name");
    let own = deleted.keys().filter(|(place, _)| place == namespace);
    let own = own.map(|(_, id)| id.as_str()).collect();
    let (kinds, has_all_kinds) = lookup::namespaced_kinds(cx, cluster)?;
    let sh = cx.shell()?;
    let columns = format!("--output={}", deletion::COLUMNS);
    let cmd = cluster.cmd(&sh, Some(namespace)).args(["get", &kinds.join(",")]);
    let cmd = cmd.args(["--ignore-not-found", &columns]);
    let output = Command::new(cmd).timeout(KUBECTL_TIMEOUT).output(cx);
    let rows = output.map_err(|f| cluster.request_error(f, "list the objects of a namespace"))?;
    // Some kinds can be forbidden, or their server unreachable.
    let is_complete = has_all_kinds && rows.status.success();
    let counts = deletion::count_others(&rows.text(), &own, parent);
    Ok(match (counts.is_empty(), is_complete) {
        (true, true) => " without objects of others".to_owned(),
        (true, false) => " with an unknown number of objects of others".to_owned(),
        (false, true) => format!(" with {} of others", deletion::format_counts(&counts)),
        (false, false) => {
            format!(" with at least {} of others", deletion::format_counts(&counts))
        }
    })
}
