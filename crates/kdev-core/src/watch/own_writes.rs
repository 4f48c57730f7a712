//! Files that each build writes, for example a build script that generates a source. They would
//! start a cycle after each cycle, for ever.

use std::collections::BTreeSet;
use std::path::PathBuf;

/// The files that have changed during the last cycle.
#[derive(Clone, Debug, Default)]
pub struct OwnWrites {
    during_last: BTreeSet<PathBuf>,
    left_out: BTreeSet<PathBuf>,
}

impl OwnWrites {
    /// Records the files that have changed during a cycle, and returns those that are left out
    /// from now on. `started_by` has the files whose change has started the cycle.
    ///
    /// A file that changes again during the cycle that only its own change has started is written
    /// by the build.
    pub fn filter(
        &mut self,
        started_by: &BTreeSet<PathBuf>,
        changed: BTreeSet<PathBuf>,
    ) -> BTreeSet<PathBuf> {
        let is_repeated = !changed.is_empty()
            && changed.iter().all(|path| self.left_out.contains(path) || started_by.contains(path))
            && started_by.iter().all(|path| self.during_last.contains(path));
        let mut new = BTreeSet::new();
        if is_repeated {
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

    /// Includes all files again, because something else has changed.
    pub fn reset(&mut self) {
        *self = Self::default();
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
            &[("a", "gen", "gen", ""), ("gen", "gen", "", "gen"), ("b", "gen", "", "")],
            // A save during a cycle.
            &[("a", "a", "a", ""), ("a", "", "", "")],
            // The user saves another file at the same time.
            &[("a", "gen", "gen", ""), ("gen", "gen b", "b gen", "")],
            &[("a", "gen", "gen", ""), ("gen b", "gen", "gen", ""), ("gen", "gen", "", "gen")],
        ];
        for (number, table) in tables.iter().enumerate() {
            let mut own = OwnWrites::default();
            for (row, (started_by, changed, again, left_out)) in table.iter().enumerate() {
                let result = own.filter(&paths(started_by), paths(changed));
                assert_eq!(result, paths(left_out), "table {number}, row {row}");
                let needed = paths(changed).into_iter().filter(|path| !own.is_left_out(path));
                assert_eq!(needed.collect::<BTreeSet<_>>(), paths(again), "{number}, row {row}");
            }
        }
    }
}
