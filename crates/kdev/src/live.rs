//! What the API has of the awaited workloads and their pods: all of a
//! namespace in one look, so that a look is one kubectl, and what it shows is
//! of one moment.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::cluster::Result;
use crate::cx::Cx;
use crate::pod::Pod;
use crate::process::Task;
use crate::workload;

/// How many lines of a log an error shows.
const LOG_LINES: usize = 10;
/// What a kubelet answers, as if it were the log, when the runtime has just removed the
/// container (`kubernetes/pkg/kubelet/kuberuntime/kuberuntime_container.go`).
const NO_LOG: &str = "unable to retrieve container logs for ";
/// How long a log may take to come.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a namespace held at one moment.
#[derive(Deserialize)]
pub(crate) struct Look {
    items: Vec<Value>,
}

impl Look {
    /// Everything that tells how far workloads of these kinds are.
    pub(crate) fn take<'a>(
        cx: &Cx,
        cluster: &Cluster,
        namespace: Option<&str>,
        kinds: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self> {
        let mut resources: BTreeSet<&str> =
            kinds.into_iter().filter_map(workload::resources).flat_map(|r| r.split(',')).collect();
        resources.insert("pods");
        Self::at(cx, cluster, namespace, &resources)
    }

    /// All that kubectl calls so.
    pub(crate) fn at(
        cx: &Cx,
        cluster: &Cluster,
        namespace: Option<&str>,
        resources: &BTreeSet<&str>,
    ) -> Result<Self> {
        let resources = resources.iter().copied().collect::<Vec<_>>().join(",");
        let sh = cx.shell()?;
        let cmd = cluster.cmd(&sh, namespace).args(["get", &resources, "--output=json"]);
        cluster.json(cx, cmd, "show the workloads and their pods")
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
pub(crate) fn log(
    cx: &Cx,
    cluster: &Cluster,
    namespace: Option<&str>,
    pod: &str,
    container: &str,
    previous: bool,
) -> Option<String> {
    let of = |previous: &[&str]| {
        let sh = cx.shell().ok()?;
        let tail = format!("--tail={LOG_LINES}");
        let cmd = cluster.cmd(&sh, namespace).args(["logs", pod, "--container", container, &tail]);
        let output = Task::new(cmd.args(previous)).limit(PATIENCE).read(cx).ok()?;
        let log = crate::process::child::printable(output.text().trim());
        (!log.is_empty() && !log.starts_with(NO_LOG)).then_some(log)
    };
    let before = ["--previous"];
    of(if previous { &before } else { &[] }).or_else(|| of(&before))
}
