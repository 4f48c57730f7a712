//! The events of a cycle, and the times of its stages.

use std::time::Duration;

use kdev_core::watch::stages::{Stage, Stages};

use crate::event::Event;

/// What the events of a cycle have shown.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) stages: Stages,
    /// The context of the cluster that the cycle has reached.
    pub(super) context: Option<String>,
    /// Whether new pods are ready.
    pub(super) has_finished: bool,
}

impl Progress {
    /// Records an event. Returns whether the watch passes it on.
    pub(super) fn record(&mut self, event: &Event, now: Duration) -> bool {
        match event {
            Event::Building { tool, .. } => {
                self.stages.begin(if *tool == "cargo" { Stage::Cargo } else { Stage::Image }, now);
            }
            Event::Built { .. } => self.stages.begin(Stage::Load, now),
            Event::Loaded { .. } | Event::AlreadyPresent { .. } => {
                self.stages.begin_last(Stage::Start, now);
            }
            Event::Applied { context, .. } | Event::Unchanged { context } => {
                self.context = Some(context.clone());
                // Without a load.
                self.stages.begin(Stage::Start, now);
            }
            // The end of the cycle says the same.
            Event::Finished { .. } => {
                self.stages.end(now);
                self.has_finished = true;
                return false;
            }
            _ => {}
        }
        true
    }
}
