//! Fetches workloads and pods of a namespace, and logs.
//!
//! A snapshot takes one `kubectl` for all objects, which is cheaper than several, and
//! shows them at the same moment.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use kdev_core::kube::kinds::{WorkloadKind, awaited};
use kdev_core::kube::pod::Pod;
use kdev_core::kube::workload;
use kdev_core::text::{printable, shorten_lines};
use serde::Deserialize;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::cluster::error::Result;
use crate::cx::Cx;
use crate::process::Command;

/// The number of log lines that an error shows.
const LOG_LINES: usize = 10;
/// The length of a log line in a message, in characters.
const LOG_LINE_LENGTH: usize = 500;
/// The text that a kubelet returns in place of the log if the runtime has just removed the
/// container (`kubernetes/pkg/kubelet/kuberuntime/kuberuntime_container.go`).
const LOG_UNAVAILABLE: &str = "unable to retrieve container logs for ";
/// How often a kubelet lists its containers (`genericPlegRelistPeriod`), and after how many
/// of these it has certainly noticed that a container exited.
const PLEG_RELIST_PERIOD: Duration = Duration::from_secs(1);
const MAX_LOG_RETRIES: usize = 3;
/// Limits a request for a log.
const LOG_TIMEOUT: Duration = Duration::from_secs(10);

/// The objects of a namespace at one moment.
#[derive(Deserialize)]
pub(crate) struct Snapshot {
    items: Vec<Value>,
}

impl Snapshot {
    /// Fetches all objects that show the state of workloads of these kinds.
    pub(crate) fn fetch<'a>(
        cx: &Cx,
        cluster: &Cluster,
        namespace: Option<&str>,
        kinds: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self> {
        let mut resources: BTreeSet<&str> =
            kinds.into_iter().filter_map(awaited).flat_map(WorkloadKind::resources).collect();
        resources.insert("pods");
        Self::fetch_resources(cx, cluster, namespace, &resources)
    }

    /// Fetches all objects of these resources.
    pub(crate) fn fetch_resources(
        cx: &Cx,
        cluster: &Cluster,
        namespace: Option<&str>,
        resources: &BTreeSet<&str>,
    ) -> Result<Self> {
        let resources = resources.iter().copied().collect::<Vec<_>>().join(",");
        let sh = cx.shell()?;
        let cmd = cluster.cmd(&sh, namespace).args(["get", &resources, "--output=json"]);
        cluster.get_shared_json(cx, cmd, "list workloads and pods")
    }

    /// Returns all objects.
    pub(crate) fn items(&self) -> &[Value] {
        &self.items
    }

    /// Returns a workload.
    pub(crate) fn workload(&self, kind: &str, name: &str) -> Option<&Value> {
        self.items.iter().find(|item| item["kind"] == kind && item["metadata"]["name"] == name)
    }

    /// Returns the pods that were created from the workload's current template.
    pub(crate) fn new_pods(&self, kind: &str, live: &Value) -> Vec<Pod> {
        workload::new_pods(kind, live, &self.items)
    }

    /// Returns a pod.
    pub(crate) fn pod(&self, name: &str) -> Option<&Value> {
        self.workload("Pod", name)
    }
}

/// Returns the last log lines of a crashed container: with `previous`, those of the
/// previous run, else those of the current run or, if that has none, of the previous run.
///
/// The container may have restarted since the crash was seen. Then the current run has no
/// log yet, and the crashed run is the previous one. If it has exited again since, the
/// kubelet has removed the previous run, and the current run is the one that crashed.
pub(crate) fn fetch_log(
    cx: &Cx,
    cluster: &Cluster,
    namespace: Option<&str>,
    pod: &str,
    container: &str,
    previous: bool,
) -> Option<String> {
    let read = |previous: &[&str]| {
        let sh = cx.shell().ok()?;
        let tail = format!("--tail={LOG_LINES}");
        let cmd = cluster.cmd(&sh, namespace).args(["logs", pod, "--container", container, &tail]);
        let output = Command::new(cmd.args(previous)).timeout(LOG_TIMEOUT).read(cx).ok()?;
        let log = shorten_lines(&printable(output.text().trim()), LOG_LINE_LENGTH);
        (!log.is_empty()).then_some(log)
    };
    let is_removed = |log: &String| log.starts_with(LOG_UNAVAILABLE);
    let (current_run, previous_run) = (&[][..], &["--previous"][..]);
    let runs = if previous { [previous_run, current_run] } else { [current_run, previous_run] };
    let mut log = read(runs[0]).or_else(|| read(previous_run));
    for retry in 1..=2 * MAX_LOG_RETRIES {
        if !log.as_ref().is_some_and(is_removed) || cx.interrupt().is_raised() {
            break;
        }
        if retry % 2 == 0 {
            thread::sleep(PLEG_RELIST_PERIOD);
        }
        log = read(runs[retry % 2]).or(log);
    }
    log.filter(|log| !is_removed(log))
}
