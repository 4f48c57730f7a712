//! Requests of the user during a watch.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a user can ask of a running watch. Clones share the requests.
#[derive(Clone, Debug, Default)]
pub struct WatchControl {
    requests: Arc<Mutex<Requests>>,
}

#[derive(Debug, Default)]
struct Requests {
    deploys: bool,
    is_paused: bool,
    ends: bool,
    context: Option<String>,
}

impl WatchControl {
    /// Deploys all packages after the current cycle, whether inputs have changed or not.
    pub fn deploy(&self) {
        self.requests().deploys = true;
    }

    /// Stops starting cycles after changes, or starts it again. Returns whether the watch is paused
    /// now.
    pub fn toggle_pause(&self) -> bool {
        let mut requests = self.requests();
        requests.is_paused = !requests.is_paused;
        requests.is_paused
    }

    /// Makes the next interrupt end the watch without an error.
    pub fn end(&self) {
        self.requests().ends = true;
    }

    /// Returns the context of the cluster to which the watch deploys, once it is known.
    pub fn context(&self) -> Option<String> {
        self.requests().context.clone()
    }

    pub(crate) fn set_context(&self, context: Option<&str>) {
        self.requests().context = context.map(str::to_owned);
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.requests().is_paused
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.requests().ends
    }

    /// Returns whether a deployment was requested since the last call.
    pub(crate) fn take_deploy(&self) -> bool {
        std::mem::take(&mut self.requests().deploys)
    }

    fn requests(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
