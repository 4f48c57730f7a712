//! `cargo xtask soak`: checks that take long by nature; `docs/soak.md` has the results.

mod collection;
mod cycles;
mod debian;
mod growth;
mod leftovers;
mod project;
mod report;
mod tests;

use crate::lab;
use crate::term;
use anyhow::Result;
use clap::ValueEnum;
use report::Section;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use xshell::Shell;

/// What is checked, and for how long.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Cases to run [default: all]
    #[arg(value_name = "CASE")]
    cases: Vec<Case>,
    /// Rounds of `cycles` and `tests` [default: 200 and 5]
    #[arg(long, value_name = "N")]
    rounds: Option<NonZeroUsize>,
}

/// Something that shows its faults only after a long time.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Case {
    /// Change a page, deploy it, and fetch it from both nodes, again and again
    Cycles,
    /// Let the kubelet remove unused images, and deploy one of them again: 10 minutes
    Collection,
    /// Run the cluster tests several times in a row
    Tests,
    /// Run README's first command on a new Debian 12, with empty caches; stops the lab
    Debian,
}

/// Runs the cases one after the other. A failed check does not stop the others.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let sh = Shell::new()?;
    sh.change_dir(crate::root());
    lab::check_host()?;
    let cases = Case::value_variants().iter();
    let wanted = cases.filter(|case| args.cases.is_empty() || args.cases.contains(case));
    let failed: Vec<String> = wanted.flat_map(|case| case.result(&sh, args.rounds)).collect();
    for check in &failed {
        term::status("Failed", check);
    }
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Case {
    fn name(self) -> &'static str {
        match self {
            Self::Cycles => "cycles",
            Self::Collection => "collection",
            Self::Tests => "tests",
            Self::Debian => "debian",
        }
    }

    fn run(self, sh: &Shell, rounds: Option<NonZeroUsize>, section: &mut Section) -> Result<()> {
        let rounds = |default| rounds.map_or(default, NonZeroUsize::get);
        match self {
            Self::Cycles => cycles::run(sh, rounds(200), section),
            Self::Collection => collection::run(sh, section),
            Self::Tests => tests::run(sh, rounds(5), section),
            Self::Debian => debian::run(sh, section),
        }
    }

    /// Runs the case, writes its section, and returns the checks that failed.
    /// After an error the section of the last complete run stays.
    fn result(self, sh: &Shell, rounds: Option<NonZeroUsize>) -> Vec<String> {
        let name = self.name();
        term::status("Soaking", name);
        let section = Section::new(sh, name).and_then(|mut section| {
            self.run(sh, rounds, &mut section)?;
            section.write()?;
            Ok(section)
        });
        match section {
            Ok(section) => {
                term::print(&section.markdown());
                section.failures()
            }
            Err(error) => {
                term::report(&error);
                vec![format!("{name}: {error:#}")]
            }
        }
    }
}

/// Starts the lab, and returns a shell with its variables.
fn lab_shell(sh: &Shell) -> Result<Shell> {
    let sh = sh.clone();
    for (name, value) in lab::up(&sh)?.env() {
        sh.set_var(name, value);
    }
    Ok(sh)
}
