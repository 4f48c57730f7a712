//! The times of the last deployments of a watch.

use std::collections::VecDeque;
use std::fmt::Write;
use std::time::Duration;

/// How many deployments are kept.
const KEPT: usize = 10;
/// The columns, in the order of the stages.
const STAGES: [&str; 4] = ["cargo", "image", "load", "start"];
/// The widths fit into a terminal with 40 columns.
const NAME_WIDTH: usize = 8;
const WIDTH: usize = 6;

/// The times of the last deployments.
#[derive(Default)]
pub(crate) struct Timings {
    cycles: VecDeque<Cycle>,
}

struct Cycle {
    total: Duration,
    stages: Vec<(&'static str, Duration)>,
}

impl Cycle {
    /// Returns the times in the order of the columns: `None` for a stage that did not run.
    fn columns(&self) -> Vec<Option<Duration>> {
        let of = |stage: &&str| self.stages.iter().find(|(name, _)| name == stage);
        let stages = STAGES.iter().map(|stage| of(stage).map(|(_, time)| *time));
        stages.chain([Some(self.total)]).collect()
    }
}

impl Timings {
    pub(crate) fn add(&mut self, total: Duration, stages: &[(&'static str, Duration)]) {
        self.cycles.push_back(Cycle { total, stages: stages.to_vec() });
        if self.cycles.len() > KEPT {
            self.cycles.pop_front();
        }
    }

    /// Formats a table in seconds, with the medians in the last row.
    pub(crate) fn format(&self) -> String {
        let mut table = String::new();
        let heading = STAGES.iter().copied().chain(["total"]);
        write_row(&mut table, "seconds", heading.map(str::to_owned));
        let rows: Vec<Vec<Option<Duration>>> = self.cycles.iter().map(Cycle::columns).collect();
        for row in &rows {
            write_row(&mut table, "", row.iter().copied().map(format_time));
        }
        if rows.len() > 1 {
            let column = |at: usize| rows.iter().filter_map(|row| row[at]).collect();
            let medians = (0..=STAGES.len()).map(|at| format_time(median(column(at))));
            write_row(&mut table, "median", medians);
        }
        table
    }
}

fn write_row(table: &mut String, name: &str, cells: impl Iterator<Item = String>) {
    let _ = write!(table, "{name:>NAME_WIDTH$}");
    for cell in cells {
        let _ = write!(table, "{cell:>WIDTH$}");
    }
    table.push('\n');
}

fn format_time(time: Option<Duration>) -> String {
    time.map_or_else(|| "-".to_owned(), |time| format!("{:.1}", time.as_secs_f64()))
}

/// Returns the middle one of the times, or the lower one of two in the middle.
fn median(mut times: Vec<Duration>) -> Option<Duration> {
    times.sort();
    times.get(times.len().checked_sub(1)? / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_has_last_times_and_medians() {
        let ms = Duration::from_millis;
        let mut timings = Timings::default();
        assert_eq!(timings.format(), " seconds cargo image  load start total\n");
        for seconds in 1..=12 {
            timings.add(ms(seconds * 1000), &[("image", ms(300)), ("start", ms(seconds * 100))]);
        }
        timings.add(ms(2400), &[("cargo", ms(700)), ("load", ms(250))]);
        let table = timings.format();
        let rows: Vec<&str> = table.lines().collect();
        assert_eq!(rows.len(), KEPT + 2);
        assert_eq!(rows[1], "             -   0.3     -   0.4   4.0");
        assert_eq!(rows[KEPT], "           0.7     -   0.2     -   2.4");
        assert_eq!(rows[KEPT + 1], "  median   0.7   0.3   0.2   0.8   7.0");
    }
}
