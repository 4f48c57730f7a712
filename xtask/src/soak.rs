//! `cargo xtask soak`: runs checks that take long, and writes the results to `docs/soak.md`.

mod collection;
mod cycles;
mod debian;
mod debian_root;
mod growth;
mod leftovers;
mod onboard;
mod project;
mod repeat;
mod report;
mod watch;
mod watch_state;

use crate::lab;
use crate::paths;
use crate::term;
use anyhow::Result;
use clap::ValueEnum;
use report::Section;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use xshell::Shell;

/// The arguments of `cargo xtask soak`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Cases to run [default: all]
    #[arg(value_name = "CASE")]
    cases: Vec<Case>,
    /// Rounds of `cycles`, `watch`, and `tests` [default: 200, 200, and 5]
    #[arg(long, value_name = "N")]
    rounds: Option<NonZeroUsize>,
}

/// A check that takes long.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Case {
    /// Change a page, deploy it, and fetch it from both nodes, many times
    Cycles,
    /// Change a page during `up --watch`, many times (15 minutes)
    Watch,
    /// Wait until the kubelet removes unused images, and deploy one of them again (10 minutes)
    Collection,
    /// Run the e2e tests several times in a row
    Tests,
    /// Run `cargo xtask demo` on a new Debian 12 with empty caches; stops the lab
    Debian,
    /// Run a project's onboarding script on a new Debian 12, with the packed crates (15 minutes)
    Onboard,
}

/// Runs the cases one after the other. A failed check does not stop the others.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let sh = Shell::new()?;
    sh.change_dir(paths::repository());
    lab::check_host()?;
    let cases = Case::value_variants().iter();
    let selected = cases.filter(|case| args.cases.is_empty() || args.cases.contains(case));
    let failed: Vec<String> =
        selected.flat_map(|case| case.run_and_report(&sh, args.rounds)).collect();
    for check in &failed {
        term::status("Failed", check);
    }
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Case {
    fn name(self) -> &'static str {
        match self {
            Self::Cycles => "cycles",
            Self::Watch => "watch",
            Self::Collection => "collection",
            Self::Tests => "tests",
            Self::Debian => "debian",
            Self::Onboard => "onboard",
        }
    }

    fn run(self, sh: &Shell, rounds: Option<NonZeroUsize>, section: &mut Section) -> Result<()> {
        let rounds = |default| rounds.map_or(default, NonZeroUsize::get);
        match self {
            Self::Cycles => cycles::run(sh, rounds(200), section),
            Self::Watch => watch::run(sh, rounds(200), section),
            Self::Collection => collection::run(sh, section),
            Self::Tests => repeat::run(sh, rounds(5), section),
            Self::Debian => debian::run(sh, section),
            Self::Onboard => onboard::run(sh, section),
        }
    }

    /// Runs the case, writes its section, and returns the checks that failed. If the case itself
    /// fails, the section of the last complete run stays in the file.
    fn run_and_report(self, sh: &Shell, rounds: Option<NonZeroUsize>) -> Vec<String> {
        let name = self.name();
        term::status("Running", name);
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
