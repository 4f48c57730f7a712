//! The cases: what is built, in which order it is loaded by which way, and
//! what must come out.

use super::Case;
use super::cost::Cost;
use super::images::{Image, Program, Stuff};
use super::report::{Goal, Report};
use super::ways::{Bench, Registry, Way};
use crate::lab::{Link, Moby, NODES, Node};
use crate::term;
use anyhow::{Context, Result, ensure};
use xshell::cmd;

const MB: u64 = 1_000_000;
/// The size of the layer that changes.
const CHANGE: u64 = 5 * MB;

impl Case {
    pub(crate) fn run(self, bench: &Bench, report: &mut Report) -> Result<()> {
        match self {
            Self::Changed => changed(bench, report)?,
            Self::Larger => larger(bench, report)?,
            Self::Rebuilt => rebuilt(bench, report, &DOCKER_20)?,
            Self::Rebuilt29 => {
                let moby = Moby::start(&bench.sh)?;
                rebuilt(&bench.with_docker(&moby.host), report, &DOCKER_29)?;
            }
            Self::First => first(bench, report)?,
            Self::Slow => slow(bench, report)?,
        }
        bench.clean()
    }
}

/// All loads of one kind.
struct Tries {
    what: &'static str,
    node: &'static str,
    way: Way,
    costs: Vec<Cost>,
}

impl Tries {
    fn new(what: &'static str, node: &'static str, way: Way) -> Self {
        Self { what, node, way, costs: Vec::new() }
    }

    fn add(&mut self, cost: Cost) {
        let (node, way, load) = (self.node, self.way.name(), cost.load);
        term::status("Measured", format!("{}: {way} on {node}: {load:.2} s", self.what));
        self.costs.push(cost);
    }

    /// Hands the numbers over, and gives the median of each.
    fn end(self, report: &mut Report) -> Cost {
        let median = Cost::median(&self.costs);
        report.add(self.what, self.node, self.way.name(), self.costs);
        median
    }
}

/// 5 MB changed in 408 MB, then nothing, on each node and on both.
fn changed(bench: &Bench, report: &mut Report) -> Result<()> {
    const WHAT: &str = "5 MB changed in 408 MB";
    let others = [Way::Pipe, Way::Copy, Way::Registry];
    let mut image = Image::new(bench, "changed", Stuff::Noise, 403 * MB)?;
    let mut single = Vec::new();
    for node in &NODES {
        let _registry = Registry::start(&bench.sh, node)?;
        warm(bench, &mut image, &[node], &[Way::Kdev, Way::Registry])?;
        let mut kdev = Tries::new(WHAT, node.name, Way::Kdev);
        let mut again = Tries::new("nothing changed", node.name, Way::Kdev);
        let mut rest = others.map(|way| Tries::new(WHAT, node.name, way));
        for _ in 0..bench.rounds {
            let reference = image.with_noise(bench, CHANGE)?;
            kdev.add(bench.load(Way::Kdev, node, reference)?);
            again.add(bench.load(Way::Kdev, node, reference)?);
            for tries in &mut rest {
                let reference = image.with_noise(bench, CHANGE)?;
                tries.add(bench.load(tries.way, node, reference)?);
            }
        }
        let (kdev, again) = (kdev.end(report), again.end(report));
        let [pipe, _, registry] = rest.map(|tries| tries.end(report));
        report.goal(Goal::faster(WHAT, node.name, "than the pipe", pipe.load / kdev.load, 25.0));
        let times = registry.load / kdev.load;
        report.goal(Goal::faster(WHAT, node.name, "than push and pull", times, 1.5));
        let above = kdev.wire.saturating_sub(CHANGE);
        report.goal(Goal::bytes(WHAT, node.name, "wire above the layer", above, 64 << 10));
        report.goal(Goal::seconds("nothing changed", node.name, again.load, 0.25));
        report.goal(Goal::bytes("nothing changed", node.name, "wire", again.wire, 32 << 10));
        single.push(kdev.command);
    }
    both(bench, report, &mut image, &single)
}

fn both(bench: &Bench, report: &mut Report, image: &mut Image, single: &[f64]) -> Result<()> {
    const WHAT: &str = "5 MB changed in 408 MB";
    let nodes: Vec<&Node> = NODES.iter().collect();
    let mut tries = Tries::new(WHAT, "both", Way::Kdev);
    for _ in 0..bench.rounds {
        let reference = image.with_noise(bench, CHANGE)?;
        tries.add(bench.kdev(&nodes, reference)?);
    }
    let slowest = single.iter().copied().fold(f64::MIN, f64::max);
    let times = tries.end(report).command / slowest;
    report.goal(Goal::at_most(WHAT, "both", "whole command against one node", times, 1.3));
    Ok(())
}

/// Brings a first build and one that follows to the nodes, uncounted.
fn warm(bench: &Bench, image: &mut Image, nodes: &[&Node], ways: &[Way]) -> Result<()> {
    for _ in 0..2 {
        let reference = image.with_noise(bench, CHANGE)?;
        for node in nodes {
            for way in ways {
                bench.load(*way, node, reference)?;
            }
        }
    }
    Ok(())
}

/// The same change in ten times as much, beside the small one.
fn larger(bench: &Bench, report: &mut Report) -> Result<()> {
    let sizes = [("5 MB changed in 408 MB", "small", 403), ("5 MB changed in 4 GB", "large", 4075)];
    let make = |(_, name, size): (_, _, u64)| Image::new(bench, name, Stuff::Noise, size * MB);
    let [mut small, mut large] = [make(sizes[0])?, make(sizes[1])?];
    let nodes: Vec<&Node> = NODES.iter().collect();
    warm(bench, &mut small, &nodes, &[Way::Kdev])?;
    warm(bench, &mut large, &nodes, &[Way::Kdev])?;
    for node in &NODES {
        let mut tries = sizes.map(|(what, ..)| Tries::new(what, node.name, Way::Kdev));
        for _ in 0..bench.rounds {
            for (tries, image) in tries.iter_mut().zip([&mut small, &mut large]) {
                let reference = image.with_noise(bench, CHANGE)?;
                tries.add(bench.load(Way::Kdev, node, reference)?);
            }
        }
        let [small, large] = tries.map(|tries| tries.end(report));
        let (what, times) = (sizes[1].0, large.load / small.load);
        report.goal(Goal::at_most(what, node.name, "time against 408 MB", times, 1.2));
        report.goal(Goal::bytes(what, node.name, "kdev's memory", large.memory, 64 << 20));
    }
    Ok(())
}

/// What a service is that was rebuilt, and where the node's blobs are gone.
struct Rebuilt {
    what: &'static str,
    discarded: &'static str,
    /// How many times faster than by hand.
    times: f64,
}

const DOCKER_20: Rebuilt = Rebuilt {
    what: "service rebuilt, 50 Mbit/s",
    discarded: "service rebuilt, blobs discarded, 50 Mbit/s",
    times: 40.0,
};
const DOCKER_29: Rebuilt = Rebuilt {
    what: "service rebuilt with Docker 29, 50 Mbit/s",
    discarded: "service rebuilt with Docker 29, blobs discarded, 50 Mbit/s",
    // What it saves is compressed already.
    times: 10.0,
};

/// A service of 22 MB in 209 MB, built with one condition more.
fn rebuilt(bench: &Bench, report: &mut Report, case: &Rebuilt) -> Result<()> {
    let (what, without_blobs) = (case.what, case.discarded);
    let mut image = Image::new(bench, "rebuilt", Stuff::Files, 187 * MB)?;
    let mut program = Program::new(bench)?;
    for node in &NODES {
        let _slow = Link::slow(&bench.sh, node, 50)?;
        for _ in 0..2 {
            let reference = image.with_file(bench, &program.build(bench)?)?;
            bench.load(Way::Kdev, node, reference)?;
        }
        let mut kdev = Tries::new(what, node.name, Way::Kdev);
        let mut discarded = Tries::new(without_blobs, node.name, Way::Kdev);
        let mut copy = Tries::new(what, node.name, Way::Copy);
        for _ in 0..bench.rounds {
            let reference = image.with_file(bench, &program.build(bench)?)?;
            kdev.add(bench.load(Way::Kdev, node, reference)?);
            let reference = image.with_file(bench, &program.build(bench)?)?;
            discard(bench, node, reference)?;
            discarded.add(bench.load(Way::Kdev, node, reference)?);
            copy.add(bench.load(Way::Copy, node, reference)?);
        }
        let [kdev, discarded, copy] = [kdev, discarded, copy].map(|tries| tries.end(report));
        let times = copy.load / kdev.load;
        report.goal(Goal::faster(what, node.name, "than save, scp, import", times, case.times));
        report.goal(Goal::bytes(what, node.name, "wire", kdev.wire, 2_200_000));
        report.goal(Goal::bytes(without_blobs, node.name, "wire", discarded.wire, 2_200_000));
    }
    Ok(())
}

/// Takes the blobs of the base away; what is unpacked of them stays.
fn discard(bench: &Bench, node: &Node, reference: &str) -> Result<()> {
    let format = "{{join .RootFS.Layers \" \"}}";
    let layers = cmd!(bench.sh, "docker image inspect --format {format} {reference}").quiet();
    let layers = layers.read()?;
    let layers: Vec<&str> = layers.split_whitespace().collect();
    let (_, base) = layers.split_last().context("an image without layers")?;
    let enter = &node.enter()?;
    let remove = cmd!(bench.sh, "nsenter {enter...} ctr -n k8s.io content rm {base...}").quiet();
    // Those that are gone already are what is wanted.
    remove.ignore_stdout().ignore_stderr().ignore_status().run()?;
    let left =
        cmd!(bench.sh, "nsenter {enter...} ctr -n k8s.io content ls --quiet").quiet().read()?;
    ensure!(!base.iter().any(|digest| left.contains(digest)), "blobs are still there");
    Ok(())
}

/// Nothing there yet, a fast link, and nothing that compresses.
fn first(bench: &Bench, report: &mut Report) -> Result<()> {
    const WHAT: &str = "first load of 408 MB";
    let image = Image::new(bench, "first", Stuff::Noise, 408 * MB)?;
    for node in &NODES {
        let [kdev, pipe] = anew(bench, report, WHAT, node, &image)?;
        let times = pipe.load / kdev.load;
        report.goal(Goal::faster(WHAT, node.name, "than the pipe", times, 1.0));
    }
    Ok(())
}

/// Nothing there yet, a slow link, and files that compress well.
fn slow(bench: &Bench, report: &mut Report) -> Result<()> {
    const WHAT: &str = "first load of 400 MB of files, 100 Mbit/s";
    let image = Image::new(bench, "slow", Stuff::Files, 400 * MB)?;
    for node in &NODES {
        let _slow = Link::slow(&bench.sh, node, 100)?;
        let [kdev, pipe] = anew(bench, report, WHAT, node, &image)?;
        let times = pipe.load / kdev.load;
        report.goal(Goal::faster(WHAT, node.name, "than the pipe", times, 2.0));
    }
    Ok(())
}

/// kdev and the pipe in turn, each onto a node that has nothing.
fn anew(
    bench: &Bench,
    report: &mut Report,
    what: &'static str,
    node: &'static Node,
    image: &Image,
) -> Result<[Cost; 2]> {
    let mut tries = [Way::Kdev, Way::Pipe].map(|way| Tries::new(what, node.name, way));
    for _ in 0..bench.rounds {
        for tries in &mut tries {
            bench.clean_node(node)?;
            bench.forget()?;
            tries.add(bench.load(tries.way, node, &image.reference)?);
        }
    }
    Ok(tries.map(|tries| tries.end(report)))
}
