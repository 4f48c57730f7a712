//! Many rounds of the inner loop: each must succeed, and none may cost more than
//! those before.

use super::growth::{Growth, Limit};
use super::leftovers::Leftovers;
use super::project::{self, Pods, Project};
use super::report::Section;
use crate::bench::median;
use crate::lab::{self, NODES};
use crate::term;
use anyhow::{Result, ensure};
use std::fs;
use std::path::Path;
use std::time::Instant;
use xshell::Shell;

const NAME: &str = "kdev-soak-cycles";
const TIME: Limit = Limit { factor: 1.5, amount: 0.5 };
/// In MiB.
const MEMORY: Limit = Limit { factor: 1.2, amount: 4.0 };
/// Bytes, the limit in ARCHITECTURE.md.
const CACHE: u64 = 1 << 30;
/// After so many failures further rounds show nothing new.
const FAILURES: usize = 3;

/// What the rounds cost, one after the other.
#[derive(Default)]
struct Rounds {
    passed: usize,
    seconds: Vec<f64>,
    /// In MiB.
    memory: Vec<f64>,
    /// The largest size of the cache folder, in bytes.
    cache: u64,
    failures: Vec<String>,
}

pub(super) fn run(sh: &Shell, rounds: usize, section: &mut Section) -> Result<()> {
    let sh = &super::lab_shell(sh)?;
    let project = Project::create(sh, NAME, Pods::OnePerNode)?;
    let outcome = measure(sh, &project, rounds, section);
    section.check_removal("the project", &project.clean());
    outcome
}

fn measure(sh: &Shell, project: &Project, rounds: usize, section: &mut Section) -> Result<()> {
    let before = Leftovers::look(sh, project)?;
    let done = repeat(project, rounds);
    let left = before.since(sh, project)?;
    section.fact("work", format!("{rounds} rounds: change a page, `cargo kdev up`, fetch it"));
    done.add_facts(section);
    section.fact("builds on the nodes and in Docker at the end", builds(sh)?);
    done.add_checks(rounds, section);
    let result = if left.is_empty() { "nothing".to_owned() } else { left.join("\n") };
    section.check("nothing is left behind", result, left.is_empty());
    Ok(())
}

fn repeat(project: &Project, rounds: usize) -> Rounds {
    let mut done = Rounds::default();
    for number in 1..=rounds {
        if let Err(error) = done.add(project, number) {
            term::report(&error);
            done.failures.push(format!("round {number}: {error:#}"));
        }
        done.cache = done.cache.max(size(&project.cache()));
        if done.failures.len() >= FAILURES {
            break;
        }
    }
    done
}

impl Rounds {
    /// Runs a round. Its costs count only if it succeeds.
    fn add(&mut self, project: &Project, number: usize) -> Result<()> {
        let page = format!("round {number}");
        project.write_page(&page)?;
        let begun = Instant::now();
        let up = project.up()?;
        let seconds = begun.elapsed().as_secs_f64();
        let (status, output) = (up.status, project::end(&up.output));
        ensure!(status.success(), "`cargo kdev up` failed with {status}: {output}");
        project.serves(&page)?;
        let memory = mebibytes(up.memory);
        term::status("Measured", format!("{page}: {seconds:.2} s, {memory:.1} MiB"));
        self.seconds.push(seconds);
        self.memory.push(memory);
        self.passed += 1;
        Ok(())
    }

    fn add_facts(&self, section: &mut Section) {
        section.fact("time of a round", spread(&self.seconds, "s"));
        section.fact("peak of kdev's memory", spread(&self.memory, "MiB"));
        section.fact("largest cache folder", format!("{:.1} MiB", mebibytes(self.cache)));
    }

    fn add_checks(&self, rounds: usize, section: &mut Section) {
        let count = format!("{} of {rounds}", self.passed);
        let result = [&[count], &self.failures[..]].concat().join("\n");
        section.check(
            "rounds that succeed, with the page on both nodes",
            result,
            self.passed == rounds,
        );
        let time = Growth::of(&self.seconds, "s");
        section.check("the time of a round does not grow", time, time.is_within(TIME));
        let memory = Growth::of(&self.memory, "MiB");
        section.check("kdev's memory does not grow", memory, memory.is_within(MEMORY));
        let cache = format!("{:.1} MiB", mebibytes(self.cache));
        section.check("the cache folder has at most 1 GiB", cache, self.cache <= CACHE);
    }
}

fn spread(values: &[f64], unit: &str) -> String {
    let largest = values.iter().copied().fold(0.0, f64::max);
    format!("median {:.2} {unit}, at most {largest:.2} {unit}", median(values.to_vec()))
}

/// Returns how many builds of the project lie on each node, and in Docker.
fn builds(sh: &Shell) -> Result<String> {
    let build = format!("/{NAME}:kdev-");
    let mut counts = Vec::new();
    for node in &NODES {
        let images = lab::images_on_node(sh, node)?;
        let count = images.iter().filter(|image| image.name.contains(&build)).count();
        counts.push(format!("{count} on {}", node.name));
    }
    counts.push(format!("{} in Docker", lab::ids_in_docker(sh, NAME)?.len()));
    Ok(counts.join(", "))
}

/// Bytes of all files in a folder and below it.
fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
