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

/// Where the words of a finding begin, if there is room for columns.
const WORDS: usize = 27;
/// A screen that is narrower has none.
const NARROW: usize = 64;

/// All findings, in colours that the stream may strip; `quiet` leaves out what is
/// as it should be, or need not be. On a screen of this width lines are broken, but
/// for advice: that is to be copied.
pub(crate) fn text(checkup: &Checkup, quiet: bool, width: Option<usize>) -> String {
    let is_shown = |finding: &&Finding| !quiet || finding.state >= State::Warning;
    let (mut lines, mut last) = (String::new(), String::new());
    for finding in checkup.findings.iter().filter(is_shown) {
        let title = title(finding);
        if title != last {
            let _ = writeln!(lines, "{TITLE}{title}{TITLE:#}");
            last = title;
        }
        write_finding(&mut lines, finding, width);
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

fn write_finding(lines: &mut String, finding: &Finding, width: Option<usize>) {
    let (style, mark) = match finding.state {
        State::Ok => (OK, "ok"),
        State::Skipped => (SKIPPED, "skipped"),
        State::Warning => (WARNING, "warning"),
        _ => (ERROR, "error"),
    };
    let is_narrow = width.is_some_and(|width| width < NARROW);
    let check = finding.check;
    let (column, head) = if is_narrow {
        (4, format!("  {mark:<7}  {check}: "))
    } else {
        (WORDS, format!("  {mark:<7}  {check:<14}  "))
    };
    let words = broken(&finding.evidence, head.chars().count(), column, width);
    let _ = writeln!(lines, "  {style}{}{style:#}{}{words}", &head[2..9], &head[9..]);
    for cause in &finding.causes {
        let words = broken(cause, "    caused by: ".len(), 6, width);
        let _ = writeln!(lines, "    {CAUSE}caused by:{CAUSE:#} {words}");
    }
    if let Some(help) = &finding.help {
        let _ = writeln!(lines, "    {HELP}help:{HELP:#} {}", broken(help, 0, 6, None));
    }
}

/// Words that begin at this place in their line; what does not fit goes on in lines
/// of its own, from `column` on.
fn broken(words: &str, begin: usize, column: usize, width: Option<usize>) -> String {
    let (mut text, mut place) = (String::new(), begin);
    for (number, line) in words.trim().lines().enumerate() {
        if number > 0 {
            place = new_line(&mut text, column);
        }
        for (number, word) in line.split(' ').enumerate() {
            let length = word.chars().count();
            let space = usize::from(number > 0);
            if width.is_some_and(|width| place + space + length > width) && place > column {
                place = new_line(&mut text, column);
            } else if space > 0 {
                text.push(' ');
                place += 1;
            }
            text.push_str(word);
            place += length;
        }
    }
    text
}

fn new_line(text: &mut String, column: usize) -> usize {
    let _ = write!(text, "\n{:column$}", "");
    column
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
        assert_eq!(text(&Checkup::default(), false, None), "all is well\n");
        assert_eq!(text(&Checkup::default(), true, None), "");
    }

    #[test]
    fn lines_are_broken_where_the_screen_ends() {
        let words = "one two three\nfour";
        assert_eq!(broken(words, 4, 2, None), "one two three\n  four");
        assert_eq!(broken(words, 4, 2, Some(11)), "one two\n  three\n  four");
        // A word that is longer than a line is the terminal's to break.
        assert_eq!(broken("one sha256:0123456789", 4, 2, Some(11)), "one\n  sha256:0123456789");
        assert_eq!(broken("sha256:0123456789", 4, 4, Some(11)), "sha256:0123456789");
    }
}
