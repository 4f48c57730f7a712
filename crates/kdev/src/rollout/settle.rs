//! Waits while containers without a readiness probe run.

use std::time::{Duration, Instant};

use kdev_core::kube::settle::Runs;

/// Measures how long the same containers have run without a restart. The time begins when
/// kdev first sees all of them run, because the clocks of the nodes may differ.
#[derive(Default)]
pub(crate) struct SettleTimer {
    current: Option<(Instant, Runs)>,
}

/// Whether the containers of a ready workload have run long enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    Yes,
    /// The time has just begun.
    Begun,
    NotYet,
    /// A container has stopped.
    No,
}

impl SettleTimer {
    /// Compares the current runs with those at the beginning. The time begins again after a
    /// restart if `can_restart` is set.
    pub(crate) fn observe(&mut self, runs: Runs, settle: Duration, can_restart: bool) -> Settled {
        match &self.current {
            Some((since, known)) if *known == runs => {
                if since.elapsed() < settle {
                    Settled::NotYet
                } else {
                    Settled::Yes
                }
            }
            Some(_) if !can_restart => self.stop(),
            _ => {
                self.current = Some((Instant::now(), runs));
                Settled::Begun
            }
        }
    }

    pub(crate) fn stop(&mut self) -> Settled {
        self.current = None;
        Settled::No
    }

    pub(crate) fn is_running(&self) -> bool {
        self.current.is_some()
    }

    /// Returns the rest of the time; `None` if it does not run.
    pub(crate) fn rest(&self, settle: Duration) -> Option<Duration> {
        self.current.as_ref().map(|(since, _)| settle.saturating_sub(since.elapsed()))
    }
}
