//! Many rounds of the inner loop: each must succeed, and neither time nor memory may grow.

use super::growth::{Growth, Limit};
use super::leftovers::Leftovers;
use super::project::{self, Placement, Project};
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
/// In bytes; ARCHITECTURE.md has the same limit.
const MAX_CACHE: u64 = 1 << 30;
/// How many builds `up` keeps by default.
pub(super) const KEPT_BUILDS: usize = 3;
/// The number of failures after which the case stops.
const MAX_FAILURES: usize = 3;

/// The results of the rounds, in their order.
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
    project::run_case(sh, NAME, Placement::OnePerNode, section, |sh, project, section| {
        measure(sh, project, rounds, section)
    })
}

fn measure(sh: &Shell, project: &Project, rounds: usize, section: &mut Section) -> Result<()> {
    let before = Leftovers::find(sh, project)?;
    let cri_names = count_cri_names(sh)?;
    let done = run_rounds(project, rounds);
    let left = before.wait_for_new(sh, project)?;
    section.add_fact(
        "work",
        format!("{rounds} rounds: change a page, run `cargo kdev up`, fetch the page"),
    );
    done.add_facts(section);
    done.add_checks(rounds, section);
    let builds = count_builds(sh, NAME)?;
    let text = builds.iter().map(|(place, count)| format!("{count} {place}"));
    let is_tidy = builds.iter().all(|(_, count)| *count <= KEPT_BUILDS);
    section.add_check(
        "each node and Docker keep the newest builds",
        text.collect::<Vec<_>>().join(", "),
        is_tidy,
    );
    let more = count_cri_names(sh)?.saturating_sub(cri_names);
    section.add_check(
        "the names of the CRI go with the builds",
        format!("{more} more than before"),
        more <= KEPT_BUILDS * NODES.len(),
    );
    let result = if left.is_empty() { "nothing".to_owned() } else { left.join("\n") };
    section.add_check("nothing is left behind", result, left.is_empty());
    Ok(())
}

fn run_rounds(project: &Project, rounds: usize) -> Rounds {
    let mut done = Rounds::default();
    for number in 1..=rounds {
        if let Err(error) = done.run_round(project, number) {
            term::report(&error);
            done.failures.push(format!("round {number}: {error:#}"));
        }
        done.cache = done.cache.max(folder_size(&project.cache_folder()));
        if done.failures.len() >= MAX_FAILURES {
            break;
        }
    }
    done
}

impl Rounds {
    /// Runs a round. Its time and memory count only if it succeeds.
    fn run_round(&mut self, project: &Project, number: usize) -> Result<()> {
        let page = format!("round {number}");
        project.write_page(&page)?;
        let start = Instant::now();
        let up = project.up()?;
        let seconds = start.elapsed().as_secs_f64();
        let (status, output) = (up.status, project::last_lines(&up.output));
        ensure!(status.success(), "`cargo kdev up` failed with {status}: {output}");
        project.wait_for_page(&page)?;
        let memory = mebibytes(up.memory);
        term::status("Measured", format!("{page}: {seconds:.2} s, {memory:.1} MiB"));
        self.seconds.push(seconds);
        self.memory.push(memory);
        self.passed += 1;
        Ok(())
    }

    fn add_facts(&self, section: &mut Section) {
        section.add_fact("time of a round", format_spread(&self.seconds, "s"));
        section.add_fact("peak memory of kdev", format_spread(&self.memory, "MiB"));
        section.add_fact("largest cache folder", format!("{:.1} MiB", mebibytes(self.cache)));
    }

    fn add_checks(&self, rounds: usize, section: &mut Section) {
        let count = format!("{} of {rounds}", self.passed);
        let result = [&[count], &self.failures[..]].concat().join("\n");
        section.add_check(
            "each round succeeds, with the page on both nodes",
            result,
            self.passed == rounds,
        );
        let time = Growth::from_values(&self.seconds, "s");
        section.add_check("the time of a round does not grow", time, time.is_within(TIME));
        let memory = Growth::from_values(&self.memory, "MiB");
        section.add_check("the memory of kdev does not grow", memory, memory.is_within(MEMORY));
        let cache = format!("{:.1} MiB", mebibytes(self.cache));
        section.add_check("the cache folder has at most 1 GiB", cache, self.cache <= MAX_CACHE);
    }
}

pub(super) fn format_spread(values: &[f64], unit: &str) -> String {
    let largest = values.iter().copied().fold(0.0, f64::max);
    format!("median {:.2} {unit}, at most {largest:.2} {unit}", median(values.to_vec()))
}

/// Counts the builds of the project on each node and in Docker.
pub(super) fn count_builds(sh: &Shell, name: &str) -> Result<Vec<(String, usize)>> {
    let build = format!("/{name}:kdev-");
    let mut counts = Vec::new();
    for node in &NODES {
        let images = lab::images_on_node(sh, node)?;
        let count = images.iter().filter(|image| image.name.contains(&build)).count();
        counts.push((format!("on {}", node.name), count));
    }
    counts.push(("in Docker".to_owned(), lab::ids_in_docker(sh, name)?.len()));
    Ok(counts)
}

/// Counts the names that the CRI has added on all nodes: one for each image.
fn count_cri_names(sh: &Shell) -> Result<usize> {
    let mut count = 0;
    for node in &NODES {
        let images = lab::images_on_node(sh, node)?;
        count += images.iter().filter(|image| image.name.starts_with("sha256:")).count();
    }
    Ok(count)
}

/// Returns the size of all files in a folder and below it, in bytes.
fn folder_size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => folder_size(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(super) fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
