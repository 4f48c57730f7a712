//! Workloads that read a changed ConfigMap or Secret and do not notice it. With `--restart`,
//! they are restarted as by `kubectl rollout restart`; otherwise, they are reported.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kdev_core::kube::applyset::Member;
use kdev_core::kube::config_readers::{self, ChangedConfig, Visibility};
use kdev_core::kube::kinds;
use kdev_core::kube::object::{self, text};
use kdev_core::text::list;
use serde_json::Value;

use crate::apply::diff::ObjectDiff;
use crate::apply::error::Result;
use crate::cluster::Cluster;
use crate::cluster::snapshot::Snapshot;
use crate::cx::Cx;
use crate::event::Event;
use crate::process::Command;

/// The field manager of the annotation in the pod template. It differs from that of the
/// manifests, so that the next apply does not remove it, which would restart the pods again.
const FIELD_MANAGER: &str = "--field-manager=kdev-restart";
/// Limits `kubectl rollout restart`, which does not wait for the pods.
const RESTART_TIMEOUT: Duration = Duration::from_secs(60);

/// A changed ConfigMap or Secret with the workloads that read it.
struct Readers<'a> {
    config: ChangedConfig,
    workloads: Vec<(&'a Value, Visibility)>,
}

/// Reports or restarts the workloads whose pods read a ConfigMap or Secret that this apply has
/// changed, and returns the restarted ones. With `restart`, that includes workloads whose pods
/// are older than an earlier change.
pub(crate) fn restart_readers(
    cx: &Cx,
    cluster: &Cluster,
    objects: &[ObjectDiff],
    restart: bool,
) -> Result<Vec<Member>> {
    let workloads: Vec<&Value> = objects.iter().filter_map(unchanged_workload).collect();
    let compare = |object: &ObjectDiff| ChangedConfig::compare(&object.live, &object.merged);
    let changed =
        objects.iter().filter_map(compare).map(|config| Readers::find(config, &workloads));
    let changed: Vec<Readers> = changed.collect();
    for readers in &changed {
        readers.report(cx, cluster, |workload| !is_restartable(workload));
        if !restart {
            readers.report(cx, cluster, is_restartable);
        }
    }
    if !restart {
        return Ok(Vec::new());
    }
    let mut members: BTreeSet<Member> = changed.iter().flat_map(Readers::restartable).collect();
    let configs = objects.iter().filter(|object| compare(object).is_none());
    members.extend(outdated_readers(cx, cluster, configs, &workloads)?);
    restart_all(cx, cluster, &members)?;
    Ok(members.into_iter().collect())
}

impl<'a> Readers<'a> {
    fn find(config: ChangedConfig, workloads: &[&'a Value]) -> Self {
        let readers = workloads.iter().filter_map(|workload| {
            let visibility = config.visibility(workload)?;
            Some((*workload, visibility))
        });
        let workloads = readers.collect();
        Self { config, workloads }
    }

    fn restartable(&self) -> impl Iterator<Item = Member> {
        let workloads = self.workloads.iter().map(|(workload, _)| *workload);
        workloads.filter(|workload| is_restartable(workload)).map(member)
    }

    /// Reports the selected workloads, in one event for each visibility.
    fn report(&self, cx: &Cx, cluster: &Cluster, selects: impl Fn(&Value) -> bool) {
        let selected = self.workloads.iter().filter(|(workload, _)| selects(workload));
        for visibility in [Visibility::Restart, Visibility::Files] {
            let workloads = selected.clone().filter(|(_, known)| *known == visibility);
            let workloads: Vec<&Value> = workloads.map(|(workload, _)| *workload).collect();
            if let Some(first) = workloads.first() {
                let advice = if is_restartable(first) {
                    let them = if workloads.len() == 1 { "it" } else { "them" };
                    format!("pass `--restart` to restart {them}")
                } else {
                    let kubectl = cluster.display_command(Some(&self.config.namespace));
                    let ids: Vec<String> = workloads.iter().map(|w| object::id(w)).collect();
                    format!(
                        "run `{kubectl} delete {}`, then `cargo kdev up` to create new pods",
                        ids.join(" ")
                    )
                };
                cx.emit(self.event(&workloads, visibility, &advice));
            }
        }
    }

    fn event(&self, workloads: &[&Value], visibility: Visibility, advice: &str) -> Event {
        let (config, files) = (self.config.id(), visibility == Visibility::Files);
        let workloads: Vec<String> = workloads.iter().map(|w| object::id(w)).collect();
        let names = list(&workloads.iter().collect::<Vec<_>>());
        let text = if files {
            format!(
                "`{config}` has changed, and the kubelet updates its files in the containers of {names} within about 90 s, but most programs read them only at the start; {advice}"
            )
        } else {
            format!(
                "`{config}` has changed, but running containers of {names} keep the old values; {advice}"
            )
        };
        let namespace = self.config.namespace.clone();
        Event::ConfigChanged { config, namespace, workloads, files, text }
    }
}

/// Returns a workload that is running, and whose pods the apply does not replace.
fn unchanged_workload(object: &ObjectDiff) -> Option<&Value> {
    let ObjectDiff { live, merged } = object;
    let kind = kinds::BUILT_IN.find(text(live, "/kind")).filter(|kind| kind.runs_pods)?;
    // Each run of a CronJob reads the new values. `up` reports a paused Deployment itself.
    let is_running = kind.is_awaited
        && live["spec"]["replicas"] != 0
        && live["spec"]["paused"] != true
        && !config_readers::has_ended(live);
    let template = if kind.kind == "Pod" { "/spec" } else { "/spec/template" };
    (is_running && live.pointer(template) == merged.pointer(template)).then_some(live)
}

fn is_restartable(workload: &Value) -> bool {
    let kind = kinds::BUILT_IN.find(text(workload, "/kind"));
    kind.is_some_and(|kind| kind.has_rollout)
}

fn member(workload: &Value) -> Member {
    let namespace = text(workload, "/metadata/namespace").to_owned();
    (namespace, kdev_core::kube::applyset::id(workload))
}

/// Finds workloads with pods that are older than the last change of a ConfigMap or Secret that
/// they read.
fn outdated_readers<'a>(
    cx: &Cx,
    cluster: &Cluster,
    configs: impl Iterator<Item = &'a ObjectDiff>,
    workloads: &[&Value],
) -> Result<BTreeSet<Member>> {
    let mut changes: BTreeMap<&str, Vec<(&Value, i64)>> = BTreeMap::new();
    for config in configs {
        let Some(time) = config_readers::changed_at(&config.live) else { continue };
        let readers = Readers::find(ChangedConfig::any_key(&config.live), workloads);
        for (workload, _) in readers.workloads.iter().filter(|(w, _)| is_restartable(w)) {
            let namespace = text(workload, "/metadata/namespace");
            changes.entry(namespace).or_default().push((*workload, time));
        }
    }
    let mut found = BTreeSet::new();
    for (namespace, readers) in changes {
        let kinds = readers.iter().map(|(workload, _)| text(workload, "/kind"));
        let snapshot = Snapshot::fetch(cx, cluster, Some(namespace), kinds)?;
        let is_outdated = |(workload, time): &(&Value, i64)| {
            let kind = text(workload, "/kind");
            let live = snapshot.workload(kind, text(workload, "/metadata/name"));
            let pods = live.map(|live| snapshot.new_pods(kind, live)).unwrap_or_default();
            let mut pods = pods.iter().filter_map(|pod| snapshot.pod(&pod.metadata.name));
            pods.any(|pod| config_readers::is_older(pod, *time))
        };
        found.extend(readers.iter().filter(|reader| is_outdated(reader)).map(|(w, _)| member(w)));
    }
    Ok(found)
}

fn restart_all(cx: &Cx, cluster: &Cluster, members: &BTreeSet<Member>) -> Result<()> {
    let mut namespaces: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (namespace, id) in members {
        namespaces.entry(namespace).or_default().push(id);
    }
    for (namespace, ids) in namespaces {
        let sh = cx.shell()?;
        let cmd = cluster.cmd(&sh, Some(namespace)).args(["rollout", "restart"]).args(&ids);
        let command = Command::new(cmd.arg(FIELD_MANAGER)).timeout(RESTART_TIMEOUT);
        command.read(cx).map_err(|f| cluster.request_error(f, "restart the workloads"))?;
        let workloads = ids.into_iter().map(str::to_owned).collect();
        cx.emit(Event::Restarted { workloads, context: cluster.context.clone() });
    }
    Ok(())
}
