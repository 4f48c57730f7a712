//! Which lines were already shown when a log is read again.
//!
//! A log can only be requested from a whole second on, so a new request returns lines that were
//! already shown. Lines are recognized by their time and text, not by their number: the kubelet
//! may have rotated the file in the meantime, and the lines of standard output and standard error
//! are not exactly in the order of their times.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::{Timestamp, ToSpan};

/// The number of lines that are remembered. Only lines of the last second are needed; of more
/// lines in a second, the older ones are recognized by their time alone.
const CAPACITY: usize = 4096;

/// A line, by its time and the hash of its text.
type Line = (Timestamp, u64);

/// The position in the log of a container.
#[derive(Debug, Default)]
pub struct Cursor {
    /// The last lines, in the order of the log.
    recent: VecDeque<Line>,
    /// The time of the first line that was shown.
    first: Option<Timestamp>,
    /// The latest time of a line.
    latest: Option<Timestamp>,
    replay: Option<Replay>,
    /// No line of the current run was shown.
    is_new_run: bool,
}

/// The lines that a repeated request returns again.
#[derive(Debug)]
struct Replay {
    known: HashMap<Line, u32>,
    /// All lines before this time were shown, or were not requested.
    floor: Timestamp,
    latest: Timestamp,
    /// Whether the request has returned a line that was already shown.
    has_overlap: bool,
}

/// Whether a line is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Novelty {
    New,
    /// The line was already shown.
    Seen,
    /// The line is new, and the log no longer has the line at this time, after which others may
    /// be missing, too.
    AfterGap(Timestamp),
}

impl Cursor {
    /// Returns the time of the latest line.
    pub fn latest(&self) -> Option<Timestamp> {
        self.latest
    }

    /// Prepares for lines that were already shown, and returns the time from which the log must
    /// be requested. `None` if no line was shown.
    pub fn resume(&mut self) -> Option<Timestamp> {
        let latest = self.latest?;
        let second = Timestamp::from_second(latest.as_second()).ok()?;
        let before = |time: Timestamp| time.checked_sub(1.second()).unwrap_or(time);
        let mut floor = before(second);
        // The lines before the first one were not requested.
        floor = floor.max(self.first.unwrap_or(floor));
        if self.recent.len() >= CAPACITY {
            let oldest = self.recent.iter().map(|(time, _)| *time).min();
            floor = floor.max(oldest.unwrap_or(floor));
        }
        let mut known = HashMap::new();
        for line in &self.recent {
            *known.entry(*line).or_default() += 1;
        }
        // Another run has none of the lines of the last one, which is no gap.
        let has_overlap = self.is_new_run;
        self.replay = Some(Replay { known, floor, latest, has_overlap });
        // The kubelet cuts a line whose parts it has written before and after this time.
        Timestamp::from_second(before(before(second)).as_second()).ok()
    }

    /// Expects lines of another run of the container in the next requests.
    pub fn expect_new_run(&mut self) {
        self.is_new_run = true;
    }

    /// Records a line of the log, unless it is already shown.
    pub fn accept(&mut self, time: Timestamp, text: &[u8]) -> Novelty {
        let line = (time, hash(text));
        let novelty = match &mut self.replay {
            Some(replay) => replay.accept(line),
            None => Novelty::New,
        };
        if novelty != Novelty::Seen {
            self.is_new_run = false;
            if self.recent.len() >= CAPACITY {
                self.recent.pop_front();
            }
            self.recent.push_back(line);
            self.first = Some(self.first.unwrap_or(time));
            self.latest = Some(self.latest.map_or(time, |latest| latest.max(time)));
        }
        let is_past = |replay: &Replay| time > replay.latest + 1.second();
        if self.replay.as_ref().is_some_and(is_past) {
            self.replay = None;
        }
        novelty
    }

    /// Forgets the last line, because the connection ended within it.
    pub fn forget_last(&mut self) {
        self.recent.pop_back();
    }
}

impl Replay {
    fn accept(&mut self, line: Line) -> Novelty {
        if line.0 < self.floor {
            self.has_overlap = true;
            return Novelty::Seen;
        }
        if let Some(count) = self.known.get_mut(&line).filter(|count| **count > 0) {
            *count -= 1;
            self.has_overlap = true;
            return Novelty::Seen;
        }
        if std::mem::replace(&mut self.has_overlap, true) {
            Novelty::New
        } else {
            Novelty::AfterGap(self.latest)
        }
    }
}

fn hash(text: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        format!("2026-11-28T08:00:{text}Z").parse().unwrap()
    }

    /// Returns the new lines; a gap is shown as `-`.
    fn read(cursor: &mut Cursor, lines: &[(&str, &str)]) -> String {
        let accept = |(at, text): &(&str, &str)| match cursor.accept(time(at), text.as_bytes()) {
            Novelty::New => (*text).to_owned(),
            Novelty::Seen => String::new(),
            Novelty::AfterGap(_) => format!("-{text}"),
        };
        lines.iter().map(accept).collect()
    }

    const LOG: [(&str, &str); 6] =
        [("01.5", "a"), ("02.1", "b"), ("02.2", "c"), ("02.2", "c"), ("02.3", "d"), ("09", "e")];

    #[test]
    fn repeated_request_shows_no_line_twice() {
        for shown in 1..LOG.len() {
            for grown in shown..=LOG.len() {
                let mut cursor = Cursor::default();
                let first = read(&mut cursor, &LOG[..shown]);
                let since = cursor.resume().unwrap();
                let served: Vec<_> =
                    LOG[..grown].iter().filter(|(at, _)| time(at) >= since).copied().collect();
                let second = read(&mut cursor, &served);
                let whole: String = LOG[..grown].iter().map(|(_, text)| *text).collect();
                assert_eq!(first + &second, whole, "{shown} {grown}");
            }
        }
    }

    #[test]
    fn equal_lines_at_same_time_are_counted() {
        let mut cursor = Cursor::default();
        read(&mut cursor, &LOG[..3]);
        cursor.resume();
        assert_eq!(read(&mut cursor, &LOG[..4]), "c");
        cursor.resume();
        assert_eq!(read(&mut cursor, &LOG[..4]), "");
    }

    #[test]
    fn line_with_earlier_time_is_shown() {
        let mut cursor = Cursor::default();
        read(&mut cursor, &[("02.1", "a"), ("02.3", "c")]);
        cursor.resume();
        let log = [("02.1", "a"), ("02.3", "c"), ("02.2", "late"), ("02.4", "d")];
        assert_eq!(read(&mut cursor, &log), "lated");
    }

    #[test]
    fn missing_lines_are_gap() {
        let mut cursor = Cursor::default();
        read(&mut cursor, &LOG[..3]);
        cursor.resume();
        assert_eq!(read(&mut cursor, &[("05", "x"), ("06", "y")]), "-xy");
        // Another run has none of these lines, also if the first request returns none.
        cursor.expect_new_run();
        cursor.resume();
        cursor.resume();
        assert_eq!(read(&mut cursor, &[("08", "z")]), "z");
        cursor.resume();
        assert_eq!(read(&mut cursor, &[("20", "a")]), "-a");
        assert_eq!(Cursor::default().resume(), None);
    }

    #[test]
    fn lines_before_requested_ones_are_not_shown() {
        let mut cursor = Cursor::default();
        // With `--tail=1`.
        read(&mut cursor, &[("02.2", "c")]);
        cursor.resume();
        assert_eq!(
            read(&mut cursor, &[("02.0", "a"), ("02.1", "b"), ("02.2", "c"), ("03", "d")]),
            "d"
        );
    }

    #[test]
    fn memory_is_bounded_within_one_second() {
        let mut cursor = Cursor::default();
        let lines = || (0..3 * CAPACITY).map(|n| (time(&format!("02.{n:06}")), n.to_string()));
        for (at, text) in lines() {
            assert_eq!(cursor.accept(at, text.as_bytes()), Novelty::New);
        }
        assert_eq!(cursor.recent.len(), CAPACITY);
        cursor.resume();
        for (at, text) in lines() {
            assert_eq!(cursor.accept(at, text.as_bytes()), Novelty::Seen, "{text}");
        }
        assert_eq!(cursor.accept(time("02.5"), b"next"), Novelty::New);
        cursor.accept(time("30"), b"later");
        assert!(cursor.replay.is_none());
    }

    #[test]
    fn line_that_ended_early_is_shown_again() {
        let mut cursor = Cursor::default();
        read(&mut cursor, &[("02.1", "a"), ("02.2", "begin")]);
        cursor.forget_last();
        cursor.resume();
        assert_eq!(read(&mut cursor, &[("02.1", "a"), ("02.2", "begin")]), "begin");
    }
}
