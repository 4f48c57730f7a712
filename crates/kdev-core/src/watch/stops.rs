//! Whether a newer change may stop a cycle. Without a limit, frequent changes would prevent every
//! deployment.

use std::time::Duration;

/// How many cycles in a row may be stopped.
const MAX_STOPS: u32 = 3;
/// How long builds may be stopped before one runs to its end. A wait for a rollout can take longer.
const MAX_TIME: Duration = Duration::from_secs(30);

/// The cycles that were stopped in a row.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stops {
    count: u32,
    /// The start of the first cycle of the row.
    start: Option<Duration>,
}

impl Stops {
    /// Records the start of a cycle.
    pub fn begin(&mut self, now: Duration) {
        self.start.get_or_insert(now);
    }

    /// Records that a cycle was stopped.
    pub fn record(&mut self) {
        self.count += 1;
    }

    /// Records that a cycle was not stopped.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Returns whether a build may be stopped.
    pub fn may_stop_build(&self, now: Duration) -> bool {
        let elapsed = self.start.map_or(Duration::ZERO, |start| now.saturating_sub(start));
        self.may_stop_wait() && elapsed < MAX_TIME
    }

    /// Returns whether the wait for a rollout may be stopped.
    pub fn may_stop_wait(&self) -> bool {
        self.count < MAX_STOPS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stops_are_limited_by_number_and_time() {
        // The starts of the builds that were stopped, the current time, and the result.
        let table: [(&[u64], u64, bool); 6] = [
            (&[], 0, true),
            (&[0, 1], 2, true),
            (&[0, 1, 2], 3, false),
            (&[0], 29, true),
            (&[0], 30, false),
            (&[100], 120, true),
        ];
        for (starts, now, expected) in table {
            let mut stops = Stops::default();
            for start in starts {
                stops.begin(Duration::from_secs(*start));
                stops.record();
            }
            assert_eq!(
                stops.may_stop_build(Duration::from_secs(now)),
                expected,
                "{starts:?} {now}"
            );
            assert_eq!(stops.may_stop_wait(), starts.len() < 3);
            stops.reset();
            stops.begin(Duration::from_secs(now));
            assert!(stops.may_stop_build(Duration::from_secs(now)));
        }
    }
}
