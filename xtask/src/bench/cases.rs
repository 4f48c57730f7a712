//! The cases of `bench load`: the images, the methods that are compared, and the goals.

use super::cost::Cost;
use super::images::{Content, Image, Program, fill_node};
use super::methods::{Bench, Method, Registry};
use super::report::{Goal, Report};
use crate::lab::{Moby, NODES, Node, SlowLink};
use crate::term;
use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use xshell::cmd;

const MB: u64 = 1_000_000;
/// The size of the layer that changes.
const CHANGE: u64 = 5 * MB;

/// A situation of users, with its goals.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Case {
    /// Load 5 MB that changed in 408 MB, onto one node and onto both; load it again
    Changed,
    /// Load the same change in an image that is ten times larger
    Larger,
    /// Load the same change onto nodes with 500 more images
    Crowded,
    /// Load a rebuilt Rust service over a link with 50 Mbit/s
    Rebuilt,
    /// Load a rebuilt Rust service from Docker 29
    #[value(name = "rebuilt-29")]
    Rebuilt29,
    /// Load 408 MB for the first time
    First,
    /// Load 400 MB of compressible files for the first time, over a link with 100 Mbit/s
    Slow,
}

impl Case {
    pub(crate) fn run(self, bench: &Bench, report: &mut Report) -> Result<()> {
        match self {
            Self::Changed => measure_changed(bench, report)?,
            Self::Larger => measure_larger(bench, report)?,
            Self::Crowded => measure_crowded(bench, report)?,
            Self::Rebuilt => measure_rebuilt(bench, report, &DOCKER_20)?,
            Self::Rebuilt29 => {
                let moby = Moby::start(&bench.sh)?;
                measure_rebuilt(&bench.with_docker(&moby.host), report, &DOCKER_29)?;
            }
            Self::First => measure_first(bench, report)?,
            Self::Slow => measure_slow(bench, report)?,
        }
        bench.clean()
    }
}

/// All measured loads of a kind.
struct Samples {
    case: &'static str,
    node: &'static str,
    method: Method,
    costs: Vec<Cost>,
}

impl Samples {
    fn new(case: &'static str, node: &'static str, method: Method) -> Self {
        Self { case, node, method, costs: Vec::new() }
    }

    fn add(&mut self, cost: Cost) {
        let (node, method, load) = (self.node, self.method.name(), cost.load);
        term::status("Measured", format!("{}: {method} on {node}: {load:.2} s", self.case));
        self.costs.push(cost);
    }

    /// Adds the values to the report. Returns the median of each.
    fn add_to(self, report: &mut Report) -> Cost {
        let median = Cost::median(&self.costs);
        report.add(self.case, self.node, self.method.name(), self.costs);
        median
    }
}

/// Loads 5 MB that changed in 408 MB and then loads it again, onto each node and onto both.
fn measure_changed(bench: &Bench, report: &mut Report) -> Result<()> {
    const CASE: &str = "5 MB changed in 408 MB";
    let others = [Method::Pipe, Method::Copy, Method::Registry];
    let mut image = Image::new(bench, "changed", Content::Noise, 403 * MB)?;
    let mut single = Vec::new();
    for node in &NODES {
        let _registry = Registry::start(&bench.sh, node)?;
        warm_up(bench, &mut image, &[node], &[Method::Kdev, Method::Registry])?;
        let mut kdev = Samples::new(CASE, node.name, Method::Kdev);
        let mut again = Samples::new("nothing changed", node.name, Method::Kdev);
        let mut rest = others.map(|method| Samples::new(CASE, node.name, method));
        for _ in 0..bench.rounds {
            let reference = image.rebuild_with_noise(bench, CHANGE)?;
            kdev.add(bench.load(Method::Kdev, node, reference)?);
            again.add(bench.load(Method::Kdev, node, reference)?);
            for samples in &mut rest {
                let reference = image.rebuild_with_noise(bench, CHANGE)?;
                samples.add(bench.load(samples.method, node, reference)?);
            }
        }
        let (kdev, again) = (kdev.add_to(report), again.add_to(report));
        let [pipe, _, registry] = rest.map(|samples| samples.add_to(report));
        report.add_goal(Goal::for_speedup(
            CASE,
            node.name,
            "than the pipe",
            pipe.load / kdev.load,
            25.0,
        ));
        let times = registry.load / kdev.load;
        report.add_goal(Goal::for_speedup(CASE, node.name, "than push and pull", times, 1.5));
        let above = kdev.wire.saturating_sub(CHANGE);
        report.add_goal(Goal::for_bytes(CASE, node.name, "wire above the layer", above, 64 << 10));
        report.add_goal(Goal::for_load_time("nothing changed", node.name, again.load, 0.25));
        report.add_goal(Goal::for_bytes(
            "nothing changed",
            node.name,
            "wire",
            again.wire,
            32 << 10,
        ));
        single.push(kdev.command);
    }
    measure_both_nodes(bench, report, &mut image, &single)
}

fn measure_both_nodes(
    bench: &Bench,
    report: &mut Report,
    image: &mut Image,
    single: &[f64],
) -> Result<()> {
    const CASE: &str = "5 MB changed in 408 MB";
    let nodes: Vec<&Node> = NODES.iter().collect();
    let mut samples = Samples::new(CASE, "both", Method::Kdev);
    for _ in 0..bench.rounds {
        let reference = image.rebuild_with_noise(bench, CHANGE)?;
        samples.add(bench.load_with_kdev(&nodes, reference)?);
    }
    let slowest = single.iter().copied().fold(f64::MIN, f64::max);
    let times = samples.add_to(report).command / slowest;
    report.add_goal(Goal::for_ratio(CASE, "both", "whole command against one node", times, 1.3));
    Ok(())
}

/// Loads two builds without measuring them.
fn warm_up(bench: &Bench, image: &mut Image, nodes: &[&Node], methods: &[Method]) -> Result<()> {
    for _ in 0..2 {
        let reference = image.rebuild_with_noise(bench, CHANGE)?;
        for node in nodes {
            for method in methods {
                bench.load(*method, node, reference)?;
            }
        }
    }
    Ok(())
}

/// Loads the same change in an image with 408 MB and in one that is ten times larger.
fn measure_larger(bench: &Bench, report: &mut Report) -> Result<()> {
    let sizes = [("5 MB changed in 408 MB", "small", 403), ("5 MB changed in 4 GB", "large", 4075)];
    let create = |(_, name, size): (_, _, u64)| Image::new(bench, name, Content::Noise, size * MB);
    let [mut small, mut large] = [create(sizes[0])?, create(sizes[1])?];
    let nodes: Vec<&Node> = NODES.iter().collect();
    warm_up(bench, &mut small, &nodes, &[Method::Kdev])?;
    warm_up(bench, &mut large, &nodes, &[Method::Kdev])?;
    for node in &NODES {
        let mut samples = sizes.map(|(case, ..)| Samples::new(case, node.name, Method::Kdev));
        for _ in 0..bench.rounds {
            for (samples, image) in samples.iter_mut().zip([&mut small, &mut large]) {
                let reference = image.rebuild_with_noise(bench, CHANGE)?;
                samples.add(bench.load(Method::Kdev, node, reference)?);
            }
        }
        let [small, large] = samples.map(|samples| samples.add_to(report));
        let (case, times) = (sizes[1].0, large.load / small.load);
        report.add_goal(Goal::for_ratio(case, node.name, "time against 408 MB", times, 1.2));
        report.add_goal(Goal::for_bytes(case, node.name, "kdev's memory", large.memory, 64 << 20));
    }
    Ok(())
}

/// Loads the same change onto each node before and after it gets 500 images.
fn measure_crowded(bench: &Bench, report: &mut Report) -> Result<()> {
    const CASE: &str = "5 MB changed in 408 MB, 500 images on the node";
    const IMAGES: u16 = 500;
    let mut image = Image::new(bench, "crowded", Content::Noise, 403 * MB)?;
    for node in &NODES {
        warm_up(bench, &mut image, &[node], &[Method::Kdev])?;
        let mut measure = |case| -> Result<Samples> {
            let mut samples = Samples::new(case, node.name, Method::Kdev);
            for _ in 0..bench.rounds {
                let reference = image.rebuild_with_noise(bench, CHANGE)?;
                samples.add(bench.load(Method::Kdev, node, reference)?);
            }
            Ok(samples)
        };
        let empty = measure("5 MB changed in 408 MB")?.add_to(report);
        fill_node(bench, node, IMAGES)?;
        let crowded = measure(CASE)?.add_to(report);
        let times = crowded.load / empty.load;
        report.add_goal(Goal::for_ratio(
            CASE,
            node.name,
            "time against the node without them",
            times,
            1.1,
        ));
    }
    Ok(())
}

/// The names and the goal of a case with a rebuilt service.
struct Rebuilt {
    case: &'static str,
    /// The same, after the blobs were discarded from the node
    discarded: &'static str,
    /// How many times faster than `docker save`, `scp` and `ctr image import`
    speedup: f64,
}

const DOCKER_20: Rebuilt = Rebuilt {
    case: "service rebuilt, 50 Mbit/s",
    discarded: "service rebuilt, blobs discarded, 50 Mbit/s",
    speedup: 34.0,
};
const DOCKER_29: Rebuilt = Rebuilt {
    case: "service rebuilt with Docker 29, 50 Mbit/s",
    discarded: "service rebuilt with Docker 29, blobs discarded, 50 Mbit/s",
    // `docker save` of Docker 29 writes layers that are already compressed.
    speedup: 10.0,
};

/// Loads a service of 22 MB in an image of 209 MB, rebuilt with one more condition.
fn measure_rebuilt(bench: &Bench, report: &mut Report, names: &Rebuilt) -> Result<()> {
    let (case, without_blobs) = (names.case, names.discarded);
    let mut image = Image::new(bench, "rebuilt", Content::Files, 187 * MB)?;
    let mut program = Program::new(bench)?;
    for node in &NODES {
        let _link = SlowLink::start(&bench.sh, node, 50)?;
        for _ in 0..2 {
            let reference = image.rebuild_with_file(bench, &program.build(bench)?)?;
            bench.load(Method::Kdev, node, reference)?;
        }
        let mut kdev = Samples::new(case, node.name, Method::Kdev);
        let mut discarded = Samples::new(without_blobs, node.name, Method::Kdev);
        let mut copy = Samples::new(case, node.name, Method::Copy);
        for _ in 0..bench.rounds {
            let reference = image.rebuild_with_file(bench, &program.build(bench)?)?;
            kdev.add(bench.load(Method::Kdev, node, reference)?);
            let reference = image.rebuild_with_file(bench, &program.build(bench)?)?;
            discard_base_blobs(bench, node, reference)?;
            discarded.add(bench.load(Method::Kdev, node, reference)?);
            copy.add(bench.load(Method::Copy, node, reference)?);
        }
        let [kdev, discarded, copy] = [kdev, discarded, copy].map(|samples| samples.add_to(report));
        let times = copy.load / kdev.load;
        report.add_goal(Goal::for_speedup(
            case,
            node.name,
            "than save, scp, import",
            times,
            names.speedup,
        ));
        report.add_goal(Goal::for_bytes(case, node.name, "wire", kdev.wire, 2_200_000));
        report.add_goal(Goal::for_bytes(
            without_blobs,
            node.name,
            "wire",
            discarded.wire,
            2_200_000,
        ));
    }
    Ok(())
}

/// Removes the blobs of the base from a node, but keeps the snapshots.
fn discard_base_blobs(bench: &Bench, node: &Node, reference: &str) -> Result<()> {
    let format = "{{join .RootFS.Layers \" \"}}";
    let layers = cmd!(bench.sh, "docker image inspect --format {format} {reference}").quiet();
    let layers = layers.read()?;
    let layers: Vec<&str> = layers.split_whitespace().collect();
    let (_, base) = layers.split_last().context("the image has no layers")?;
    let enter = &node.nsenter_args()?;
    let remove = cmd!(bench.sh, "nsenter {enter...} ctr -n k8s.io content rm {base...}").quiet();
    // The command fails for blobs that are already missing.
    remove.ignore_stdout().ignore_stderr().ignore_status().run()?;
    let left =
        cmd!(bench.sh, "nsenter {enter...} ctr -n k8s.io content ls --quiet").quiet().read()?;
    ensure!(!base.iter().any(|digest| left.contains(digest)), "the blobs are still on the node");
    Ok(())
}

/// Loads incompressible data for the first time, over a fast link.
fn measure_first(bench: &Bench, report: &mut Report) -> Result<()> {
    const CASE: &str = "first load of 408 MB";
    let image = Image::new(bench, "first", Content::Noise, 408 * MB)?;
    for node in &NODES {
        let [kdev, pipe] = measure_first_loads(bench, report, CASE, node, &image)?;
        let times = pipe.load / kdev.load;
        report.add_goal(Goal::for_speedup(CASE, node.name, "than the pipe", times, 1.0));
    }
    Ok(())
}

/// Loads compressible files for the first time, over a slow link.
fn measure_slow(bench: &Bench, report: &mut Report) -> Result<()> {
    const CASE: &str = "first load of 400 MB of files, 100 Mbit/s";
    let image = Image::new(bench, "slow", Content::Files, 400 * MB)?;
    for node in &NODES {
        let _link = SlowLink::start(&bench.sh, node, 100)?;
        let [kdev, pipe] = measure_first_loads(bench, report, CASE, node, &image)?;
        let times = pipe.load / kdev.load;
        report.add_goal(Goal::for_speedup(CASE, node.name, "than the pipe", times, 2.0));
    }
    Ok(())
}

/// Loads an image with kdev and with the pipe in turn, each onto a node without its layers.
fn measure_first_loads(
    bench: &Bench,
    report: &mut Report,
    case: &'static str,
    node: &'static Node,
    image: &Image,
) -> Result<[Cost; 2]> {
    let mut samples =
        [Method::Kdev, Method::Pipe].map(|method| Samples::new(case, node.name, method));
    for _ in 0..bench.rounds {
        for samples in &mut samples {
            bench.clean_node(node)?;
            bench.remove_cache()?;
            samples.add(bench.load(samples.method, node, &image.reference)?);
        }
    }
    Ok(samples.map(|samples| samples.add_to(report)))
}
