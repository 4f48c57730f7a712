//! Whether a newer change may stop a build. Without a limit, frequent changes would prevent every
//! deployment.

use std::time::Duration;

/// How many builds in a row may be stopped.
const MAX_STOPS: u32 = 3;
/// How long builds may be stopped before one runs to its end.
const MAX_TIME: Duration = Duration::from_secs(30);

/// The builds that were stopped in a row.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stops {
    count: u32,
    /// The start of the first build of the row.
    start: Option<Duration>,
}

impl Stops {
    /// Records the start of a build.
    pub fn begin(&mut self, now: Duration) {
        self.start.get_or_insert(now);
    }

    /// Records that a build was stopped.
    pub fn record(&mut self) {
        self.count += 1;
    }

    /// Records that a build was not stopped.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Returns whether the build may be stopped.
    pub fn is_allowed(&self, now: Duration) -> bool {
        let elapsed = self.start.map_or(Duration::ZERO, |start| now.saturating_sub(start));
        self.count < MAX_STOPS && elapsed < MAX_TIME
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
            assert_eq!(stops.is_allowed(Duration::from_secs(now)), expected, "{starts:?} {now}");
            stops.reset();
            stops.begin(Duration::from_secs(now));
            assert!(stops.is_allowed(Duration::from_secs(now)));
        }
    }
}
