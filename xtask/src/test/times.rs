//! How long each cluster test ran, and what it waited for.

use crate::term;
use anyhow::{Context, Result};
use std::fs;
use std::path::PathBuf;

/// Names the file to the tests, which add a row each (`tests/e2e/times.rs`).
pub(super) const VARIABLE: &str = "KDEV_TEST_TIMES";

/// Times are seconds. `queued` is what a test has waited until it could use the lab,
/// `waits` what it has waited for the cluster, `longest` one of these waits and `for`
/// what that was, `breaks` the parts of the lab that no other test used at that time.
const HEADER: &str = "test\trun\tqueued\twaits\tlongest\tfor\tbreaks\n";

const SHOWN: usize = 10;

/// Begins a new file.
pub(super) fn create() -> Result<PathBuf> {
    let path = path();
    fs::create_dir_all(crate::root().join("target"))?;
    fs::write(&path, HEADER).with_context(|| format!("cannot write `{}`", path.display()))?;
    Ok(path)
}

fn path() -> PathBuf {
    crate::root().join("target/test-times.tsv")
}

/// Prints the slowest tests of the last run.
pub(super) fn show_slowest() {
    let text = fs::read_to_string(path()).unwrap_or_default();
    let rows = slowest(&text);
    if !rows.is_empty() {
        term::print("\nThe slowest cluster tests, of all in target/test-times.tsv:");
    }
    for row in rows {
        term::print(&row);
    }
}

/// The lines of the slowest tests, the slowest first.
fn slowest(text: &str) -> Vec<String> {
    let mut rows: Vec<(f64, String)> = text.lines().skip(1).filter_map(line).collect();
    rows.sort_by(|one, other| other.0.total_cmp(&one.0));
    rows.into_iter().take(SHOWN).map(|(_, line)| line).collect()
}

fn line(row: &str) -> Option<(f64, String)> {
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
        assert_eq!(slowest(&text), expected);
        assert_eq!(slowest(""), [""; 0]);
    }
}
