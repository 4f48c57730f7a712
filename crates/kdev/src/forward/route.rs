//! To which pod new connections go.

use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::Sender;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::forward::message::Message;

/// How long to wait before the next attempt to connect to a child that may have ended.
const CONNECT_PAUSE: Duration = Duration::from_millis(20);
/// How long a child may take to end after it has closed a connection without a response.
const END_GRACE_PERIOD: Duration = Duration::from_millis(500);

/// The current target of new connections, for the threads of connections.
pub(crate) struct Route {
    /// The index of the forwarded port.
    pub(crate) index: usize,
    target: Mutex<Option<Target>>,
    changed: Condvar,
    messages: Sender<Message>,
}

/// A child that forwards to a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The UID of the pod.
    pub(crate) pod: String,
    /// The address on which the child listens.
    pub(crate) address: SocketAddr,
}

/// A connection to a pod, which is counted until it is dropped.
pub(crate) struct Upstream<'a> {
    route: &'a Route,
    pub(crate) target: Target,
    pub(crate) stream: TcpStream,
}

impl Route {
    pub(crate) fn new(index: usize, messages: Sender<Message>) -> Self {
        Self { index, target: Mutex::new(None), changed: Condvar::new(), messages }
    }

    /// Sends new connections to another target; `None` makes them wait.
    pub(crate) fn set(&self, target: Option<Target>) {
        *self.lock() = target;
        self.changed.notify_all();
    }

    /// Connects to the current target, and waits for one until the deadline.
    pub(crate) fn connect(&self, deadline: Instant) -> Option<Upstream<'_>> {
        loop {
            let target = self.wait_while(deadline, Option::is_none)?;
            if let Ok(stream) = TcpStream::connect(target.address) {
                self.send(Message::Opened { index: self.index, pod: target.pod.clone() });
                return Some(Upstream { route: self, target, stream });
            }
            // The child has ended, which will be noticed soon.
            let now = Instant::now();
            if now >= deadline {
                return None;
            }
            let pause = deadline.min(now + CONNECT_PAUSE);
            self.wait_while(pause, |current| *current == Some(target.clone()));
        }
    }

    /// Returns whether the target is no longer used, or stops to be soon.
    pub(crate) fn has_left(&self, target: &Target) -> bool {
        let deadline = Instant::now() + END_GRACE_PERIOD;
        let is_same = |current: &Option<Target>| current.as_ref() == Some(target);
        let guard = self.lock();
        let waited = self.changed.wait_timeout_while(
            guard,
            deadline.saturating_duration_since(Instant::now()),
            |current| is_same(current),
        );
        !is_same(&waited.unwrap_or_else(PoisonError::into_inner).0)
    }

    /// Reports that a connection was closed because no pod was ready.
    pub(crate) fn report_timeout(&self) {
        self.send(Message::TimedOut { index: self.index });
    }

    /// Waits while the condition holds, until the deadline, and returns the target.
    fn wait_while(
        &self,
        deadline: Instant,
        condition: impl Fn(&Option<Target>) -> bool,
    ) -> Option<Target> {
        let rest = deadline.saturating_duration_since(Instant::now());
        let waited =
            self.changed.wait_timeout_while(self.lock(), rest, |current| condition(current));
        waited.unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    fn send(&self, message: Message) {
        // At the end, nothing receives messages.
        let _ = self.messages.send(message);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Target>> {
        self.target.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Upstream<'_> {
    fn drop(&mut self) {
        let pod = self.target.pod.clone();
        self.route.send(Message::Closed { index: self.route.index, pod });
    }
}
