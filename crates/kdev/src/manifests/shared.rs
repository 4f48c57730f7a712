//! Finds workloads that run the image of another package of the workspace, and keeps the build
//! that they run.

use std::collections::BTreeSet;

use kdev_core::kube::object::format_id;
use kdev_manifest::expected::{self, ExpectedWorkload};
use kdev_manifest::objects::Object;
use kdev_manifest::shared::{self, Decision, SharedWorkload};
use serde_json::Value;

use crate::cluster::{Cluster, KUBECTL_TIMEOUT};
use crate::config::Config;
use crate::config::siblings::Sibling;
use crate::cx::Cx;
use crate::event::Event;
use crate::manifests::error::{Error, Result};
use crate::manifests::source::Manifest;
use crate::process::Command;

/// Returns the workloads with the image of another package.
pub(crate) fn shared_workloads(
    manifests: &[Manifest],
    objects: &[Object],
    config: &Config,
    siblings: &[Sibling],
) -> Vec<SharedWorkload> {
    let texts: Vec<String> = manifests.iter().map(|manifest| manifest.text.clone()).collect();
    let mut found = Vec::new();
    for Sibling { package, image } in siblings {
        for workload in expected::all(&texts, image) {
            let is_own = |object: &&Object| {
                (&object.kind, &object.name, &object.namespace)
                    == (&workload.kind, &workload.name, &workload.namespace)
            };
            let object = objects.iter().find(is_own);
            let uses_own_image = object.is_some_and(|object| object.uses(config.image.name()));
            let (package, image) = (package.clone(), image.clone());
            found.push(SharedWorkload { package, image, workload, uses_own_image });
        }
    }
    found
}

/// Reports that the images of other packages stay as they are written.
pub(crate) fn note_unchanged(cx: &Cx, shared: &[SharedWorkload]) {
    for SharedWorkload { package, workload, image, .. } in shared {
        let text = format!(
            "{} keeps image `{}` of package `{package}` as it is written; `up` uses the build that runs in the cluster",
            id(workload),
            image.familiar()
        );
        cx.emit(Event::Note { text });
    }
}

/// A decision for each workload with the image of another package.
pub(crate) struct SharedPlan<'a> {
    decisions: Vec<(&'a SharedWorkload, Decision)>,
}

impl<'a> SharedPlan<'a> {
    /// Decides, with the live objects as they are now. A dry run deploys none of the `pending`
    /// packages, but the real one would.
    pub(crate) fn fetch(
        cx: &Cx,
        cluster: &Cluster,
        all: &'a [SharedWorkload],
        pending: &[String],
    ) -> Result<Self> {
        let mut decisions = Vec::new();
        let live = if all.is_empty() { Vec::new() } else { live_objects(cx, cluster, all)? };
        for shared in all {
            let workload = &shared.workload;
            let namespace = workload.namespace.as_deref().unwrap_or(&cluster.namespace);
            let is_live = |object: &&Value| {
                object["kind"] == workload.kind.as_str()
                    && object["metadata"]["name"] == workload.name.as_str()
                    && object["metadata"]["namespace"] == namespace
            };
            let mut decision = shared.decide(live.iter().find(is_live));
            let is_pending = cx.is_dry_run() && pending.contains(&shared.package);
            if decision == Decision::NotDeployed && is_pending && !shared.uses_own_image {
                decision = Decision::LeaveOut;
            }
            if decision == Decision::NotDeployed {
                return Err(Error::SiblingNotDeployed {
                    workload: id(workload),
                    package: shared.package.clone(),
                    image: shared.image.familiar(),
                    is_mixed: shared.uses_own_image,
                });
            }
            decisions.push((shared, decision));
        }
        Ok(Self { decisions })
    }

    /// Returns the text of a manifest as it is applied.
    pub(crate) fn apply(&self, manifest: &Manifest, text: &str, config: &Config) -> Result<String> {
        let edited = shared::apply(text, &self.decisions, config.pull_policy);
        edited.map_err(|error| manifest.error(error))
    }

    /// Returns whether the object is not applied.
    pub(crate) fn is_left_out(&self, object: &Object) -> bool {
        let mut left_out = self.decisions.iter().filter(|(_, it)| *it == Decision::LeaveOut);
        left_out.any(|(shared, _)| is_same(shared, object))
    }

    /// Returns whether the object runs no image of this project, but that of another package.
    pub(crate) fn is_foreign(&self, object: &Object) -> bool {
        let mut foreign = self.decisions.iter().filter(|(shared, _)| !shared.uses_own_image);
        foreign.any(|(shared, _)| is_same(shared, object))
    }

    /// Reports the workloads that are not applied, except for those of `pending` packages, which
    /// this run deploys.
    pub(crate) fn note_left_out(&self, cx: &Cx, pending: &[String]) {
        for (shared, _) in self.decisions.iter().filter(|(_, it)| *it == Decision::LeaveOut) {
            let SharedWorkload { package, workload, image, .. } = shared;
            if pending.contains(package) {
                continue;
            }
            let text = format!(
                "{} is not applied, because image `{}` of package `{package}` is not deployed yet; run `cargo kdev up --package {package}` to deploy it, or `cargo kdev up --workspace` to deploy all services",
                id(workload),
                image.familiar()
            );
            cx.emit(Event::Note { text });
        }
    }
}

fn is_same(shared: &SharedWorkload, object: &Object) -> bool {
    shared.is(&object.kind, &object.name, object.namespace.as_deref())
}

fn id(workload: &ExpectedWorkload) -> String {
    format_id(&workload.kind, &workload.name)
}

fn live_objects(cx: &Cx, cluster: &Cluster, all: &[SharedWorkload]) -> Result<Vec<Value>> {
    let namespaces: BTreeSet<Option<&str>> =
        all.iter().map(|shared| shared.workload.namespace.as_deref()).collect();
    let mut found = Vec::new();
    for namespace in namespaces {
        let here = all.iter().filter(|shared| shared.workload.namespace.as_deref() == namespace);
        let ids: BTreeSet<String> = here.map(|shared| id(&shared.workload)).collect();
        let sh = cx.shell()?;
        let cmd = cluster.cmd(&sh, namespace).arg("get").args(&ids);
        let cmd = cmd.args(["--ignore-not-found", "--output=json"]);
        let output = Command::new(cmd).timeout(KUBECTL_TIMEOUT).read(cx);
        let action = "read the workloads of other packages";
        let output = output.map_err(|failure| cluster.request_error(failure, action))?;
        // The output is empty without an object, an object, or a list.
        let output: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        match output["items"].as_array() {
            Some(items) => found.extend(items.iter().cloned()),
            None => found.push(output),
        }
    }
    Ok(found)
}
