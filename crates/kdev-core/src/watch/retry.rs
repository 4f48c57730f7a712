//! When a cycle runs again that failed because of something that no change of a file fixes, such
//! as a node that cannot be reached.

use std::time::Duration;

/// The pauses before the first retries; later ones wait for the last of them.
const PAUSES: [u64; 5] = [1, 2, 4, 8, 15];

/// The failures in a row.
#[derive(Clone, Copy, Debug, Default)]
pub struct Retry {
    failures: usize,
}

impl Retry {
    /// Records a failure, and returns the pause before the next attempt.
    pub fn fail(&mut self) -> Duration {
        let pause = PAUSES[self.failures.min(PAUSES.len() - 1)];
        self.failures += 1;
        Duration::from_secs(pause)
    }

    /// Records that the cycle did not fail in this way.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_limit() {
        let mut retry = Retry::default();
        let pauses: Vec<u64> = (0..7).map(|_| retry.fail().as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 15, 15, 15]);
        retry.reset();
        assert_eq!(retry.fail().as_secs(), 1);
    }
}
