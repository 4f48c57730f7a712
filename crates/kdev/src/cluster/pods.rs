//! Watches the pods of a namespace.
//!
//! A watch and not a poll: each start of `kubectl` costs as much processor time as half an hour
//! of an idle watch, and a poll would notice a pod only after its interval.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufReader;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use kdev_core::kube::object::text;
use serde::Deserialize;
use serde_json::Value;

use crate::cluster::error::{Error, Result};
use crate::cluster::{Cluster, NO_REQUEST_TIMEOUT};
use crate::cx::Cx;
use crate::event::Event;
use crate::process::Command;

/// The shortest and the longest pause before the watch is started again. The API server ends
/// each watch after some time.
const MIN_PAUSE: Duration = Duration::from_millis(200);
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// How often a pause checks for an interrupt.
const INTERRUPT_INTERVAL: Duration = Duration::from_millis(50);

/// A change of a pod.
#[derive(Deserialize)]
pub(crate) struct PodChange {
    #[serde(rename = "type")]
    kind: String,
    /// The pod.
    #[serde(rename = "object")]
    pub(crate) pod: Value,
}

impl PodChange {
    /// A pod that was listed.
    pub(crate) fn existing(pod: Value) -> Self {
        Self { kind: "ADDED".to_owned(), pod }
    }

    /// Returns whether the pod no longer exists.
    pub(crate) fn is_deletion(&self) -> bool {
        self.kind == "DELETED"
    }
}

/// Passes the pods of a namespace, and then all their changes, to `on_change`, until interrupted.
/// Pods are passed again after the connection was lost.
pub(crate) fn watch(
    cx: &Cx,
    cluster: &Cluster,
    namespace: &str,
    on_change: impl Fn(PodChange) + Sync,
) -> Result<()> {
    let mut pause = MIN_PAUSE;
    let mut last_note = String::new();
    let known = KnownPods::default();
    let on_change = |change: PodChange| {
        known.record(&change);
        on_change(change);
    };
    while !cx.interrupt().is_raised() {
        let started = Instant::now();
        let watched = known
            .find_deleted(cx, cluster, namespace)
            .map(|deleted| deleted.into_iter().for_each(&on_change))
            .and_then(|()| watch_once(cx, cluster, namespace, &on_change));
        match watched {
            Ok(()) => last_note.clear(),
            Err(_) if cx.interrupt().is_raised() => break,
            Err(error) if is_permanent(&error) => return Err(error),
            Err(error) => {
                let note = retry_note("failed to watch the pods", &error);
                // A watch that ran for a while has only lost its connection.
                if started.elapsed() < MAX_PAUSE && note != last_note {
                    cx.emit(Event::Note { text: note.clone() });
                    last_note = note;
                }
            }
        }
        pause = if started.elapsed() > MAX_PAUSE { MIN_PAUSE } else { (pause * 2).min(MAX_PAUSE) };
        wait(cx, pause);
    }
    Ok(())
}

/// The pods that a watch has passed on. A watch that is started again does not report deletions in
/// the meantime.
#[derive(Default)]
struct KnownPods(Mutex<BTreeMap<String, Value>>);

impl KnownPods {
    fn record(&self, change: &PodChange) {
        let uid = text(&change.pod, "/metadata/uid").to_owned();
        let mut pods = self.lock();
        if change.is_deletion() {
            pods.remove(&uid);
        } else {
            pods.insert(uid, change.pod.clone());
        }
    }

    /// Returns the deletions of known pods that no longer exist. Without a known pod, nothing is
    /// requested.
    fn find_deleted(&self, cx: &Cx, cluster: &Cluster, namespace: &str) -> Result<Vec<PodChange>> {
        if self.lock().is_empty() {
            return Ok(Vec::new());
        }
        let sh = cx.shell()?;
        let cmd = cluster.cmd(&sh, Some(namespace)).args(["get", "pods", "--output=json"]);
        let list: Value = cluster.get_json(cx, cmd, "list pods")?;
        let items = list["items"].as_array().into_iter().flatten();
        let existing: BTreeSet<&str> = items.map(|pod| text(pod, "/metadata/uid")).collect();
        let mut pods = self.lock().clone();
        pods.retain(|uid, _| !existing.contains(uid.as_str()));
        let deletion = |pod: Value| PodChange { kind: "DELETED".to_owned(), pod };
        Ok(pods.into_values().map(deletion).collect())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Value>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn watch_once(
    cx: &Cx,
    cluster: &Cluster,
    namespace: &str,
    on_change: &(impl Fn(PodChange) + Sync),
) -> Result<()> {
    let sh = cx.shell()?;
    let cmd = cluster.cmd(&sh, Some(namespace)).args([
        NO_REQUEST_TIMEOUT,
        "get",
        "pods",
        "--watch",
        "--output-watch-events",
        "--output=json",
    ]);
    let read = |stdout| {
        let changes = serde_json::Deserializer::from_reader(BufReader::new(stdout));
        // An incomplete document is the end of the connection.
        for change in changes.into_iter::<PodChange>().map_while(std::result::Result::ok) {
            // Errors and bookmarks are no pods.
            if !text(&change.pod, "/metadata/uid").is_empty() {
                on_change(change);
            }
        }
    };
    Command::new(cmd).read_with(cx, read).map_err(|f| cluster.request_error(f, "watch pods"))
}

/// Returns whether the same request would be rejected again.
pub(crate) fn is_permanent(error: &Error) -> bool {
    match error {
        Error::Unreachable { .. } => false,
        Error::Rejected { source, .. } => source.stderr.contains("forbidden: User "),
        _ => true,
    }
}

/// Returns the note about a request that is repeated.
pub(crate) fn retry_note(failed: &str, error: &Error) -> String {
    let Error::Rejected { source, .. } = error else { return format!("{error}; retrying") };
    let message = source.message();
    let line = message.lines().last().unwrap_or_default();
    let reason = ["error: ", "Error from server: "]
        .iter()
        .find_map(|prefix| line.strip_prefix(prefix))
        .unwrap_or(line);
    match reason {
        "" => format!("{failed}; retrying"),
        reason => format!("{failed}: {reason}; retrying"),
    }
}

/// Waits, unless interrupted.
pub(crate) fn wait(cx: &Cx, pause: Duration) {
    let started = Instant::now();
    while started.elapsed() < pause && !cx.interrupt().is_raised() {
        thread::sleep(INTERRUPT_INTERVAL.min(pause.saturating_sub(started.elapsed())));
    }
}
