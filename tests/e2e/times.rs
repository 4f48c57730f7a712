//! Measures how long each test is queued, runs and waits, for `cargo xtask test`.

use std::cell::RefCell;
use std::fs::File;
use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

thread_local! {
    /// The waits of the test in this thread: what it waited for, and how long.
    static WAITS: RefCell<Vec<(String, Duration)>> = const { RefCell::new(Vec::new()) };
}

/// Records a wait of the test in this thread.
pub(crate) fn record_wait(what: &str, time: Duration) {
    WAITS.with_borrow_mut(|waits| waits.push((what.to_owned(), time)));
}

/// The times of one test in the lab.
pub(crate) struct Times {
    queued: Duration,
    started: Instant,
    breaks: String,
}

impl Times {
    pub(crate) fn start(queued: Duration, breaks: String) -> Self {
        WAITS.take();
        Self { queued, started: Instant::now(), breaks }
    }

    /// Appends a row to the file in `KDEV_TEST_TIMES`, if it is set.
    pub(crate) fn end(&self) {
        let Some(path) = std::env::var_os("KDEV_TEST_TIMES") else { return };
        let row = self.row(thread::current().name().unwrap_or_default());
        let file = File::options().append(true).open(path);
        // A single write, so that the rows of several tests do not mix.
        file.and_then(|mut file| file.write_all(row.as_bytes())).unwrap();
    }

    /// The columns are those of `xtask/src/test/times.rs`; all times are seconds.
    fn row(&self, test: &str) -> String {
        let waits = WAITS.take();
        let sum: Duration = waits.iter().map(|(_, time)| time).sum();
        let longest = waits.into_iter().max_by_key(|(_, time)| *time);
        let (what, longest) = longest.unwrap_or_default();
        let times = [self.started.elapsed(), self.queued, sum, longest];
        let times = times.map(|time| format!("{:.1}", time.as_secs_f64())).join("\t");
        format!("{test}\t{times}\t{what}\t{}\n", self.breaks)
    }
}
