//! What the API has of the awaited workloads and their pods: all of a
//! namespace in one look, so that a look is one kubectl, and what it shows is
//! of one moment.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use kdev_core::kube::kinds::{WorkloadKind, awaited};
use kdev_core::kube::pod::Pod;
use kdev_core::kube::workload;
use kdev_core::text::printable;
use serde::Deserialize;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::cluster::error::Result;
use crate::cx::Cx;
use crate::process::Command;

/// How many lines of a log an error shows.
const LOG_LINES: usize = 10;
/// What a kubelet answers, as if it were the log, when the runtime has just removed the
/// container (`kubernetes/pkg/kubelet/kuberuntime/kuberuntime_container.go`).
const LOG_UNAVAILABLE: &str = "unable to retrieve container logs for ";
/// How often a kubelet looks at its containers (`genericPlegRelistPeriod`), and after
/// how many looks it has taken notice of an end.
const PLEG_RELIST_PERIOD: Duration = Duration::from_secs(1);
const MAX_LOG_RETRIES: usize = 3;
/// How long a log may take to come.
const LOG_TIMEOUT: Duration = Duration::from_secs(10);

/// What a namespace held at one moment.
#[derive(Deserialize)]
pub(crate) struct Snapshot {
    items: Vec<Value>,
}

impl Snapshot {
    /// Everything that tells how far workloads of these kinds are.
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

    /// All that kubectl calls so.
    pub(crate) fn fetch_resources(
        cx: &Cx,
        cluster: &Cluster,
        namespace: Option<&str>,
        resources: &BTreeSet<&str>,
    ) -> Result<Self> {
        let resources = resources.iter().copied().collect::<Vec<_>>().join(",");
        let sh = cx.shell()?;
        let cmd = cluster.cmd(&sh, namespace).args(["get", &resources, "--output=json"]);
        cluster.get_json(cx, cmd, "show the workloads and their pods")
    }

    /// All of it.
    pub(crate) fn items(&self) -> &[Value] {
        &self.items
    }

    /// A workload as it is.
    pub(crate) fn workload(&self, kind: &str, name: &str) -> Option<&Value> {
        self.items.iter().find(|item| item["kind"] == kind && item["metadata"]["name"] == name)
    }

    /// The pods that are made from its present template.
    pub(crate) fn new_pods(&self, kind: &str, live: &Value) -> Vec<Pod> {
        workload::new_pods(kind, live, &self.items)
    }

    /// A pod as the API has it.
    pub(crate) fn pod(&self, name: &str) -> Option<&Value> {
        self.workload("Pod", name)
    }
}

/// The end of the log of a container that has crashed: with `previous`, of the run
/// before the present one; else of its present run, or of its last one.
///
/// The container may be started again between the look that showed the crash and this
/// one: the present run has no log yet then, and the run that crashed is the one before.
/// It may also have ended once more: the kubelet then looks for a run that the runtime
/// has removed, until it has taken notice of the end.
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
        let log = printable(output.text().trim());
        (!log.is_empty()).then_some(log)
    };
    let is_removed = |log: &String| log.starts_with(LOG_UNAVAILABLE);
    let before = &["--previous"][..];
    let mut log = read(if previous { before } else { &[] }).or_else(|| read(before));
    for _ in 0..MAX_LOG_RETRIES {
        if !log.as_ref().is_some_and(is_removed) || cx.interrupt().is_raised() {
            break;
        }
        thread::sleep(PLEG_RELIST_PERIOD);
        log = read(before);
    }
    log.filter(|log| !is_removed(log))
}
