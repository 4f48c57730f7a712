//! When the changes of one save are complete. Editors write several files for a save, and Git
//! writes many for a checkout.

use std::time::Duration;

/// How long no event may arrive.
const QUIET: Duration = Duration::from_millis(30);
/// How long events may delay a cycle.
const MAX_DELAY: Duration = Duration::from_millis(500);
/// How long a Git command may delay a cycle.
pub const MAX_GIT_DELAY: Duration = Duration::from_secs(10);

/// The events since the last cycle.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quiet {
    /// The times of the first and the last event.
    events: Option<(Duration, Duration)>,
}

impl Quiet {
    /// Records an event.
    pub fn record(&mut self, now: Duration) {
        let first = self.events.map_or(now, |(first, _)| first);
        self.events = Some((first, now));
    }

    /// Returns how long to wait until the changes are complete; zero if they are, and `None`
    /// without an event.
    pub fn remaining(
        &self,
        now: Duration,
        is_git_running: impl FnOnce() -> bool,
    ) -> Option<Duration> {
        let (first, last) = self.events?;
        let end = (last + QUIET).min(first + MAX_DELAY);
        if now < first + MAX_GIT_DELAY && is_git_running() {
            // The end of the Git command is not always an event.
            return Some(end.saturating_sub(now).max(QUIET));
        }
        Some(end.saturating_sub(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_complete_after_quiet_time_or_limit() {
        let every_20_ms: Vec<u64> = (0..40).map(|count| count * 20).collect();
        // Events, the current time, whether Git is running, and the remaining time in ms.
        let table: [(&[u64], u64, bool, Option<u64>); 9] = [
            (&[], 0, false, None),
            (&[], 0, true, None),
            (&[100], 100, false, Some(30)),
            (&[100], 120, false, Some(10)),
            (&[100, 120], 125, false, Some(25)),
            (&[100], 130, false, Some(0)),
            (&every_20_ms, 790, false, Some(0)),
            (&[100], 9_000, true, Some(30)),
            (&[100], 10_100, true, Some(0)),
        ];
        for (events, now, git, expected) in table {
            let mut quiet = Quiet::default();
            for event in events {
                quiet.record(Duration::from_millis(*event));
            }
            let remaining = quiet.remaining(Duration::from_millis(now), || git);
            assert_eq!(remaining, expected.map(Duration::from_millis), "{events:?} at {now}");
        }
    }
}
