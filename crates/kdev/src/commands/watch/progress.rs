//! The events of a cycle, and the times of its stages.

use std::time::Duration;

use kdev_core::watch::stages::{Stage, Stages};

use crate::event::Event;

/// What the events of a cycle have shown.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) stages: Stages,
    /// Whether the cycle has reached the cluster.
    pub(super) has_applied: bool,
}

impl Progress {
    /// Records an event. Returns whether the watch passes it on.
    pub(super) fn record(&mut self, event: &Event, now: Duration) -> bool {
        match event {
            Event::Building { command, .. } => {
                self.stages.begin(if is_cargo(command) { Stage::Cargo } else { Stage::Image }, now);
            }
            Event::Built { .. } => self.stages.begin(Stage::Load, now),
            Event::Loaded { .. } | Event::AlreadyPresent { .. } => {
                self.stages.begin_last(Stage::Start, now);
            }
            Event::Applied { .. } | Event::Unchanged { .. } => self.has_applied = true,
            // The end of the cycle says the same.
            Event::Finished { .. } => {
                self.stages.end(now);
                return false;
            }
            _ => {}
        }
        true
    }
}

fn is_cargo(command: &str) -> bool {
    let program = command.split(' ').next().unwrap_or_default();
    program.rsplit('/').next() == Some("cargo")
}
