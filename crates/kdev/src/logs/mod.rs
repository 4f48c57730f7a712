//! Reads and follows the logs of containers, by `kubectl logs`.
//!
//! - `lines.rs`: splits the output into lines
//! - `output.rs`: shows lines, with labels that depend on all sources
//! - `pods.rs`: the state of the pods, as far as their logs depend on it
//! - `request.rs`: one request for a log
//! - `stream.rs`: follows a container over restarts and lost connections

mod error;
mod lines;
mod output;
mod pods;
mod request;
mod stream;

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::thread;

use kdev_core::kube::object::text;
use kdev_core::log::label::Source;
use kdev_core::log::run::{LogState, log_states, may_stop_at_rotation};
use kdev_core::text::list;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::cluster::pods::{PodChange, watch};
use crate::cx::{Cx, Interrupt};
use crate::event::Event;
use crate::logs::output::Output;
use crate::logs::pods::Pods;
use crate::logs::request::{Ending, LogRequest};
use crate::logs::stream::Stream;
use crate::process::Interrupted;

pub use error::Error;
pub(crate) use error::Result;
pub(crate) use output::Show;
pub use output::{LogBatch, LogLine};
pub(crate) use request::Range;

/// Selects the names of the containers of a pod whose logs are read.
pub(crate) type Select<'a> = &'a (dyn Fn(&Value) -> Result<Vec<String>> + Sync);

/// Reads the logs of these pods, one container after the other.
pub(crate) fn read(
    cx: &Cx,
    cluster: &Cluster,
    pods: &[Value],
    select: Select,
    range: Range,
    show: Show,
) -> Result<()> {
    let sources = selected_containers(pods, select)?;
    let output = Output::new(show);
    for (source, _) in &sources {
        output.add(source);
    }
    let has_run = |state: &LogState| {
        state.run.as_ref().is_some_and(|run| !range.previous || run.restarts > 0)
    };
    if range.previous && !sources.iter().any(|(_, state)| has_run(state)) {
        return Err(Error::NoPreviousRun { pods: describe(pods) });
    }
    for (source, state) in &sources {
        if !has_run(state) {
            note_missing(cx, source, state, range);
            continue;
        }
        let mut request = LogRequest::new(cx, cluster, source, &output, range);
        let ending = request.read_once(range.previous)?;
        cx.check_interrupt()?;
        match ending {
            Ending::End | Ending::Interrupted => {
                if let Some(text) = request.take_removed() {
                    request.note(text);
                }
            }
            Ending::NotStarted => note_missing(cx, source, state, range),
            Ending::Gone => {
                let text = format!("pod `{}` was deleted in the meantime", source.pod);
                cx.emit(Event::Note { text });
            }
            Ending::Failed(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn note_missing(cx: &Cx, source: &Source, state: &LogState, range: Range) {
    let Source { pod, container, .. } = source;
    let text = if range.previous {
        format!("container `{container}` of pod `{pod}` has no previous run")
    } else if state.waiting.is_empty() {
        format!("container `{container}` of pod `{pod}` has not started")
    } else {
        format!("container `{container}` of pod `{pod}` has not started: {}", state.waiting)
    };
    cx.emit(Event::Note { text });
}

fn selected_containers(pods: &[Value], select: Select) -> Result<Vec<(Source, LogState)>> {
    let mut sources = Vec::new();
    for pod in pods {
        let names = select(pod)?;
        let states = log_states(pod).into_iter().filter(|state| names.contains(&state.name));
        sources.extend(states.map(|state| (source(pod, &state.name), state)));
    }
    Ok(sources)
}

fn source(pod: &Value, container: &str) -> Source {
    Source {
        namespace: text(pod, "/metadata/namespace").to_owned(),
        pod: text(pod, "/metadata/name").to_owned(),
        container: container.to_owned(),
    }
}

/// Describes pods in a message.
pub(crate) fn describe(pods: &[Value]) -> String {
    let names: Vec<&str> = pods.iter().map(|pod| text(pod, "/metadata/name")).collect();
    format!("{} {}", if names.len() == 1 { "pod" } else { "pods" }, list(&names))
}

/// Which logs are followed.
#[derive(Clone, Copy)]
pub(crate) struct Follow<'a> {
    pub(crate) namespaces: &'a [String],
    pub(crate) select: Select<'a>,
    /// Applies to the pods that exist at the start. New pods are read from their first line.
    pub(crate) range: Range,
    /// Ends with the last selected container.
    pub(crate) ends_with_pods: bool,
}

/// Follows the logs of the selected containers of these pods, and of all later ones, until
/// interrupted.
pub(crate) fn follow(
    cx: &Cx,
    cluster: &Cluster,
    pods: Vec<Value>,
    follow: Follow,
    show: Show,
) -> Result<()> {
    let stop = cx.interrupt().child();
    let stop_cx = cx.clone().with_interrupt(stop.clone());
    let follower = Follower {
        cx: &stop_cx,
        cluster,
        follow,
        old_kubelets: old_kubelets(cx, cluster),
        output: Output::new(show),
        pods: Pods::default(),
        started: Mutex::default(),
        active: Mutex::default(),
        error: Mutex::default(),
        stop,
    };
    thread::scope(|scope| {
        // Until all containers are counted, none of them is the last one.
        *lock(&follower.active) += 1;
        for pod in pods {
            follower.update(scope, &PodChange::existing(pod), false);
        }
        *lock(&follower.active) -= 1;
        follower.end_if_idle();
        for namespace in follow.namespaces {
            let follower = &follower;
            scope.spawn(move || {
                let on_change = |change: PodChange| follower.update(scope, &change, true);
                let watched = watch(follower.cx, cluster, namespace, on_change);
                follower.check(watched.map_err(Error::from));
            });
        }
    });
    match follower.error.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None if cx.interrupt().is_raised() => Err(Error::Process(Interrupted.into())),
        None => Ok(()),
    }
}

/// Returns the nodes whose kubelet may stop to follow a log; `None` if that is unknown, because
/// listing nodes needs a permission that `logs` does not need.
fn old_kubelets(cx: &Cx, cluster: &Cluster) -> Option<HashSet<String>> {
    let nodes = cluster.nodes(cx).ok()?;
    let is_old = |version: &str| may_stop_at_rotation(version);
    let old = nodes.into_iter().filter(|node| is_old(&node.info.kubelet_version));
    Some(old.map(|node| node.name).collect())
}

struct Follower<'a> {
    cx: &'a Cx<'a>,
    cluster: &'a Cluster,
    follow: Follow<'a>,
    old_kubelets: Option<HashSet<String>>,
    output: Output<'a>,
    pods: Pods,
    /// The containers that are followed, by the UID of the pod and the container's name.
    started: Mutex<HashSet<(String, String)>>,
    /// The number of containers that are being followed.
    active: Mutex<usize>,
    error: Mutex<Option<Error>>,
    stop: Interrupt,
}

impl<'a> Follower<'a> {
    /// Records a change of a pod, and starts to follow its containers.
    fn update<'scope>(
        &'scope self,
        scope: &'scope thread::Scope<'scope, '_>,
        change: &PodChange,
        is_new: bool,
    ) {
        let pod = &change.pod;
        let uid = text(pod, "/metadata/uid");
        self.pods.update(uid, pod, change.is_deletion());
        if change.is_deletion() {
            return;
        }
        let names = match (self.follow.select)(pod) {
            Ok(names) => names,
            Err(error) => return self.check(Err(error)),
        };
        for name in names {
            let key = (uid.to_owned(), name.clone());
            if !lock(&self.started).insert(key) {
                continue;
            }
            *lock(&self.active) += 1;
            let stream = self.stream(pod, &name, is_new);
            self.output.add(stream.source());
            scope.spawn(move || {
                let mut stream = stream;
                let result = stream.run();
                self.output.remove(stream.source());
                self.check(result);
                *lock(&self.active) -= 1;
                self.end_if_idle();
            });
        }
    }

    fn stream(&'a self, pod: &Value, container: &str, is_new: bool) -> Stream<'a> {
        let node = text(pod, "/spec/nodeName");
        let may_stop = self.old_kubelets.as_ref().is_none_or(|old| old.contains(node));
        let range = if is_new { Range::default() } else { self.follow.range };
        let source = source(pod, container);
        let request = LogRequest::new(self.cx, self.cluster, &source, &self.output, range);
        Stream::new(request, &self.pods, text(pod, "/metadata/uid"), is_new, may_stop)
    }

    /// Ends all streams after an error.
    fn check(&self, result: Result<()>) {
        if let Err(error) = result
            && !self.stop.is_raised()
        {
            lock(&self.error).get_or_insert(error);
            self.stop.raise();
        }
    }

    fn end_if_idle(&self) {
        if self.follow.ends_with_pods && *lock(&self.active) == 0 {
            self.stop.raise();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
