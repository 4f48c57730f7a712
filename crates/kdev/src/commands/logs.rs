//! `cargo kdev logs`: shows the logs of the containers that run the project's image.

use std::time::Duration;

use kdev_core::kube::ancestry::PodQuery;
use kdev_core::kube::object::text;
use kdev_core::log::run::{LogState, log_states};
use serde_json::Value;

use crate::cluster::kubeconfig::ClusterTarget;
use crate::commands::live_pods::{LiveProject, PodFilter};
use crate::config::ConfigLayer;
use crate::cx::Cx;
use crate::error::Result;
use crate::event::Event;
use crate::logs::{self, Follow, LogBatch, Range};
use crate::project::PackageSelection;

/// The options of [`logs()`].
#[derive(Clone, Debug, Default)]
pub struct LogsRequest {
    /// The packages.
    pub selection: PackageSelection,
    /// The cluster.
    pub target: ClusterTarget,
    /// `NAME` of a pod or workload, or `KIND/NAME`; `None` for all pods that run the project's
    /// image.
    pub query: Option<String>,
    /// The container, instead of those that run the project's image.
    pub container: Option<String>,
    /// Follow the logs until interrupted.
    pub follow: bool,
    /// Only lines that are not older than this.
    pub since: Option<Duration>,
    /// Only this number of lines at the end of each log.
    pub tail: Option<u64>,
    /// The previous run of each container.
    pub previous: bool,
    /// Settings from flags and environment variables.
    pub flags: ConfigLayer,
}

/// Passes the lines of the logs to `show`. Read-only, so no context needs permission.
pub fn logs(cx: &Cx, request: &LogsRequest, show: &(dyn Fn(&LogBatch) + Sync)) -> Result<()> {
    let project = LiveProject::read(cx, &request.selection, &request.target, &request.flags)?;
    let query = request.query.as_deref();
    let parsed = query.and_then(PodQuery::parse);
    let items = project.fetch(cx, parsed.as_slice())?;
    let target = match query {
        Some(text) => {
            let found = project.find(cx, text, parsed.as_ref(), &items)?;
            Some(PodFilter::new(&project.cluster, found, &items))
        }
        None => None,
    };
    let selection =
        Selection { cx, project: &project, target, container: request.container.clone() };
    let pods = selection.pods(&items)?;
    selection.check_container(&pods)?;
    if pods.is_empty() {
        selection.report_no_pods(&items, request.follow)?;
    }
    let select = |pod: &Value| selection.containers(pod);
    let LogsRequest { since, tail, previous, .. } = *request;
    let range = Range { since, tail, previous };
    if !request.follow {
        return Ok(logs::read(cx, &project.cluster, &pods, &select, range, show)?);
    }
    let namespaces = selection.namespaces();
    let follow = Follow {
        namespaces: &namespaces,
        select: &select,
        range,
        ends_with_pods: selection.is_single_pod(),
    };
    Ok(logs::follow(cx, &project.cluster, pods, follow, show)?)
}

/// Follows the logs of all containers that run the project's image, until interrupted. `since` applies
/// to the pods that exist at the start.
pub(crate) fn follow_project(
    cx: &Cx,
    project: &LiveProject,
    since: Duration,
    show: &(dyn Fn(&LogBatch) + Sync),
) -> Result<()> {
    let selection = Selection { cx, project, target: None, container: None };
    let pods = selection.pods(&project.fetch(cx, &[])?)?;
    let select = |pod: &Value| selection.containers(pod);
    let range = Range { since: Some(since), ..Range::default() };
    let namespaces = &project.namespaces;
    let follow = Follow { namespaces, select: &select, range, ends_with_pods: false };
    Ok(logs::follow(cx, &project.cluster, pods, follow, show)?)
}

/// The oldest pod comes first.
fn age_key(pod: &Value) -> (&str, &str) {
    (text(pod, "/metadata/creationTimestamp"), text(pod, "/metadata/name"))
}

/// Which containers are shown.
struct Selection<'a> {
    cx: &'a Cx<'a>,
    project: &'a LiveProject,
    /// The pod or workload; `None` for all pods that run the project's image.
    target: Option<PodFilter>,
    container: Option<String>,
}

impl Selection<'_> {
    fn includes(&self, pod: &Value) -> logs::Result<bool> {
        match &self.target {
            Some(target) => Ok(target.matches(self.cx, pod)?),
            None => Ok(log_states(pod).iter().any(|state| self.is_own(state))),
        }
    }

    /// Returns the pods whose logs are shown, the oldest first.
    fn pods(&self, items: &[Value]) -> logs::Result<Vec<Value>> {
        let mut pods = Vec::new();
        for pod in items.iter().filter(|item| item["kind"] == "Pod") {
            if self.includes(pod)? {
                pods.push(pod.clone());
            }
        }
        pods.sort_by(|a, b| age_key(a).cmp(&age_key(b)));
        Ok(pods)
    }

    fn is_own(&self, state: &LogState) -> bool {
        self.project.is_own_image(&state.image)
    }

    /// Returns the named container, or those with the project's image. A pod that was named but
    /// does not run this image is shown completely.
    fn containers(&self, pod: &Value) -> logs::Result<Vec<String>> {
        if !self.includes(pod)? {
            return Ok(Vec::new());
        }
        let states = log_states(pod);
        let has_own = states.iter().any(|state| self.is_own(state));
        let is_selected = |state: &LogState| match &self.container {
            Some(name) => state.name == *name,
            None => !has_own || self.is_own(state),
        };
        Ok(states.into_iter().filter(is_selected).map(|state| state.name).collect())
    }

    /// Returns an error if no pod has the container that was named.
    fn check_container(&self, pods: &[Value]) -> logs::Result<()> {
        let Some(container) = &self.container else { return Ok(()) };
        let mut known: Vec<String> = Vec::new();
        for state in pods.iter().flat_map(log_states) {
            if !known.contains(&state.name) {
                known.push(state.name);
            }
        }
        if pods.is_empty() || known.contains(container) {
            return Ok(());
        }
        let (container, pods) = (container.clone(), logs::describe(pods));
        Err(logs::Error::ContainerNotFound { container, pods, known })
    }

    /// Reports that no pod was found. Following waits for one if its workload exists.
    fn report_no_pods(&self, items: &[Value], follow: bool) -> Result<()> {
        if self.target.is_none() {
            self.project.require_applied(self.cx, items)?;
        }
        let text = match &self.target {
            Some(target) => format!("{} has no pods", target.id),
            None if self.project.configs.len() > 1 => {
                "no pod runs an image of the packages".to_owned()
            }
            None => "no pod runs the image of the project".to_owned(),
        };
        let text = if follow {
            format!("{text}; waiting for one")
        } else {
            format!("{text}; run `cargo kdev status{}` to see the workloads", self.project.flags)
        };
        self.cx.emit(Event::Note { text });
        Ok(())
    }

    fn namespaces(&self) -> Vec<String> {
        match &self.target {
            Some(target) => vec![target.namespace.clone()],
            None => self.project.namespaces.clone(),
        }
    }

    fn is_single_pod(&self) -> bool {
        self.target.as_ref().is_some_and(|target| target.id.starts_with("pod/"))
    }
}
