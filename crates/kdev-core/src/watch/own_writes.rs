//! Files that each build writes, for example a build script that generates a source. They would
//! start a cycle after each cycle, for ever.

use std::collections::BTreeSet;
use std::path::PathBuf;

/// How many cycles in a row must only repeat the changes of the one before. A user can save a file
/// during each of some cycles, too, but then also in the pauses between them.
const MIN_REPETITIONS: u32 = 3;

/// The files that have changed during the last cycle.
#[derive(Clone, Debug, Default)]
pub struct OwnWrites {
    during_last: BTreeSet<PathBuf>,
    repetitions: u32,
    left_out: BTreeSet<PathBuf>,
}

impl OwnWrites {
    /// Records the files that have changed during a cycle, and returns those that are left out
    /// from now on. `started_by` has the files whose change has started the cycle.
    ///
    /// A file that changes again during each cycle that only its own change has started is written
    /// by the build.
    pub fn filter(
        &mut self,
        started_by: &BTreeSet<PathBuf>,
        changed: BTreeSet<PathBuf>,
    ) -> BTreeSet<PathBuf> {
        let is_repeated = !changed.is_empty()
            && changed.iter().all(|path| self.left_out.contains(path) || started_by.contains(path))
            && started_by.iter().all(|path| self.during_last.contains(path));
        self.repetitions = if is_repeated { self.repetitions + 1 } else { 0 };
        let mut new = BTreeSet::new();
        if self.repetitions >= MIN_REPETITIONS {
            new = changed.difference(&self.left_out).cloned().collect();
            self.left_out.extend(new.iter().cloned());
        }
        self.during_last = changed;
        new
    }

    /// Returns whether the change of a file starts no cycle.
    pub fn is_left_out(&self, path: &PathBuf) -> bool {
        self.left_out.contains(path)
    }

    /// Includes files again that have changed while no build ran.
    pub fn include(&mut self, changed: &BTreeSet<PathBuf>) {
        self.left_out.retain(|path| !changed.contains(path));
        if !changed.is_empty() {
            self.repetitions = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(names: &str) -> BTreeSet<PathBuf> {
        names.split_whitespace().map(PathBuf::from).collect()
    }

    #[test]
    fn file_that_each_build_writes_is_left_out() {
        // For each cycle: the files that started it, the files that changed during it, those
        // that need another cycle, and those that are left out.
        type Row<'a> = (&'a str, &'a str, &'a str, &'a str);
        let tables: [&[Row]; 5] = [
            &[("a", "", "", "")],
            &[
                ("a", "gen", "gen", ""),
                ("gen", "gen", "gen", ""),
                ("gen", "gen", "gen", ""),
                ("gen", "gen", "", "gen"),
                ("b", "gen", "", ""),
            ],
            // Saves during cycles.
            &[("a", "a", "a", ""), ("a", "a", "a", ""), ("a", "a", "a", ""), ("a", "", "", "")],
            // The user saves another file at the same time.
            &[("a", "gen", "gen", ""), ("gen", "gen b", "b gen", "")],
            &[
                ("a", "gen", "gen", ""),
                ("gen b", "gen", "gen", ""),
                ("gen", "gen", "gen", ""),
                ("gen", "gen", "gen", ""),
                ("gen", "gen", "", "gen"),
            ],
        ];
        for (number, table) in tables.iter().enumerate() {
            let mut own = OwnWrites::default();
            for (row, (started_by, changed, again, left_out)) in table.iter().enumerate() {
                let result = own.filter(&paths(started_by), paths(changed));
                assert_eq!(result, paths(left_out), "table {number}, row {row}");
                let needed = paths(changed).into_iter().filter(|path| !own.is_left_out(path));
                assert_eq!(needed.collect::<BTreeSet<_>>(), paths(again), "{number}, row {row}");
            }
            own.include(&paths("other"));
            let left_out: Vec<&str> =
                table.iter().map(|row| row.3).filter(|it| !it.is_empty()).collect();
            assert!(left_out.iter().all(|path| own.is_left_out(&path.into())));
            own.include(&paths("gen"));
            assert!(!own.is_left_out(&"gen".into()));
        }
    }
}
