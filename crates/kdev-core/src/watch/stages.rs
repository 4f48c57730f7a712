//! How long the stages of a cycle have taken.

use std::time::Duration;

/// A stage of a cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// `cargo build`.
    Cargo,
    /// The image.
    Image,
    /// The transfer to the nodes, with its verification.
    Load,
    /// From the apply until the new pods are ready.
    Start,
}

impl Stage {
    const ALL: [Self; 4] = [Self::Cargo, Self::Image, Self::Load, Self::Start];

    fn as_str(self) -> &'static str {
        match self {
            Self::Cargo => "cargo",
            Self::Image => "image",
            Self::Load => "load",
            Self::Start => "start",
        }
    }
}

/// The times of the stages of a cycle. Time outside all stages is in none of them.
#[derive(Clone, Debug, Default)]
pub struct Stages {
    running: Option<(Stage, Duration)>,
    done: Vec<(Stage, Duration)>,
}

impl Stages {
    /// Records the start of a stage, which ends the one before.
    pub fn begin(&mut self, stage: Stage, now: Duration) {
        // Several nodes, or several workloads.
        if self.running.is_none_or(|(running, _)| running != stage) {
            self.end(now);
            self.running = Some((stage, now));
        }
    }

    /// Records the start of a stage that may have begun too early: time since an earlier start
    /// belongs to the stage before.
    pub fn begin_last(&mut self, stage: Stage, now: Duration) {
        if let Some((running, start)) = self.running
            && running == stage
            && let Some((_, time)) = self.done.last_mut()
        {
            *time += now.saturating_sub(start);
            self.running = Some((stage, now));
        } else {
            self.begin(stage, now);
        }
    }

    /// Records the end of the current stage.
    pub fn end(&mut self, now: Duration) {
        if let Some((stage, start)) = self.running.take() {
            self.done.push((stage, now.saturating_sub(start)));
        }
    }

    /// Returns the stages that have ended, in their order, with their total times.
    pub fn totals(&self) -> Vec<(&'static str, Duration)> {
        let totals = Stage::ALL.into_iter().filter_map(|stage| {
            let times = self.done.iter().filter(|(one, _)| *one == stage).map(|(_, time)| *time);
            times.reduce(|a, b| a + b).map(|total| (stage.as_str(), total))
        });
        totals.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_of_several_services_are_added() {
        let mut stages = Stages::default();
        let events = [
            (Some(Stage::Cargo), 1),
            (Some(Stage::Image), 4),
            (Some(Stage::Load), 5),
            (Some(Stage::Start), 6),
            // Another node has the image later.
            (Some(Stage::Start), 9),
            (None, 10),
            (Some(Stage::Cargo), 20),
            (None, 21),
        ];
        for (stage, second) in events {
            let now = Duration::from_secs(second);
            match stage {
                Some(Stage::Start) => stages.begin_last(Stage::Start, now),
                Some(stage) => stages.begin(stage, now),
                None => stages.end(now),
            }
        }
        let expected = [("cargo", 4), ("image", 1), ("load", 4), ("start", 1)];
        assert_eq!(stages.totals(), expected.map(|(name, time)| (name, Duration::from_secs(time))));
    }
}
