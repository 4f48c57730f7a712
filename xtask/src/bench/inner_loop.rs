//! Measures the time from a saved file to the first answer of the new program: with
//! `cargo kdev up --watch`, and with the steps of other tools.
//!
//! - `peers.rs`: the steps of other tools
//! - `pod.rs`: the pod of a Deployment, and its answers
//! - `service.rs`: the service that is changed
//! - `starts.rs`: counts the starts of programs
//! - `watch.rs`: a running `cargo kdev up --watch`

mod peers;
mod pod;
mod service;
mod starts;
mod watch;

use super::cost::median;
use super::methods::{Bench, PREFIX};
use super::report::{Goal, Report};
use crate::lab::{self, NODES, Node};
use crate::term;
use anyhow::Result;
use peers::{Peer, Peers};
use serde_json::{Value, json};
use watch::Watch;

/// All pods run on node-2, which has containerd 2.x.
const NODE: &Node = &NODES[1];
const CODE: &str = "code changed";
const MANIFEST: &str = "manifest changed";
const SAME: &str = "same bytes written";
const KDEV: &str = "`cargo kdev up --watch`";

/// The measurements of a change, in seconds.
#[derive(Clone, Debug, Default)]
struct Sample {
    /// From the moment before the rename to the first answer.
    answer: f64,
    /// Times of single steps, by their names.
    steps: Vec<(&'static str, f64)>,
    /// The number of started programs; `None` if they were not counted.
    starts: Option<usize>,
}

/// The samples of all rounds of a method.
struct Samples {
    case: &'static str,
    method: &'static str,
    samples: Vec<Sample>,
}

pub(super) fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    clean(bench)?;
    let outcome = measure(bench, report);
    clean(bench)?;
    outcome
}

fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let mut peers = Peers::prepare(bench)?;
    let mut watch = Watch::start(bench)?;
    let mut code = Samples::new(CODE, KDEV);
    let mut manifest = Samples::new(MANIFEST, KDEV);
    let mut same = Samples::new(SAME, KDEV);
    let mut others = Peer::ALL.map(|peer| Samples::new(CODE, peer.name()));
    // The first round warms all caches.
    for round in 0..=bench.rounds {
        let add = |samples: &mut Samples, sample: Sample| {
            if round > 0 {
                samples.add(sample);
            }
        };
        add(&mut code, watch.change_code()?);
        add(&mut manifest, watch.change_manifest()?);
        add(&mut same, watch.write_same_bytes()?);
        for (peer, samples) in Peer::ALL.into_iter().zip(&mut others) {
            add(samples, peers.change(peer)?);
        }
    }
    watch.end()?;
    for samples in [&code, &manifest, &same].into_iter().chain(&others) {
        samples.add_to(report);
    }
    add_goals(&code, &manifest, &same, &others, report);
    Ok(())
}

fn add_goals(
    code: &Samples,
    manifest: &Samples,
    same: &Samples,
    [floor, live, registry, hand]: &[Samples; Peer::ALL.len()],
    report: &mut Report,
) {
    let whole = code.answer();
    // kdev's own steps around `cargo build` and `docker build` are not theirs.
    let others = hand.step("cargo") + hand.step("docker build") + floor.answer();
    let seconds = |measure: &str, value: f64, limit: f64| {
        Goal::for_seconds(CODE, NODE.name, measure, value, limit)
    };
    let goals = [
        seconds("save to the start of cargo", code.step("until cargo"), 0.06),
        seconds("without cargo, `docker build`, and `kubectl set image`", whole - others, 0.6),
        seconds("first line of the log after the first answer", code.step("log"), 0.2),
        seconds("more than the copy into the container", whole - live.answer(), 1.0),
        Goal::for_ratio(CODE, NODE.name, "against the registry", whole / registry.answer(), 0.6),
        Goal::for_speedup(CODE, NODE.name, "than by hand", hand.answer() / whole, 3.0),
        Goal::for_seconds(
            MANIFEST,
            NODE.name,
            "more than `kubectl set image`",
            manifest.answer() - floor.answer(),
            0.3,
        ),
        Goal::for_count(SAME, "started programs", same.starts(), 0),
    ];
    for goal in goals {
        report.add_goal(goal);
    }
}

impl Samples {
    fn new(case: &'static str, method: &'static str) -> Self {
        Self { case, method, samples: Vec::new() }
    }

    fn add(&mut self, sample: Sample) {
        let message = format!("{}: {}: {:.2} s", self.case, self.method, sample.answer);
        term::status("Measured", message);
        self.samples.push(sample);
    }

    /// Returns the median of the time to the first answer.
    fn answer(&self) -> f64 {
        median(self.samples.iter().map(|sample| sample.answer).collect())
    }

    /// Returns the median of a step.
    fn step(&self, name: &str) -> f64 {
        let steps = self.samples.iter().flat_map(|sample| &sample.steps);
        median(steps.filter(|(step, _)| *step == name).map(|(_, seconds)| *seconds).collect())
    }

    /// Returns the largest number of started programs.
    fn starts(&self) -> usize {
        self.samples.iter().filter_map(|sample| sample.starts).max().unwrap_or_default()
    }

    fn add_to(&self, report: &mut Report) {
        let names = self.samples.first().map(|first| first.steps.clone()).unwrap_or_default();
        let steps = names.iter().map(|(name, _)| format!("{name} {:.2} s", self.step(name)));
        let has_starts = self.samples.iter().any(|sample| sample.starts.is_some());
        let starts = if has_starts { format!("{} programs", self.starts()) } else { String::new() };
        let steps: Vec<String> = steps.chain([starts]).filter(|text| !text.is_empty()).collect();
        let (case, method, answer) = (self.case, self.method, self.answer());
        let row = format!("| {case} | {method} | {answer:.2} s | {} |", steps.join(", "));
        let values: Vec<Value> = self.samples.iter().map(Sample::json).collect();
        report.add_row(row, json!({"case": case, "method": method, "values": values}));
    }
}

impl Sample {
    fn json(&self) -> Value {
        let steps = self.steps.iter().map(|(name, seconds)| ((*name).to_owned(), json!(seconds)));
        let steps: serde_json::Map<String, Value> = steps.collect();
        json!({"answer_s": self.answer, "steps_s": steps, "starts": self.starts})
    }
}

/// Removes the namespaces, and the images from Docker and the node.
fn clean(bench: &Bench) -> Result<()> {
    let namespaces = peers::namespaces().chain([watch::namespace()]);
    let delete = bench.kubectl("default", &["delete", "namespace", "--ignore-not-found"]);
    delete.args(namespaces).ignore_stdout().ignore_stderr().run()?;
    for pattern in [format!("{PREFIX}-loop*"), format!("*/{PREFIX}-loop*")] {
        lab::remove_from_docker(&bench.sh, &pattern)?;
    }
    lab::remove_from_node(&bench.sh, NODE, &format!("{PREFIX}-loop"))
}
