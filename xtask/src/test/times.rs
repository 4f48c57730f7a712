//! The running time of each e2e test, and its waits.

use crate::paths;
use crate::term;
use anyhow::{Context, Result};
use std::fs;
use std::path::PathBuf;

/// The variable with the path of the file, to which each test adds a row
/// (`tests/e2e/times.rs`).
pub(super) const VARIABLE: &str = "KDEV_TEST_TIMES";

/// The columns; all times are in seconds. `queued`: wait for the parts of the lab; `waits`: all
/// waits for the cluster; `longest` and `for`: the longest of these and its purpose; `breaks`:
/// the parts of the lab that no other test could use at the same time.
const HEADER: &str = "test\trun\tqueued\twaits\tlongest\tfor\tbreaks\n";

const SHOWN_TESTS: usize = 10;

/// Creates the file with its header, and returns its path.
pub(super) fn create() -> Result<PathBuf> {
    let path = path();
    fs::create_dir_all(paths::repository().join("target"))?;
    fs::write(&path, HEADER).with_context(|| format!("cannot write `{}`", path.display()))?;
    Ok(path)
}

fn path() -> PathBuf {
    paths::repository().join("target/test-times.tsv")
}

/// Prints the slowest tests of the last run.
pub(super) fn show_slowest() {
    let text = fs::read_to_string(path()).unwrap_or_default();
    let rows = slowest_tests(&text);
    if !rows.is_empty() {
        term::print("\nSlowest e2e tests (all in target/test-times.tsv):");
    }
    for row in rows {
        term::print(&row);
    }
}

/// Returns the lines of the slowest tests, the slowest first.
fn slowest_tests(text: &str) -> Vec<String> {
    let mut rows: Vec<(f64, String)> = text.lines().skip(1).filter_map(format_row).collect();
    rows.sort_by(|one, other| other.0.total_cmp(&one.0));
    rows.into_iter().take(SHOWN_TESTS).map(|(_, line)| line).collect()
}

fn format_row(row: &str) -> Option<(f64, String)> {
    let columns: Vec<&str> = row.split('\t').collect();
    let [test, run, _, _, longest, what, _] = columns[..] else { return None };
    let run: f64 = run.parse().ok()?;
    let wait = if what.is_empty() { String::new() } else { format!(" ({longest} s: {what})") };
    Some((run, format!("{run:>12.1} s  {test}{wait}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slowest_tests_come_first() {
        let text = format!(
            "{HEADER}why::quick\t1.2\t0.1\t0.0\t0.0\t\t\nstory::slow\t61.0\t3.0\t50.0\t40.2\ta pod\tNodeList\n"
        );
        let expected =
            ["        61.0 s  story::slow (40.2 s: a pod)", "         1.2 s  why::quick"];
        assert_eq!(slowest_tests(&text), expected);
        assert_eq!(slowest_tests(""), [""; 0]);
    }
}
