//! Follows a container over restarts and lost connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kdev_core::kube::object::text;
use kdev_core::log::label::Source;
use kdev_core::log::run::Run;
use serde_json::Value;

use crate::cluster;
use crate::cluster::pods::{retry_note, wait};
use crate::cx::Interrupt;
use crate::logs::error::Result;
use crate::logs::pods::{Next, Pods};
use crate::logs::request::{Ending, LogRequest};

/// How long to wait before a log is requested again after an error or an end that is not that of
/// the container. The first repetition is immediate, because the pod may be deleted soon.
const PAUSES: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];
/// How long the end of a log may be known before the end of its container is. A kubelet answers
/// requests by its own state, so a request in this time may return the log of the next run, and the
/// end of this one would not be shown.
const STATE_DELAY: Duration = Duration::from_secs(3);
/// A connection that has lasted this long is not a failed attempt.
const STABLE_TIME: Duration = Duration::from_secs(5);
/// After this time without output, the log is requested again from a kubelet that may have
/// stopped to follow it.
const SILENCE_LIMIT: Duration = Duration::from_secs(15);
/// How often the silence is checked.
const SILENCE_INTERVAL: Duration = Duration::from_millis(200);

/// Follows a container until its pod is gone.
pub(crate) struct Stream<'a> {
    request: LogRequest<'a>,
    pods: &'a Pods,
    uid: String,
    /// The number of the run to read next; `None` for the current one.
    next_run: Option<u64>,
    /// The ID of the last run that was read to its end.
    read_run: Option<String>,
    /// The ID of the run that was requested last.
    requested_run: Option<String>,
    attempts: usize,
    has_failed: bool,
    may_stop: bool,
}

impl<'a> Stream<'a> {
    /// `may_stop` is whether the kubelet may stop to follow the log. The log of a new pod is read
    /// from its first run on.
    pub(crate) fn new(
        request: LogRequest<'a>,
        pods: &'a Pods,
        uid: &str,
        is_new: bool,
        may_stop: bool,
    ) -> Self {
        Self {
            request,
            pods,
            uid: uid.to_owned(),
            next_run: is_new.then_some(0),
            read_run: None,
            requested_run: None,
            attempts: 0,
            has_failed: false,
            may_stop,
        }
    }

    pub(crate) fn source(&self) -> &Source {
        &self.request.source
    }

    /// Shows all lines until the pod is gone or the run is interrupted.
    pub(crate) fn run(&mut self) -> Result<()> {
        loop {
            let name = self.request.source.container.clone();
            let cx = self.request.cx.clone();
            let read_run = self.read_run.as_deref();
            let run = match self.pods.wait_for_run(&cx, &self.uid, &name, read_run) {
                Next::Run(run) => run,
                Next::Interrupted => return Ok(()),
                Next::Deleted | Next::Over => break,
            };
            if self.has_failed && !self.is_same_pod()? {
                self.pods.remove(&self.uid);
                break;
            }
            self.read_earlier_runs(&run)?;
            let (shown, started) = (self.request.shown(), Instant::now());
            let ending = self.follow()?;
            if self.request.take_removed().is_some() && self.has_failed {
                // Only an end without an error shows that the log was read completely.
                self.request.expect_gap();
            }
            if cx.interrupt().is_raised() {
                return Ok(());
            }
            if self.request.shown() > shown || started.elapsed() > STABLE_TIME {
                self.attempts = 0;
            }
            match ending {
                Ending::Gone => {
                    self.pods.remove(&self.uid);
                    break;
                }
                // It was complete before the request.
                Ending::End if !run.is_running => {
                    self.request.show_rest();
                    self.has_failed = false;
                    (self.read_run, self.next_run) = (Some(run.id), Some(run.restarts + 1));
                    continue;
                }
                Ending::End if self.wait_for_end(&run) => {
                    self.has_failed = false;
                    // The next request can be one of the log of the next run.
                    self.request.keep_rest();
                    self.request.forget_rest();
                    continue;
                }
                Ending::End => {
                    self.has_failed = false;
                    self.request.read_if_restarted()?;
                    self.request.keep_rest();
                }
                Ending::Interrupted | Ending::NotStarted => self.has_failed = false,
                Ending::Failed(error) => {
                    let failed = format!("failed to read the log of pod `{}`", self.source().pod);
                    self.request.note(retry_note(&failed, &error));
                    self.has_failed = true;
                }
            }
            self.request.forget_rest();
            let pause = PAUSES[self.attempts.min(PAUSES.len() - 1)];
            self.attempts += 1;
            self.pods.wait_for_change(&cx, &self.uid, &name, &run, pause);
        }
        self.end();
        Ok(())
    }

    /// Waits until the state of the container confirms the end of its log. Returns whether it does:
    /// otherwise the connection has ended, or the pod is being deleted.
    fn wait_for_end(&self, run: &Run) -> bool {
        let (cx, name) = (&self.request.cx, &self.source().container);
        self.pods.wait_for_end(cx, &self.uid, name, run, STATE_DELAY)
    }

    /// Shows the end of the last run.
    fn end(&mut self) {
        self.request.show_rest();
        if self.has_failed {
            self.request.expect_gap();
        }
        self.request.report_gap();
    }

    /// Reads the end of the run before this one, if it was not read to its end. The kubelet keeps
    /// only one.
    fn read_earlier_runs(&mut self, run: &Run) -> Result<()> {
        let next = self.next_run.unwrap_or(run.restarts);
        if run.restarts > next {
            if run.restarts > next + 1 {
                self.request.show_rest();
                self.request.expect_gap();
                self.request.expect_new_run();
            }
            match self.request.read_once(true)? {
                Ending::End => {}
                _ => self.request.expect_gap(),
            }
            self.request.expect_new_run();
        }
        if self.requested_run.as_ref().is_some_and(|requested| *requested != run.id) {
            self.request.show_rest();
            self.request.expect_new_run();
        }
        self.requested_run = Some(run.id.clone());
        self.next_run = Some(run.restarts);
        Ok(())
    }

    /// Follows the log; ends the request at a silence of a kubelet that may have stopped.
    fn follow(&mut self) -> Result<Ending> {
        let cx = self.request.cx.clone();
        let (pods, uid) = (self.pods, self.uid.clone());
        let flag = Arc::clone(&self.request.is_terminating);
        let update = move || flag.store(pods.is_terminating(&uid), Ordering::Relaxed);
        update();
        if !self.may_stop {
            return self.request.follow(&cx, &update);
        }
        let silence = Silence::new(cx.interrupt());
        let silent_cx = cx.with_interrupt(silence.end.clone());
        thread::scope(|scope| {
            scope.spawn(|| silence.watch());
            let ending = self.request.follow(&silent_cx, &|| {
                update();
                silence.interrupt();
            });
            silence.has_ended.store(true, Ordering::Relaxed);
            ending
        })
    }

    /// Returns whether the name still belongs to the same pod: a StatefulSet creates a new one
    /// with the same name.
    fn is_same_pod(&mut self) -> Result<bool> {
        let cx = self.request.cx.clone();
        let sh = cx.shell()?;
        let cmd = self.request.cluster.cmd(&sh, None);
        let cmd = cmd.args(["get", "pod", &self.request.source.pod, "--output=json"]);
        match self.request.cluster.get_json::<Value>(&cx, cmd, "read a pod") {
            Ok(pod) => Ok(text(&pod, "/metadata/uid") == self.uid),
            Err(cluster::Error::Rejected { source, .. })
                if source.stderr.contains("(NotFound)") =>
            {
                Ok(false)
            }
            Err(_) => {
                // The next request shows the error.
                wait(&cx, PAUSES[1]);
                Ok(true)
            }
        }
    }
}

/// Ends a request after a time without output.
struct Silence {
    end: Interrupt,
    started: Instant,
    /// The time of the last output in milliseconds.
    last: AtomicU64,
    has_ended: AtomicBool,
}

impl Silence {
    fn new(interrupt: &Interrupt) -> Self {
        let (end, started) = (interrupt.child(), Instant::now());
        Self { end, started, last: AtomicU64::new(0), has_ended: AtomicBool::new(false) }
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Records an output.
    fn interrupt(&self) {
        self.last.store(self.millis(), Ordering::Relaxed);
    }

    fn watch(&self) {
        while !self.has_ended.load(Ordering::Relaxed) {
            let silent = self.millis().saturating_sub(self.last.load(Ordering::Relaxed));
            if Duration::from_millis(silent) > SILENCE_LIMIT {
                self.end.raise();
                return;
            }
            thread::sleep(SILENCE_INTERVAL);
        }
    }
}
