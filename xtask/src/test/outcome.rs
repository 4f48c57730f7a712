//! The results of the checks and tests of a stage.

use crate::term;
use anyhow::{Context, Result, bail};
use std::io::{self, BufRead, BufReader};
use std::ops::Add;
use std::process::{Command, Stdio};
use xshell::Cmd;

/// The number of first and of last lines of a failed test that the summary shows.
const SHOWN_LINES: (usize, usize) = (8, 6);

/// The results of a stage.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(super) ignored: usize,
    /// The output of failed checks and tests.
    pub(crate) messages: Vec<String>,
}

/// Runs commands, each of which counts as a test.
pub(super) fn run_checks<const N: usize>(commands: [Cmd; N]) -> Outcome {
    let outcome = |command: Cmd| match command.quiet().run() {
        Ok(()) => Outcome::from_success(),
        Err(error) => Outcome::from_error(&error.into()),
    };
    commands.into_iter().map(outcome).fold(Outcome::default(), Outcome::add)
}

/// Runs a `cargo test`, prints its output, and adds up its results.
pub(super) fn run_tests(command: Cmd) -> Result<Outcome> {
    let mut command = Command::from(command);
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let stdout = child.stdout.take().context("no stdout")?;
    let lines = BufReader::new(stdout).lines().inspect(|line| {
        if let Ok(line) = line
            && !is_noise(line)
        {
            term::print(line);
        }
    });
    let outcome = Outcome::parse(&lines.collect::<io::Result<Vec<_>>>()?);
    let status = child.wait()?;
    if !status.success() && outcome.failed == 0 {
        bail!("`cargo test` failed with {status} before it ran a test");
    }
    Ok(outcome)
}

/// A test that waits for the lab is not slow, and `test-times.tsv` has the times.
fn is_noise(line: &str) -> bool {
    line.starts_with("test ") && line.ends_with(" has been running for over 60 seconds")
}

impl Outcome {
    /// Returns whether no test was run.
    pub(super) fn is_empty(&self) -> bool {
        self.passed + self.failed == 0
    }

    pub(super) fn from_success() -> Self {
        Self { passed: 1, ..Self::default() }
    }

    pub(super) fn from_error(error: &anyhow::Error) -> Self {
        term::report(error);
        Self { failed: 1, messages: vec![format!("{error:#}")], ..Self::default() }
    }

    /// Parses the output of `cargo test`.
    fn parse(lines: &[String]) -> Self {
        let results = lines.iter().filter_map(|line| line.strip_prefix("test result: "));
        let sum = results.map(Self::parse_result).fold(Self::default(), Self::add);
        Self { messages: failed_output(lines), ..sum }
    }

    /// Parses `ok. 3 passed; 0 failed; 1 ignored; …`.
    fn parse_result(result: &str) -> Self {
        let number = |word: &str| {
            let before = result.split(word).next()?.trim_end();
            before.rsplit(' ').next()?.parse().ok()
        };
        Self {
            passed: number(" passed").unwrap_or(0),
            failed: number(" failed").unwrap_or(0),
            ignored: number(" ignored").unwrap_or(0),
            messages: Vec::new(),
        }
    }
}

/// Returns the first and the last lines of the output of each failed test, without backtraces.
fn failed_output(lines: &[String]) -> Vec<String> {
    let is_head = |line: &str| line.starts_with("---- ") && line.ends_with(" stdout ----");
    let is_end = |line: &str| is_head(line) || ["failures:", "stack backtrace:"].contains(&line);
    let heads = lines.iter().enumerate().filter(|(_, line)| is_head(line));
    let output = |(head, _): (usize, _)| {
        let rest = &lines[head + 1..];
        let end = rest.iter().position(|line| is_end(line)).unwrap_or(rest.len());
        std::iter::once(lines[head].clone()).chain(shorten(&rest[..end]))
    };
    heads.flat_map(output).collect()
}

/// Removes the middle of a long output. The values of a failed assertion are at its end.
fn shorten(lines: &[String]) -> Vec<String> {
    let (first, last) = SHOWN_LINES;
    if lines.len() <= first + last {
        return lines.to_vec();
    }
    let (head, tail) = (&lines[..first], &lines[lines.len() - last..]);
    [head, &["[…]".to_owned()], tail].concat()
}

impl Add for Outcome {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            ignored: self.ignored + other.ignored,
            messages: [self.messages, other.messages].concat(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_test_output_is_parsed() {
        let printed = "\
running 12 tests
test good ... ok
test bad ... FAILED

failures:

---- bad stdout ----
thread 'bad' panicked at lib.rs:1:1:
disk is full
stack backtrace:
   0: bad::bad

---- worse stdout ----
error: worse

failures:
    bad
    worse

test result: FAILED. 10 passed; 2 failed; 15 ignored; 0 measured; 0 filtered out; finished in 1.5s
test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s";
        let lines: Vec<String> = printed.lines().map(str::to_owned).collect();
        let Outcome { passed, failed, ignored, messages } = Outcome::parse(&lines);
        assert_eq!((passed, failed, ignored), (11, 2, 15));
        let bad = ["---- bad stdout ----", "thread 'bad' panicked at lib.rs:1:1:", "disk is full"];
        let worse = ["---- worse stdout ----", "error: worse", ""];
        assert_eq!(messages, [bad, worse].concat());
    }

    #[test]
    fn long_failure_keeps_first_and_last_lines() {
        let lines: Vec<String> = (1..=20).map(|number| number.to_string()).collect();
        let kept = "1 2 3 4 5 6 7 8 […] 15 16 17 18 19 20";
        assert_eq!(shorten(&lines).join(" "), kept);
        assert_eq!(shorten(&lines[..14]), lines[..14]);
    }
}
