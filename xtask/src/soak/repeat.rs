//! Runs the e2e tests several times in a row, to find tests that fail sometimes.

use super::report::Section;
use crate::term;
use anyhow::Result;
use std::time::Instant;
use xshell::Shell;

/// A run of all e2e tests.
struct Round {
    passed: usize,
    failed: usize,
    seconds: u64,
    /// The names of failed tests.
    names: Vec<String>,
}

#[expect(clippy::unnecessary_wraps, reason = "every case has this form")]
pub(super) fn run(sh: &Shell, rounds: usize, section: &mut Section) -> Result<()> {
    let count = if rounds == 1 { "once".to_owned() } else { format!("{rounds} times in a row") };
    section.add_fact("work", format!("the e2e tests, {count}"));
    let rounds: Vec<Round> = (1..=rounds).map(|number| run_round(sh, number)).collect();
    for (number, round) in (1..).zip(&rounds) {
        let Round { passed, failed, seconds, .. } = round;
        let figures = format!("{passed} passed, {failed} failed, {seconds} s");
        section.add_fact(format!("round {number}"), figures);
    }
    let result = format_failures(&rounds);
    section.add_check("no test fails", result, rounds.iter().all(|round| round.failed == 0));
    Ok(())
}

fn run_round(sh: &Shell, number: usize) -> Round {
    term::status("Testing", format!("round {number}"));
    let start = Instant::now();
    let outcome = crate::test::e2e(sh, &[]);
    let seconds = start.elapsed().as_secs();
    match outcome {
        Ok(outcome) => {
            let names = failed_tests(&outcome.messages);
            Round { passed: outcome.passed, failed: outcome.failed, seconds, names }
        }
        Err(error) => {
            term::report(&error);
            Round { passed: 0, failed: 1, seconds, names: vec![format!("{error:#}")] }
        }
    }
}

/// Returns the names of failed tests in the output of `cargo test`.
fn failed_tests(lines: &[String]) -> Vec<String> {
    let name = |line: &String| {
        let name = line.strip_prefix("---- ")?.strip_suffix(" stdout ----")?;
        Some(name.to_owned())
    };
    lines.iter().filter_map(name).collect()
}

fn format_failures(rounds: &[Round]) -> String {
    let failed = (1..).zip(rounds).filter(|(_, round)| round.failed > 0);
    let lines = failed.map(|(number, round)| format!("round {number}: {}", round.names.join(", ")));
    let lines: Vec<String> = lines.collect();
    if lines.is_empty() { "none".to_owned() } else { lines.join("\n") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_listed_per_round() {
        let round = |names: &[&str]| Round {
            passed: 1,
            failed: names.len(),
            seconds: 2,
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        };
        assert_eq!(format_failures(&[round(&[]), round(&[])]), "none");
        let rounds = [round(&["a::b"]), round(&[]), round(&["a::b", "c"])];
        assert_eq!(format_failures(&rounds), "round 1: a::b\nround 3: a::b, c");
    }

    #[test]
    fn failed_test_names_are_parsed() {
        let lines = ["---- why::one stdout ----", "error: a ---- b", "", "---- two stdout ----"];
        assert_eq!(failed_tests(&lines.map(str::to_owned)), ["why::one", "two"]);
    }
}
