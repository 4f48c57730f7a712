//! Prints what `doctor` has found: a line each, by group, and what helps.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};
use kdev::{Checkup, Finding, Group, State};

const TITLE: Style = Style::new().bold();
const OK: Style = AnsiColor::Green.on_default();
const SKIPPED: Style = AnsiColor::BrightBlack.on_default();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const ERROR: Style = AnsiColor::Red.on_default().bold();
const CAUSE: Style = Style::new().bold();
const HELP: Style = AnsiColor::Cyan.on_default().bold();

/// All findings, in colours that the stream may strip; `quiet` leaves out what is
/// as it should be, or need not be.
pub(crate) fn text(checkup: &Checkup, quiet: bool) -> String {
    let is_shown = |finding: &&Finding| !quiet || finding.state >= State::Warning;
    let (mut lines, mut last) = (String::new(), String::new());
    for finding in checkup.findings.iter().filter(is_shown) {
        let title = title(finding);
        if title != last {
            let _ = writeln!(lines, "{TITLE}{title}{TITLE:#}");
            last = title;
        }
        write_finding(&mut lines, finding);
    }
    if !quiet {
        let _ = writeln!(lines, "{}", summary(checkup));
    }
    lines
}

fn title(finding: &Finding) -> String {
    match (&finding.node, finding.group) {
        (Some(node), _) => format!("node {node}"),
        (None, Group::Tools) => "tools".to_owned(),
        (None, Group::Docker) => "docker".to_owned(),
        (None, Group::Project) => "project".to_owned(),
        _ => "cluster".to_owned(),
    }
}

fn write_finding(lines: &mut String, finding: &Finding) {
    let (style, mark) = match finding.state {
        State::Ok => (OK, "ok"),
        State::Skipped => (SKIPPED, "skipped"),
        State::Warning => (WARNING, "warning"),
        _ => (ERROR, "error"),
    };
    let words = indented(&finding.evidence);
    let _ = writeln!(lines, "  {style}{mark:<7}{style:#}  {:<14}  {words}", finding.check);
    let mut line = |style: Style, label: &str, words: &str| {
        let _ = writeln!(lines, "    {style}{label}:{style:#} {}", indented(words));
    };
    finding.causes.iter().for_each(|cause| line(CAUSE, "caused by", cause));
    finding.help.iter().for_each(|help| line(HELP, "help", help));
}

fn indented(words: &str) -> String {
    words.trim().replace('\n', "\n      ")
}

/// As `1 error and 2 warnings`.
fn summary(checkup: &Checkup) -> String {
    let count = |state: State| checkup.findings.iter().filter(|one| one.state == state).count();
    let words = |count: usize, noun: &str| match count {
        0 => None,
        1 => Some(format!("1 {noun}")),
        _ => Some(format!("{count} {noun}s")),
    };
    let counts = [words(count(State::Error), "error"), words(count(State::Warning), "warning")];
    let counts: Vec<String> = counts.into_iter().flatten().collect();
    if counts.is_empty() { "all is well".to_owned() } else { counts.join(" and ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_wrong_is_said_and_passed_over_in_silence() {
        assert_eq!(text(&Checkup::default(), false), "all is well\n");
        assert_eq!(text(&Checkup::default(), true), "");
    }
}
