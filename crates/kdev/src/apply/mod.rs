//! Applies the rendered manifests. This requires the proof that every node has the image.
//!
//! - `completed_jobs.rs`: Jobs that have completed and were deleted
//! - `contested.rs`: fields of objects that other projects apply, too
//! - `data.rs`: asks before data is deleted
//! - `delete.rs`: deletes objects in order, and keeps those that hold data
//! - `diff.rs`: the objects in the output of `kubectl diff`
//! - `finalizers.rs`: explains a deletion that does not end
//! - `lookup.rs`: gets objects, some of an unknown kind
//! - `members.rs`: members of an apply set and their labels
//! - `origin.rs`: marks objects that kdev has not created
//! - `prune.rs`: finds and deletes objects that are no longer in the manifests
//! - `record.rs`: the record of an apply set
//! - `restart.rs`: restarts workloads that read a changed ConfigMap or Secret
//! - `server_side.rs`: one server-side apply, with its conflicts
//! - `sharing.rs`: objects that several apply sets contain
//! - `takeover.rs`: apply sets that the same project has recorded under another identity

pub(crate) mod completed_jobs;
mod contested;
pub(crate) mod data;
pub(crate) mod delete;
mod diff;
mod error;
mod finalizers;
mod lookup;
pub(crate) mod members;
pub(crate) mod origin;
pub(crate) mod prune;
pub(crate) mod record;
mod restart;
pub(crate) mod server_side;
pub(crate) mod sharing;
mod takeover;

use std::collections::BTreeSet;

use kdev_core::kube::apply_order::{self, Phase};
use kdev_core::kube::applyset::{self, Member, Parent, Set};
use kdev_core::kube::owner::Owner;
use kdev_manifest::expected::{self, ExpectedWorkload};
use kdev_manifest::{documents, objects};
use serde_json::Value;

use crate::apply::diff::Differences;
use crate::apply::prune::PrunePlan;
use crate::apply::server_side::{ApplyOptions, NamespaceApply};
use crate::apply::sharing::Applier;
use crate::cluster::Cluster;
use crate::cx::Cx;
use crate::event::Event;
use crate::load::Loaded;
use crate::process::Failure;

pub(crate) use completed_jobs::JobRecord;
pub use error::Error;
pub(crate) use error::Result;

/// Rendered manifests: the documents of each namespace, in the order in which they are applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rendered(Vec<(Option<String>, Vec<String>)>);

/// The documents of one namespace, with their phases.
type Group = (Option<String>, Vec<(Phase, String)>);

impl Rendered {
    /// Groups the documents by namespace, because one `kubectl` only accepts objects of one
    /// namespace, and sorts them by the phase in which they are applied.
    pub(crate) fn new(texts: &[String]) -> Self {
        let mut groups: Vec<Group> = Vec::new();
        let documents = texts.iter().flat_map(|text| documents::split(text));
        for (phase, document) in documents.flat_map(split_list) {
            let namespace = objects::namespace(&document);
            match groups.iter_mut().find(|(known, _)| *known == namespace) {
                Some((_, documents)) => documents.push((phase, document)),
                None => groups.push((namespace, vec![(phase, document)])),
            }
        }
        for (_, documents) in &mut groups {
            documents.sort_by_key(|(phase, _)| *phase);
        }
        groups.sort_by_key(|(_, documents)| documents[0].0 != Phase::Definitions);
        // Cluster-scoped webhooks come after the workloads of other namespaces.
        if groups.last().is_some_and(|(namespace, _)| namespace.is_some())
            && let Some((_, documents)) = groups.iter_mut().find(|(known, _)| known.is_none())
        {
            let first = documents.partition_point(|(phase, _)| *phase < Phase::Admission);
            let admission = documents.split_off(first);
            groups.push((None, admission));
        }
        groups.retain(|(_, documents)| !documents.is_empty());
        let without_phase = |documents: Vec<(Phase, String)>| {
            documents.into_iter().map(|(_, document)| document).collect()
        };
        Self(groups.into_iter().map(|(name, group)| (name, without_phase(group))).collect())
    }

    fn documents(&mut self, namespace: Option<String>) -> &mut Vec<String> {
        let known = self.0.iter().position(|(name, _)| *name == namespace);
        let at = known.unwrap_or_else(|| {
            self.0.push((namespace, Vec::new()));
            self.0.len() - 1
        });
        &mut self.0[at].1
    }
}

/// Returns the phase of a document. The items of a list are separate documents, because
/// they can be in different phases and namespaces.
fn split_list(document: &str) -> Vec<(Phase, String)> {
    let objects = expected::objects_in(document);
    // In a list of one kind, such as `DeploymentList`, the items may omit it.
    let is_complete =
        |object: &Value| object["kind"].is_string() && object["apiVersion"].is_string();
    if objects.len() > 1 && objects.iter().all(is_complete) {
        return objects.iter().map(|item| (apply_order::phase(item), item.to_string())).collect();
    }
    let phase = objects.iter().map(apply_order::phase).min().unwrap_or(Phase::Others);
    vec![(phase, document.to_owned())]
}

/// The result of `kubectl diff` for rendered manifests, before the apply.
pub(crate) struct DiffResult {
    set: Set,
    namespaces: Vec<NamespaceDocuments>,
    owner: Owner,
}

/// The result of an apply.
pub(crate) struct Applied {
    /// The applied objects.
    pub(crate) members: Vec<Member>,
    /// The applied Jobs, as the API server has returned them.
    pub(crate) live_jobs: Vec<Value>,
    pub(crate) jobs: JobRecord,
}

/// The documents of one namespace, and those of them that differ from the cluster.
struct NamespaceDocuments {
    namespace: Option<String>,
    documents: Vec<String>,
    differences: Result<Differences, Failure>,
}

impl DiffResult {
    /// Finds the documents that differ from the cluster. This needs the image's name, but not
    /// the image.
    pub(crate) fn fetch(
        cx: &Cx,
        cluster: &Cluster,
        owner: &Owner,
        mut rendered: Rendered,
    ) -> Result<Self> {
        let parent = Parent::new(&owner.package, &cluster.namespace, &owner.identity);
        let documents = rendered.0.iter().flat_map(|(_, documents)| documents);
        let objects = documents.flat_map(|document| expected::objects_in(document));
        let mut set = Set::from_objects(parent, objects);
        set.manifests.clone_from(&owner.manifests);
        if !cx.is_dry_run() {
            // The apply set is part of the same diff, but is written last.
            rendered.documents(None).push(set.document());
        }
        let mut namespaces = Vec::new();
        for (namespace, documents) in rendered.0 {
            let stream = NamespaceApply {
                cx,
                cluster,
                namespace: namespace.as_deref(),
                documents: &documents,
                options: ApplyOptions::default(),
                ours: Applier { owner, parent: &set.parent },
                shell: cx.shell()?,
            };
            let differences =
                if cx.is_dry_run() { Ok(Differences::default()) } else { stream.diff() };
            namespaces.push(NamespaceDocuments { namespace, documents, differences });
        }
        Ok(Self { set, namespaces, owner: owner.clone() })
    }

    /// Applies the documents that differ. `_loaded` proves that the image is on every node.
    pub(crate) fn apply(
        self,
        cx: &Cx,
        cluster: &Cluster,
        expected: &[ExpectedWorkload],
        options: ApplyOptions,
        _loaded: &Loaded,
    ) -> Result<Applied> {
        let Self { set, namespaces, owner } = self;
        let inventory = set.document();
        let ours = Applier { owner: &owner, parent: &set.parent };
        if !options.force_conflicts {
            let compared = namespaces.iter().filter_map(|one| one.differences.as_ref().ok());
            let compared = compared.flat_map(|differences| &differences.objects);
            contested::check(cx, cluster, ours, compared)?;
        }
        let (mut changes, mut objects, mut deleted) = (Vec::new(), Vec::new(), Vec::new());
        for NamespaceDocuments { namespace, documents, differences } in &namespaces {
            let namespace = namespace.as_deref();
            let shell = cx.shell()?;
            let stream = NamespaceApply { cx, cluster, namespace, documents, options, ours, shell };
            if cx.is_dry_run() {
                changes.push((Vec::new(), stream));
                continue;
            }
            let (Differences { objects: compared, changed }, old) =
                stream.find_changes(differences.clone())?;
            objects.extend(compared);
            deleted.extend(old);
            changes.push((changed, stream));
        }
        if !options.force_conflicts {
            // An immutable object that was deleted makes the first diff fail.
            contested::check(cx, cluster, ours, objects.iter())?;
        }
        contested::note_changes(cx, cluster, ours, objects.iter())?;
        let is_inventory = |document: &String| *document == inventory;
        let set_differs = changes.iter().any(|(changed, _)| changed.iter().any(is_inventory));
        for (changed, _) in &mut changes {
            changed.retain(|document| !is_inventory(document));
        }
        let documents = namespaces.iter().flat_map(|one| &one.documents);
        let mut jobs = JobRecord::read(&set, documents, &objects);
        for (changed, _) in &mut changes {
            jobs.remove_deleted(cx, changed, &objects);
        }
        let set_differs = set_differs || cx.is_dry_run();
        let plan = PrunePlan::new(cx, cluster, &owner, &set, &objects, set_differs)?;
        plan.confirm(options)?;
        let mut applied = Vec::new();
        if plan.creates_namespace(&set) {
            applied.extend(apply_namespace(&mut changes, &set.parent.namespace)?);
        }
        plan.begin(&set)?;
        plan.mark_existing(&set)?;
        if cx.is_dry_run() {
            for (_, stream) in &changes {
                stream.show();
            }
            plan.finish(set, &[], &[], options)?;
            return Ok(Applied { members: Vec::new(), live_jobs: Vec::new(), jobs });
        }
        for (changed, stream) in &changes {
            applied.extend(stream.apply_in_order(changed)?);
        }
        report_applied(cx, cluster, &applied, expected);
        origin::mark_created_by_others(cx, cluster, &set.parent, &applied)?;
        let mut members: Vec<Member> = applied.iter().map(applyset::member(&set.parent)).collect();
        members.extend(restart::restart_readers(cx, cluster, &objects, options.restart)?);
        // Also if the set is unchanged, because recreated objects have lost the labels.
        plan.finish(set, &deleted, &applied, options)?;
        let live_jobs = applied.into_iter().filter(|object| object["kind"] == "Job").collect();
        Ok(Applied { members, live_jobs, jobs })
    }
}

/// Applies the Namespace of the apply set's record before the other documents.
fn apply_namespace(
    changes: &mut [(Vec<String>, NamespaceApply)],
    name: &str,
) -> Result<Vec<Value>> {
    let is_namespace = |document: &String| {
        let objects = expected::objects_in(document);
        objects.iter().any(|object| applyset::id(object) == format!("namespace/{name}"))
    };
    let mut applied = Vec::new();
    for (changed, stream) in changes {
        let (first, others): (Vec<String>, Vec<String>) =
            std::mem::take(changed).into_iter().partition(is_namespace);
        *changed = others;
        applied.extend(stream.apply(&first)?);
    }
    Ok(applied)
}

/// Reports the applied objects, and fields that differ from what was applied.
fn report_applied(cx: &Cx, cluster: &Cluster, applied: &[Value], workloads: &[ExpectedWorkload]) {
    let context = cluster.context.clone();
    cx.emit(if applied.is_empty() {
        Event::Unchanged { context }
    } else {
        let namespace =
            |object: &Value| object["metadata"]["namespace"].as_str().map(str::to_owned);
        let namespaces: BTreeSet<String> = applied.iter().filter_map(namespace).collect();
        let namespaces = namespaces.into_iter().collect();
        Event::Applied { objects: applied.iter().map(applyset::id).collect(), context, namespaces }
    });
    for live in applied {
        let changes = expected::find(workloads, live).map(|workload| workload.drift(live));
        if let Some(changes) = changes.filter(|changes| !changes.is_empty()) {
            let reason = expected::describe(&changes, live["kind"] == "Pod");
            let text = format!("{} differs from what was applied: {reason}", applyset::id(live));
            cx.emit(Event::Note { text });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::server_side::yaml_stream;

    #[test]
    fn needed_documents_come_first() {
        let named =
            |kind: &str, namespace: &str| format!("kind: {kind}\nmetadata: {{{namespace}}}");
        let texts = [
            named("Deployment", "namespace: n"),
            named("Widget", ""),
            "kind: List\nitems:\n- {apiVersion: v1, kind: Pod}\n- {apiVersion: v1, kind: Secret, metadata: {namespace: n}}".to_owned(),
            "kind: DeploymentList\nitems: [{metadata: {name: a}}, {metadata: {name: b}}]".to_owned(),
            named("Namespace", ""),
            named("ConfigMap", "namespace: n"),
            named("ValidatingWebhookConfiguration", ""),
        ];
        let kinds = |documents: Vec<String>| {
            let read = |text: &String| serde_yaml::from_str::<Value>(text).unwrap();
            let kind = |text: &String| read(text)["kind"].as_str().unwrap().to_owned();
            documents.iter().map(kind).collect::<Vec<_>>().join(" ")
        };
        let order: Vec<_> = Rendered::new(&texts)
            .0
            .into_iter()
            .map(|(n, documents)| (n, kinds(documents)))
            .collect();
        let expected = [
            (None, "Namespace Widget Pod DeploymentList".to_owned()),
            (Some("n".to_owned()), "Secret ConfigMap Deployment".to_owned()),
            (None, "ValidatingWebhookConfiguration".to_owned()),
        ];
        assert_eq!(order, expected);
    }

    #[test]
    fn documents_are_grouped_by_namespace() {
        let texts = [
            "a: 1".to_owned(),
            "\u{feff}kind: A\nmetadata: {namespace: n}\n--- # two\nb: 2\n".into(),
            "{\"kind\": \"B\", \"metadata\": {\"namespace\": \"n\"}}".into(),
        ];
        let expected = [
            (None, "---\na: 1\n---\nb: 2\n".to_owned()),
            (Some("n".to_owned()), "---\nkind: A\nmetadata: {namespace: n}\n---\n{\"kind\": \"B\", \"metadata\": {\"namespace\": \"n\"}}\n".into()),
        ];
        let streams: Vec<_> =
            Rendered::new(&texts).0.into_iter().map(|(n, d)| (n, yaml_stream(&d))).collect();
        assert_eq!(streams, expected);
    }
}
