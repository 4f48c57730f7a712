//! Measures `cargo kdev up` with each kind of builder, from its start until the image is
//! verified on a node.
//!
//! - `machines.rs`: the daemons that build
//! - `project.rs`: the project that is built and deployed
//! - `slow_link.rs`: a connection with latency and a limited rate

mod machines;
mod project;
mod slow_link;

use super::cost::Cost;
use super::images::{Content, Program};
use super::methods::{Bench, Method};
use super::report::{Goal, Report};
use crate::lab::SlowLink;
use crate::term;
use anyhow::Result;
use clap::ValueEnum;
use machines::Machine;
use project::{Change, NODE, Project};
use std::fs;
use std::path::{Path, PathBuf};

/// A kind of builder.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Builder {
    /// Docker 29 on this machine
    #[value(name = "docker-29")]
    Docker29,
    /// Docker 29 behind another loopback interface, as in a virtual machine
    #[value(name = "virtual-machine")]
    VirtualMachine,
    /// A `BuildKit` daemon of Buildx
    Remote,
    /// Podman on this machine
    Podman,
    /// Docker 20.10 with its own `BuildKit` on this machine
    Classic,
    /// Docker 29 over SSH, with 20 ms and 100 Mbit/s
    Ssh,
    /// Docker 20.10 on this machine, a node over 50 Mbit/s
    #[value(name = "slow-classic")]
    SlowClassic,
    /// Docker 29 on this machine, a node over 50 Mbit/s
    #[value(name = "slow-29")]
    Slow29,
}

/// What a goal limits.
enum Limit {
    /// The whole time, in seconds.
    Whole(f64),
    /// The time after the build, in seconds.
    AfterBuild(f64),
    /// The whole time against `docker save` alone.
    WholeBySave(f64),
    /// The time after the build against `docker save` piped into `ctr image import`.
    ByPipe(f64),
    /// How many times faster than `docker save`, `scp`, `ctr image import`.
    SpeedupByCopy(f64),
}

const CHANGES: [Change; 3] = [Change::First, Change::Noise, Change::Program];

impl Builder {
    /// Returns the case for a change and its goals; none if it is not measured.
    fn case(self, change: Change) -> Option<(&'static str, Vec<Limit>)> {
        use Change::{First, Noise, Program};
        use Limit::{AfterBuild, ByPipe, SpeedupByCopy, Whole, WholeBySave};
        Some(match (self, change) {
            (Self::Docker29, First) => ("Docker 29, first load", vec![]),
            (Self::Docker29, Noise) => ("Docker 29, 5 MB changed", vec![Whole(0.75)]),
            (Self::Docker29, Program) => ("Docker 29, program rebuilt", vec![Whole(1.2)]),
            (Self::VirtualMachine, First) => ("virtual machine, first load", vec![ByPipe(0.5)]),
            (Self::VirtualMachine, Noise) => ("virtual machine, 5 MB changed", vec![Whole(1.2)]),
            (Self::VirtualMachine, Program) => {
                ("virtual machine, program rebuilt", vec![Whole(1.6)])
            }
            (Self::Remote, First) => ("BuildKit daemon, first load", vec![]),
            (Self::Remote, Noise) => ("BuildKit daemon, 5 MB changed", vec![Whole(1.2)]),
            (Self::Remote, Program) => ("BuildKit daemon, program rebuilt", vec![Whole(1.6)]),
            (Self::Podman, First) => ("Podman, first load", vec![]),
            (Self::Podman, Noise) => ("Podman, 5 MB changed", vec![AfterBuild(1.0)]),
            (Self::Podman, Program) => ("Podman, program rebuilt", vec![AfterBuild(1.0)]),
            (Self::Classic, First) => ("Docker 20.10, first load", vec![]),
            (Self::Classic, Noise) => ("Docker 20.10, 5 MB changed", vec![]),
            (Self::Classic, Program) => ("Docker 20.10, program rebuilt", vec![]),
            (Self::Ssh, First) => ("SSH, first load", vec![]),
            (Self::Ssh, Noise) => ("SSH, 5 MB changed", vec![WholeBySave(0.35)]),
            (Self::Ssh, Program) => ("SSH, program rebuilt", vec![WholeBySave(0.35)]),
            (Self::SlowClassic, Program) => {
                ("Docker 20.10, program rebuilt, 50 Mbit/s", vec![SpeedupByCopy(34.0)])
            }
            (Self::Slow29, Program) => {
                ("Docker 29, program rebuilt, 50 Mbit/s", vec![AfterBuild(0.6), SpeedupByCopy(1.0)])
            }
            (Self::SlowClassic | Self::Slow29, First | Noise) => return None,
        })
    }

    /// Returns the content of the lower layers and its size.
    fn base(self) -> (Content, u64) {
        if self.has_slow_node() {
            (Content::Files, 187_000_000)
        } else {
            (Content::Noise, 403_000_000)
        }
    }

    fn has_slow_node(self) -> bool {
        matches!(self, Self::SlowClassic | Self::Slow29)
    }

    fn start(self, bench: &Bench) -> Result<Machine> {
        match self {
            Self::Docker29 | Self::Slow29 => Machine::start_docker_29(bench),
            Self::VirtualMachine => Machine::start_virtual_machine(bench),
            Self::Remote => Machine::start_remote(bench),
            Self::Podman => Machine::start_podman(bench),
            Self::Classic | Self::SlowClassic => Machine::start_classic(bench),
            Self::Ssh => Machine::start_over_ssh(bench),
        }
    }
}

/// Measures these builders, or all.
pub(crate) fn run(bench: &Bench, selected: &[Builder], report: &mut Report) -> Result<()> {
    let mut program = Program::new(bench)?;
    let mut programs = Vec::new();
    for round in 0..=bench.rounds {
        let copy = bench.folder.join(format!("program-{round}"));
        fs::copy(program.build(bench)?, &copy)?;
        programs.push(copy);
    }
    for builder in Builder::value_variants() {
        if !selected.is_empty() && !selected.contains(builder) {
            continue;
        }
        bench.clean()?;
        let outcome = builder
            .start(bench)
            .and_then(|machine| measure(*builder, &machine, bench, &programs, report));
        // The others are still worth measuring.
        if let Err(error) = outcome {
            let (name, reason) = (builder.to_possible_value(), format!("{error:#}"));
            let name = name.map_or_else(String::new, |name| name.get_name().to_owned());
            term::status("Skipped", format!("{name}: {reason}"));
            report.add_skipped(name, reason);
        }
        Project::clean(bench)?;
        bench.clean()?;
        report.write(bench)?;
    }
    Ok(())
}

fn measure(
    builder: Builder,
    machine: &Machine,
    bench: &Bench,
    programs: &[PathBuf],
    report: &mut Report,
) -> Result<()> {
    const METHOD: &str = "`cargo kdev up`, until the image is verified";
    let project = Project::create(bench, machine, builder.base())?;
    project.up()?;
    let _link =
        builder.has_slow_node().then(|| SlowLink::start(&bench.sh, NODE, 50)).transpose()?;
    for change in CHANGES {
        let Some((case, limits)) = builder.case(change) else { continue };
        warm_up(&project, change, &programs[0])?;
        let mut costs = Vec::new();
        for program in &programs[1..] {
            if change == Change::First {
                bench.clean_node(NODE)?;
                bench.remove_cache()?;
            } else {
                project.change(change, program)?;
            }
            let cost = project.up()?;
            let (whole, after_build) = (cost.command, cost.load);
            let message = format!("{case}: {whole:.2} s, {after_build:.2} s after the build");
            term::status("Measured", message);
            costs.push(cost);
        }
        let median = Cost::median(&costs);
        report.add(case, NODE.name, METHOD, costs);
        for limit in limits {
            report.add_goal(limit.check(case, median, &project)?);
        }
    }
    Ok(())
}

/// Loads builds without measuring them, so that the next one is like any other.
fn warm_up(project: &Project, change: Change, program: &Path) -> Result<()> {
    if change != Change::First {
        project.change(Change::Noise, program)?;
        project.up()?;
        project.change(change, program)?;
        project.up()?;
    }
    Ok(())
}

impl Limit {
    /// Compares the median with the limit, and with another method, which is measured once.
    fn check(self, case: &'static str, median: Cost, project: &Project) -> Result<Goal> {
        let node = NODE.name;
        Ok(match self {
            Self::Whole(limit) => {
                Goal::for_seconds(case, node, "build and load", median.command, limit)
            }
            Self::AfterBuild(limit) => {
                Goal::for_seconds(case, node, "after the build", median.load, limit)
            }
            Self::WholeBySave(limit) => {
                let times = median.command / project.save_seconds()?;
                Goal::for_ratio(case, node, "build and load against `docker save`", times, limit)
            }
            Self::ByPipe(limit) => {
                project.bench.clean_node(NODE)?;
                let times = median.load / project.load_with(Method::Pipe, NODE)?.load;
                Goal::for_ratio(case, node, "after the build against the pipe", times, limit)
            }
            Self::SpeedupByCopy(limit) => {
                let times = project.load_with(Method::Copy, NODE)?.load / median.load;
                Goal::for_speedup(case, node, "than save, scp, import", times, limit)
            }
        })
    }
}
