//! The options of a watch, and its output.

use crate::commands::up::UpRequest;
use crate::error::Error;
use crate::logs::LogBatch;
use crate::watch::control::WatchControl;

/// The options of a watch.
#[derive(Clone, Debug, Default)]
pub struct WatchRequest {
    /// The options of each cycle.
    pub up: UpRequest,
    /// A command that `sh` runs after each cycle whose pods are ready.
    pub then: Option<String>,
    /// Delete the packages at the end, unless they were applied before the watch.
    pub down_on_exit: bool,
    /// Show the logs of the containers that run an image of the packages.
    pub logs: bool,
    /// Forward the ports of the settings or, without them, those of the first workload.
    pub forward: bool,
    /// Ports to forward instead, as `[LOCAL:]PORT[/WORKLOAD]`.
    pub ports: Vec<String>,
    /// Requests of the user during the watch.
    pub control: WatchControl,
}

/// The output of a watch, beside its events.
#[derive(Clone, Copy)]
pub struct WatchOutput<'a> {
    /// Prints the error of a cycle after which the watch continues.
    pub show_error: &'a dyn Fn(&Error),
    /// Prints lines of logs.
    pub show_log: &'a (dyn Fn(&LogBatch) + Sync),
}
